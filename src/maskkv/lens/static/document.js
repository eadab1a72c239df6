// The prompt, shaded by how many segments keep each token, and ways to move in it.

import { choice, control, element, section } from "./parts.js";
import { filmPart } from "./recalls.js";
import { Reader } from "./reader.js";
import { percent } from "./reads.js";
import { DEEPEST, bands, portion, shade } from "./shades.js";

export function documentPart(lens, view, update) {
  const { tokens, special, evictable } = lens.data;
  const budget = element("input", { type: "range", min: 0, max: lens.budgets.length - 1, value: view.budgetIndex, id: "lens-budget" });
  const said = element("output", { htmlFor: "lens-budget", id: "lens-budget-said" });
  const layer = choice("lens-layer", "all layers", lens.layers, "layer");
  const head = choice("lens-head", "all KV heads", lens.heads, "KV head");
  const about = element("p", { className: "about", role: "status", id: "lens-token" });
  const legend = element("p", { className: "legend", id: "lens-legend" });
  // The film is that of the budget asked for: at others there is the first vote only.
  const film = lens.film && filmPart(lens.film, view, (step) => {
    Object.assign(view, { step, token: null, budgetIndex: lens.askedIndex });
    update();
  }, () => lens.segmentNumbers(view));
  const reader = new Reader(tokens, new Set(special), look);
  let held = new Uint32Array(tokens.length);
  let back = new Map();
  let segments = 0;
  let weights = null;
  let ranked = null;
  let rank = -1;

  reader.text.setAttribute("aria-describedby", "lens-token");
  reader.text.setAttribute("aria-label", "Prompt, shaded by how many segments keep each token; "
    + "arrow keys, Home, End, Page Up and Page Down walk through it"
    + (film ? ", up and down to those that came back" : ""));
  if (film) reader.jumps = () => back;

  function look(index) {
    const asked = back.get(index);
    film?.mark([...(asked?.keys() ?? [])]);
    if (index === null) {
      about.textContent = "Point at a token, or walk through the prompt with the arrow keys, to see who keeps it.";
      return;
    }
    const live = index >= evictable ? ", a live row, which stays anyway" : "";
    if (weights) {
      about.textContent = `Token ${index}, “${tokens[index].trim()}”: ${weights[index] ? percent(weights[index]) : "nothing, or not among the most"}, `
        + `the mean of ${segments}; kept by ${held[index]} of ${segments}${live}.`;
      return;
    }
    const recalled = asked ? `; ${lens.film.told(view.step, asked)}` : "";
    about.textContent = `Token ${index}, “${tokens[index].trim()}”: kept by ${held[index]} of ${segments}${live}${recalled}.`;
  }

  // The tokens that are kept, or read, at all, those that are most first.
  function ranking() {
    const by = weights ?? held;
    const some = Array.from({ length: evictable }, (_, index) => index).filter((index) => by[index] > 0);
    return some.sort((one, other) => by[other] - by[one] || one - other);
  }

  budget.addEventListener("input", () => {
    Object.assign(view, { step: 0, token: null, budgetIndex: Number(budget.value) });
    update();
  });
  for (const [select, axis] of [[layer, "layer"], [head, "head"]]) {
    select.addEventListener("change", () => {
      view[axis] = select.value === "" ? null : Number(select.value);
      update();
    });
  }
  const most = element("button", { type: "button", id: "lens-most" }, "Next most kept");
  most.addEventListener("click", () => {
    ranked ??= ranking();
    if (!ranked.length) return;
    rank = (rank + 1) % ranked.length;
    reader.go(ranked[rank]);
  });

  const node = section("What is kept of the prompt",
    element("div", { className: "controls" },
      control("Budget", budget, { wide: true }, said), control("Layer", layer), control("KV head", head)),
    ...(film ? [film.node] : []),
    element("div", { className: "controls" }, reader.search, element("div", { className: "control" }, most)),
    legend, reader.node, about);

  return {
    node,
    update() {
      held = lens.holders(view);
      back = lens.recalled(view);
      film?.update();
      segments = lens.segments(view).length;
      weights = view.token === null ? null : lens.reads.weights(view.token, lens.segmentNumbers(view), tokens.length);
      const heaviest = weights ? Math.max(...weights) : 0;
      legend.replaceChildren(...(weights ? legendOfWeights(heaviest) : legendOf(segments, film)));
      most.textContent = weights ? "Next most read" : "Next most kept";
      ranked = null;
      rank = -1;
      reader.shade((index) => (weights ? portion(weights[index], heaviest) : shade(held[index], segments)), back);
      const pairs = lens.budgets[view.budgetIndex];
      const part = (100 * pairs / evictable).toPrecision(2);
      budget.value = view.budgetIndex;
      said.textContent = pairs >= evictable ? "everything" : `${pairs} of ${evictable} pairs (${Number(part)} %)`;
      budget.setAttribute("aria-valuetext", said.textContent);
      layer.value = view.layer ?? "";
      head.value = view.head ?? "";
      look(reader.current);
    },
  };
}

function legendOfWeights(heaviest) {
  const ticks = Array.from({ length: DEEPEST + 1 }, (_, level) =>
    element("span", { className: `tick shade-${level}` }, level ? percent(heaviest * level / DEEPEST) : "0"));
  return ["Read by this token’s row: up to ", ...ticks];
}

function legendOf(segments, film) {
  const ticks = bands(segments).map(({ level, least, most }) =>
    element("span", { className: `tick shade-${level}` }, least === most ? String(least) : `${least}–${most}`));
  const what = segments === 1 ? "this segment" : `${segments} (layer, KV head) segments`;
  return ["Kept by ", element("span", { className: "tick shade-0" }, "0"), ...ticks, ` of ${what}`,
    film ? "; underlined: came back in this step" : ""];
}
