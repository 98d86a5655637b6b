"""POST /predict: rows in, verdicts out. POST /explain: the same with explanations."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from urllib.parse import parse_qsl

import numpy as np
from msgspec.structs import replace

from passfail.arrays import Floats, Row
from passfail.codecs.answers import names
from passfail.codecs.csv_rows import CsvTable
from passfail.errors import BodyTooLarge, InvalidInstance, Problem, RequestError
from passfail.explain import evidence, explain
from serve.http.errors import UnknownParameter, UnsupportedMediaType
from serve.http.messages import CSV, JSON, JSON_LINES, Answer, Pending, Request, json_answer, problem, refusal
from serve.http.receipt import digest, pending, stamped
from serve.protocols.table_formats import (
    as_csv,
    as_json_lines,
    media_types,
    part_extras,
    read_json_lines,
    read_some_json_lines,
    with_faults,
)
from serve.registry import RowAnswer, Served, Service

Unseen = Sequence[Sequence[str]] | None  # of each row, as `Columns.unseen`
Extras = Sequence[Mapping[str, object]] | None  # of each row, as from `part_extras`
AS_CSV = ((b"Content-Type", b"text/csv; charset=utf-8"),)
HINTED = 65_536  # bytes at the start of a refused body in which another protocol's field is looked for
EXPLAINED = 1000  # rows of one request: explaining a row takes about a hundred runs of the model
# {query parameter: its description}.
QUERY = {
    "explain": "add each feature's contribution, and the changes that flip the verdict",
    "evidence": "add the calibration bin of the probability",
    "interval": "add the 95 % interval of the probability",
    "errors": "row: report the error of each invalid row, and answer the others; the headers X-Rows-Answered and "
    "X-Rows-Refused count them",
    "extra": "keep: return each JSON row's other fields in its field extra instead of refusing them",
    "watch": "false: leave the rows out of the row metrics and of the drift",
}
FLAG = ("true", "false")
VALUES = {"errors": ("row",), "extra": ("keep",)}  # of a parameter that is not a flag


def predict(service: Service, request: Request) -> Answer | Pending:
    """POST /predict: answer JSON, CSV or JSON lines, in the same format unless Accept differs.

    An object gets an object, an array an array, and a CSV gets the same table with the answer's columns added.
    QUERY lists the parameters: passfail/explain.py and passfail/intervals.py compute what they add to JSON.
    """
    served = service.served
    request_digest = digest(request)
    asked: Set[str] = frozenset()
    try:
        asked = _asked(request.query) if request.query else asked
        kind, wanted = media_types(request)
        some, body = "errors" in asked, request.body
        fields = {"explain", "evidence", "interval", *(["extra"] if kind != CSV else [])}
        if wanted == CSV and (more := sorted(fields & asked)):
            raise UnsupportedMediaType(f"only {JSON} has room for {' and '.join(more)}: send that")
        codecs = served.codecs
        single, faults, unseen, extras = False, None, None, None
        if "extra" in asked and kind != CSV:
            body, extras = part_extras(codecs.columns, body, kind)
        place = _nth("line" if kind == JSON_LINES else "row")
        if kind == JSON:
            found, single, faults, unseen = _json(served, body, some)
            if isinstance(found, np.ndarray):
                x = found
            elif wanted == JSON and not asked and served.shadow is None:
                return pending(served, found, request, request_digest, problem, partial(_row, served))
            else:
                x = codecs.columns.matrix([found])
            place = "$".format if single else "$[{}]".format
        elif kind == CSV:
            x, sent, faults = codecs.csv.read_some(body) if some else (*codecs.csv.read(body), None)
            unseen = sent.unseen
        else:
            x, faults = read_some_json_lines(codecs, body) if some else (read_json_lines(codecs, body), None)
        if faults is not None:
            x, left = served.model.answerable(x, faults)
            unseen = unseen and [unseen[row] for row in left]
        if kind == wanted == CSV:
            answer = _table(served, x, sent._replace(unseen=unseen), request_digest, asked, faults)
        else:
            answer = _answers(served, x, place, request_digest, asked, wanted, single, unseen, faults, extras)
        if faults is not None:
            counts = (b"X-Rows-Answered", b"%d" % len(x)), (b"X-Rows-Refused", b"%d" % len(faults))
            answer = replace(answer, headers=(*answer.headers, *counts))
    except RequestError as error:
        answer = refusal(_with_hint(error, request))
        if "unwatched" in asked:
            answer = replace(answer, error=None)
    return stamped(answer, served.model.manifest, request, request_digest)


def _json(served: Served, body: bytes, some: bool) -> tuple[Row | Floats, bool, dict[int, str] | None, Unseen]:
    """Decode a JSON body into its rows.

    Parameters
    ----------
    some : whether to leave invalid rows out.

    Returns
    -------
    (found, single, faults, unseen). found : the only row, if the model can batch it, else x, float64 (n, d).
    single : whether the body is one row. faults : {row: its fault}, or None. unseen : the unseen levels, or None.
    """
    codecs, faults = served.codecs, None
    try:
        found = codecs.json.read(body)
    except InvalidInstance:
        if not some:
            raise
    else:
        if not codecs.columns.pools:
            single = not isinstance(found, np.ndarray)
            return found, single, {} if some and not single else None, None
    x, single, faults, unseen = codecs.json.read_some(body)
    return x, single, faults if some and not single else None, unseen


def explained(service: Service, request: Request) -> Answer | Pending:
    """POST /explain is POST /predict?explain=true."""
    return predict(service, replace(request, query=f"{request.query}&explain=true"))


def _row(served: Served, found: RowAnswer) -> Answer:
    return json_answer(served.codecs.json.write_row(*found), rows=1)


def _answers(
    served: Served,
    x: Floats,
    place: Callable[[int], str],
    request_digest: str,
    asked: Set[str],
    wanted: str,
    single: bool,
    unseen: Unseen,
    faults: Mapping[int, str] | None,
    extras: Extras,
) -> Answer:
    """Answer rows x, float64 (n, d), in the wanted media type.

    Parameters
    ----------
    place : names a row in an error.
    unseen : of each row, as `Columns.unseen`.
    faults : {row: its fault} of the rows that are not in x; None unless the query has errors=row.
    extras : of every row, its fields that are no features; None unless the query has extra=keep.
    """
    model, manifest = served.model, served.model.manifest
    intervals = model.intervals if "interval" in asked else None
    logit, probability = served.predict(x, place, request_digest, "unwatched" not in asked)
    more: dict[str, Sequence[object]] = {}
    if intervals is not None:
        more["interval"] = [
            {"low": low, "high": high, "method": "wald"} for low, high in intervals.at(x, logit).tolist()
        ]
    if "explain" in asked:
        if len(x) > EXPLAINED:
            raise BodyTooLarge(f"more than {EXPLAINED} rows to explain; send them in several requests")
        more["explanation"] = explain(model, x, logit)
    if "evidence" in asked:
        more["evidence"] = evidence(manifest.training.calibration, probability)
    if unseen is not None:
        more["unseen"] = unseen
    if extras is not None:
        more["extra"] = [extra for row, extra in enumerate(extras) if row not in (faults or {})]
    single = single and wanted == JSON
    stable, outside = model.stable(x, logit), model.outside(x)
    verdict, columns = model.verdict(logit), [*names(manifest), *(["unseen"] if unseen is not None else [])]
    pieces: Iterable[bytes] = served.codecs.json.pieces(verdict, logit, probability, stable, more, outside)
    if faults is not None:
        pieces, columns = [with_faults(pieces, faults, extras)], [*columns, "error"]
    if wanted == JSON:
        body = b",".join(piece[1:-1] for piece in pieces)
        return json_answer(body if single else b"[%b]" % body, rows=len(x))
    if wanted == CSV:
        return Answer(200, AS_CSV, as_csv(pieces, columns, outside is not None), len(x))
    return Answer(200, ((b"Content-Type", JSON_LINES.encode()),), as_json_lines(pieces), len(x))


def _table(
    served: Served, x: Floats, sent: CsvTable, request_digest: str, asked: Set[str], faults: Mapping[int, str] | None
) -> Answer:
    """Answer a CSV with the same table and the answer's columns added."""
    model = served.model
    logit, probability = served.predict(x, _nth("row"), request_digest, "unwatched" not in asked)
    stable, outside = model.stable(x, logit), model.outside(x)
    verdict = model.verdict(logit)
    table = served.codecs.csv.write(verdict, logit, probability, stable, sent, outside, faults)
    return Answer(200, AS_CSV, table, len(x))


