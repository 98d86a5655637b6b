// Answers the form as you type. Without this file the form is sent, and answered as a page.

import { calibration, columns, curve, element, percent } from "./draw.js";
import { acceptTables } from "./table.js";

const POINTS = 101; // of the curve: one request
const get = (id) => document.getElementById(id);
const form = get("form");
const fields = [...form.querySelectorAll("input, select")];
const manifest = await (await fetch("model")).json();
let pending = new AbortController(); // the latest change's requests; the next change aborts them
let keeping; // the timer that puts the row into the address

document.body.classList.add("live");
addSliders();
// Most of what is typed is on its way to something else: only a form that is sent counts as traffic.
form.addEventListener("input", () => {
  clearTimeout(keeping); // a slider changes faster than a browser lets the address change
  keeping = setTimeout(() => history.replaceState(null, "", `#${query()}`), 200);
  answer();
});
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
addEventListener("popstate", () => {
  fill();
  answer();
});
get("along").addEventListener("change", () => answer());
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

function visit(row) {
  clearTimeout(keeping);
  history.pushState(null, "", `#${row}`);
  fill();
  answer(true);
}

function fill() {
  if (location.hash && !location.hash.includes("=")) return; // a section of the page
  const row = new URLSearchParams(location.hash.slice(1));
  form.reset();
  for (const field of fields) {
    if (row.has(field.name)) field.value = row.get(field.name);
    field.dispatchEvent(new Event("filled"));
  }
}

// The answer is busy until what stands on the page belongs to what stands in the form.
async function answer(sent = false) {
  pending.abort();
  pending = new AbortController();
  const { signal } = pending;
  get("answer").setAttribute("aria-busy", "true");
  try {
    const response = await fetch(`answer?watch=${sent}`, { method: "POST", body: query(), signal });
    if (!response.ok && response.status !== 422) throw new Error(response.statusText); // at capacity, say
    show(new DOMParser().parseFromString(await response.text(), "text/html"));
    if (sent) keep();
    await draw(signal);
    get("offline").hidden = true;
  } catch {
    if (signal.aborted) return;
    get("offline").hidden = false;
  }
  get("answer").setAttribute("aria-busy", "false");
}

// The service has rendered the answer; what is live in it replaces what stands here.
function show(fresh) {
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = get(part.id);
    old.replaceChildren(...part.childNodes);
    for (const { name } of [...old.attributes]) if (name.startsWith("data-")) old.removeAttribute(name);
    for (const { name, value } of part.attributes) old.setAttribute(name, value);
  }
  for (const field of fields) {
    if (get(`${field.id}-note`).matches(".error:not(:empty)")) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
  get("stale").hidden = get("why").dataset.version === document.body.dataset.version;
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

// A slider beside each number, over the training range; the number itself may be any.
function addSliders() {
  manifest.features.forEach(({ name, kind, minimum, maximum }, at) => {
    if (kind !== "numeric" || !(maximum > minimum)) return;
    const slider = element("input", { type: "range", min: minimum, max: maximum, step: "any", "aria-label": `${name}, slider` });
    const follow = () => (slider.value = fields[at].value);
    slider.addEventListener("input", () => (fields[at].value = String(Number(Number(slider.value).toPrecision(4)))));
    for (const event of ["input", "filled"]) fields[at].addEventListener(event, follow);
    follow();
    fields[at].after(slider);
  });
}
