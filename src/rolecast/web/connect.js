/** Where clients find the gateway: its addresses, and a line to try. */
import { $, copyButton, h, keep, setText } from "./dom.js";
import { key } from "./gateway.js";

/** @param {object} status */
export function showListeners(status) {
  keep($("listeners"), status.listeners, (listener) => listener.name + listener.url, row);
  setText($("curl"), curl());
}

/** Ports of PAS's own services, which answer with no model and have no /v1. */
const SERVICES = {
  registry: "the registry of services",
  heartbeat: "their heartbeat monitor",
  providers: "the provider router",
  gateway: "the gateway of PAS",
  events: "the event stream",
  agents: "the agent router",
  tokens: "the token governor",
  resources: "the resource manager",
};

function serves(listener) {
  return listener.model ? `${listener.model} (${listener.surface})` : (SERVICES[listener.surface] ?? "every model");
}

function row(listener) {
  const base = listener.surface in SERVICES ? listener.url : `${listener.url}/v1`;
  const element = h(
    "tr",
    {},
    h("td", { "data-label": "Name" }, listener.name),
    h("td", { "data-label": "Base URL" }, h("code", {}, base), " ", copyButton(() => base, "Copy", `the base URL of ${listener.name}`)),
    h("td", { "data-label": "Answers as" }, serves(listener)),
  );
  element.update = () => {};
  return element;
}

/** A request for a shell. The key is named, not shown: the line may be pasted anywhere. */
function curl() {
  const header = key.get() ? ` -H "Authorization: Bearer $ROLECAST_API_KEY"` : "";
  const body = `{"model":"auto","messages":[{"role":"user","content":"Say hi."}]}`;
  return `curl ${location.origin}/v1/chat/completions -H 'Content-Type: application/json'${header} -d '${body}'`;
}

$("curl-copy").replaceWith(copyButton(() => $("curl").textContent, "Copy", "the command"));
