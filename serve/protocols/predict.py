"""POST /predict: rows in, verdicts out. POST /explain: the same with explanations."""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from urllib.parse import parse_qsl

import numpy as np
from msgspec.structs import replace

from passfail.arrays import Floats
from passfail.codecs.answers import Answers, names
from passfail.errors import BodyTooLarge, InvalidInstance, Problem, RequestError
from passfail.explain import evidence, explain
from passfail.intervals import Intervals
from passfail.model import Model
from serve.http.errors import UnknownParameter, UnsupportedMediaType
from serve.http.messages import (
    CSV,
    JSON,
    JSON_LINES,
    Answer,
    Pending,
    Request,
    header_line,
    json_answer,
    problem,
    refusal,
)
from serve.http.receipt import pending, stamped
from serve.protocols.table_formats import AS_CSV, encoded, media_types, part_extras, read_json_lines, with_faults
from serve.registry import RowAnswer, Served, Service

SEARCHED = 65_536  # bytes at the start of a refused body in which another protocol's field is looked for
MOST_EXPLAINED = 1000  # rows of one request: explaining a row takes about a hundred runs of the model
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
    asked: Set[str] = frozenset()
    try:
        asked = _asked(request.query) if request.query else asked
        answer = _answer(served, request, asked)
    except RequestError as error:
        answer = refusal(_with_hint(error, request))
        if "unwatched" in asked:
            answer = replace(answer, error=None)
    return answer if isinstance(answer, Pending) else stamped(answer, served.model.manifest, request)


def explained(service: Service, request: Request) -> Answer | Pending:
    """POST /explain is POST /predict?explain=true."""
    return predict(service, replace(request, query=f"{request.query}&explain=true"))


def _row(served: Served, found: RowAnswer) -> Answer:
    return json_answer(served.codecs.json.write_row(*found), rows=1)


def _line_place(row: int) -> str:
    return f"line {row + 1}"


def _row_place(row: int) -> str:
    return f"row {row + 1}"


def _answer(served: Served, request: Request, asked: Set[str]) -> Answer | Pending:
    headers = request.headers
    kind, wanted = media_types(headers.get(b"content-type", b""), headers.get(b"accept", b""))
    body, codecs, model = request.body, served.codecs, served.model
    if wanted == CSV and (fields := asked & {"explain", "evidence", "interval", *(["extra"] if kind != CSV else [])}):
        raise UnsupportedMediaType(f"only {JSON} can carry {' and '.join(sorted(fields))}: send that")
    faults: dict[int, str] | None = {} if "errors" in asked else None
    single, unseen, extras, sent = False, None, None, None
    if "extra" in asked and kind != CSV:
        body, extras = part_extras(codecs.columns, body, kind)
    place = _line_place if kind == JSON_LINES else _row_place
    if kind == JSON:
        rows, single, unseen = codecs.json.read_some(body, faults)
        if not isinstance(rows, np.ndarray):
            if wanted == JSON and not asked and served.shadow is None:
                return pending(served, rows, request, problem, _row, "$".format)
            rows = codecs.columns.matrix([rows])
        x, faults, place = rows, None if single else faults, "$".format if single else "$[{}]".format
    elif kind == CSV:
        x, sent = codecs.csv.read(body, faults)
        unseen = sent.unseen
    else:
        x = read_json_lines(codecs, body, faults)
    if faults is not None:
        x, left = model.answerable(x, faults)
        unseen = unseen and [unseen[row] for row in left]
    intervals = model.intervals if "interval" in asked else None  # before the rows count as traffic
    found = served.predict(x, place, request, "unwatched" not in asked)
    if sent is not None and wanted == CSV:
        table = codecs.csv.write(sent._replace(unseen=unseen), found, faults)
        return _counted(Answer(200, AS_CSV, table, len(x)), faults)
    more = _explained(model, x, found, asked, intervals)
    if unseen is not None:
        more["unseen"] = unseen
    if extras is not None:
        more["extra"] = [extra for row, extra in enumerate(extras) if row not in (faults or {})]
    columns = [*names(model.manifest), *(["unseen"] if unseen is not None else [])]
    pieces: Iterable[bytes] = codecs.json.pieces(found, more)
    if faults is not None:
        pieces, columns = [with_faults(pieces, faults, extras)], [*columns, "error"]
    columns += ["outside"] if found.outside is not None else []
    return _counted(encoded(pieces, len(x), wanted, b"%b" if single else b"[%b]", columns), faults)


def _explained(
    model: Model, x: Floats, found: Answers, asked: Set[str], intervals: Intervals | None
) -> dict[str, Sequence[object]]:
    """The fields that the query adds to each answer."""
    more: dict[str, Sequence[object]] = {}
    if intervals is not None:
        ends = intervals.at(x, found.logit).tolist()
        more["interval"] = [{"low": low, "high": high, "method": "wald"} for low, high in ends]
    if "explain" in asked:
        if len(x) > MOST_EXPLAINED:
            raise BodyTooLarge(f"more than {MOST_EXPLAINED} rows to explain; send them in several requests")
        more["explanation"] = explain(model, x, found.logit)
    if "evidence" in asked:
        more["evidence"] = evidence(model.manifest.training.calibration, found.probability)
    return more


def _counted(answer: Answer, faults: Mapping[int, str] | None) -> Answer:
    """The answer with the counts of the rows answered and refused, if the query has errors=row."""
    if faults is None:
        return answer
    counts = header_line("X-Rows-Answered", str(answer.rows)) + header_line("X-Rows-Refused", str(len(faults)))
    return replace(answer, headers=answer.headers + counts)


def _with_hint(error: RequestError, request: Request) -> RequestError:
    """The error; if the body is in another protocol's format, with that protocol's path."""
    if isinstance(error, InvalidInstance) and isinstance(request.sent, bytes):
        names, start = rb'"(instances|inputs|dataframe_split|dataframe_records)"\s*:', request.sent[:SEARCHED].lstrip()
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
            hint = "; train.fit(...).intervals(rows) profiles the likelihood" if value == "profile" else ""
            problems.append(Problem(f"?{name}", f"expected {' or '.join(VALUES.get(name, FLAG))}{hint}"))
    if problems:
        raise UnknownParameter(f"{len(problems)} unknown or malformed query parameter(s)", problems)
    asked = {name for name, value in pairs if value in ("true", "row", "keep")} - {"watch"}
    return asked | {"unwatched"} if ("watch", "false") in pairs else asked
