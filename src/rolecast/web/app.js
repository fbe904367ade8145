// The status page: polls /admin/status, loads and unloads models, talks to them. Text from the gateway is never HTML.
const $ = (id) => document.getElementById(id);
const KEY = "rolecast-key", POLL_MS = 2000, ROWS = 20;
const TONES = { ready: "good", remote: "good", ok: "good", failed: "bad", error: "bad", loading: "busy", draining: "busy", stopping: "busy", absent: "busy" };
const changing = new Set(); // models whose load or unload was asked here and is under way
let talk = [], running = null, newest = 0;

function api(path, options) {
  const key = sessionStorage.getItem(KEY);
  return fetch(path, { ...options, headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) } });
}

async function json(path, options) {
  const reply = await api(path, options);
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw Object.assign(new Error(body.error?.message ?? `Status ${reply.status}.`), { status: reply.status });
  return body;
}

const count = (n) => n.toLocaleString("en");
const size = (bytes) => (!bytes ? "" : bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);
const millis = (ms) => (!ms ? "" : ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`);
const age = (s) => (s < 60 ? `${Math.max(0, Math.round(s))} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`);

function write(parent, tag, text, tone) {
  const element = parent.appendChild(document.createElement(tag));
  element.textContent = text;
  element.className = tone;
  return element;
}

// Rows are kept by their first text and changed only where that differs, so that focus and selection stay.
function fill(id, rows) {
  const body = $(id), labels = [...body.parentElement.tHead.rows[0].cells].map((head) => head.textContent);
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach((cells, at) => {
    const key = [cells[0]].flat()[0], row = old.get(key) ?? document.createElement("tr");
    old.delete(key);
    row.dataset.key = key;
    while (row.cells.length < labels.length) row.insertCell().dataset.label = labels[row.cells.length - 1];
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
    cells.forEach((cell, i) => (typeof cell === "function" ? cell(row.cells[i]) : put(row.cells[i], ...[cell].flat())));
  });
  for (const row of old.values()) row.remove();
}

function put(cell, text, note = "", tone = "") {
  const shown = JSON.stringify([text, note, tone]);
  if (cell.dataset.shown === shown) return;
  cell.dataset.shown = shown;
  cell.replaceChildren();
  const whole = write(cell, "div", "", "");
  write(whole, "span", text, tone);
  if (note) write(whole, "small", note, "");
}

function action(model) {
  const loaded = ["ready", "loading"].includes(model.state);
  return (cell) => {
    const button = cell.querySelector("button") ?? write(cell, "button", "", "");
    button.type = "button";
    button.hidden = Boolean(model.stand_in) || ["remote", "absent"].includes(model.state);
    const waits = changing.has(model.id) || ["draining", "stopping"].includes(model.state);
    button.textContent = loaded ? "Unload" : "Load";
    button.setAttribute("aria-label", `${button.textContent} ${model.id}`);
    button.setAttribute("aria-disabled", waits); // a disabled button would lose the focus
    const cuts = loaded && model.active > 0 && `${model.id} is answering now. Unload it and cut that off?`;
    button.onclick = () => waits || (cuts && !confirm(cuts)) || change(model.id, loaded ? "unload" : "load");
  };
}

async function change(model, verb) {
  changing.add(model);
  $("notice").textContent = "";
  refresh();
  await json(`/admin/${verb}`, { method: "POST", body: JSON.stringify({ model }) }).catch((error) => ($("notice").textContent = error.message));
  changing.delete(model);
  refresh();
}

function show(status, requests) {
  const { models, roles } = status;
  const workers = new Map(models.filter((m) => m.pid).map((m) => [m.pid, m.rss_bytes ?? 0])); // a stand-in is listed more than once
  const memory = [...workers.values()].reduce((sum, bytes) => sum + bytes, status.rss_bytes);
  const failed = models.filter((m) => m.state === "failed").map((m) => m.id);
  health(failed.length ? `${failed.join(", ")} failed` : "running", failed.length ? "bad" : "good");
  $("version").textContent = status.version;
  $("facts").textContent = `Up for ${age(status.uptime_seconds)} · ${size(memory)} with workers · configuration: ${status.config ?? "built-in default"} · ledger: ${status.ledger}`;
  $("edit").textContent = status.reload?.problems.length ? `The last edit of the configuration was refused: ${status.reload.problems.join("; ")}` : "";
  const rolesOf = (id) => Object.keys(roles).filter((role) => roles[role].includes(id)).join(", ");
  const why = (m) => m.error ?? (m.stand_in ? `${m.stand_in} stands in` : m.state === "absent" ? `bring it: rolecast pull ${m.id}` : "");
  fill("models", models.map((m) => [
    [m.id, m.aliases.join(", ")], rolesOf(m.id), [m.state, why(m), TONES[m.state]], m.stand_in ? "" : size(m.rss_bytes),
    m.stand_in ? "" : [`${m.active} / ${m.parallel}`, m.waiting ? `${m.waiting} waiting` : ""],
    count(m.requests), `${count(m.prompt_tokens)} / ${count(m.completion_tokens)}`, action(m),
  ]));
  fill("requests", requests.map((r) => [
    [r.id, r.client_id], `${age(Date.now() / 1000 - r.at)} ago`, [r.model, r.worker === r.model ? "" : `${r.worker} stood in`],
    [String(r.status), r.error, TONES[r.outcome]], `${r.counted ? "≈ " : ""}${count(r.prompt_tokens)} / ${count(r.completion_tokens)}`,
    millis(r.first_ms), millis(r.total_ms),
  ]));
  fill("listeners", status.listeners.map((l) => [l.name, l.url, l.model ? `${l.model} (${l.surface})` : "every model"]));
  const able = models.filter((m) => m.capabilities.includes("chat")).map((m) => m.id);
  const names = ["auto", ...Object.keys(roles).filter((role) => roles[role].some((id) => able.includes(id))), ...able];
  if ([...$("model").options].map((option) => option.value).join() !== names.join()) $("model").replaceChildren(...names.map((name) => new Option(name)));
}

function health(text, tone) {
  if ($("health").textContent !== text) $("health").textContent = text;
  $("health").className = tone;
}

async function refresh() {
  const turn = ++newest;
  try {
    const [status, ledger] = await Promise.all([json("/admin/status"), json(`/admin/requests?limit=${ROWS}`)]);
    if (turn !== newest) return; // a later look is under way
    $("login").hidden = true;
    $("state").hidden = false;
    show(status, ledger.requests);
  } catch (error) {
    if (turn !== newest) return;
    if (error.status !== 401) return health(error.status ? error.message : "The gateway does not answer.", "bad");
    health(sessionStorage.getItem(KEY) ? error.message : "locked", "busy");
    $("state").hidden = true;
    if (!$("login").hidden) return;
    $("login").hidden = false;
    $("key").focus();
  }
}

$("login").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("login").reset();
  refresh();
};

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "", part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
  }
}

function say(text, tone) {
  const line = write($("talk"), "p", text, tone);
  line.scrollIntoView({ block: "nearest" });
  return line;
}

async function ask(text) {
  const turns = talk, stop = (running = new AbortController());
  turns.push({ role: "user", content: text });
  say(text, "mine");
  const line = say("…", "");
  $("send").textContent = "Stop";
  let answer = "";
  try {
    const body = JSON.stringify({ model: $("model").value, stream: true, max_tokens: 1024, messages: turns });
    const reply = await api("/v1/chat/completions", { method: "POST", body, signal: stop.signal });
    if (!reply.ok) throw new Error((await reply.json()).error.message);
    for await (const event of events(reply)) {
      if (event.error) throw new Error(event.error.message);
      answer += event.choices?.[0]?.delta?.content ?? "";
      line.textContent = answer || "…";
      $("talk").scrollTop = $("talk").scrollHeight;
    }
    say(`${reply.headers.get("x-rolecast-model")} · ${reply.headers.get("x-rolecast-route")}`, "soft");
  } catch (error) {
    if (!answer) line.remove();
    say(stop.signal.aborted ? "Stopped." : error.message, stop.signal.aborted ? "soft" : "bad");
  }
  if (answer) turns.push({ role: "assistant", content: answer });
  else turns.pop();
  running = null;
  $("send").textContent = "Send";
  refresh();
}

$("chat").onsubmit = (event) => {
  event.preventDefault();
  const text = $("prompt").value.trim();
  if (running) return running.abort();
  if (text) ask(text);
  $("prompt").value = "";
};
$("prompt").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) $("chat").requestSubmit();
};
$("clear").onclick = () => {
  running?.abort();
  talk = [];
  $("talk").replaceChildren();
};

refresh();
setInterval(() => document.hidden || !$("login").hidden || refresh(), POLL_MS);
document.onvisibilitychange = () => document.hidden || refresh();
