// Answers a CSV of any size: reads it in pieces, sends it in slices, and makes a table and a file to download.

import { counted, element, histogram, percent } from "./draw.js";

const SHOWN = 100; // rows in the page
const KEPT = 20_000; // rows that can be sorted and filtered
const SEPARATORS = [",", ";", "\t", "|"];
const ABOVE = 20; // lines among which the first that names a column of the model is the header
// A number only with this decimal mark: 3,1 and 1.234,5 but not 1,234 with a comma.
const only = (mark, other) => new RegExp(`^(?!\\D*\\d{1,3}(${mark}\\d{3})+\\D*$)\\D*[\\d${other}]*${mark}\\d+\\D*$`);
const COMMA = only(",", "."), POINT = only("\\.", ",");
// The first bytes of files that training reads and the page does not.
const NO_TEXT = { "80,75,3,4": "an Excel file or another archive", "208,207,17,224": "an old Excel file", "80,65,82,49": "a Parquet file", "31,139": "a compressed file" };
const get = (id) => document.getElementById(id);
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/;

// A spreadsheet reads text that begins so as a formula: it gets an apostrophe, but a number stays one (OWASP).
export const harmless = (cell) => (/^\s*[=+\-@\t\r\n]/.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell);
const quoted = (cell) => (/[",\r\n]/.test(cell) || cell === "" ? `"${cell.replaceAll('"', '""')}"` : cell);
const line = (cells) => `${cells.map(quoted).join(",")}\n`;
const newlines = (text) => text.match(/\r\n|\r|\n/g)?.length ?? 0;

// Splits pieces of text into records {line: the file's line that it ends on, cells}; an incomplete record waits.
class Records {
  #rest = "";
  #start = 0; // of the record that is read, in it
  #line = 0;
  #field; // one field and what ends it, as RFC 4180 and Python's csv have it

  constructor(separator) {
    this.#field = new RegExp(`(?:"((?:[^"]|"")*)"|((?!")[^${separator}\\r\\n]*))([${separator}]|\\r\\n|\\n|\\r|$)`, "y");
  }

  // Characters that are in no record yet.
  get waiting() {
    return this.#rest.length - this.#start;
  }

  *take(text, last) {
    const field = this.#field;
    this.#rest += text;
    let at = 0, cells = [];
    while (at < this.#rest.length) {
      field.lastIndex = at;
      const found = field.exec(this.#rest);
      if (!found || (field.lastIndex === this.#rest.length && !last)) {
        if (!found && last) throw new Error(`line ${this.#line + 1}: a quoted cell is not closed, or text follows its closing quote`);
        break;
      }
      cells.push(found[1]?.replaceAll('""', '"') ?? found[2]);
      at = field.lastIndex;
      const more = found[3] !== "" && !/[\r\n]/.test(found[3]);
      if (more && at < this.#rest.length) continue;
      if (more) cells.push("");
      this.#line += newlines(this.#rest.slice(this.#start, at)) || 1;
      this.#start = at;
      if (cells.length > 1 || cells[0] !== "") yield { line: this.#line, cells };
      cells = [];
    }
    this.#rest = this.#rest.slice(this.#start);
    this.#start = 0;
  }
}

export function acceptTables(manifest) {
  const drop = get("drop"), file = get("file");
  let running = null;
  const start = async (chosen) => {
    running?.abort();
    running = new AbortController();
    const mine = running;
    try {
      await answerTable(manifest, chosen, mine.signal);
    } catch (error) {
      if (mine.signal.aborted) return;
      get("progress").hidden = true;
      get("told").className = "error";
      get("told").textContent = error instanceof TypeError ? "The service can't be reached. Choose the file again later." : error.message;
    }
  };
  const choose = () => file.files[0] && start(file.files[0]);
  file.addEventListener("change", choose);
  choose(); // one that was chosen before the model's description came
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) start(event.dataTransfer.files[0]);
    });
  }
  const names = manifest.features.map(({ name }) => name);
  const rows = manifest.examples.map(({ instance }) => names.map((name) => String(instance[name] ?? "")));
  offer("sample", [[names, ...rows].map(line).join("")], `${manifest.name}_sample.csv`);
}

function offer(id, parts, name) {
  const link = get(id);
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  link.download = name;
  link.hidden = false;
}

async function* pieces(file) {
  const reader = file.stream().getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) yield piece.value;
}

// UTF-16 says so in its first bytes; other bytes that are not UTF-8 are what Windows writes.
async function encodingOf(file) {
  const start = [...new Uint8Array(await file.slice(0, 4).arrayBuffer())].join(), mark = start.split(",", 2).join();
  const kind = Object.keys(NO_TEXT).find((bytes) => `${start},`.startsWith(`${bytes},`));
  if (kind) throw new Error(`This is ${NO_TEXT[kind]}. Save the table as CSV, and choose that file.`);
  if (mark === "255,254" || mark === "254,255") return mark === "255,254" ? "utf-16le" : "utf-16be";
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const piece of pieces(file)) decoder.decode(piece, { stream: true });
    decoder.decode();
    return "utf-8";
  } catch {
    return "windows-1252";
  }
}

