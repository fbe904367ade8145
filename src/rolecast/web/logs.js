/** The log of a model or of the gateway, live: a bounded window on what comes, which can be paused and filtered. */
import { $, copyButton, h, setAttribute, setText } from "./dom.js";
import { call, lines } from "./gateway.js";

const KEPT = 5000;
const FIRST = 1000;
const NEAR_PX = 40;
const RETRY_MS = 3000;

export class Logs {
  constructor() {
    this.kept = [];
    this.pending = [];
    this.paused = false;
    this.shown = false;
    this.model = "";
    this.pids = {};
    /** @type {AbortController | null} */
    this.stream = null;
    $("log-filter").addEventListener("input", () => this.redraw());
    $("log-source").addEventListener("change", () => this.watch($("log-source").value));
    $("log-pause").addEventListener("click", () => {
      this.paused = !this.paused;
      setAttribute($("log-pause"), "aria-pressed", String(this.paused));
      if (this.paused) this.count();
      else this.redraw();
    });
    $("log-copy").replaceWith(copyButton(() => this.matching().join("\n"), "Copy", "these lines"));
  }

  /** The models whose log there can be, and which process runs each: another one means another log. */
  offer(models) {
    const names = models.filter((m) => !m.stand_in && !["remote", "absent"].includes(m.state)).map((m) => m.id);
    if (this.model && !names.includes(this.model)) names.push(this.model);
    const shown = JSON.stringify(names);
    if ($("log-source").shown !== shown) {
      $("log-source").shown = shown;
      $("log-source").replaceChildren(h("option", { value: "" }, "the gateway"), ...names.map((name) => h("option", { value: name }, name)));
      $("log-source").value = this.model;
    }
    this.pids = Object.fromEntries(models.map((m) => [m.id, m.pid]));
    const pid = this.pids[this.model];
    if (this.shown && this.model && !this.stream && pid && pid !== this.pid) this.follow();
  }

  /** Only while it is looked at: each open log is a connection. */
  setShown(shown) {
    if (shown === this.shown) return;
    this.shown = shown;
    if (shown) this.watch(this.model);
    else this.stop();
  }

  watch(model) {
    this.stop();
    this.model = model;
    $("log-source").value = model;
    this.kept = [];
    this.redraw();
    if (this.shown) this.follow();
  }

  stop() {
    this.stream?.abort();
    this.stream = null;
    clearTimeout(this.retry);
  }

  async follow() {
    const stream = (this.stream = new AbortController());
    const model = this.model;
    this.pid = this.pids[model];
    try {
      const path = `/admin/logs?follow=true&lines=${FIRST}${model && `&model=${encodeURIComponent(model)}`}`;
      for await (const batch of lines(await call(path, { signal: stream.signal }))) this.add(batch);
      if (this.stream !== stream) return;
      this.add([model ? `— ${model} does not run now; its log goes on here when it does —` : "— the log ended —"]);
    } catch (error) {
      if (this.stream !== stream || stream.signal.aborted) return;
      this.add([`— ${error.message} —`]);
      this.retry = setTimeout(() => this.shown && !this.stream && this.watch(this.model), RETRY_MS);
    }
    if (this.stream === stream) this.stream = null;
  }

  add(batch) {
    this.kept.push(...batch.slice(-KEPT));
    if (this.kept.length > KEPT) this.kept.splice(0, this.kept.length - KEPT);
    if (this.paused) return this.count();
    this.pending.push(...batch.slice(-KEPT));
    if (this.pending.length > KEPT) this.pending.splice(0, this.pending.length - KEPT);
    this.planned ??= requestAnimationFrame(() => this.drawPending());
  }

  drawPending() {
    this.planned = null;
    const box = $("log");
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    box.append(...this.pending.filter((line) => this.matches(line)).map((line) => h("div", {}, line || " ")));
    this.pending = [];
    while (box.childElementCount > KEPT) box.firstElementChild.remove();
    if (follows) box.scrollTop = box.scrollHeight;
    this.count();
  }

  redraw() {
    this.pending = [];
    $("log").replaceChildren(...this.matching().map((line) => h("div", {}, line || " ")));
    $("log").scrollTop = $("log").scrollHeight;
    this.count();
  }

  matching() {
    return this.kept.filter((line) => this.matches(line));
  }

  matches(line) {
    const wanted = $("log-filter").value.toLowerCase();
    return !wanted || line.toLowerCase().includes(wanted);
  }

  count() {
    const held = this.paused ? Math.max(0, this.matching().length - $("log").childElementCount) : 0;
    setText($("log-count"), this.paused ? `paused${held ? `, ${held} new line${held > 1 ? "s" : ""}` : ""}` : `${$("log").childElementCount} lines`);
  }
}
