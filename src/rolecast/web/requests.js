/** The list of requests: running, finished and refused, newest first, with the details of each. */
import { $, copyButton, h, keep, setAttribute, setText } from "./dom.js";
import { age, clock, count, isTimed, millis, moment, rate, speed } from "./format.js";
import { reason } from "./reasons.js";

const TONES = { ok: "good", error: "bad", cancelled: "busy", refused: "bad", running: "busy" };
const COLUMNS = 6;

/**
 * One entry of the list, whatever it came from.
 * @typedef {{key: string, kind: "running" | "ok" | "error" | "cancelled" | "refused", at: number, row: object}} Entry
 */

export class Requests {
  constructor() {
    /** @type {Map<string, Entry>} Those whose details are open: they stay, even when newer ones push them out. */
    this.open = new Map();
    this.paused = false;
    this.seen = { running: [], rows: [], refusals: [] };
    for (const name of ["request-filter", "request-kind"]) $(name).addEventListener("input", () => this.draw());
    $("request-pause").addEventListener("click", () => {
      this.paused = !this.paused;
      setAttribute($("request-pause"), "aria-pressed", String(this.paused));
      if (!this.paused) this.draw();
    });
  }

  /** @param {{running: object[], rows: object[], refusals: object[]}} seen */
  show(seen) {
    this.seen = seen;
    if (!this.paused) this.draw();
  }

  /** Shows one request with its details. */
  reveal(id) {
    $("request-filter").value = id;
    $("request-kind").value = "";
    this.wanted = id;
    this.draw();
  }

  draw() {
    const all = entries(this.seen);
    for (const entry of all) {
      if (this.open.has(entry.key) || entry.key === this.wanted) this.open.set(entry.key, entry);
      if (entry.key === this.wanted) this.wanted = null;
    }
    const listed = new Set(all.map((entry) => entry.key));
    const kept = [...this.open.values()].filter((entry) => !listed.has(entry.key));
    const shown = [...all, ...kept].filter((entry) => this.matches(entry));
    const rows = shown.flatMap((entry) => [entry, ...(this.open.has(entry.key) ? [{ ...entry, isDetails: true }] : [])]);
    keep($("requests"), rows, (entry) => entry.key + (entry.isDetails ? " details" : ""), (entry) => (entry.isDetails ? details(entry) : this.line(entry)));
    const empty = all.length ? "Nothing in the list fits the filter." : "No request yet. The line under Connect makes one.";
    setText($("requests-empty"), shown.length ? "" : empty);
  }

  matches({ key, kind, row }) {
    const wanted = $("request-kind").value;
    if (wanted && wanted !== kind) return false;
    const text = $("request-filter").value.trim().toLowerCase();
    const words = [key, row.asked, row.model, row.worker, row.role, row.route, row.task, row.tier, row.domain, row.error, row.code, row.status, row.listener, row.client_id, row.path];
    return !text || words.some((word) => String(word ?? "").toLowerCase().includes(text));
  }

