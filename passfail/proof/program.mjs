// Answers the rows of the proof with an export's model.js; engines.py runs it in Node.js.
import * as model from './model.mjs';
import fs from 'node:fs';
const bytes = new Uint8Array(fs.readFileSync('x')), x = new Float64Array(bytes.buffer);
const { rows, at, d, positive } = JSON.parse(fs.readFileSync('rows'));
const n = x.length / d, out = new Float64Array(3 * n);
for (let row = 0; row < n; row++) {
  out[row] = model.logit(x.subarray(row * d, (row + 1) * d));
  out[n + row] = model.probability(out[row]);
  out[2 * n + row] = 2 * Number(out[row] > model.model.threshold);
}
rows.forEach((row, index) => {
  let answer = [NaN, NaN, NaN];
  try {
    const { logit, probability, verdict, label } = model.predict(row);
    answer = [logit, probability, Number(verdict) + Number(label === positive)];
  } catch {} // a row that it refuses
  answer.forEach((value, part) => { out[part * n + at[index]] = value; });
});
fs.writeFileSync('out', out);
