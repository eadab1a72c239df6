// The scale of all shades: 0 is none, DEEPEST is all. Their colours are in lens.css.

export const DEEPEST = 8;

// Of a count out of so many: one is the faintest shade, all the deepest, and equal ratios are equally far apart.
export function shade(count, all) {
  if (count <= 0) return 0;
  if (count >= all) return DEEPEST;
  return 1 + Math.floor((DEEPEST - 1) * Math.log(count) / Math.log(all));
}

// Of a value from 0 to `most`, in equal steps.
export function portion(value, most) {
  return Math.ceil(DEEPEST * Math.min(1, Math.max(0, value / most)));
}

// The counts that each shade stands for, from the faintest on.
export function bands(all) {
  const found = [];
  for (let count = 1; count <= all; count += 1) {
    const level = shade(count, all);
    if (found.at(-1)?.level === level) found.at(-1).most = count;
    else found.push({ level, least: count, most: count });
  }
  return found;
}
