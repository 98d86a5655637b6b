// Answers a CSV of any size: reads it in pieces, sends it in slices, and makes a table and a file to download.

import { element } from "./draw.js";

const SHOWN = 100; // rows, answered or at fault
const get = (id) => document.getElementById(id);
const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$/;
// One field and what ends it, as RFC 4180 and Python's csv have it.
const FIELD = /(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\n|\r|$)/y;

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

  // Characters that are in no record yet.
  get waiting() {
    return this.#rest.length - this.#start;
  }

  *take(text, last) {
    this.#rest += text;
    let at = 0, cells = [];
    while (at < this.#rest.length) {
      FIELD.lastIndex = at;
      const found = FIELD.exec(this.#rest);
      if (!found || (FIELD.lastIndex === this.#rest.length && !last)) {
        if (!found && last) throw new Error(`line ${this.#line + 1}: a quoted cell is not closed, or text follows its closing quote`);
        break;
      }
      cells.push(found[1]?.replaceAll('""', '"') ?? found[2]);
      at = FIELD.lastIndex;
      if (found[3] === "," && at < this.#rest.length) continue;
      if (found[3] === ",") cells.push("");
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
      get("told").textContent = error instanceof TypeError ? "The file is not UTF-8 text, or the service can't be reached." : error.message;
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
}

async function answerTable(manifest, file, signal) {
  const names = manifest.features.map((feature) => feature.name);
  const limits = { rows: Number(document.body.dataset.rows), bytes: Number(document.body.dataset.bytes) / 4 };
  const table = { header: null, added: null, shown: [], faults: [], more: false, untold: false, parts: [], rows: 0 };
  begin();
  const records = new Records();
  let slice = [], size = 0, read = 0;
  const send = async () => {
    if (slice.length) await answerSlice(table, slice, signal);
    slice = [];
    size = 0;
    get("progress").value = file.size ? (read - records.waiting) / file.size : 1;
    get("told").textContent = `${table.rows} rows answered`;
  };
  const accept = async (found) => {
    for (const record of found) {
      if (!table.header) readHeader(table, record.cells, names);
      else {
        slice.push(record);
        size += record.cells.reduce((sum, cell) => sum + cell.length + 3, 0);
        if (slice.length >= limits.rows || size >= limits.bytes) await send();
      }
      if (table.more) return;
    }
  };
  const reader = file.stream().getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  for (let piece = await reader.read(); !piece.done && !table.more; piece = await reader.read()) {
    read += piece.value.length;
    await accept(records.take(decoder.decode(piece.value, { stream: true }), false));
  }
  if (!table.more) {
    await accept(records.take(decoder.decode(), true));
    if (!table.header) throw new Error("The file is empty. Its first line must name the columns.");
    await send();
  } else await reader.cancel();
  end(table, file.name);
}

function readHeader(table, cells, names) {
  table.header = cells.map((cell) => cell.trim());
  const missing = names.filter((name) => !table.header.includes(name));
  const twice = names.filter((name) => table.header.indexOf(name) !== table.header.lastIndexOf(name));
  const wrong = [...missing.map((name) => `column ${name} is missing`), ...twice.map((name) => `column ${name} is duplicated`)];
  if (wrong.length) throw new Error(`line 1: ${wrong.join(", ")}. The model needs the columns ${names.join(", ")}.`);
  table.order = names.map((name) => table.header.indexOf(name));
  table.names = names;
}

// Only the features' cells are sent; the download copies the others.
async function answerSlice(table, slice, signal) {
  const whole = slice.filter((record) => record.cells.length === table.header.length);
  const faults = slice
    .filter((record) => record.cells.length !== table.header.length)
    .map((record) => ({ record, detail: `${record.cells.length} cells where the header has ${table.header.length}` }));
  let text = line(table.names), at = newlines(text);
  const ends = new Map([[0, null]]); // the slice's line -> its record; "row 3" counts records
  for (const record of whole) {
    const sent = line(table.order.map((column) => record.cells[column]));
    at += newlines(sent);
    ends.set(at, record);
    text += sent;
  }
  const options = { method: "POST", headers: { "Content-Type": "text/csv" }, body: text, signal };
  const answered = await fetch("predict?watch=false", options);
  if (answered.ok) {
    const [header, ...rows] = [...new Records().take(await answered.text(), true)].map((record) => record.cells.slice(table.names.length));
    table.added ??= header.reduce((added, name) => [...added, freed(name, [...table.header, ...added])], []);
    if (!table.parts.length) table.parts.push(line([...table.header, ...table.added].map(harmless)));
    table.parts.push(new Blob(rows.map((cells, index) => line([...whole[index].cells, ...cells].map(harmless)))));
    rows.slice(0, SHOWN - table.shown.length).forEach((cells, index) => table.shown.push([...whole[index].cells, ...cells]));
    table.rows += rows.length;
  } else {
    const { detail, errors } = await answered.json();
    if (!errors) throw new Error(detail);
    for (const { pointer, detail: why } of errors) {
      const [, kind, number, name] = /^(line|row) (\d+)(?:, ([^]*))?$/.exec(pointer) ?? [];
      const record = kind === "row" ? whole[number - 1] : ends.get(Number(number));
      if (!record) throw new Error(`${pointer}: ${why}`);
      faults.push({ record, name, detail: why });
    }
    table.untold ||= errors.length >= Number(document.body.dataset.errors); // the service lists no more than so many
  }
  table.faults.push(...faults);
  table.more = table.faults.length >= SHOWN;
}

// If the file already has a column of that name, the answer's is called predicted_*.
const freed = (name, taken) => (taken.includes(name) ? freed(`predicted_${name}`, taken) : name);

function begin() {
  get("progress").hidden = false;
  get("progress").value = 0;
  get("told").className = "";
  get("told").textContent = "Reading";
  get("download").hidden = get("rows").hidden = true;
}

function end(table, name) {
  const { faults, header, added, shown, rows } = table;
  get("progress").hidden = true;
  if (faults.length) {
    get("told").className = "error";
    const more = table.more || table.untold ? "At least " : "";
    get("told").textContent = `${more}${faults.length} ${faults.length > 1 ? "cells are" : "cell is"} wrong. Correct the file and choose it again.`;
    return fill(["line", ...header], [...group(faults)].sort(([a], [b]) => a.line - b.line).slice(0, SHOWN).map(([record, found]) => faulty(record, found, header)));
  }
  const extra = header.filter((column) => !table.names.includes(column));
  get("told").textContent = `${rows} rows answered${rows > SHOWN ? `, the first ${SHOWN} shown` : ""}.${extra.length ? ` Copied, but not used: ${extra.join(", ")}.` : ""}`;
  if (!rows) return;
  const download = get("download");
  if (download.href) URL.revokeObjectURL(download.href);
  download.href = URL.createObjectURL(new Blob(table.parts, { type: "text/csv" }));
  download.download = name.replace(/(\.csv)?$/i, "_answered.csv");
  download.hidden = false;
  const label = header.length + 1, probability = header.length + 2; // after the verdict, as true or false
  fill(
    [...header, added[1], added[2]],
    shown.map((cells) => element("tr", {}, ...cells.slice(0, header.length).map((cell) => element("td", {}, cell)), element("td", { class: "ours" }, cells[label]), element("td", { class: "ours number" }, Number(cells[probability]).toFixed(4)))),
  );
}

function group(faults) {
  const records = new Map();
  for (const fault of faults) records.set(fault.record, [...(records.get(fault.record) ?? []), fault]);
  return records;
}

// A row with each fault at its cell, or at the line's number if the whole row is at fault.
function faulty(record, found, header) {
  const mark = (name, text, tag) => {
    const here = found.filter((fault) => fault.name === name).map((fault) => fault.detail);
    return element(tag, here.length ? { class: "wrong" } : {}, text, ...here.map((detail) => element("span", { class: "error" }, detail)));
  };
  const cells = header.map((name, at) => mark(name, record.cells[at] ?? "", "td"));
  return element("tr", {}, mark(undefined, String(record.line), "th"), ...cells);
}

function fill(header, rows) {
  const head = element("thead", {}, element("tr", {}, ...header.map((name) => element("th", { scope: "col" }, name))));
  get("rows").replaceChildren(element("table", {}, head, element("tbody", {}, ...rows)));
  get("rows").hidden = false;
}
