// Answers the form as you type. Without this file the form is sent, and answered as a page.

import { calibration, columns, curve, element, percent } from "./draw.js";
import { acceptTables } from "./table.js";

const POINTS = 101; // of the curve: one request
const SLOW = 120; // milliseconds without an answer of the service, after which this browser answers
const get = (id) => document.getElementById(id);
const form = get("form");
const fields = [...form.querySelectorAll("[name]")].sort((a, b) => a.id.slice(1) - b.id.slice(1)); // as the model has them
const groups = form.querySelectorAll(".group");
const manifest = await (await fetch("model")).json();
const model = "module" in document.body.dataset ? await import("./model.js") : null; // the export's own
let pending = new AbortController(); // the latest change's requests; the next change aborts them
let waiting; // the timer after which this browser answers
let keeping; // the timer that puts the row into the address
let edited; // the field whose changes are in the history's newest entry, which Back and Undo leave
let before; // the row as it was before a change

document.body.classList.add("live");
addSliders();
// Most of what is typed is on its way to something else: only a form that is sent counts as traffic.
form.addEventListener("input", ({ target }) => {
  if (edited !== target) {
    history.replaceState(history.state, "", `#${before}`);
    enter(location.href);
  }
  edited = target;
  before = query();
  clearTimeout(keeping); // a slider changes faster than a browser lets the address change
  keeping = setTimeout(keepAddress, 200);
  answer();
});
form.addEventListener("change", () => (edited = undefined));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  visit(query());
});
addEventListener("click", (event) => {
  const link = event.target.closest("a.row");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  visit(new URL(link.href).searchParams);
});
get("undo").addEventListener("click", () => history.back());
addEventListener("popstate", () => {
  fill();
  answer();
});
get("along").addEventListener("change", () => answer());
get("search")?.addEventListener("input", ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  for (const { name, id } of fields) get(id).closest(".field").hidden = !name.toLowerCase().includes(wanted);
  for (const group of groups) {
    group.hidden = !group.querySelector(".field:not([hidden])");
    group.open ||= wanted !== "";
  }
});
for (const field of fields) if (field.list) field.addEventListener("focus", () => field.select()); // a list shows what matches
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => navigator.clipboard.writeText(get(button.dataset.copies).textContent));
}
acceptTables(manifest);
fill();
answer();

// The row stands in the address after the #, which no browser sends anywhere: it can be shared, and Back undoes it.
function query() {
  return new URLSearchParams(new FormData(form));
}

function keepAddress() {
  clearTimeout(keeping);
  if (keeping) history.replaceState(history.state, "", `#${query()}`);
  keeping = undefined;
}

function enter(address) {
  history.pushState(true, "", address); // true: there is something to undo
  get("undo").disabled = false;
}

function visit(row) {
  keepAddress(); // for the way back
  enter(`#${row}`);
  fill();
  answer(true);
}

function fill() {
  get("undo").disabled = !history.state;
  if (location.hash && !location.hash.includes("=")) return; // a section of the page
  const row = new URLSearchParams(location.hash.slice(1));
  form.reset();
  for (const field of fields) {
    if (row.has(field.name)) field.value = row.get(field.name);
    field.dispatchEvent(new Event("filled"));
  }
  before = query();
  edited = undefined;
}

// The answer is busy until what stands on the page belongs to what stands in the form.
async function answer(sent = false) {
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  get("answer").setAttribute("aria-busy", "true");
  by("");
  clearTimeout(waiting);
  waiting = setTimeout(answerHere, SLOW);
  try {
    const response = await fetch(`answer?watch=${sent}`, { method: "POST", body: query(), signal });
    if (!response.ok && response.status !== 422) throw new Error(response.statusText); // at capacity, say
    const text = await response.text();
    clearTimeout(waiting);
    show(new DOMParser().parseFromString(text, "text/html"));
    by("service");
    if (sent) keep();
    await draw(signal);
    get("offline").hidden = true;
  } catch {
    if (signal.aborted) return;
    clearTimeout(waiting);
    answerHere();
    get("offline").hidden = false;
  }
  get("answer").setAttribute("aria-busy", "false");
}

function by(whom) {
  get("answer").dataset.by = whom;
  get("by").textContent = { service: "Answered by the service.", browser: `Answered in this browser, by version ${document.body.dataset.version}.` }[whom] ?? "\u00a0";
}

