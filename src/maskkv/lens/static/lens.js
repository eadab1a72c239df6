// The kept-token lens.

import { bytes, choice, element, section, unpacked } from "./parts.js";
import { Film, filmPart } from "./recalls.js";

export { bytes, element } from "./parts.js";

export function showLens(root, data) {
  const lens = new Lens(data);
  const view = { budgetIndex: lens.askedIndex, step: 0, layer: null, head: null };
  const parts = [documentPart(lens, view, update), mapPart(lens, view, update), answersPart(data)];
  root.replaceChildren(...parts.map((part) => part.node));
  root.classList.add("lens");
  function update() {
    for (const part of parts) part.update?.();
  }
  update();
}

// Which positions each (layer, head) segment keeps at each budget.
class Lens {
  constructor(data) {
    const { budgets, counts, order, preference } = data.sweep;
    Object.assign(this, { data, budgets, counts, preference });
    this.layers = preference.length;
    this.heads = preference[0].length;
    const largest = budgets.length - 1;
    this.askedIndex = data.budget === null ? largest : budgets.indexOf(Math.min(data.budget, budgets[largest]));
    this.order = this.unpack(order);
    this.film = data.film && new Film(data.film, this.layers, this.heads);
  }

  unpack(order) {
    const positions = unpacked(order, this.data.tokens.length > 65536 ? 4 : 2);
    let at = 0;
    return this.preference.map((heads, layer) => heads.map((_, head) => {
      const most = Math.max(...this.counts.map((counts) => counts[layer][head]));
      at += most;
      return positions.slice(at - most, at);
    }));
  }

  segments(view) {
    const chosen = [];
    for (let layer = 0; layer < this.layers; layer += 1) {
      for (let head = 0; head < this.heads; head += 1) {
        if ((view.layer ?? layer) === layer && (view.head ?? head) === head) chosen.push([layer, head]);
      }
    }
    return chosen;
  }

  segmentNumbers(view) {
    return this.segments(view).map(([layer, head]) => layer * this.heads + head);
  }

  // For each token, how many of the chosen segments keep it: at the film's step, or by the first vote at another budget.
  holders(view) {
    const filmed = this.film && view.budgetIndex === this.askedIndex;
    const held = filmed ? this.film.holders(view.step, new Set(this.segmentNumbers(view)), this.data.tokens.length) : this.voted(view);
    // Live rows stay anyway, outside the budget.
    held.fill(this.segments(view).length, this.data.evictable);
    return held;
  }

  voted(view) {
    const held = new Uint32Array(this.data.tokens.length);
    const counts = this.counts[view.budgetIndex];
    for (const [layer, head] of this.segments(view)) {
      const order = this.order[layer][head];
      for (let rank = 0; rank < counts[layer][head]; rank += 1) held[order[rank]] += 1;
    }
    return held;
  }

  back(view) {
    return this.preference.map((heads, layer) =>
      heads.map((_, head) => this.film.pairs(view.step, layer * this.heads + head)));
  }

  // The tokens that came back in the film's step, with the rows that asked.
  recalled(view) {
    return this.film ? this.film.recalled(view.step, new Set(this.segmentNumbers(view))) : new Map();
  }
}

