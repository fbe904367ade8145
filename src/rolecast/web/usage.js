/** What was used: tokens, money, energy, and how long answers took. Every number is the ledger's; nothing is summed here. */
import { $, h, keep, setText } from "./dom.js";
import { count, millis } from "./format.js";
import { json } from "./gateway.js";

const REST = 10; // a sum over many rows takes a while: so many times as long nothing is asked
const STALE_MS = 10_000; // rows leave the window although none comes; energy is known half a second after its request

export class Usage {
  constructor(refresh) {
    this.report = null;
    this.of = "";
    this.next = 0;
    this.stale = 0;
    for (const name of ["usage-since", "usage-by"]) $(name).addEventListener("input", refresh);
  }

  /** Asks for the sums, where the view is shown and there may be others. @param {number} rows The ledger's. */
  async look(rows) {
    const asked = `/admin/usage?since=${$("usage-since").value}&by=${$("usage-by").value}`;
    const now = performance.now();
    const of = `${asked} ${rows}`;
    const another = !this.of.startsWith(`${asked} `);
    if ($("view-usage").hidden || (!another && (now < this.next || (this.of === of && now < this.stale)))) return;
    this.report = await json(asked);
    this.of = of;
    const took = performance.now() - now;
    this.next = performance.now() + took * REST;
    this.stale = performance.now() + Math.max(STALE_MS, took * REST);
  }

  show() {
    if (!this.report) return;
    const { total, groups, by, compared_with: model, histogram, left_out: more } = this.report;
    const { local_tokens: here } = total;
    const facts = {
      requests: count(total.requests),
      errors: count(total.errors),
      here: count(here),
      elsewhere: count(total.prompt_tokens + total.completion_tokens - here),
      cost: money(total.cost_usd),
      avoided: total.avoided_usd == null ? "no price to compare with" : money(total.avoided_usd),
      fallbacks: count(total.fallbacks_to_cloud),
      energy: energy(total) || "not known here",
    };
    for (const [name, text] of Object.entries(facts)) setText($(`usage-${name}`), text);
    setText($("usage-compared"), model ? `Avoided: what ${model} would have cost for what was answered on this machine.` : "");
    setText($("usage-ranks"), [50, 90, 95, 99].map((rank) => `p${rank} ${time(total.total_ms[`p${rank}`])}`).join(" · "));
    $("usage-used").hidden = !total.requests;
    setText($("usage-empty"), total.requests ? "" : "No request has ended in that time.");
    const most = Math.max(...histogram.map((bucket) => bucket.count), 1);
    keep($("usage-times"), histogram.map((bucket, at) => ({ ...bucket, most, name: bound(histogram, at) })), (bucket) => bucket.name, timeRow);
    setText($("usage-of"), $("usage-by").selectedOptions[0].textContent);
    keep($("usage-groups"), groups.map((group) => ({ ...group, by })), (group) => `${by} ${group.group}`, groupRow);
    setText($("usage-more"), more ? `${count(more)} more are left out here; the numbers above have them.` : "");
  }
}

const time = (ms) => (ms == null ? "none" : millis(ms));

const bound = (histogram, at) => (histogram[at].most_ms != null ? `≤ ${millis(histogram[at].most_ms)}` : at ? `> ${millis(histogram[at - 1].most_ms)}` : "longer");

/** Dollars: to the cent where that is all, else to the millionth. */
function money(amount) {
  if (amount > 0 && amount < 1e-6) return "<$0.000001";
  return amount.toLocaleString("en", { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: 6 });
}

/** `~` = some of it is estimated. */
function energy({ energy_joules: joules, measured_joules: measured }) {
  if (joules == null) return "";
  const shown = joules >= 3600 ? `${(joules / 3600).toFixed(1)} Wh` : `${joules.toFixed(1)} J`;
  return joules === measured ? shown : `~${shown}`;
}

function timeRow() {
  const [bar, number] = [h("progress", {}), h("td")];
  const name = h("th", { scope: "row" });
  const element = h("tr", {}, name, h("td", { class: "bar" }, bar), number);
  element.update = (bucket) => {
    setText(name, bucket.name);
    bar.setAttribute("aria-label", bucket.name);
    bar.max = bucket.most;
    bar.value = bucket.count;
    setText(number, count(bucket.count));
  };
  return element;
}

const LABELS = ["Name", "Requests", "Tokens in / out", "Cost", "Avoided", "Energy", "p50 / p95", "Errors", "Fall-backs"];

function groupRow() {
  const cells = LABELS.map((label) => h("td", { "data-label": label }));
  const element = h("tr", {}, ...cells);
  element.update = (group) => {
    const texts = [
      group.called ? `${group.called} (${group.group})` : group.group || `no ${group.by}`,
      count(group.requests),
      `${count(group.prompt_tokens)} / ${count(group.completion_tokens)}`,
      money(group.cost_usd),
      group.avoided_usd == null ? "" : money(group.avoided_usd),
      energy(group),
      `${time(group.total_ms.p50)} / ${time(group.total_ms.p95)}`,
      count(group.errors),
      count(group.fallbacks),
    ];
    texts.forEach((text, at) => setText(cells[at], text));
  };
  return element;
}
