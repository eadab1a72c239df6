// Taking things along: the lens as a file that needs no server, and the answer as text.

import { element } from "/static/lens/lens.js";
import { getText } from "/static/stream.js";

export async function report(data, name) {
  const empty = await getText("/static/report.html");
  // Only `<` could end the element or open a comment in it.
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  const whole = empty.replace(/(<script id="data"[^>]*>)null(?=<)/, (_, open) => open + json);
  const address = URL.createObjectURL(new Blob([whole], { type: "text/html" }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// Returns what came of it, in words.
export async function copy(node) {
  try {
    await navigator.clipboard.writeText(node.textContent.trim());
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(node);
    return "The browser does not let the page copy: the answer is selected, press Ctrl + C.";
  }
}
