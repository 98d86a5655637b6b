// The pictures, as SVG in a coordinate system of pixels. Nothing here talks to the service.

const SVG = "http://www.w3.org/2000/svg";
// As wide as there is room when the page opens, so that a phone's letters are as large as any.
const WIDTH = Math.min(Math.max(document.querySelector("main").clientWidth - 80, 270), 860);
const HEIGHT = 300, LEFT = 48, RIGHT = 22, TOP = 34, BOTTOM = 52;
const TICKS = WIDTH > 500 ? 10 : 5;

export const counted = (n) => (n === 1 ? "1 row" : `${n} rows`);
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

// A share (0 to top, upwards) against x from low to high; ticks: [[x, text]]; names: of the axes.
function axes(low, high, ticks, names, title, top = 1) {
  const x = (value) => LEFT + ((value - low) / (high - low || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (p) => HEIGHT - BOTTOM - (p / top) * (HEIGHT - TOP - BOTTOM);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const p of [0, 0.2, 0.4, 0.6, 0.8, 1].map((part) => part * top)) {
    svg.append(shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(p), y2: y(p) }));
    svg.append(shape("text", { class: "y", x: LEFT - 8, y: y(p) + 4, "text-anchor": "end" }, percent(p)));
  }
  for (const [value, text] of ticks) {
    svg.append(shape("line", { class: "grid", x1: x(value), x2: x(value), y1: y(0), y2: y(0) + 5 }));
    svg.append(shape("text", { class: "x", x: x(value), y: y(0) + 20, "text-anchor": "middle" }, text));
  }
  svg.append(shape("text", { class: "name", x: 2, y: 14 }, names[1]));
  const rows = Math.ceil(names[0].length / (WIDTH / 8)), part = Math.ceil(names[0].length / rows); // a long name has several
  for (let row = 0; row < rows; row++) {
    const at = { class: "name", x: WIDTH / 2, y: HEIGHT - 8 - 14 * (rows - 1 - row) + (rows > 1 ? 3 : 0), "text-anchor": "middle" };
    svg.append(shape("text", at, names[0].slice(row * part, (row + 1) * part)));
  }
  return { svg, x, y };
}

function threshold({ svg, y }, p) {
  svg.append(shape("line", { class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(p), y2: y(p) }));
}

// The text at the top right says what is below the pointer; points: [[x, text]].
function readout({ svg, x }, points) {
  const text = svg.appendChild(shape("text", { class: "readout", x: WIDTH - RIGHT, y: 14, "text-anchor": "end" }, ""));
  svg.addEventListener("pointermove", (event) => {
    const at = (event.offsetX / svg.clientWidth) * WIDTH;
    const distance = ([value]) => Math.abs(x(value) - at);
    text.textContent = points.reduce((best, point) => (distance(point) < distance(best) ? point : best))[1];
  });
  svg.addEventListener("pointerleave", () => (text.textContent = ""));
}

// Some round numbers between low and high, each with its text.
function rounds(low, high) {
  const part = (high - low) / TICKS, power = 10 ** Math.floor(Math.log10(part));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= part);
  const first = Math.ceil(low / step);
  const numbers = Array.from({ length: Math.min(Math.floor(high / step) - first + 1, TICKS + 1) }, (_, at) => (first + at) * step);
  return numbers.map((number) => [number, short(number)]);
}

const short = (number) => String(Number(number.toPrecision(6)));
const named = ({ name }, units) => (units?.[name] ? `${name} in ${units[name]}` : name);

