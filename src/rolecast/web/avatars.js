/** The avatars: who answers, how each was judged, and how far the making of one is. */
import { $, h, keep, save, setText } from "./dom.js";
import { call, json, key } from "./gateway.js";

const OVER = ["done", "failed", "cancelled", "interrupted"];

export class Avatars {
  constructor(refresh) {
    this.refresh = refresh;
    this.all = null;
  }

  /** Asks for them, where the view is shown. */
  async look() {
    if ($("view-avatars").hidden) return;
    this.all = (await json("/v1/avatars")).avatars;
  }

  show() {
    if (!this.all) return;
    keep($("avatars"), this.all, (avatar) => avatar.name, () => row(this.refresh));
    $("avatars-table").hidden = !this.all.length;
    $("no-avatars").hidden = this.all.length > 0;
  }
}

/** What the gate said: of the version that answers, else of what was trained last. */
function verdict({ current, versions, judged }) {
  const version = versions.find((each) => each.number === current);
  if (version) return version.passed !== false ? "passed" : "released by force";
  return judged == null ? "not judged yet" : judged ? "passed, not released" : "refused";
}

function answers({ current, canary, share }) {
  if (!current) return "nobody";
  return canary ? `version ${current}, ${Math.round(100 * share)} % version ${canary}` : `version ${current}`;
}

/** How far its making is, or why it came to nothing. */
function making({ job }) {
  if (!job) return "";
  if (OVER.includes(job.state)) return job.error || job.state;
  const { step, done, total, note } = job.progress;
  const part = total ? ` ${Math.floor((100 * done) / total)} %` : "";
  return `${step || job.state}${part}${note ? `, ${note}` : ""}`;
}

function row(refresh) {
  const name = h("td", { "data-label": "Avatar" });
  const cells = ["Answers", "Gate"].map((label) => h("td", { "data-label": label }));
  const state = h("span", { role: "status" });
  const cancel = h("button", { type: "button", class: "quiet" }, "Cancel");
  const report = h("button", { type: "button", class: "quiet" }, "Report");
  const element = h("tr", {}, name, ...cells, h("td", { "data-label": "Making" }, state, " ", cancel), h("td", { "data-label": "Report" }, report));
  element.update = (avatar) => {
    setText(name, avatar.model);
    setText(cells[0], answers(avatar));
    setText(cells[1], verdict(avatar));
    setText(state, making(avatar));
    cancel.hidden = !avatar.job || OVER.includes(avatar.job.state);
    cancel.onclick = () => tell(json(`/admin/jobs/${avatar.job.id}/cancel`, { body: {} }), refresh);
    report.hidden = !avatar.current && avatar.judged == null;
    report.setAttribute("aria-label", `Report of ${avatar.name}`);
    report.onclick = () => tell(open(avatar), refresh);
  };
  return element;
}

/** Shows the report; behind a key, which no link can carry, it is saved as a file. */
async function open({ name }) {
  const path = `/v1/avatars/${encodeURIComponent(name)}/report.html`;
  if (!key.get()) window.open(path, "_blank", "noopener");
  else save(`${name}.html`, await (await call(path)).text(), "text/html");
}

async function tell(doing, refresh) {
  try {
    await doing;
    setText($("avatars-notice"), "");
  } catch (error) {
    setText($("avatars-notice"), error.message);
  }
  refresh();
}