  line(entry) {
    const { key } = entry;
    const button = h("button", { type: "button", class: "quiet", "aria-expanded": "false", "aria-label": `Details of ${key}` });
    const cells = [h("td", { "data-label": "When" }, button)];
    for (const label of ["Model", "Result", "Tokens in / out", "Speed", "Time"]) cells.push(h("td", { "data-label": label }));
    const [, model, result, tokens, perSecond, time] = cells;
    const bar = h("div", { class: "phases", "aria-hidden": "true" });
    const total = h("span");
    time.append(total, bar);
    const asked = h("small");
    const name = h("span");
    model.append(name, asked);
    const [badge, code] = [h("span"), h("small")];
    result.append(badge, code);
    const element = h("tr", { class: "line" }, ...cells);
    element.addEventListener("click", () => {
      if (String(getSelection())) return; // somebody marks text
      if (!this.open.delete(key)) this.open.set(key, element.entry);
      this.draw();
    });
    element.update = (now) => {
      element.entry = now;
      const { kind, row } = now;
      setText(button, kind === "running" ? "now" : clock(now.at));
      setAttribute(button, "aria-expanded", this.open.has(key));
      setText(name, kind === "refused" ? `${row.method} ${row.path}` : row.model);
      setText(asked, subtitle(kind, row));
      setAttribute(asked, "title", row.route ?? null);
      setText(badge, kind === "running" ? row.state : String(row.status));
      setAttribute(badge, "class", `badge ${TONES[kind]}`);
      setText(code, kind === "refused" ? row.code + (row.count > 1 ? `, ${count(row.count)} times` : "") : (row.error ?? ""));
      setText(tokens, kind === "refused" ? "" : kind === "running" ? (row.tokens ? `– / ${count(row.tokens)}` : "") : `${row.counted ? "≈ " : ""}${count(row.prompt_tokens)} / ${count(row.completion_tokens)}`);
      setText(perSecond, kind === "running" ? runningRate(row) : kind === "refused" ? "" : rate(speed(row)));
      bar.hidden = kind === "refused";
      setAttribute(time, "class", kind === "refused" ? "none" : null);
      setText(total, kind === "refused" ? "" : millis(row.total_ms));
      drawPhases(bar, kind === "refused" || kind === "running" ? [] : phases(row));
    };
    return element;
  }
}

const runningRate = (row) => (row.writing_ms > 200 ? `≈ ${rate((row.tokens / row.writing_ms) * 1000)}` : "");

function subtitle(kind, row) {
  if (kind === "refused") return row.asked && `asked for ${row.asked}`;
  if (row.worker !== row.model) return `${row.worker} stood in`;
  if (row.confidence != null) return ["auto", row.role, row.task, row.tier].filter(Boolean).join(" · ");
  return row.asked && row.asked !== row.model ? `asked as ${row.asked}` : "";
}

/** @returns {Entry[]} */
function entries({ running, rows, refusals }) {
  const under = running.map((row) => ({ key: row.id, kind: "running", at: Infinity, row }));
  const ids = new Set(rows.map((row) => row.id));
  const done = rows.map((row) => ({ key: row.id, kind: row.outcome, at: row.at, row }));
  const refused = refusals.map((row) => ({ key: ["refused", row.status, row.code, row.listener, row.method, row.path, row.asked].join(" "), kind: "refused", at: row.at, row }));
  return [...under.filter((entry) => !ids.has(entry.key)).reverse(), ...[...done, ...refused].sort((a, b) => b.at - a.at)];
}

// -- details -----------------------------------------------------------------------------------------------------

/** What the time went into, in ms: [name, class, ms]. */
function phases(row) {
  const first = row.first_ms || row.total_ms;
  const parts = [
    ["waiting for a slot", "wait", row.queue_ms],
    ["loading the model", "load", row.load_ms],
    [row.stream ? "to the first token" : "working", "first", Math.max(0, first - row.queue_ms - row.load_ms)],
    ["writing", "write", Math.max(0, row.total_ms - first)],
  ];
  return parts.filter(([, , ms]) => ms > 0);
}

function drawPhases(bar, parts) {
  const shown = JSON.stringify(parts);
  if (bar.shown === shown) return;
  bar.shown = shown;
  const whole = parts.reduce((sum, [, , ms]) => sum + ms, 0);
  bar.replaceChildren(
    ...parts.map(([name, kind, ms]) => {
      const piece = h("span", { class: kind, title: `${name}: ${millis(ms)}` });
      piece.style.flexGrow = (100 * ms) / whole;
      return piece;
    }),
  );
}

function details(entry) {
  const cell = h("td", { colspan: String(COLUMNS) });
  const element = h("tr", { class: "details" }, cell);
  element.update = ({ kind, row }) => {
    const shown = JSON.stringify(row);
    if (element.shown === shown) return;
    element.shown = shown;
    cell.replaceChildren(...(kind === "refused" ? refusal(row) : kind === "running" ? under(row) : finished(row)));
  };
  return element;
}