// points: [[value, probability]], rising; here: the row's own, or null. Above the threshold the line has the colour of yes.
export function curve(points, here, feature, { threshold: limit, target, units }) {
  const low = points[0][0], high = points.at(-1)[0], label = target.labels[1];
  const title = `The probability of ${label} along ${feature.name}`;
  const plot = axes(low, high, rounds(low, high), [named(feature, units), `probability of ${label}`], title);
  const { svg, x, y } = plot;
  const from = x(feature.minimum), to = x(feature.maximum);
  svg.prepend(shape("rect", { class: "range", x: from, y: y(1), width: Math.max(to - from, 1), height: y(0) - y(1) }));
  threshold(plot, limit);
  for (let at = 0, end; at < points.length - 1; at = end) {
    const yes = points[at][1] > limit;
    for (end = at + 1; end < points.length - 1 && points[end][1] > limit === yes; ) end++;
    const d = points.slice(at, end + 1).map(([value, p], n) => `${n ? "L" : "M"}${x(value).toFixed(2)} ${y(p).toFixed(2)}`).join("");
    svg.append(shape("path", { class: `line ${yes ? "yes" : "no"}`, d }));
  }
  if (here) svg.append(shape("circle", { class: "here", cx: x(here[0]), cy: y(here[1]), r: 7 }));
  readout(plot, points.map(([value, p]) => [value, `${short(value)}: ${percent(p, 1)}`]));
  return svg;
}

// A column for each level, in the colour of its verdict; the row's own has a border.
export function columns(points, here, feature, { threshold: limit, target }) {
  const shown = (level) => (level.length > 12 ? `${level.slice(0, 11)}…` : level);
  const every = Math.ceil(points.length / TICKS), label = target.labels[1];
  const ticks = points.map(([level], at) => [at, shown(level)]).filter(([at]) => at % every === 0);
  const title = `The probability of ${label} for each ${feature.name}`;
  const plot = axes(-0.6, points.length - 0.4, ticks, [feature.name, `probability of ${label}`], title);
  const { svg, x, y } = plot;
  const width = Math.min(48, (0.7 * (WIDTH - LEFT - RIGHT)) / points.length);
  points.forEach(([level, p], at) => {
    const kind = `column ${p > limit ? "yes" : "no"}${level === here?.[0] ? " here" : ""}`;
    svg.append(shape("rect", { class: kind, x: x(at) - width / 2, y: y(p), width, height: y(0) - y(p), rx: 3 }));
  });
  threshold(plot, limit);
  readout(plot, points.map(([level, p], at) => [at, `${level}: ${percent(p, 1)}`]));
  return svg;
}

// The number of n rows with their probability in each bin, in the colour of the verdict there.
export function histogram(bins, n, { threshold: limit, target }) {
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((p) => [p, percent(p)]), step = 1 / bins.length;
  const label = target.labels[1], title = `How the probabilities of ${label} are distributed`;
  const top = Math.ceil((20 * Math.max(...bins)) / n) / 20;
  const plot = axes(0, 1, ticks, [`probability of ${label}`, "share of the rows"], title, top);
  const { svg, x, y } = plot;
  bins.forEach((count, at) => {
    const kind = (at + 0.5) * step > limit ? "yes" : "no";
    svg.append(shape("rect", { class: kind, x: x(at * step) + 1, y: y(count / n), width: x(step) - x(0) - 2, height: y(0) - y(count / n) }));
  });
  svg.append(shape("line", { class: "limit", x1: x(limit), x2: x(limit), y1: TOP, y2: y(0) }));
  readout(plot, bins.map((count, at) => [(at + 0.5) * step, `${percent(at * step)} to ${percent((at + 1) * step)}: ${counted(count)}`]));
  return svg;
}

// The manifest's bins; the one that holds the answer's probability is marked.
export function calibration(bins, probability, { target }) {
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((p) => [p, percent(p)]), label = target.labels[1];
  const plot = axes(0, 1, ticks, [`predicted probability of ${label}`, `share that turned out ${label}`], `Calibration: predicted probability against the share of ${label}`);
  const { svg, x, y } = plot;
  svg.append(shape("line", { class: "limit", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
  for (const bin of bins) {
    const at = x(bin.probability), mine = probability >= bin.lower && probability < bin.upper;
    svg.append(shape("line", { class: "interval", x1: at, x2: at, y1: y(bin.low), y2: y(bin.high) }));
    svg.append(shape("circle", { class: mine ? "here" : "dot", cx: at, cy: y(bin.positives / bin.rows), r: mine ? 7 : 5 }));
  }
  readout(plot, bins.map((bin) => [bin.probability, `${percent(bin.probability, 1)}: ${bin.positives} of ${counted(bin.rows)}, ${percent(bin.positives / bin.rows, 1)}`]));
  return svg;
}
