// The answer token by token: which kept pairs the row of each one reads, by layer and KV head.

import { element, section, unpacked } from "./parts.js";

const WHOLE = 2 ** 32;
const MOST_READ = 6;

export class Reads {
  constructor({ numbers, tokens }, segments) {
    const next = unpacked(numbers, 4)[Symbol.iterator]();
    const several = (count) => Array.from({ length: count }, () => next.next().value);
    this.tokens = Array.from({ length: tokens }, () => Array.from({ length: segments }, () => {
      const [count] = several(1);
      const positions = several(count);
      const weights = several(count).map((weight) => weight / WHOLE);
      return { positions, weights, prompt: several(1)[0] / WHOLE };
    }));
  }

  // What a token's row reads of each prompt token, the mean over the chosen segments.
  weights(token, chosen, length) {
    const found = new Float64Array(length);
    for (const segment of chosen) {
      const { positions, weights } = this.tokens[token][segment];
      positions.forEach((position, index) => { found[position] += weights[index] / chosen.length; });
    }
    return found;
  }

  // What all kept pairs get of a token's row, the mean over the chosen segments.
  prompt(token, chosen) {
    return chosen.reduce((sum, segment) => sum + this.tokens[token][segment].prompt, 0) / chosen.length;
  }
}

export function percent(part) {
  return `${Number((100 * part).toPrecision(2))} %`;
}

// The answer to click on. `choose` is told of a token, or of null.
export function readsPart(lens, view, choose) {
  const said = lens.data.evicted.said;
  const buttons = said.map((text, index) => {
    const button = element("button", { type: "button", title: `token ${index} of the answer` }, text.trim() || "␣");
    button.addEventListener("click", () => choose(view.token === index ? null : index));
    return button;
  });
  const about = element("p", { className: "about", role: "status", id: "lens-reads" });
  return {
    node: section("What each token of the answer reads",
      element("div", { className: "said", role: "group", ariaLabel: "Tokens of the answer" }, ...buttons), about),
    update() {
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(index === view.token)));
      if (view.token === null) {
        about.textContent = "Choose a token, and the prompt is shaded by what its row reads; layer and KV head narrow it.";
        return;
      }
      const chosen = lens.segmentNumbers(view);
      const weights = lens.reads.weights(view.token, chosen, lens.data.tokens.length);
      const most = [...weights.keys()].filter((index) => weights[index] > 0)
        .sort((one, other) => weights[other] - weights[one] || one - other).slice(0, MOST_READ)
        .map((index) => `“${lens.data.tokens[index].trim()}” (${index}) ${percent(weights[index])}`);
      about.textContent = `The row of “${said[view.token].trim()}” reads ${percent(lens.reads.prompt(view.token, chosen))} `
        + `from kept pairs of the prompt, the rest from the response; most from ${most.join(", ")}. `
        + "Counted in one more pass over the whole answer: the 8 pairs that each KV head reads most.";
    },
  };
}
