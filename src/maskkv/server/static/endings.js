// What is said of an answer, in each of its states. `so` tells how far it came: { steps, decided, length, reason }.

export const WAITING = "Sent; waiting for the model …";

export function reading(prompt) {
  return `The model reads the prompt of ${prompt.toLocaleString("en")} tokens …`;
}

export function progress({ steps, decided, length }) {
  return `Step ${steps}: ${decided} of ${length} positions decided.`;
}

export function complete({ steps, decided, length, reason }) {
  const after = `Complete after ${steps} ${steps === 1 ? "step" : "steps"}`;
  if (reason === "length") return `${after}: all tokens asked for are decided and none ends the answer, so it may be cut.`;
  const behind = length - decided;
  if (!behind) return `${after}: an end token closes the answer.`;
  return `${after}: an end token is decided, so the ${behind} ${behind === 1 ? "position" : "positions"} left behind it need no decision.`;
}

// An end that leaves an answer unfinished; `so` is null where none had begun.
export function cut(error, so) {
  const how = { AbortError: "Stopped by you", refused: "Refused", ended: "Ended by the server", unreachable: "Not sent" };
  const what = how[error.name === "AbortError" ? error.name : error.kind] ?? "Broken off";
  if (!so) return `${what}; no answer had begun.`;
  if (!so.steps) return `${what} before the first step; nothing is decided.`;
  return `${what} after step ${so.steps}: ${so.decided} of ${so.length} positions are decided.`;
}

export function verdict(text, expected) {
  if (expected === null) return null;
  const words = (said) => said.trim().split(/\s+/).join(" ");
  if (words(text) === words(expected)) return { right: true, text: "✓ Right: this is what the example expects." };
  const larger = "A larger budget keeps more of the document, and policy full all of it.";
  return { right: false, text: `✗ Wrong: the example expects “${expected}”. ${larger}` };
}
