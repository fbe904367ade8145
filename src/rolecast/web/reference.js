/** The reference of the API: what /openapi.json of this port says, to read and to try. */
import { $, h, save, setText } from "./dom.js";
import { json, key } from "./gateway.js";
import { answers, body, parameters, words } from "./reference-schema.js";
import { trial } from "./reference-try.js";

const METHODS = ["get", "post", "put", "delete", "head"];

async function load() {
  let document_;
  try {
    document_ = await json("/openapi.json");
  } catch (error) {
    if (error.status === 401) return askForKey(error);
    return setText($("down"), error.message);
  }
  setText($("down"), "");
  $("login").hidden = true;
  $("state").hidden = false;
  setText($("title"), document_.info.title);
  setText($("version"), document_.info.version);
  $("to-status").hidden = !("/ui" in document_.paths);
  document.title = `${document_.info.title} API`;
  show(document_);
}

function askForKey(error) {
  setText($("key-error"), key.get() ? error.message : "");
  $("login").hidden = false;
  $("key").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value.trim());
  $("login").reset();
  load();
});

/** With a key the document cannot be opened as a link: no header goes with that. */
$("document").addEventListener("click", async (event) => {
  if (!key.get()) return;
  event.preventDefault();
  save("openapi.json", JSON.stringify(await json("/openapi.json"), null, 2), "application/json");
});

// -- the list ----------------------------------------------------------------------------------------------------

function show(whole) {
  const also = new Map();
  const found = [];
  for (const [path, methods] of Object.entries(whole.paths)) {
    for (const method of METHODS.filter((name) => name in methods)) {
      const operation = methods[method];
      const same = operation["x-same-as"];
      if (same) also.set(`${method} ${same}`, [...(also.get(`${method} ${same}`) ?? []), path]);
      else found.push({ method, path, operation });
    }
  }
  const sections = whole.tags.map(({ name }) => {
    const mine = found.filter(({ operation }) => operation.tags[0] === name);
    const lines = mine.map((each) => line(whole, each, also.get(`${each.method} ${each.path}`) ?? []));
    return mine.length ? h("section", { class: "panel tag", "aria-label": name }, h("h2", {}, name), ...lines) : null;
  });
  $("operations").replaceChildren(...sections.filter(Boolean));
  filter();
  reveal();
}

function line(whole, { method, path, operation }, also) {
  const summary = h(
    "summary",
    {},
    h("span", { class: `method ${method}` }, method.toUpperCase()),
    h("code", {}, path),
    h("span", { class: "said" }, operation.summary),
  );
  const element = h("details", { class: "operation", id: operation.operationId }, summary);
  element.words = [method, path, ...also, operation.summary, operation.description ?? ""].join(" ").toLowerCase();
  // Hundreds of fields: they are made for who looks.
  const fill = () => element.children.length > 1 || element.append(inside(whole, { method, path, operation }, also));
  element.addEventListener("toggle", () => {
    if (!element.open) return;
    fill();
    history.replaceState(null, "", `#${operation.operationId}`);
  });
  return element;
}

function inside(whole, { method, path, operation }, also) {
  return h(
    "div",
    { class: "inside" },
    operation.description && h("p", {}, ...words(operation.description)),
    also.length > 0 && h("p", { class: "soft" }, "Also ", ...also.flatMap((other, at) => [at ? ", " : "", h("code", {}, other)]), "."),
    parameters(whole, operation),
    h("h3", {}, "Try it"),
    trial(method, path, operation),
    body(whole, operation),
    h("h3", {}, "Answers"),
    answers(whole, operation),
  );
}

// -- finding -----------------------------------------------------------------------------------------------------

function filter() {
  const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of document.querySelectorAll(".tag")) {
    let here = 0;
    for (const operation of section.querySelectorAll(".operation")) {
      operation.hidden = !wanted.every((word) => operation.words.includes(word));
      here += operation.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    shown += here;
  }
  setText($("count"), `${shown} ${shown === 1 ? "path" : "paths"}`);
  $("nothing").hidden = shown > 0;
}

function reveal() {
  const wanted = location.hash.length > 1 && $(location.hash.slice(1));
  if (!wanted || !wanted.classList.contains("operation")) return;
  wanted.open = true;
  wanted.scrollIntoView();
}

$("filter").addEventListener("input", filter);
addEventListener("hashchange", reveal);
load();