// The verdict by the export's own module, as the service renders it. What explains a verdict needs the service.
function answerHere() {
  if (!model) return;
  let errors = [], outside = [];
  try {
    const found = model.predictTexts(Object.fromEntries(query()));
    outside = found.outside;
    const share = element("span", {}, element("span", { id: "probability" }, (100 * found.probability).toFixed(1)), ` % probability of ${manifest.target.labels[1]}`);
    const parts = [element("p", { class: `verdict ${found.verdict ? "yes" : "no"}` }, element("b", { id: "label" }, found.label), share)];
    if (outside.length) parts.push(element("p", { class: "warning" }, `The answer is an extrapolation, outside the training range of ${outside.join(", ")}.`));
    get("verdict").replaceChildren(...parts);
  } catch (error) {
    errors = error.errors;
    get("verdict").replaceChildren(element("p", { class: "verdict" }, element("b", { id: "label" }, "No answer")), element("p", { class: "error" }, errors.length ? "Correct the marked fields of the form." : error.message));
  }
  for (const field of fields) {
    const wrong = errors.find(({ name }) => name === field.name)?.detail, note = get(`${field.id}-note`);
    note.className = wrong ? "error" : "warning";
    note.textContent = wrong ?? (outside.includes(field.name) ? "outside the training range" : "");
  }
  mark();
  get("why").inert = true; // it explains an earlier row
  by("browser");
}

// The service has rendered the answer; what is live in it replaces what stands here.
function show(fresh) {
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = get(part.id), open = [...old.querySelectorAll("details[open]")].map(({ id }) => id);
    old.replaceChildren(...part.childNodes);
    for (const id of open) get(id)?.setAttribute("open", "");
    for (const { name } of [...old.attributes]) if (name.startsWith("data-")) old.removeAttribute(name);
    for (const { name, value } of part.attributes) old.setAttribute(name, value);
  }
  mark();
  get("why").inert = false;
  get("stale").hidden = get("why").dataset.version === document.body.dataset.version;
}

function mark() {
  for (const field of fields) {
    const wrong = get(`${field.id}-note`).matches(".error:not(:empty)"), group = field.closest(".group");
    if (wrong) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
    if (wrong && group) group.open = true;
    get(`${field.id}-whole`)?.replaceChildren(field.value.length > 30 ? field.value : ""); // a phone's select cuts it
  }
}

// A line for each row that was sent, the latest first, so that answers can be compared and rows tried again.
function keep() {
  const { probability } = get("why").dataset;
  if (probability === undefined) return;
  const again = element("a", { class: "row", href: `./?${query()}` }, "try again");
  const cells = [...fields.map(({ value }) => value), get("label").textContent, percent(Number(probability), 1), again];
  get("tries").querySelector("tbody").prepend(element("tr", {}, ...cells.map((cell) => element("td", {}, cell))));
  get("tries").hidden = false;
}

async function draw(signal) {
  const { row, probability } = get("why").dataset;
  get("curve").hidden = row === undefined; // it would be another row's
  if (row === undefined) return;
  await drawCurve(JSON.parse(row), Number(probability), signal);
  const bins = manifest.training.calibration;
  get("calibration").hidden = bins.length === 0;
  if (bins.length) get("calibration").querySelector(".picture").replaceChildren(calibration(bins, Number(probability), manifest));
}

async function drawCurve(row, probability, signal) {
  const feature = manifest.features[get("along").selectedIndex];
  const here = row[feature.name];
  const values = feature.kind === "numeric" ? across(feature, here) : feature.levels;
  const body = JSON.stringify(values.map((value) => ({ ...row, [feature.name]: value })));
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body, signal };
  const answers = await (await fetch("predict?watch=false", options)).json();
  if (!Array.isArray(answers)) return get("picture").replaceChildren();
  get("ranged").hidden = feature.kind !== "numeric";
  const points = values.map((value, at) => [value, answers[at].probability]);
  const picture = feature.kind === "numeric" ? curve : columns;
  get("picture").replaceChildren(picture(points, here === null ? null : [here, probability], feature, manifest));
}

// Values across the training range, a little beyond it, and as far as the row's own.
function across({ minimum, maximum }, here) {
  const margin = 0.15 * (maximum - minimum) || 1;
  const low = Math.min(minimum - margin, here ?? minimum), high = Math.max(maximum + margin, here ?? maximum);
  return Array.from({ length: POINTS }, (_, at) => low + (high - low) * (at / (POINTS - 1)));
}

// A slider goes over the training range; the number beside it may be any.
function addSliders() {
  for (const slider of form.querySelectorAll("[data-for]")) {
    const field = get(slider.dataset.for), follow = () => (slider.value = field.value);
    slider.addEventListener("input", () => (field.value = String(Number(Number(slider.value).toPrecision(4)))));
    for (const event of ["input", "filled"]) field.addEventListener(event, follow);
  }
}
