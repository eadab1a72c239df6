// The heat map of layers by KV heads.

import { control, element, section } from "./parts.js";
import { portion } from "./shades.js";

export function mapPart(lens, view, update) {
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
      element("div", { className: "controls" }, control("Show", shown)),
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
        cell.className = `shade-${portion(values[layer][head], most)}`;
      }));
    },
  };
}
