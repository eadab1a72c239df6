// Talking to the server: JSON there and back, and its stream of events.

export class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

function headers(key) {
  const made = { "content-type": "application/json" };
  if (key) made.authorization = `Bearer ${key}`;
  return made;
}

async function refuse(response) {
  const text = await response.text();
  let message = `the server answered ${response.status}`;
  try {
    message = JSON.parse(text).error.message;
  } catch {
    // A proxy may answer with something else.
  }
  throw new Problem(message, response.status);
}

async function ask(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("the server cannot be reached", 0);
  }
}

export async function get(path, key) {
  const response = await ask(path, { headers: headers(key) });
  return response.ok ? response.json() : refuse(response);
}

export async function post(path, body, key, signal) {
  const response = await ask(path, { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
  return response.ok ? response.json() : refuse(response);
}

// Yields each event of a stream; ends with [DONE], and with a Problem where it breaks off.
export async function* events(path, body, key, signal) {
  const response = await ask(path, { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
  if (!response.ok) await refuse(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Problem("the stream broke off", 0);
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Problem(event.error.message, 200);
      yield event;
    }
  }
}