function documentPart(lens, view, update) {
  const { tokens, special, evictable } = lens.data;
  const specials = new Set(special);
  // The blanks in front of a word are not shaded.
  const cut = tokens.map((text) => text.length - (text.trimStart() || text).length);
  const spans = tokens.map((text, index) =>
    element("span", { className: specials.has(index) ? "special" : "" }, text.slice(cut[index])));
  const shaded = tokens.flatMap((text, index) => [text.slice(0, cut[index]), spans[index]]);
  const budget = element("input", { type: "range", min: 0, max: lens.budgets.length - 1, value: view.budgetIndex, id: "lens-budget" });
  const said = element("output", { htmlFor: "lens-budget", id: "lens-budget-said" });
  const layer = choice("lens-layer", "all layers", lens.layers, "layer");
  const head = choice("lens-head", "all KV heads", lens.heads, "KV head");
  const about = element("p", { className: "about", role: "status", id: "lens-token" });
  const text = element("div", { className: "document", tabIndex: 0, role: "group", dir: "auto" }, ...shaded);
  const keys = lens.film ? "arrow keys walk through it, up and down to those that came back" : "arrow keys walk through it";
  text.setAttribute("aria-label", `Prompt, shaded by how many segments keep each token; ${keys}`);
  text.setAttribute("aria-describedby", "lens-token");
  // The film is that of the budget asked for: at others there is the first vote only.
  const film = lens.film && filmPart(lens.film, view, (step) => {
    Object.assign(view, { step, budgetIndex: lens.askedIndex });
    update();
  }, () => lens.segmentNumbers(view));
  let held = new Uint32Array(tokens.length);
  let back = new Map();
  let current = null;

  function look(index) {
    if (current !== null) spans[current].classList.remove("current");
    current = index;
    const asked = back.get(index);
    film?.mark([...(asked?.keys() ?? [])]);
    if (index === null) {
      about.textContent = "Point at a token, or walk through the prompt with the arrow keys, to see who keeps it.";
      return;
    }
    spans[index].classList.add("current");
    const live = index >= evictable ? ", a live row, which stays anyway" : "";
    const recalled = asked ? `; ${lens.film.told(view.step, asked)}` : "";
    about.textContent =
      `Token ${index}, “${tokens[index].trim()}”: kept by ${held[index]} of ${lens.segments(view).length}${live}${recalled}.`;
  }

  budget.addEventListener("input", () => {
    Object.assign(view, { step: 0, budgetIndex: Number(budget.value) });
    update();
  });
  for (const [select, axis] of [[layer, "layer"], [head, "head"]]) {
    select.addEventListener("change", () => {
      view[axis] = select.value === "" ? null : Number(select.value);
      update();
    });
  }
  text.addEventListener("pointerover", (event) => {
    const index = spans.indexOf(event.target);
    if (index >= 0) look(index);
  });
  text.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const jump = lens.film && { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step && !jump) return;
    event.preventDefault();
    const next = step ? Math.min(tokens.length - 1, Math.max(0, (current ?? -step) + step)) : nearest(back, current ?? -1, jump);
    if (next === undefined) return;
    look(next);
    spans[current].scrollIntoView({ block: "nearest" });
  });

  const controls = element("div", { className: "controls" },
    element("div", { className: "control wide" },
      element("label", { htmlFor: "lens-budget" }, "Budget"), budget, said),
    element("div", { className: "control" }, element("label", { htmlFor: "lens-layer" }, "Layer"), layer),
    element("div", { className: "control" }, element("label", { htmlFor: "lens-head" }, "KV head"), head));
  const most = element("span");
  const legend = element("p", { className: "legend" }, "kept by none ", element("span", { className: "scale" }), " by ", most,
    film ? "; underlined: came back in this step" : "");
  const node = section("What is kept of the prompt", controls, ...(film ? [film.node] : []), legend, text, about);

  return {
    node,
    update() {
      held = lens.holders(view);
      back = lens.recalled(view);
      film?.update();
      const segments = lens.segments(view).length;
      spans.forEach((span, index) => {
        span.style.setProperty("--heat", Math.sqrt(held[index] / segments).toFixed(3));
        span.classList.toggle("kept", held[index] > 0);
        span.classList.toggle("back", back.has(index));
      });
      const pairs = lens.budgets[view.budgetIndex];
      const part = (100 * pairs / evictable).toPrecision(2);
      budget.value = view.budgetIndex;
      said.textContent = pairs >= evictable ? "everything" : `${pairs} of ${evictable} pairs (${Number(part)} %)`;
      budget.setAttribute("aria-valuetext", said.textContent);
      layer.value = view.layer ?? "";
      head.value = view.head ?? "";
      most.textContent = segments === 1 ? "this segment" : `all ${segments} segments`;
      look(current);
    },
  };
}

// The nearest of the tokens that came back, before or behind one.
function nearest(back, from, direction) {
  const ahead = [...back.keys()].filter((position) => (position - from) * direction > 0);
  return ahead.sort((one, other) => (one - other) * direction)[0];
}

