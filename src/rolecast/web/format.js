/** Numbers and times for people. */

export const count = (n) => n.toLocaleString("en");

export function size(bytes) {
  if (!bytes) return "";
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

export function millis(ms) {
  if (!ms) return "0 ms";
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function age(s) {
  if (s < 60) return `${Math.max(0, Math.round(s))} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86_400 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86_400)} d`;
}

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
export const moment = (at) => new Date(at * 1000).toLocaleString("en-GB");

/** Tokens per second as text; empty when it is not known. */
export const rate = (perSecond) => (!perSecond ? "" : `${perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond))} tok/s`);

const BURST_MS = 20;

/** Whether the writing of a finished request can be timed by itself: it was streamed, and did not come at once. */
export const isTimed = (row) => row.stream && row.first_ms > 0 && row.total_ms - row.first_ms >= BURST_MS;

/**
 * Tokens per second of a finished request: of its writing where that can be timed, else as a whole, prompt included.
 * 0 when it wrote nothing.
 */
export function speed(row) {
  const ms = isTimed(row) ? row.total_ms - row.first_ms : row.total_ms - row.queue_ms - row.load_ms;
  return row.completion_tokens > 1 && ms > 0 ? (row.completion_tokens / ms) * 1000 : 0;
}
