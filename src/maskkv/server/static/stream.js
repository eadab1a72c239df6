// Talking to the server: JSON there and back, and its stream of events.

// What went wrong, and how: "refused" (before an answer), "ended" (by the server, in one), "unreachable" or "broke".
export class Problem extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    Object.assign(this, { kind, status });
  }
}

const LOST = "the connection to the server was lost: is it still running?";

function headers(key) {
  const made = { "content-type": "application/json" };
  if (key) made.authorization = `Bearer ${key}`;
  return made;
}

async function refuse(response) {
  let message = `the server answered with status ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // A proxy may answer with something else.
  }
  throw new Problem("refused", message, response.status);
}

// Wait for what the network owes us; whoever hangs up is told apart from a line that breaks.
async function owed(promise, kind, message) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(kind, message);
  }
}

async function ask(path, options) {
  const response = await owed(fetch(path, options), "unreachable", "the server cannot be reached: is it still running?");
  return response.ok ? response : refuse(response);
}

export async function get(path, key) {
  return owed((await ask(path, { headers: headers(key) })).json(), "broke", LOST);
}

export async function getText(path) {
  return owed((await ask(path, {})).text(), "broke", LOST);
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Problem("broke", "what came is not what the server sends: is something else between it and this page?");
  }
}

// Yields each event of a stream; ends with [DONE], and with a Problem where it breaks off.
export async function* events(path, body, key, signal) {
  const response = await ask(path, { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let line = []; // the pieces of a line that is not complete
  for (;;) {
    const { done, value } = await owed(reader.read(), "broke", LOST);
    if (done) throw new Problem("broke", LOST);
    const [rest, ...begun] = value.split("\n");
    line.push(rest);
    if (!begun.length) continue;
    const lines = [line.join(""), ...begun];
    line = [lines.pop()];
    // An event is one line; an empty one stands behind it.
    for (const data of lines.filter(Boolean).map((each) => each.replace(/^data: /, ""))) {
      if (data === "[DONE]") return;
      const event = parsed(data);
      if (event.error) throw new Problem("ended", event.error.message, response.status);
      yield event;
    }
  }
}