// The one that finds most of the model's columns in the first lines.
function separatorOf(text, known) {
  const lines = text.split(/\r\n|\r|\n/, ABOVE);
  const found = SEPARATORS.map((mark) => {
    const cells = new Set(lines.flatMap((one) => one.split(mark)).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
    return known.filter((name) => cells.has(name)).length;
  });
  return SEPARATORS[found.indexOf(Math.max(...found))];
}

// What a number's text becomes for the service, whose CSV with commas has the decimal mark that the training table had there.
function spelling(cells, separator, { separator: trained = ",", decimal = "." } = {}) {
  const same = separator !== "," && separator === trained && decimal === ",";
  const commas = (same || cells.some((cell) => COMMA.test(cell))) && !cells.some((cell) => POINT.test(cell));
  const pointed = (cell) => (commas ? cell.replace(/[\d.]+(,\d+)?|,\d+/, (number) => number.replaceAll(".", "").replace(",", ".")) : cell);
  return trained === "," && decimal === "," ? (cell) => pointed(cell).replace(".", ",") : pointed;
}

async function answerTable(manifest, file, signal) {
  const names = manifest.features.map((feature) => feature.name);
  const sources = new Map(Object.entries(manifest.dates ?? {}).flatMap(([name, { parts }]) => parts.map((part) => [`${name}.${part}`, name])));
  const known = [...names, ...new Set(sources.values())];
  const limits = { rows: Number(document.body.dataset.rows), bytes: Number(document.body.dataset.bytes) / 4 };
  const table = { known, sources, manifest, above: 0, header: null, columns: null, added: null, kept: [], parts: [], answered: 0, positive: 0, wrong: 0, bins: Array(20).fill(0), truth: null };
  begin();
  const encoding = await encodingOf(file), decoder = new TextDecoder(encoding);
  let records, separator, slice = [], size = 0, read = 0;
  const send = async () => {
    if (slice.length) await answerSlice(table, slice, signal);
    slice = [];
    size = 0;
    get("progress").value = file.size ? Math.max(0, read - records.waiting) / file.size : 1;
    get("told").textContent = `${counted(table.answered)} answered`;
  };
  const accept = async (text, last) => {
    separator ??= table.separator = separatorOf(text, known);
    records ??= new Records(separator);
    for (const record of records.take(text, last)) {
      if (table.header || !readHeader(table, record)) {
        slice.push(record);
        size += record.cells.reduce((sum, cell) => sum + cell.length + 3, 0);
        if (slice.length >= limits.rows || size >= limits.bytes) await send();
      }
    }
  };
  for await (const piece of pieces(file)) {
    read += piece.length;
    await accept(decoder.decode(piece, { stream: true }), false);
  }
  await accept(decoder.decode(), true);
  if (!table.header) throw new Error(table.missed ?? "The file is empty. Its header must name the columns.");
  await send();
  end(table, file.name, encoding);
}

// Whether a record is the header: the first of a file's records that names a column of the model.
function readHeader(table, { line: at, cells }) {
  const { known, sources, manifest: { features, dialect } } = table, none = dialect?.header === false;
  const header = cells.map((cell) => cell.trim()), named = header.some((cell) => known.includes(cell));
  table.missed = `None of the first ${(table.above += 1)} lines names a column of the model: ${known.join(", ")}.`;
  if (!named && !none && table.above < ABOVE) return true;
  if (!named && !none) throw new Error(table.missed);
  table.header = named ? header : cells.map((_, index) => `column${index + 1}`);
  const place = (name) => (table.header.includes(sources.get(name)) ? sources.get(name) : name);
  table.places = new Map(features.map(({ name }) => [name, place(name)])); // a part of a date is read from the date
  table.names = [...new Set(table.places.values())];
  const times = (name) => table.header.filter((column) => column === name).length;
  const wrong = table.names.filter((name) => times(name) !== 1).map((name) => `column ${name} is ${times(name) ? "duplicated" : "missing"}`);
  if (wrong.length) throw new Error(`line ${at}: ${wrong.join(", ")}.`);
  return named;
}

// With the first rows comes what they have beside the header: a column more, as in training, and a decimal mark.
function prepare(table, rows) {
  const { names, manifest: { features, target, dialect } } = table, extra = dialect?.extra;
  if (extra && rows[0].cells.length === table.header.length + 1) table.header = extra === "first" ? ["", ...table.header] : [...table.header, ""];
  const { header } = table, numeric = new Set(features.filter(({ kind }) => kind === "numeric").map(({ name }) => name));
  table.columns = names.map((name) => ({ at: header.indexOf(name), numeric: numeric.has(name) }));
  const numbers = table.columns.filter(({ numeric }) => numeric).flatMap(({ at }) => rows.map(({ cells }) => cells[at] ?? ""));
  table.spelled = spelling(numbers, table.separator, dialect);
  const at = names.includes(target.name) ? -1 : header.indexOf(target.name);
  if (at >= 0) table.truth = { at, matrix: [[0, 0], [0, 0]], loss: 0, rows: 0 };
}

// Only the features' cells are sent; the download copies the others.
async function answerSlice(table, slice, signal) {
  if (!table.columns) prepare(table, slice);
  const { names, header, columns, spelled } = table;
  const whole = slice.filter(({ cells }) => cells.length === header.length);
  const body = line(names) + whole.map(({ cells }) => line(columns.map(({ at, numeric }) => (numeric ? spelled(cells[at]) : cells[at])))).join("");
  const options = { method: "POST", headers: { "Content-Type": "text/csv" }, body, signal };
  const response = await fetch("predict?watch=false&errors=row", options);
  if (!response.ok) throw new Error((await response.json()).detail);
  const [found, ...answers] = [...new Records(",").take(await response.text(), true)].map(({ cells }) => cells.slice(names.length));
  table.added ??= found.reduce((added, name) => [...added, freed(name, [...header, ...added])], []);
  if (!table.parts.length) table.parts.push(line([...header, ...table.added].map(harmless)));
  const blank = (detail) => [...Array(found.length - 1).fill(""), detail];
  const text = slice.map((record) => {
    const lengths = `${record.cells.length} cells where the header has ${header.length}`;
    record.answer = record.cells.length === header.length ? answers.shift() : blank(lengths);
    count(table, record);
    return line([...header.map((_, at) => record.cells[at] ?? ""), ...record.answer].map(harmless));
  });
  table.parts.push(new Blob(text));
  if (table.kept.length < KEPT) table.kept.push(...slice);
}

// If the file already has a column of that name, the answer's is called predicted_*.
const freed = (name, taken) => (taken.includes(name) ? freed(`predicted_${name}`, taken) : name);

function count(table, record) {
  record.error = record.answer.at(-1);
  if (record.error) return (table.wrong += 1);
  const { truth, manifest: { target } } = table, p = Number(record.answer[2]);
  record.positive = record.answer[0] === "true";
  record.probability = p;
  table.answered += 1;
  table.positive += record.positive;
  table.bins[Math.min(19, Math.floor(20 * p))] += 1;
  const cell = truth && record.cells[truth.at].trim();
  const outcome = truth ? target.values.findIndex((value) => value === cell || (cell !== "" && Number(value) === Number(cell))) : -1;
  if (outcome < 0) return;
  truth.rows += 1;
  truth.matrix[outcome][Number(record.positive)] += 1;
  truth.loss -= Math.log(Math.max(outcome ? p : 1 - p, 1e-15));
}

function begin() {
  get("progress").hidden = false;
  get("progress").value = 0;
  get("told").className = "";
  get("told").textContent = "Reading";
  get("found").hidden = true;
}

function end(table, name, encoding) {
  const { header, answered, positive, wrong, kept, manifest: { target } } = table, [no, yes] = target.labels;
  get("progress").hidden = true;
  const extra = header.filter((column) => !table.names.includes(column) && column !== target.name);
  const told = [`${counted(answered)} answered: ${positive} ${yes}, ${answered - positive} ${no}.`];
  if (wrong) told.push(`${counted(wrong)} with an error: the marked cells say why, and the column error of the download.`);
  if (kept.length < answered + wrong) told.push(`The first ${counted(kept.length)} can be sorted.`);
  if (encoding !== "utf-8") told.push(`Read as ${encoding}.`);
  if (extra.length) told.push(`Copied, but not used: ${extra.join(", ")}.`);
  get("told").className = wrong ? "error" : "";
  get("told").textContent = told.join(" ");
  if (!answered && !wrong) return;
  offer("download", table.parts, name.replace(/(\.[a-z]+)?$/i, "_answered.csv"));
  get("spread").replaceChildren(...(answered ? [histogram(table.bins, answered, table.manifest)] : []));
  get("truth").replaceChildren(...(table.truth?.rows ? [matrix(table.truth, target)] : []));
  const only = get("only"), order = { column: null, down: false };
  only.value = wrong ? "error" : "";
  const draw = () => fill(table, only.value, order, draw);
  only.onchange = draw;
  draw();
  get("found").hidden = false;
}

function matrix({ matrix: [negative, positive], loss, rows }, { name, values, labels }) {
  const row = (title, [no, yes]) => element("tr", {}, element("th", { scope: "row" }, title), element("td", { class: "number" }, yes), element("td", { class: "number" }, no));
  const head = element("tr", {}, element("td"), ...[labels[1], labels[0]].map((label) => element("th", { scope: "col" }, `answered ${label}`)));
  const right = percent((negative[0] + positive[1]) / rows, 1);
  return element("table", {}, element("caption", {}, `${counted(rows)} with a known ${name}: ${right} right, log loss ${(loss / rows).toFixed(4)}`), element("thead", {}, head), element("tbody", {}, row(`${name} is ${values[1]}`, positive), row(`${name} is ${values[0]}`, negative)));
}

const KINDS = { yes: (record) => record.positive, no: (record) => record.positive === false, error: (record) => record.error, "": () => true };

// The rows that the filter lets through, in the order of a column: the file's own, or a column's, numbers by size.
function fill(table, kind, order, draw) {
  const { header, added } = table, titles = ["line", ...header, ...(kind === "error" ? [] : [added[2]])];
  const cells = ({ line: at, cells: own, answer }) => [String(at), ...header.map((_, index) => own[index] ?? ""), answer[2]];
  const compare = (a, b) => Number(a) - Number(b) || a.localeCompare(b);
  const rows = table.kept.filter(KINDS[kind]);
  if (order.column !== null) rows.sort((a, b) => compare(cells(a)[order.column], cells(b)[order.column]) * (order.down ? -1 : 1));
  const sorted = (at) => (order.column === at ? { "aria-sort": order.down ? "descending" : "ascending" } : {});
  const heads = titles.map((title, at) => {
    const button = element("button", { type: "button", class: "sort" }, title);
    button.addEventListener("click", () => {
      Object.assign(order, { column: at, down: order.column === at && !order.down });
      draw();
      get("rows").querySelectorAll("th button")[at].focus();
    });
    return element("th", { scope: "col", ...(at > header.length ? { class: "ours" } : {}), ...sorted(at) }, button);
  });
  get("shown").textContent = rows.length > SHOWN ? `${SHOWN} of ${counted(rows.length)}` : counted(rows.length);
  const body = rows.slice(0, SHOWN).map((record) => (record.error ? faulty(record, table, titles.length) : answered(cells(record), record.answer[1])));
  get("rows").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body)));
}

function answered(cells, label) {
  const own = cells.slice(1, -1).map((cell) => element("td", {}, cell));
  return element("tr", {}, element("th", { scope: "row" }, cells[0]), ...own, element("td", { class: "ours number" }, `${label} ${Number(cells.at(-1)).toFixed(4)}`));
}

// A row with each fault at its cell, or at the line's number if the whole row is at fault.
function faulty({ line: at, cells, error }, { header, places }, width) {
  const faults = new Map();
  let name;
  for (const part of error.split("; ")) {
    const found = [...places].find(([feature]) => part.startsWith(`${feature}: `));
    if (found) faults.set((name = found[1]), [part.slice(found[0].length + 2)]);
    else faults.set(name, [[...(faults.get(name) ?? []), part].join("; ")]);
  }
  const mark = (name, text, tag) => {
    const here = faults.get(name) ?? [];
    return element(tag, here.length ? { class: "wrong" } : {}, text, ...here.map((detail) => element("span", { class: "error" }, detail)));
  };
  const own = header.map((name, column) => mark(name, cells[column] ?? "", "td"));
  const none = Array.from({ length: width - own.length - 1 }, () => element("td", { class: "ours" }));
  return element("tr", {}, mark(undefined, String(at), "th"), ...own, ...none);
}