const list = (pairs) => h("dl", { class: "facts" }, ...pairs.filter(([, text]) => text !== "" && text != null).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));

function finished(row) {
  const bar = h("div", { class: "phases large", role: "img", "aria-label": phases(row).map(([name, , ms]) => `${name} ${millis(ms)}`).join(", ") });
  drawPhases(bar, phases(row));
  const legend = h("ul", { class: "legend" }, ...phases(row).map(([name, kind, ms]) => h("li", { class: kind }, `${name} ${millis(ms)}`)));
  const parts = [bar, legend];
  if (row.error) parts.push(h("p", { class: row.outcome === "error" ? "bad" : "soft" }, `${row.error}: ${reason(row.error)}`));
  const speedOf = speed(row) && `${rate(speed(row))}${isTimed(row) ? "" : ", prompt included"}`;
  parts.push(
    list([
      ["Request", identity(row.id)],
      ["Ended", moment(row.at)],
      ["Status", `${row.status} ${row.outcome}`],
      ["Asked for", row.asked || "nothing: auto"],
      ["Model", row.model],
      ["Answered by", row.worker],
      ["Role", row.role],
      ["Route", row.route],
      ["Looks like", looks(row)],
      ["Rated", row.rating == null ? "" : percent(row.rating)],
      ["Kind", `${row.kind}${row.stream ? ", streamed" : ""}`],
      ["Listener", row.listener],
      ["Tokens in", `${count(row.prompt_tokens)}${row.cached_tokens ? `, ${count(row.cached_tokens)} of them cached` : ""}`],
      ["Tokens out", `${count(row.completion_tokens)}${row.counted ? ", estimated: the engine did not report" : ""}`],
      ["Speed", speedOf || ""],
      ["Attempts", String(row.attempts)],
      ["Total", millis(row.total_ms)],
      ["Key", row.key],
      ["Client's id", row.client_id],
    ]),
  );
  return parts;
}

/** What routing took a request for that named nobody: as far as it was sure. */
function looks(row) {
  if (row.confidence == null) return "";
  const hard = row.difficulty == null ? "" : `difficulty ${percent(row.difficulty)}`;
  return [row.task, row.tier, row.domain, hard, `confidence ${percent(row.confidence)}`].filter(Boolean).join(", ");
}

const percent = (share) => `${Math.round(100 * share)} %`;

function under(row) {
  return [
    list([
      ["Request", identity(row.id)],
      ["State", { waiting: "waiting for a slot or a load", reading: "sent to the model, no token yet", writing: "writing" }[row.state]],
      ["For", millis(row.total_ms)],
      ["Asked for", row.asked || "nothing: auto"],
      ["Model", row.model],
      ["Answers", row.worker],
      ["Role", row.role],
      ["Kind", `${row.kind}${row.stream ? ", streamed" : ""}`],
      ["Listener", row.listener],
      ["Tokens out", row.tokens ? `≈ ${count(row.tokens)}` : ""],
    ]),
  ];
}

function refusal(row) {
  return [
    h("p", { class: "bad" }, reason(row.code)),
    list([
      ["Status", String(row.status)],
      ["Code", row.code],
      ["Asked", `${row.method} ${row.path}`],
      ["Model", row.asked],
      ["Listener", row.listener],
      ["Times", `${count(row.count)}${row.count > 1 ? ` in ${age(row.at - row.first_at)}` : ""}`],
      ["Last", moment(row.at)],
    ]),
    h("p", { class: "soft" }, "It never reached a model, so it is not in the ledger."),
  ];
}

function identity(id) {
  return h("span", {}, h("code", {}, id), " ", copyButton(() => id, "Copy", "the id"));
}
