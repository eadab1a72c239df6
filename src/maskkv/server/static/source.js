// Where a document comes from: typed, opened, dropped anywhere on the page, or an example of the server's.

import { Problem } from "/static/stream.js";

const FATAL = new TextDecoder("utf-8", { fatal: true });

// Returns the text of a file. Throws a Problem that says why it is none.
export async function read(file, most) {
  if (file.size > most) {
    throw new Problem("refused", `${file.name} has ${count(file.size)} bytes: this server takes at most ${count(most)}`);
  }
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new Problem("refused", `${file.name} cannot be read: is it a folder, or gone?`);
  }
  try {
    return FATAL.decode(bytes);
  } catch {
    throw new Problem("refused", `${file.name} is not UTF-8 text: save it as UTF-8`);
  }
}

// Calls `take` with a file that is dropped anywhere; a file that misses must not replace the page.
export function dropped(over, take) {
  const files = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    over.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) over.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    over.classList.remove("dropping");
    if (!files(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

export function size(text) {
  const words = text.trim() ? text.trim().split(/\s+/).length : 0;
  return `${count(words)} ${words === 1 ? "word" : "words"}, ${count(text.length)} characters`;
}

// What the loaded model and this server can read and write, in words.
export function limits(about) {
  const trained = `trained on ${count(about.trained_length)} tokens, prompt and response together`;
  const server = `This server reads prompts of up to ${count(about.max_prompt_length)} tokens and writes up to ${count(about.max_gen_length)}.`;
  if (!about.bundled) return `${about.model}: ${trained}. ${server}`;
  return `${about.model} is the small demonstration model that comes with maskkv. It knows ${about.vocab_size} words, those of ` +
    `the generated examples: take one and change its names. It was ${trained}. ${server}`;
}

function count(number) {
  return number.toLocaleString("en");
}
