// The form's answer as you type. Without this file the form is sent and answered as a page.

import { bar, calibration, columns, curve, element, percent } from "./draw.js";
import { watchTable } from "./table.js";

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
const POINTS = 101; // of the curve: one request
const get = (id) => document.getElementById(id);
const form = get("form");
const fields = [...form.querySelectorAll("input, select")];
const manifest = await (await fetch("/model")).json();
const [negative, positive] = manifest.target.labels;
let asked = 0; // of answers that come out of turn only the last one asked for counts

document.body.classList.add("live");
addSliders();
// Of what is typed much is on its way to something else: only what is sent counts as traffic.
form.addEventListener("input", () => answer());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  answer(true);
});
get("along").addEventListener("change", () => answer());
watchTable(manifest);
showDrift();
answer();

// The row as the form has it: what is no number goes as text, and the service says so at its field.
function row() {
  return Object.fromEntries(manifest.features.map((feature, at) => [feature.name, value(feature, fields[at].value.trim())]));
}

function value(feature, text) {
  if (text === "") return null;
  return feature.kind === "numeric" && NUMBER.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

async function post(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await fetch(path, options)).json();
}

// The answer is busy until what stands on the page belongs to what stands in the form.
async function answer(sent = false) {
  const mine = ++asked;
  get("answer").setAttribute("aria-busy", "true");
  await judge(row(), sent, mine);
  if (mine === asked) get("answer").setAttribute("aria-busy", "false");
}

async function judge(asking, watch, mine) {
  const wrong = problems(asking);
  say(wrong, "");
  if (wrong.size) return refuse();
  try {
    const got = await post(`/explain?evidence=true&watch=${watch}`, asking);
    if (mine !== asked) return;
    if (!("explanation" in got)) {
      say(new Map((got.errors ?? []).map((one) => [one.pointer.slice(2), one.detail])), got.errors ? "" : got.detail);
      return refuse();
    }
    show(got);
    await showCurve(asking, got, mine);
  } catch {
    if (mine === asked) get("said").textContent = "The service can't be reached; the answer shown may be old.";
  }
}

// What the form alone can tell is not sent: a half-typed number is no request. The service judges all else.
// A map of what is wrong by feature: in an object there is something at "constructor" always.
function problems(sent) {
  const found = new Map();
  for (const feature of manifest.features) {
    const given = sent[feature.name];
    if (given === null && feature.fill === null) found.set(feature.name, "may not be empty");
    else if (feature.kind === "numeric" && typeof given === "string") found.set(feature.name, "expected a number");
  }
  return found;
}

function say(wrong, general) {
  get("said").textContent = general;
  manifest.features.forEach((feature, at) => {
    const detail = wrong.get(feature.name) ?? "";
    get(`f${at}-error`).textContent = detail;
    if (detail) fields[at].setAttribute("aria-invalid", "true");
    else fields[at].removeAttribute("aria-invalid");
  });
}

function refuse() {
  get("verdict").replaceChildren(element("p", { class: "verdict" }, element("b", { id: "label" }, "No answer"), element("span", {}, "See what is wrong in the form.")));
  get("filled").setAttribute("width", 0);
  get("why").hidden = get("curve").hidden = true; // they would be another row's
}

function show(got) {
  const passed = got.label === positive;
  const probability = element("span", { id: "probability" }, (100 * got.probability).toFixed(1));
  const label = element("b", { id: "label" }, got.label);
  const kind = passed ? "yes" : "no";
  get("verdict").replaceChildren(element("p", { class: `verdict ${kind}` }, label, " ", element("span", {}, probability, ` % for ${positive}`)));
  get("filled").setAttribute("width", 100 * got.probability);
  get("filled").setAttribute("class", kind);
  get("why").hidden = get("curve").hidden = false;
  showFlips(got.explanation.flips);
  showContributions(got.explanation);
  showEvidence(got);
  if (got.version !== manifest.version) get("said").textContent = "A new version of the model is in service: load this page again.";
}

function showFlips(flips) {
  const items = [];
  manifest.features.forEach((feature, at) => {
    const flip = flips[feature.name];
    for (const value of flip.levels ?? (flip.value === null ? [] : [flip.value])) {
      const said = typeof value === "number" ? String(Number(value.toPrecision(6))) : value;
      const button = element("button", { type: "button", class: "button" }, `${feature.name} ${said}`);
      button.addEventListener("click", () => {
        fields[at].value = value; // all its digits: a rounded one may lie on this side still
        fields[at].dispatchEvent(new Event("input", { bubbles: true }));
        fields[at].focus();
      });
      items.push(element("li", {}, button, ...(flip.outside ? [" ", element("span", { class: "hint" }, "beyond what was seen in training")] : [])));
    }
  });
  get("flips").replaceChildren(...(items.length ? items : [element("li", { class: "hint" }, "No single feature would.")]));
}

