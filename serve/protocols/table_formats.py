"""CSV without a header, JSON lines, and the choice of a response's format."""

import csv
import io
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from passfail.arrays import Floats
from passfail.codecs import Codecs
from passfail.codecs.csv_rows import WORDS, csv_line
from passfail.codecs.strict_json import FAULTS, UNREADABLE, WHITE, is_array, may_repeat, values
from passfail.columns import Columns, wrong
from passfail.errors import BodyTooLarge, InvalidInstance, MalformedBody, of_a_row
from serve.http.content import chosen
from serve.http.errors import UnsupportedMediaType
from serve.http.messages import CSV, JSON, JSON_LINES, Answer, Request, header_line, json_answer, media_type

MEDIA_TYPES = (JSON, CSV, JSON_LINES)
AS_CSV, AS_LINES = header_line("Content-Type", "text/csv; charset=utf-8"), header_line("Content-Type", JSON_LINES)
LINES = (JSON_LINES, "application/jsonl", "application/x-ndjson")
ALIASES = re.compile(rb"application/(jsonl|x-ndjson)(?![\w-])", re.I)  # names of JSON lines, an unregistered type
MOST_WITH_EXTRAS = 1 << 18  # bytes of a body with other fields: decoding it at once holds the interpreter's lock
LONGEST_HEAD = 100_000  # bytes that are searched for a CSV's header; the csv module refuses a cell of more than 131,072
ANSWERS = msgspec.json.Decoder(list[msgspec.Raw])
FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
RECORDS = msgspec.json.Decoder(list[dict[str, Any]])


@lru_cache(64)  # nearly all requests have one of a few
def media_types(sent: bytes, accepted: bytes) -> tuple[str, str]:
    """The media types of a request and of its response, each one of MEDIA_TYPES.

    It takes the fields Content-Type and Accept. Raises UnsupportedMediaType or NotAcceptable.
    """
    kind = rows_type(media_type(sent))
    return kind, answer_type(accepted, kind)


def rows_type(sent: str) -> str:
    """The media type of a request's rows, one of MEDIA_TYPES. Raises UnsupportedMediaType."""
    kind = JSON_LINES if sent in LINES else sent
    if kind not in MEDIA_TYPES:
        raise UnsupportedMediaType(f"send Content-Type: {JSON}, {CSV} or {JSON_LINES}")
    return kind


@lru_cache(64)  # nearly all requests send one of a few types
def answer_type(accepted: bytes, first: str) -> str:
    """The response's media type, one of MEDIA_TYPES; `first` in a tie. Raises NotAcceptable."""
    offers = (first, *(offer for offer in MEDIA_TYPES if offer != first))
    return chosen(ALIASES.sub(JSON_LINES.encode(), accepted), offers)


def read_json_rows(codecs: Codecs, text: bytes, place: str) -> Floats:
    """Read a JSON array of objects, or of arrays in feature order, as x, float64 (n, d)."""
    if text[:1] != b"[":
        raise wrong(place, "expected an array")
    if re.match(rb"\[\s*\[", text):
        return codecs.json.read_arrays(text, list(codecs.columns.by_name), place)
    return codecs.json.read_objects(text)