def _nth(what: str) -> Callable[[int], str]:
    return lambda row: f"{what} {row + 1}"


def _with_hint(error: RequestError, request: Request) -> RequestError:
    """The error; if the body is in another protocol's format, with that protocol's path."""
    if isinstance(error, InvalidInstance) and isinstance(request.sent, bytes):
        names, start = rb'"(instances|inputs|dataframe_split|dataframe_records)"\s*:', request.sent[:HINTED].lstrip()
        if start[:1] == b"{" and (found := re.search(names, start)):
            hint = f'/predict takes a row or an array of rows; POST {{"{found[1].decode()}": ...}} to /invocations'
            return InvalidInstance(f"{error}: {hint}", error.problems)
    return error


def _asked(query: str) -> Set[str]:
    """Parse a query to its flags, such as explain or unwatched. Raises UnknownParameter."""
    pairs = parse_qsl(query, keep_blank_values=True)
    problems, (*others, last) = [], QUERY
    for name, value in pairs:
        if name not in QUERY:
            place = f"?{name}" if name.isidentifier() and name.isascii() and len(name) <= 64 else "?"
            problems.append(Problem(place, f"unknown; there are {', '.join(others)} and {last}"))
        elif value not in VALUES.get(name, FLAG):
            problems.append(Problem(f"?{name}", f"expected {' or '.join(VALUES.get(name, FLAG))}"))
    if problems:
        raise UnknownParameter(f"{len(problems)} unknown or malformed query parameter(s)", problems)
    asked = {name for name, value in pairs if value in ("true", "row", "keep")} - {"watch"}
    return asked | {"unwatched"} if ("watch", "false") in pairs else asked
