/** Where clients find the gateway: its addresses, and a line to try. */
import { $, copyButton, h, keep, setText } from "./dom.js";
import { key } from "./gateway.js";

/** @param {object} status */
export function showListeners(status) {
  keep($("listeners"), status.listeners, (listener) => listener.name + listener.url, row);
  setText($("curl"), curl());
}

function row(listener) {
  const base = `${listener.url}/v1`;
  const element = h(
    "tr",
    {},
    h("td", { "data-label": "Name" }, listener.name),
    h("td", { "data-label": "Base URL" }, h("code", {}, base), " ", copyButton(() => base, "Copy", `the base URL of ${listener.name}`)),
    h("td", { "data-label": "Answers as" }, listener.model ? `${listener.model} (${listener.surface})` : "every model"),
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