function mapPart(lens, view, update) {
  const shown = element("select", { id: "lens-map" },
    element("option", { value: "pairs" }, "pairs kept"),
    element("option", { value: "preference" }, "prompt preference"),
    ...(lens.film ? [element("option", { value: "back" }, "pairs that came back")] : []));
  const cells = lens.preference.map((heads, layer) => heads.map((_, head) => {
    const button = element("button", { type: "button", tabIndex: -1 });
    button.addEventListener("click", () => choose(layer, head));
    return button;
  }));
  const headings = Array.from({ length: lens.heads }, (_, head) => element("th", { scope: "col" }, String(head)));
  const rows = cells.map((own, layer) => element("tr", {},
    element("th", { scope: "row" }, `layer ${layer}`), ...own.map((cell) => element("td", {}, cell))));
  const table = element("table", { className: "map" },
    element("caption", {}, "Layers by KV heads; choose a cell to narrow the prompt's shading to its segment."),
    element("thead", {}, element("tr", {}, element("td"), ...headings)), element("tbody", {}, ...rows));
  const narrow = lens.heads > 12;
  table.classList.toggle("narrow", narrow);
  let at = [0, 0];

  function choose(layer, head) {
    const again = view.layer === layer && view.head === head;
    view.layer = again ? null : layer;
    view.head = again ? null : head;
    at = [layer, head];
    update();
  }

  table.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    cells[at[0]][at[1]].tabIndex = -1;
    at = [(at[0] + step[0] + lens.layers) % lens.layers, (at[1] + step[1] + lens.heads) % lens.heads];
    cells[at[0]][at[1]].tabIndex = 0;
    cells[at[0]][at[1]].focus();
  });
  shown.addEventListener("change", update);

  return {
    node: section("Who keeps how much",
      element("div", { className: "controls" },
        element("div", { className: "control" }, element("label", { htmlFor: "lens-map" }, "Show"), shown)),
      element("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Heat map of layers by KV heads" }, table)),
    update() {
      const pairs = shown.value !== "preference";
      const values = { preference: () => lens.preference, pairs: () => lens.counts[view.budgetIndex], back: () => lens.back(view) }[shown.value]();
      const most = pairs ? Math.max(1, ...values.flat()) : 1;
      const what = { preference: "of the masks’ attention", pairs: "pairs", back: "pairs that came back" }[shown.value];
      cells.forEach((own, layer) => own.forEach((cell, head) => {
        const value = pairs ? String(values[layer][head]) : values[layer][head].toFixed(3);
        const here = view.layer === layer && view.head === head;
        cell.textContent = narrow ? "" : value;
        cell.title = `layer ${layer}, KV head ${head}: ${value} ${what}`;
        cell.setAttribute("aria-label", cell.title);
        cell.setAttribute("aria-pressed", String(here));
        cell.tabIndex = layer === at[0] && head === at[1] ? 0 : -1;
        cell.style.setProperty("--heat", (values[layer][head] / most).toFixed(3));
      }));
    },
  };
}

function answersPart(data) {
  const { evicted, full, differing } = data;
  const heading = element("tr", {}, ...["policy", "answer", "time", "tokens/s", "cache"].map(
    (name) => element("th", { scope: "col" }, name)));
  const differs = new Set(differing);
  const cell = (name, ...content) => element("td", { "data-name": name, className: name }, ...content);
  const rows = [evicted, full].map((run) => element("tr", {},
    element("th", { scope: "row" }, run.budget === null ? run.policy : `${run.policy}, budget ${run.budget}`),
    cell("answer", element("span", {}, ...answer(run, differs))),
    cell("time", `${run.latency_s.toFixed(2)} s`),
    cell("tokens/s", run.tokens_per_s.toFixed(1)),
    cell("cache", bytes(run.cache_bytes))));
  const longest = Math.max(evicted.said.length, full.said.length);
  const same = differing.length
    ? `The answers differ in ${differing.length} of ${longest} tokens (underlined).`
    : "Both give the same answer.";
  const part = (100 * evicted.cache_bytes / full.cache_bytes).toFixed(1);
  const again = !data.film && evicted.steps > data.prompt_interval
    ? ` The shading shows the first vote; the policy votes again every ${data.prompt_interval} steps.` : "";
  return {
    node: section("Beside the full cache",
      element("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Comparison with the full cache" },
        element("table", { className: "answers" }, element("thead", {}, heading), element("tbody", {}, ...rows))),
      element("p", { className: "about" }, `${same} The cache has ${part} % of the full one's bytes.${again}`)),
  };
}

function answer(run, differs) {
  // A word-level tokenizer leaves the blanks between tokens out of them.
  const gap = run.said.join("") === run.text ? "" : " ";
  return run.said.flatMap((text, index) => [
    differs.has(index) ? element("mark", {}, text) : text,
    index < run.said.length - 1 ? gap : "",
  ]);
}
