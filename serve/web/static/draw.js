// The pictures, as SVG in a coordinate system of pixels. Nothing here talks to the service.

const SVG = "http://www.w3.org/2000/svg";
// As wide as there is room when the page opens, so that a phone's letters are as large as any.
const WIDTH = Math.min(Math.max(document.querySelector("main").clientWidth - 80, 270), 860);
const HEIGHT = 260, LEFT = 48, RIGHT = 22, TOP = 12, BOTTOM = 34;

export const percent = (p, digits = 0) => `${(100 * p).toFixed(digits)}\u00a0%`;

export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A bar of -1 to 1 around the middle.
export function bar(share) {
  const svg = shape("svg", { viewBox: "-1 0 2 1", preserveAspectRatio: "none", "aria-hidden": "true" });
  const x = Math.min(share, 0), width = Math.abs(share);
  svg.append(shape("rect", { class: share > 0 ? "yes" : "no", x, width, height: 1 }));
  return svg;
}

// The probability (0 to 1, upwards) against x from low to high; ticks: [[x, text]].
function axes(low, high, ticks, title) {
  const x = (value) => LEFT + ((value - low) / (high - low || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (p) => HEIGHT - BOTTOM - p * (HEIGHT - TOP - BOTTOM);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const p of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(p), y2: y(p) }));
    svg.append(shape("text", { x: LEFT - 8, y: y(p) + 4, "text-anchor": "end" }, percent(p)));
  }
  for (const [value, text] of ticks) {
    svg.append(shape("text", { x: x(value), y: HEIGHT - BOTTOM + 20, "text-anchor": "middle" }, text));
  }
  return { svg, x, y };
}

function threshold({ svg, y }, p) {
  svg.append(shape("line", { class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(p), y2: y(p) }));
}

// Some five round numbers between low and high, each with its text.
function rounds(low, high) {
  const fifth = (high - low) / 5, power = 10 ** Math.floor(Math.log10(fifth));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= fifth);
  const first = Math.ceil(low / step);
  const numbers = Array.from({ length: Math.min(Math.floor(high / step) - first + 1, 6) }, (_, at) => (first + at) * step);
  return numbers.map((number) => [number, String(Number(number.toPrecision(12)))]);
}

// points: [[value, probability]]; here: the row's own; range: [minimum, maximum] of the training rows.
export function curve(points, here, range, limit, title) {
  const low = points[0][0], high = points.at(-1)[0];
  const plot = axes(low, high, rounds(low, high), title);
  const { svg, x, y } = plot;
  const [from, to] = range.map(x);
  svg.prepend(shape("rect", { class: "range", x: from, y: y(1), width: Math.max(to - from, 1), height: y(0) - y(1) }));
  threshold(plot, limit);
  const d = points.map(([value, p], at) => `${at ? "L" : "M"}${x(value).toFixed(2)} ${y(p).toFixed(2)}`).join("");
  svg.append(shape("path", { class: "line", d }));
  if (here) svg.append(shape("circle", { class: "here", cx: x(here[0]), cy: y(here[1]), r: 7 }));
  return svg;
}

// A column for each level; chosen: the index of the row's own.
export function columns(levels, probabilities, chosen, limit, title) {
  const shown = (level) => (level.length > 12 ? `${level.slice(0, 11)}…` : level);
  const every = Math.ceil(levels.length / 10);
  const ticks = levels.map((level, at) => [at, shown(level)]).filter(([at]) => at % every === 0);
  const plot = axes(-0.6, levels.length - 0.4, ticks, title);
  const { svg, x, y } = plot;
  const width = Math.min(48, (0.7 * (WIDTH - LEFT - RIGHT)) / levels.length);
  probabilities.forEach((p, at) => {
    const kind = at === chosen ? "column here" : "column";
    svg.append(shape("rect", { class: kind, x: x(at) - width / 2, y: y(p), width, height: y(0) - y(p), rx: 3 }));
  });
  threshold(plot, limit);
  return svg;
}

// The manifest's bins; the one that holds the answer's probability is marked.
export function calibration(bins, probability, title) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((p) => [p, percent(p)]);
  const { svg, x, y } = axes(0, 1, ticks, title);
  svg.append(shape("line", { class: "limit", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  for (const bin of bins) {
    const at = x(bin.probability), mine = probability >= bin.lower && probability < bin.upper;
    svg.append(shape("line", { class: "interval", x1: at, x2: at, y1: y(bin.low), y2: y(bin.high) }));
    svg.append(shape("circle", { class: mine ? "here" : "dot", cx: at, cy: y(bin.positives / bin.rows), r: mine ? 7 : 5 }));
  }
  return svg;
}
