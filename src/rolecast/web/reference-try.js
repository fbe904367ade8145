/** Sends a request of the reference and shows what comes back, as it comes. */
import { copyButton, h, setText } from "./dom.js";
import { key } from "./gateway.js";

const MOST_SHOWN = 200_000;

/** The inputs of a request, the same as a line for a shell, and its answer. */
export function trial(method, path, operation) {
  const inputs = (operation.parameters ?? []).map((each) => input(operation, each));
  const example = operation.requestBody?.content?.["application/json"]?.example;
  const body = operation.requestBody ? h("textarea", { "aria-label": "Body", spellcheck: "false" }) : null;
  if (body) body.value = JSON.stringify(example ?? {}, null, 2);
  const line = h("code", {});
  const send = h("button", { class: "main", type: "submit" }, "Send");
  const stop = h("button", { type: "button", hidden: true }, "Stop");
  const output = h("output", {});
  const wanted = () => ({ method, path: filled(path, inputs), body: body?.value });
  const draw = () => setText(line, curl(wanted()));
  let running = null;
  stop.addEventListener("click", () => running?.abort());
  const form = h(
    "form",
    { class: "try", oninput: draw },
    inputs.length > 0 && h("div", { class: "inputs" }, ...inputs.map(({ field }) => field)),
    body,
    h("div", { class: "command" }, h("pre", { tabindex: "0" }, line), copyButton(() => line.textContent, "Copy", "the command")),
    h("div", { class: "actions" }, send, stop),
    output,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    stop.hidden = false;
    try {
      await ask(wanted(), output, running.signal);
    } finally {
      running = null;
      stop.hidden = true;
    }
  });
  draw();
  return form;
}

function input(operation, { name, in: where, schema, required }) {
  const id = `${operation.operationId}-${name}`;
  const control = schema.enum
    ? h("select", { id }, h("option", { value: "" }, ""), ...schema.enum.map((value) => h("option", { value }, value)))
    : h("input", { id, required: Boolean(required) });
  return { name, where, control, field: h("div", {}, h("label", { for: id }, name), control) };
}

function filled(path, inputs) {
  const query = new URLSearchParams();
  for (const { name, where, control } of inputs) {
    if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(control.value) || `{${name}}`);
    else if (control.value) query.set(name, control.value);
  }
  return query.size ? `${path}?${query}` : path;
}

/** The key is named, not shown: the line may be pasted anywhere. */
function curl({ method, path, body }) {
  const words = ["curl"];
  if (method === "head") words.push("--head");
  else if (method !== (body == null ? "get" : "post")) words.push("-X", method.toUpperCase());
  words.push(quoted(`${location.origin}${path}`));
  if (key.get()) words.push(`-H "Authorization: Bearer $ROLECAST_API_KEY"`);
  if (body != null) words.push("-H 'Content-Type: application/json'", "-d", quoted(compact(body)));
  return words.join(" ");
}

const quoted = (text) => (/^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

function compact(body) {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return body;
  }
}

async function ask({ method, path, body }, output, signal) {
  const headers = body == null ? {} : { "content-type": "application/json" };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  const text = h("pre", { tabindex: "0" });
  const began = performance.now();
  output.replaceChildren(h("p", { class: "soft" }, "waiting…"));
  try {
    const reply = await fetch(path, { method: method.toUpperCase(), headers, body, signal });
    const head = h("p", { class: reply.ok ? "good" : "bad" }, `${reply.status} ${reply.statusText} · ${reply.headers.get("content-type") ?? "no body"}`);
    const time = h("span", { class: "soft" });
    head.append(" ", time);
    output.replaceChildren(head, text);
    await fill(text, reply);
    setText(time, `${Math.round(performance.now() - began)} ms`);
    if (reply.headers.get("content-type")?.startsWith("application/json")) setText(text, pretty(text.textContent));
  } catch (error) {
    const why = error.name === "AbortError" ? "stopped" : "The gateway does not answer.";
    output.append(h("p", { class: error.name === "AbortError" ? "soft" : "bad" }, why));
  }
}

/** The text as it comes; of very much its beginning. */
async function fill(element, reply) {
  const reader = reply.body?.pipeThrough(new TextDecoderStream()).getReader();
  let shown = 0;
  for (let part = await reader?.read(); part && !part.done; part = await reader.read()) {
    if (shown < MOST_SHOWN) element.append(part.value.slice(0, MOST_SHOWN - shown));
    shown += part.value.length;
  }
  if (shown > MOST_SHOWN) element.append("\n…");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
