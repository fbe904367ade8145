/** The status page: looks at the gateway every second while somebody looks at the page, and hands out what it sees. */
import { Avatars } from "./avatars.js";
import { Chat } from "./chat.js";
import { showListeners } from "./connect.js";
import { $, keep, h, setAttribute, setText } from "./dom.js";
import { age, clock, size } from "./format.js";
import { json, key } from "./gateway.js";
import { Logs } from "./logs.js";
import { isHidden, showModels } from "./models.js";
import { Requests } from "./requests.js";
import { Usage } from "./usage.js";

const POLL_MS = 1000;
const POLL_DOWN_MS = 4000;
const ROWS = 100;
const VIEWS = ["models", "chat", "avatars", "requests", "usage", "logs", "connect"];

const seen = { status: null, activity: null, rows: [], refusals: [] };
let newest = 0;
let timer = 0;

const requests = new Requests();
const logs = new Logs();
const chat = new Chat(openRequest, () => refresh());
const usage = new Usage(() => refresh());
const avatars = new Avatars(() => refresh());

// -- looking -----------------------------------------------------------------------------------------------------

async function look() {
  const [status, activity] = await Promise.all([json("/admin/status"), json("/admin/activity")]);
  const before = seen.activity;
  const another = before && status.started_at !== seen.status.started_at;
  if (!before || another || before.ledger_rows !== activity.ledger_rows) seen.rows = (await json(`/admin/requests?limit=${ROWS}`)).requests;
  if (!before || another || before.refused !== activity.refused) seen.refusals = (await json("/admin/refusals")).refusals;
  await Promise.all([usage.look(activity.ledger_rows), avatars.look()]);
  Object.assign(seen, { status, activity });
}

async function refresh() {
  const turn = ++newest;
  clearTimeout(timer);
  let wait = POLL_MS;
  try {
    await look();
    if (turn !== newest) return; // a later look is under way
    $("login").hidden = true;
    $("state").hidden = false;
    draw();
  } catch (error) {
    if (turn !== newest) return;
    wait = POLL_DOWN_MS;
    if (error.status === 401 || error.code === "scope_missing") return askForKey(error);
    health(error.status ? error.message : "The gateway does not answer.", "bad");
    setText($("down"), `${error.message}${seen.status ? " What is shown is how it was before." : ""}`);
  }
  if (!document.hidden) timer = setTimeout(refresh, wait);
}

function askForKey(error) {
  health("locked", "off");
  setText($("key-error"), key.get() ? error.message : "");
  setText($("down"), "");
  $("state").hidden = true;
  $("login").hidden = false;
  $("key").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("key").value.trim());
  $("login").reset();
  refresh();
});

document.addEventListener("visibilitychange", () => document.hidden || !$("login").hidden || refresh());

// -- drawing -----------------------------------------------------------------------------------------------------

function draw() {
  const { status, activity, rows, refusals } = seen;
  drawHead(status, activity);
  showModels({ refresh, chat: (id) => go("chat", () => chat.choose(id)), log: (id) => go("logs", () => logs.watch(id)) }, seen);
  requests.show({ running: activity.running, rows, refusals });
  usage.show();
  avatars.show();
  logs.offer(status.models);
  chat.offer(names(status));
  showListeners(status);
}

function drawHead(status, activity) {
  setText($("down"), "");
  const bad = problems(status);
  health(bad.length ? "degraded" : "healthy", bad.length ? "bad" : "good");
  keep($("problems"), bad, ([text]) => text, problem);
  const workers = new Map(status.models.filter((m) => m.pid).map((m) => [m.pid, m.rss_bytes ?? 0])); // a stand-in is listed more than once
  const memory = [...workers.values()].reduce((sum, bytes) => sum + bytes, status.rss_bytes);
  const versions = Object.entries(activity.versions).map(([name, version]) => `${name} ${version}`);
  setText($("version"), status.version);
  const room = status.memory ? [`${size(status.memory.held_bytes) || "nothing"} of ${size(status.memory.budget_bytes)} reserved`] : [];
  setText($("facts"), [`up for ${age(status.uptime_seconds)}`, `${size(memory)} with workers`, ...room, `${activity.running.length} running`].join(" · "));
  setText($("about"), [`Rolecast ${status.version}`, ...versions, `pid ${status.pid}`].join(" · "));
  setText($("config-path"), status.config ?? "built-in default");
  setText($("ledger-path"), status.ledger);
  setText($("reload"), reloaded(status.reload));
}

/** Everything that should not be as it is, each with its reason. */
function problems({ models, reload, problems: all = [] }) {
  const broken = models.filter((m) => m.state === "failed");
  const failed = broken.map((m) => [`${m.id} failed: ${m.error ?? "its log has the reason"}`, "of-model"]);
  const others = all.filter((text) => !broken.some((m) => text.startsWith(`${m.id} does not run`))).map((text) => [text, ""]);
  const refused = (reload?.problems ?? []).map((text) => [`The last edit of the configuration was refused: ${text}`, ""]);
  return [...failed, ...others, ...refused];
}

const problem = ([text, kind]) => Object.assign(h("li", { class: kind }, text), { update() {} });

function reloaded(report) {
  if (!report) return "as it was at the start";
  if (report.problems.length) return `an edit at ${clock(report.at)} was refused`;
  const parts = [report.applied.length && `applied ${report.applied.join(", ")}`, report.waiting.length && `waits for a restart: ${report.waiting.join(", ")}`, report.warnings?.length && `mind that ${report.warnings.join("; ")}`];
  return `edited at ${clock(report.at)}: ${parts.filter(Boolean).join("; ") || "no change"}`;
}

function health(text, tone) {
  setText($("health"), text);
  setAttribute($("health"), "class", `badge ${tone}`);
}

/** What can be asked for, as groups of the choice. */
function names({ models, roles, variants }) {
  const able = models.filter((m) => m.capabilities.includes("chat")).map((m) => m.id);
  const playing = Object.keys(roles).filter((role) => roles[role].some((id) => able.includes(id)));
  const varied = variants.filter((variant) => able.includes(variant.models[0])).map((variant) => variant.id);
  const isAvatar = (id) => id.startsWith("avatar/");
  const named = able.filter((id) => !isHidden(id));
  const groups = [["The gateway decides", ["auto"]], ["Roles", playing], ["Models", named]];
  return [...groups, ["Variants", varied.filter((id) => !isAvatar(id))], ["Avatars", varied.filter(isAvatar)]].filter(([, found]) => found.length);
}

// -- views -------------------------------------------------------------------------------------------------------

function showView() {
  const wanted = location.hash.slice(2); // #/chat: without the slash it would be the id of an element to scroll to
  const view = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = name !== view;
    setAttribute($(`to-${name}`), "aria-current", name === view ? "page" : null);
  }
  logs.setShown(view === "logs");
}

function go(view, then) {
  location.hash = `/${view}`;
  showView();
  then();
}

function openRequest(id) {
  go("requests", () => requests.reveal(id));
  refresh();
}

addEventListener("hashchange", () => {
  showView();
  if (!$("view-usage").hidden || !$("view-avatars").hidden) refresh();
  scrollTo(0, 0);
});
showView();
health("looking…", "busy");
refresh();