function showContributions({ contributions, reason }) {
  const parts = Object.entries(contributions ?? {});
  const largest = Math.max(...parts.map(([, part]) => Math.abs(part))) || 1;
  const rows = parts.map(([name, part]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", {}, bar(part / largest)),
      element("td", { class: "number" }, (part < 0 ? "" : "+") + part.toFixed(3)),
    ),
  );
  get("contributions").replaceChildren(...(rows.length ? rows : [element("tr", {}, element("td", {}, reason ?? ""))]));
}

function showEvidence({ evidence, probability }) {
  get("evidence").textContent = evidence
    ? `Of ${evidence.rows} rows that the fit had not seen, answered ${percent(evidence.lower)} to ${percent(evidence.upper)}, ` +
      `${evidence.positives} were ${positive}: ${percent(evidence.positives / evidence.rows, 1)} ` +
      `(95\u00a0% interval ${percent(evidence.low, 1)} to ${percent(evidence.high, 1)}).`
    : "There were too few rows held out near this answer to tell.";
  const bins = manifest.training.calibration;
  get("calibration").hidden = bins.length === 0;
  if (bins.length) get("calibration").querySelector(".picture").replaceChildren(calibration(bins, probability, "What the model said against how often it came so"));
}

async function showCurve(sent, got, mine) {
  const feature = manifest.features[get("along").selectedIndex];
  const here = sent[feature.name];
  const title = `The probability of ${positive} along ${feature.name}`;
  const values = feature.kind === "numeric" ? across(feature, here) : feature.levels;
  const answers = await post("/predict?watch=false", values.map((value) => ({ ...sent, [feature.name]: value })));
  if (mine !== asked) return;
  if (!Array.isArray(answers)) return get("picture").replaceChildren();
  get("ranged").hidden = feature.kind !== "numeric";
  const probabilities = answers.map((one) => one.probability);
  const points = values.map((value, at) => [value, probabilities[at]]);
  get("picture").replaceChildren(
    feature.kind === "numeric"
      ? curve(points, here === null ? null : [here, got.probability], [feature.minimum, feature.maximum], manifest.threshold, title)
      : columns(values, probabilities, values.indexOf(here), manifest.threshold, title),
  );
}

// Values across the training range, a little beyond it, and as far as the row's own.
function across({ minimum, maximum }, here) {
  const margin = 0.15 * (maximum - minimum) || 1;
  const low = Math.min(minimum - margin, here ?? minimum), high = Math.max(maximum + margin, here ?? maximum);
  return Array.from({ length: POINTS }, (_, at) => low + (high - low) * (at / (POINTS - 1)));
}

// A slider beside each number, over the training range; the number itself may be any.
function addSliders() {
  manifest.features.forEach((feature, at) => {
    if (feature.kind !== "numeric" || !(feature.maximum > feature.minimum)) return;
    const { minimum, maximum } = feature;
    const slider = element("input", { type: "range", min: minimum, max: maximum, step: "any", "aria-label": `${feature.name}, slider` });
    const follow = () => (slider.value = fields[at].value);
    slider.addEventListener("input", () => (fields[at].value = String(Number(Number(slider.value).toPrecision(4)))));
    fields[at].addEventListener("input", follow);
    follow();
    fields[at].after(slider);
  });
}

// How far the rows of the last hours are from those of the training.
async function showDrift() {
  const { rows, score, features } = await (await fetch("/drift")).json();
  const share = (part) => (part === undefined ? "" : percent(part));
  const line = (name, { psi, psi_limit, missing_share, unseen_share }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", { class: "number" }, psi === null ? "too few rows" : psi.toFixed(2)),
      element("td", {}, psi === null ? "" : psi > psi_limit ? "drifted" : "as trained"),
      element("td", { class: "number" }, share(missing_share)),
      element("td", { class: "number" }, share(unseen_share)),
    );
  const head = ["", "stability index", "", "missing", "unseen levels"].map((text) => (text ? element("th", { scope: "col" }, text) : element("td")));
  const body = [line("(score)", score), ...manifest.features.filter(({ name }) => name in features).map(({ name }) => line(name, features[name]))];
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  get("drift").querySelector("p").textContent = `How far the rows of the last hours, about ${Math.round(rows)}, are from those of the training.`;
  get("drift").querySelector(".wide").replaceChildren(table);
  get("drift").hidden = false;
}