def read_json_lines(codecs: Codecs, body: bytes, faults: dict[int, str] | None = None) -> Floats:
    """Read lines, each an object or an array in feature order, as x, float64 (n, d).

    faults : filled with {row: its fault}; these rows are left out of x. None: an invalid row is an error.
    """
    codecs.columns.check_rows(body.count(b"\n") // 2)  # at most half of the lines are taken for empty
    lines = [line for line in body.split(b"\n") if line.strip()]
    try:
        x = read_json_rows(codecs, b"[" + b",".join(lines) + b"]", "$")
        if len(x) != len(lines):
            raise MalformedBody("invalid request body: each line of JSON lines must be one row")
        return x
    except (InvalidInstance, MalformedBody):
        if faults is None:
            raise
    rows = [np.empty((0, len(codecs.columns)))]
    for at, line in enumerate(lines):
        codecs.columns.check_rows(at + 1)
        try:
            rows.append(read_json_lines(codecs, line))
        except (InvalidInstance, MalformedBody) as error:
            faults[at] = of_a_row(error.problems) or str(error)
    return np.concatenate(rows)


def is_headerless(codecs: Codecs, request: Request, body: bytes) -> bool:
    """Whether a CSV has no header line.

    The Content-Type's parameter `header` decides. Without it, a header must have the name of a feature.
    """
    said = re.search(rb";\s*header\s*=\s*\"?(absent|present)", request.headers.get(b"content-type", b""), re.I)
    if said:
        return said[1].lower() == b"absent"
    head = body[:LONGEST_HEAD].decode("utf-8-sig", "replace").replace("\0", "")
    cells = next(filter(None, csv.reader(io.StringIO(head, newline=""))), [])
    names = codecs.columns.by_name
    return len(cells) == len(names) and not names.keys() & {cell.strip() for cell in cells}


def read_headerless(codecs: Codecs, body: bytes) -> Floats:
    """Read a CSV without a header, its cells in feature order, as x, float64 (n, d)."""
    header = csv_text([codecs.columns.by_name]).encode()
    try:
        return codecs.csv.read(header + body.removeprefix(BOM_UTF8))[0]
    except InvalidInstance as error:  # the body's first line is the second of what was read
        places = [replace(found, pointer=_line_before(found.pointer)) for found in error.problems]
        raise InvalidInstance(str(error), places) from error


def part_extras(columns: Columns, body: bytes, kind: str) -> tuple[bytes, list[dict[str, msgspec.Raw]]]:
    """Part JSON or JSON lines: a body of the features alone, and each row's other fields.

    A row that can't be parted stays in the body, whose decoder names the fault. Raises BodyTooLarge or MalformedBody.
    """
    if len(body) > MOST_WITH_EXTRAS:
        raise BodyTooLarge(f"?extra=keep takes at most {MOST_WITH_EXTRAS} bytes: send smaller requests, or a CSV")
    known, single = {*columns.by_name, *columns.parts}, body.lstrip(WHITE)[:1] == b"{"
    if kind == JSON_LINES or single:
        rows = [body] if kind == JSON else [line for line in body.split(b"\n") if line.strip()]
    else:
        try:
            rows = [bytes(row) for row in ANSWERS.decode(body)]
        except FAULTS as error:
            list(values(body, len(body)))  # names the place, if the body is not JSON
            if is_array(body):
                raise MalformedBody(f"{UNREADABLE}: send null for NaN and infinities") from error
            return body, []
    columns.check_rows(len(rows))
    extras: list[dict[str, msgspec.Raw]] = [{} for _ in rows]
    for at, row in enumerate(rows):
        with suppress(*FAULTS):
            fields = FIELDS.decode(row)
            if not may_repeat(row, fields):
                extras[at] = {name: value for name, value in fields.items() if name not in known}
                rows[at] = msgspec.json.encode({name: value for name, value in fields.items() if name in known})
    return b"\n".join(rows) if kind == JSON_LINES or single else b"[%b]" % b",".join(rows), extras


def with_faults(
    pieces: Iterable[bytes], faults: Mapping[int, str], extras: Sequence[Mapping[str, object]] | None
) -> bytes:
    """Merge answers in JSON arrays and {row: its fault} into one array, in the order of rows.

    extras : of every row, or None.
    """
    found = [answer for piece in pieces for answer in ANSWERS.decode(piece)]
    rows, left = range(len(found) + len(faults)), iter(found)
    kept = [{"extra": extra} for extra in extras] if extras is not None else [{}] * len(rows)
    return msgspec.json.encode([kept[row] | {"error": faults[row]} if row in faults else next(left) for row in rows])


def encoded(
    pieces: Iterable[bytes], rows: int, wanted: str, document: bytes, names: Sequence[str], header: bool = True
) -> Answer:
    """The Answer in a media type, from answers in JSON arrays.

    Parameters
    ----------
    document : the JSON document, with %b for the answers.
    names, header : the fields in CSV, and whether its first line has their names.
    """
    if wanted == JSON:
        return json_answer(document % b",".join(piece[1:-1] for piece in pieces), rows=rows)
    if wanted == CSV:
        return Answer(200, AS_CSV, _as_csv(pieces, names, header), rows)
    lines = (bytes(answer) + b"\n" for piece in pieces for answer in ANSWERS.decode(piece))
    return Answer(200, AS_LINES, b"".join(lines), rows)


def _as_csv(pieces: Iterable[bytes], names: Sequence[str], header: bool) -> bytes:
    """Write answers in JSON arrays as CSV, with a column for each field."""
    records = (record for piece in pieces for record in RECORDS.decode(piece))
    rows = ([_cell(record.get(name)) for name in names] for record in records)
    return csv_text(chain([names] if header else [], rows)).encode()


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Write rows of cells as CSV."""
    return "".join(f"{csv_line(cells)}\n" for cells in rows)


def _cell(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(value)
    return WORDS[value] if isinstance(value, bool | None) else value


def _line_before(pointer: str) -> str:
    return re.sub(r"^line (\d+)", lambda found: f"line {int(found[1]) - 1}", pointer)
