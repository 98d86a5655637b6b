// The report's own script, after the model's: a form that the model answers in this page, and a slider for the threshold.
const one = (id) => document.getElementById(id);
const tried = one("try"), slider = one("slider");

function ask() {
  const row = Object.fromEntries([...tried.querySelectorAll("input, select")].map(({ name, value }) => [name, value]));
  try {
    const { verdict, label, probability: share, outside } = predictTexts(row);
    one("label").className = verdict ? "yes" : "no";
    one("label").textContent = label;
    one("told").textContent = `${(100 * share).toFixed(1)} % probability of ${labels[1]}.`;
    if (outside.length) one("told").append(` The answer is an extrapolation, outside the training range of ${outside.join(", ")}.`);
  } catch (error) {
    one("label").className = "";
    one("label").textContent = "No answer";
    one("told").textContent = error.message;
  }
}

function move() {
  const rows = JSON.parse(slider.dataset.rows), [no, yes] = JSON.parse(slider.dataset.counts);
  const [at, falsePositives, falseNegatives] = rows[slider.value];
  const truePositives = yes - falseNegatives, trueNegatives = no - falsePositives;
  const cost = one("cost-fp").value * falsePositives + one("cost-fn").value * falseNegatives;
  const said = { at, truePositives, falsePositives, falseNegatives, trueNegatives, cost };
  for (const [name, value] of Object.entries(said)) one(name).textContent = String(Number(value.toPrecision(6)));
  for (const line of document.querySelectorAll(".mark")) line.setAttribute("d", `M${at} 0V1`);
  one("in-use").setAttribute("cx", falsePositives / (no || 1));
  one("in-use").setAttribute("cy", truePositives / (yes || 1));
}

if (tried) {
  tried.hidden = false;
  tried.addEventListener("input", ask);
  ask();
}
if (slider) {
  one("moving").hidden = false;
  one("moving").addEventListener("input", move);
  move();
}
