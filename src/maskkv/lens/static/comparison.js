// The answers beside each other: without a cache, with all of it, and with what the policy keeps.

import { bytes, element, section } from "./parts.js";

const NAMES = ["cache", "pairs", "answer", "time"];
const HEADINGS = ["cache", "prompt pairs", "answer", "time, one run"];

export function comparisonPart(report) {
  const { evicted, full, none } = report;
  const runs = [["none", none], ["full", full], [report.policy, evicted]];
  const rows = runs.map(([name, run]) => {
    const title = element("th", { scope: "row" }, run && run.budget !== null ? `${name}, budget ${run.budget}` : name);
    const cells = run ? contents(run, full) : NAMES.map(() => ["…"]);
    return element("tr", { ariaBusy: String(!run), className: run === evicted ? "evicted" : "" }, title,
      ...cells.map((content, index) => element("td", { "data-name": HEADINGS[index], className: NAMES[index] }, ...content)));
  });
  const heading = element("tr", {}, ...["policy", ...HEADINGS].map((name) => element("th", { scope: "col" }, name)));
  return section("Beside the full cache, and none",
    element("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: "Comparison of the answers" },
      element("table", { className: "answers" }, element("thead", {}, heading), element("tbody", {}, ...rows))),
    element("p", { className: "about" }, summary(report)));
}

function contents(run, full) {
  const part = (count, all) => `${Number((100 * count / all).toPrecision(3))} % of full`;
  const beside = (count, all) => (full && run !== full && run.policy !== "none" ? [element("small", {}, part(count, all))] : []);
  const bar = element("span", { className: "bar" });
  bar.style.setProperty("--part", full ? Math.min(1, run.cache_bytes / full.cache_bytes).toFixed(4) : "0");
  return [
    [run.policy === "none" ? "no cache" : bytes(run.cache_bytes), ...beside(run.cache_bytes, full?.cache_bytes), bar],
    [run.policy === "none" ? "none kept" : run.pairs.toLocaleString("en"), ...beside(run.pairs, full?.pairs)],
    [element("span", {}, ...answer(run, full ?? run))],
    [`${run.latency_s.toFixed(2)} s`],
  ];
}

function summary({ evicted, full, none, film, prompt_interval: interval }) {
  const parts = [];
  if (evicted && full) {
    const longest = Math.max(evicted.said.length, full.said.length);
    const count = differing(evicted, full).size;
    parts.push(count ? `The answers under ${evicted.policy} and full differ in ${count} of ${longest} tokens (underlined).`
      : `Under ${evicted.policy} the answer is that of the full cache.`);
  }
  if (none) parts.push("Without a cache every step reads the whole prompt anew.");
  if (evicted) parts.push("Times are those of one run each, on whatever else this machine did; maskkv bench measures.");
  if (evicted && !film && evicted.steps > interval) {
    parts.push(`The shading shows the first vote; the policy votes again every ${interval} steps.`);
  }
  return evicted && full && none ? parts.join(" ") : [...parts, "The other answers are still being made."].join(" ");
}

// The places where two answers differ, as far as the longer goes.
function differing(run, other) {
  const longest = Math.max(run.said.length, other.said.length);
  return new Set(Array.from({ length: longest }, (_, index) => index).filter((index) => run.said[index] !== other.said[index]));
}

function answer(run, full) {
  const differs = differing(run, full);
  // A word-level tokenizer leaves the blanks between tokens out of them.
  const gap = run.said.join("") === run.text ? "" : " ";
  return run.said.flatMap((text, index) => [
    differs.has(index) ? element("mark", {}, text) : text,
    index < run.said.length - 1 ? gap : "",
  ]);
}
