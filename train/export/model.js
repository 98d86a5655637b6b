// An exported model: it answers as the service does. It adds in the order of the exported graph, so its logits, and
// with them its verdicts, are the export's to the bit (IEEE 754; tests/engines/test_javascript.py). A probability is
// within 4 units in the last place of the exact one; those of another link than logit are within 16.
//
//   import { predict } from "./model.js";
//   predict({ gre: 640, gpa: 3.1, rank: "2" }); // { verdict, label, probability, logit, outside }

export const model = "the export writes it here";

const { features, columns, intercept, threshold, labels, link, polynomial, missing } = model;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const BITS = 2 ** 48;

// The answer to a row of JSON values. Throws a RangeError; its `errors` are [{ name, detail }].
export const predict = (row) => answer(row, fromJson);

// The answer to a row of texts, such as a form's or those of a line of CSV.
export const predictTexts = (row) => answer(row, fromText);

function answer(row, read) {
  const names = features.map(({ name }) => name);
  const x = features.map((feature) => (Object.hasOwn(row, feature.name) ? read(feature, row[feature.name]) : "missing"));
  const errors = [
    ...Object.keys(row).filter((name) => !names.includes(name)).map((name) => ({ name, detail: "not a feature of this model" })),
    ...names.map((name, at) => ({ name, detail: x[at] })).filter(({ detail }) => typeof detail === "string"),
  ];
  if (errors.length) throw Object.assign(new RangeError(errors.map(({ name, detail }) => `${name}: ${detail}`).join("; ")), { errors });
  const z = logit(x);
  if (!Number.isFinite(z)) throw Object.assign(new RangeError("the logit overflows float64"), { errors: [] });
  const outside = features.filter(({ levels, minimum, maximum }, at) => !levels.length && (x[at] < minimum || x[at] > maximum));
  return { verdict: z > threshold, label: labels[Number(z > threshold)], probability: probability(z), logit: z, outside: outside.map(({ name }) => name) };
}

// The number of x that a value becomes, NaN where it is missing; or, as a text, what is wrong (passfail/columns.py).
function fromJson({ levels, boolean, nullable, pooled }, value) {
  if (value === null) return nullable ? NaN : "may not be null";
  if (!levels.length) return typeof value === "number" ? finite(value) : `expected a number, got ${kind(value)}`;
  if (typeof value !== "string" && !Number.isSafeInteger(value) && !(boolean && typeof value === "boolean"))
    return `expected one of the levels, as a string: ${levels.join(", ")}; got ${kind(value)}`;
  return index(levels, pooled, (level) => level === String(value));
}

function fromText({ levels, boolean, nullable, pooled }, value) {
  const text = value.trim();
  const same = (level) => level === text || (boolean && (level.toUpperCase() === text || title(level) === text));
  if (missing.includes(text) && !levels.some(same)) return nullable ? NaN : "may not be empty";
  if (levels.length) return index(levels, pooled, same);
  if (NUMBER.test(text)) return finite(Number(text));
  return NUMBER.test(text.replace(",", ".")) ? "expected a number with a decimal point" : "expected a number";
}

// pooled: of a feature that has one, the level of those that training did not see.
function index(levels, pooled, same) {
  const at = levels.findIndex(same);
  const more = levels.length > 12 ? ` and ${levels.length - 12} more` : "";
  return at < 0 ? (pooled ?? `not one of the levels: ${levels.slice(0, 12).join(", ")}${more}`) : at;
}

const finite = (value) => (Number.isFinite(value) ? value : "not a finite number");
const title = (text) => text[0].toUpperCase() + text.slice(1);
const kind = (value) => ({ boolean: "a boolean", number: "a number", string: "a string" })[typeof value] ?? (Array.isArray(value) ? "an array" : "an object");

// x: each feature's number, that of a level its index, NaN where missing. NaN for what training never saw.
export function logit(x) {
  const terms = columns.map(({ feature, level, center, scale, weight, missing: flag }) => {
    const { fill, levels } = features[feature];
    const found = x[feature], value = Number.isNaN(found) && fill !== null ? fill : found;
    if (flag) return ((Number(Number.isNaN(found)) - center) / scale) * weight;
    const seen = Number.isInteger(value) && value >= 0 && value < levels.length;
    const number = level === null ? value : seen ? Number(value === level) : NaN;
    return ((number - center) / scale) * weight;
  });
  return terms.reduce((sum, term) => sum + term) + intercept;
}

// The probability at a logit, in the operations of train/model/links.py.
export const probability = (z) => LINKS[link](z);

const LINKS = {
  logit: (z) => 1 / (1 + Math.exp(-z)),
  probit: (z) => {
    const x = round(within(Math.abs(z), 0, 40) * BITS) / BITS, coarse = round(x * 16) / 16, t = 5 / (5 + x);
    const tail = Math.exp(coarse * coarse * -0.5) * Math.exp((x - coarse) * (x + coarse) * -0.5) * (t * series((9 * t - 5) / 4));
    return z > 0 ? 1 - Math.min(tail, 0.5) : Math.min(tail, 0.5);
  },
  cloglog: (z) => {
    const u = Math.exp(round(within(z, -745, 7) * BITS) / BITS);
    return u < 0.5 ? u * series(u * 4 - 1) : 1 - Math.exp(-u);
  },
  cauchit: (z) => {
    const held = within(z, -1e300, 1e300), wide = held * 33, size = Math.abs(wide - (wide - held));
    const a = size > 1 ? 1 / size : size, arc = a * series(a * a * 2 - 1), tail = size > 1 ? arc : 0.5 - arc;
    return z > 0 ? 1 - tail : tail;
  },
};
const within = (z, least, most) => Math.min(Math.max(z, least), most);
const series = (v) => polynomial.reduce((total, coefficient) => total * v + coefficient);

// Half to even, as IEEE 754 rounds; Math.round goes up.
function round(v) {
  const up = Math.round(v);
  return up - v === 0.5 && up % 2 ? up - 1 : up;
}
