/** The models as cards: what each does now; loading, unloading and pulling it. */
import { $, copyButton, h, keep, setAttribute, setText } from "./dom.js";
import { age, count, rate, size, speed } from "./format.js";
import { json } from "./gateway.js";

const TONES = { ready: "good", remote: "good", failed: "bad", loading: "busy", draining: "busy", stopping: "busy", absent: "off", cold: "off", asleep: "off" };
const WORDS = { cold: "not loaded", absent: "not here" };
const RECENT = 20;
const GROWING_S = 15;

/** What was asked on this page and is under way, by model: `load`, `unload`, `pull` or `cancel`. */
const changing = new Map();

/**
 * @param {{refresh: () => void, chat: (id: string) => void, log: (id: string) => void}} actions
 * @param {{status: object, activity: object, rows: object[]}} seen
 */
export function showModels(actions, { status, activity, rows }) {
  const models = status.models.map((model) => ({
    ...model,
    roles: Object.keys(status.roles).filter((role) => status.roles[role].includes(model.id)),
    variants: status.variants.filter((variant) => variant.models[0] === model.id).map((variant) => variant.id),
    load: activity.loads.find((load) => load.model === (model.stand_in ?? model.id)),
    download: activity.downloads.find((download) => download.model === model.id),
    pull: activity.jobs.find((job) => job.kind === "pull" && job.subject === model.id),
    running: activity.running.filter((each) => each.worker === model.id),
    recent: recentSpeed(rows.filter((row) => row.worker === model.id)),
  }));
  keep($("models"), models, (model) => model.id, (model) => card(model.id, actions));
  $("no-models").hidden = models.length > 0;
}

/** Tokens per second over the newest requests that wrote something. */
function recentSpeed(rows) {
  const timed = rows.filter((row) => speed(row) > 0).slice(0, RECENT);
  const tokens = timed.reduce((sum, row) => sum + row.completion_tokens, 0);
  const seconds = timed.reduce((sum, row) => sum + row.completion_tokens / speed(row), 0);
  return seconds ? tokens / seconds : 0;
}

/** Tokens per second of all that is being written now. */
const speedNow = (running) => running.reduce((sum, each) => sum + (each.writing_ms > 200 ? (each.tokens / each.writing_ms) * 1000 : 0), 0);

/** What to type to get the weights; "" where they have to be put in their place. */
function bringing({ id, source }) {
  if (source.startsWith("ollama:")) return `ollama pull ${source.slice(7)}`;
  return source.startsWith("file:") ? "" : `rolecast pull ${id}`;
}

/** Whether nobody can ask it by its name: what avatars speak through. */
export const isHidden = (id) => /^avatar-(base|model)\//.test(id);

/** Whether its weights are not here. */
const lacks = (model) => model.state === "absent" || Boolean(model.stand_in);

/** Whether the gateway brings its weights now, or will. */
const pulls = ({ pull }) => ["queued", "running"].includes(pull?.state);

/** Why the last pull brought nothing. */
const failure = (pull) => (["failed", "interrupted"].includes(pull?.state) ? pull.error : "");

function card(id, actions) {
  const pull = h("code");
  const part = {
    state: h("span", { class: "badge" }),
    names: h("p", { class: "soft" }),
    error: h("p", { class: "bad" }),
    bar: h("progress", { max: "100" }),
    step: h("p", { class: "soft" }),
    facts: h("dl", { class: "facts" }),
    pull: h("p", { class: "command" }, pull, copyButton(() => pull.textContent, "Copy", "the command")),
    change: h("button", { type: "button" }),
    chat: h("button", { type: "button", class: "quiet", "aria-label": `Chat with ${id}`, onclick: () => actions.chat(id) }, "Chat"),
    log: h("button", { type: "button", class: "quiet", "aria-label": `Log of ${id}`, onclick: () => actions.log(id) }, "Log"),
  };
  const progress = h("div", { class: "progress" }, part.bar, part.step);
  const element = h(
    "article",
    { class: "card", "aria-label": id },
    h("header", {}, h("h3", {}, id), part.state),
    part.names,
    part.error,
    progress,
    part.pull,
    part.facts,
    h("div", { class: "actions" }, part.change, part.chat, part.log),
  );
  element.update = (model) => {
    setText(part.state, model.wants_memory ? "waits for memory" : (WORDS[model.state] ?? model.state));
    setAttribute(part.state, "class", `badge ${(!model.wants_memory && TONES[model.state]) || "busy"}`);
    setText(part.names, named(model));
    setText(part.error, lacks(model) ? failure(model.pull) : (model.error ?? "")); // of absent weights `showProgress` speaks
    showProgress(part, progress, model);
    setText(pull, bringing(model));
    part.pull.hidden = !pull.textContent || !lacks(model) || pulls(model);
    keep(part.facts, facts(model), ([name]) => name, fact);
    offerChange(part.change, model, actions);
    part.chat.hidden = isHidden(model.id) || !model.capabilities.includes("chat") || model.state === "absent";
    part.log.hidden = Boolean(model.stand_in) || ["remote", "absent"].includes(model.state);
  };
  return element;
}

/** What it is called and what it is for; that it chats goes without saying. */
function named({ roles, aliases, variants, capabilities }) {
  const parts = [["plays", roles], ["also", aliases], ["varied as", variants], ["for", capabilities.includes("chat") ? [] : capabilities]];
  return parts.filter(([, words]) => words.length).map(([is, words]) => `${is} ${words.join(", ")}`).join(" · ");
}

function showProgress(part, box, model) {
  const { id, load, download, stand_in: standIn, state } = model;
  const said = [];
  let percent = null;
  if (load && !standIn) {
    if (load.expected_bytes) percent = Math.min(99, Math.floor((100 * load.rss_bytes) / load.expected_bytes));
    said.push(percent === null ? "Loading" : `Loading, about ${percent} %`, `for ${age(load.seconds)}`);
    if (load.expected_bytes) said.push(`${size(load.rss_bytes) || "nothing"} of about ${size(load.expected_bytes)} in memory`);
  } else if (pulls(model)) {
    const { step, done, total } = model.pull.progress;
    if (total) percent = Math.floor((100 * done) / total);
    said.push(model.pull.state === "queued" ? "Waits for its turn to be pulled" : `Pull: ${step || "begins"}`);
    if (total) said.push(`${percent} % of ${size(total)}`);
    else if (done) said.push(size(done));
  } else if (download) {
    const grows = Date.now() / 1000 - download.changed_at < GROWING_S;
    said.push(`${size(download.bytes) || "Nothing"} ${grows ? "have arrived, a pull is under way" : "are here of a pull that was broken off; pull again to go on"}`);
  } else if (standIn) {
    said.push(`${standIn} stands in until its weights are here`);
  } else if (state === "absent") {
    said.push(bringing(model) ? "Its weights are not on this machine. This brings them:" : `Its weights are not where they should be: ${model.source.slice(5)}`);
  }
  part.bar.hidden = (!load || Boolean(standIn)) && !pulls(model);
  setAttribute(part.bar, "value", percent);
  setAttribute(part.bar, "aria-label", `${pulls(model) ? "Pull" : "Load"} of ${id}`);
  setText(part.step, said.join(" · "));
  box.hidden = !said.length;
}

function facts(model) {
  const now = speedNow(model.running);
  const found = [
    ["Requests", [model.active && `${model.active} running`, model.waiting && `${model.waiting} waiting`].filter(Boolean).join(", ") || "idle"],
    ["Speed", now ? `≈ ${rate(now)} now` : model.recent ? `${rate(model.recent)} lately` : "–"],
    ["Memory", size(model.rss_bytes) || "–"],
    ["Slots", `${model.active} of ${model.parallel}`],
    ...(model.replicas?.length ? [["Copies", `${model.replicas.filter((one) => one.state === "ready").length} of ${model.replicas.length}`]] : []),
    ["Answered", count(model.requests)],
    ["Tokens in / out", `${count(model.prompt_tokens)} / ${count(model.completion_tokens)}`],
  ];
  if (model.stand_in) return found.filter(([name]) => ["Answered", "Tokens in / out"].includes(name));
  if (model.state === "absent") return [];
  if (model.restarts) found.push(["Restarts", count(model.restarts)]);
  return found;
}

function fact() {
  const [name, value] = [h("dt"), h("dd")];
  const element = h("div", {}, name, value);
  element.update = ([label, text]) => {
    setText(name, label);
    setText(value, text);
  };
  return element;
}

function offerChange(button, model, { refresh }) {
  if (lacks(model)) return offerPull(button, model, refresh);
  const loaded = ["ready", "loading", "asleep"].includes(model.state);
  const asked = changing.get(model.id);
  const waits = asked === "unload" || (asked === "load" && !loaded) || ["draining", "stopping"].includes(model.state);
  button.hidden = model.state === "remote";
  setText(button, model.state === "loading" ? "Cancel" : loaded ? "Unload" : "Load");
  setAttribute(button, "aria-label", `${button.textContent} ${model.state === "loading" ? "the load of " : ""}${model.id}`);
  setAttribute(button, "aria-disabled", waits); // a disabled button would lose the focus
  button.onclick = () => {
    const cuts = loaded && model.active > 0 && `${model.id} is answering now. Unload it and cut that off?`;
    const verb = loaded ? "unload" : "load";
    if (!waits && (!cuts || confirm(cuts))) change(model.id, verb, `/admin/${verb}`, { model: model.id }, refresh);
  };
}

/** Pulls weights that are not here, or cancels that. */
function offerPull(button, model, refresh) {
  const verb = pulls(model) ? "cancel" : "pull";
  const waits = changing.get(model.id) === verb;
  button.hidden = !bringing(model).startsWith("rolecast ");
  setText(button, verb === "cancel" ? "Cancel" : "Pull");
  setAttribute(button, "aria-label", verb === "cancel" ? `Cancel the pull of ${model.id}` : `Pull ${model.id}`);
  setAttribute(button, "aria-disabled", waits);
  button.onclick = () => {
    if (waits) return;
    if (verb === "cancel") change(model.id, verb, `/admin/jobs/${model.pull.id}/cancel`, {}, refresh);
    else change(model.id, verb, "/admin/jobs", { kind: "pull", model: model.id }, refresh);
  };
}

async function change(model, verb, path, body, refresh) {
  changing.set(model, verb);
  setText($("notice"), "");
  refresh();
  try {
    await json(path, { body });
  } catch (error) {
    if (changing.get(model) === verb) setText($("notice"), error.message); // else it was cancelled here
  }
  if (changing.get(model) === verb) changing.delete(model);
  refresh();
}
