"""POST /predict: rows in, verdicts out, as JSON or CSV. POST /explain: the same, and why."""

import re
from collections.abc import Callable, Sequence, Set
from functools import partial
from urllib.parse import parse_qsl

import numpy as np

from passfail.arrays import Floats
from passfail.codecs.answers import names
from passfail.errors import BodyTooLarge, InvalidInstance, Problem, RequestError
from passfail.explain import evidence, explain
from serve.http.errors import UnknownParameter, UnsupportedMediaType
from serve.http.messages import CSV, JSON, JSON_LINES, Answer, Pending, Request, json_answer, refusal
from serve.http.receipt import digest, stamped
from serve.protocols.table_formats import as_csv, as_json_lines, media_types, read_json_lines
from serve.registry import RowAnswer, Served, Service

AS_CSV = ((b"Content-Type", b"text/csv; charset=utf-8"),)
EXPLAINED = 1000  # rows of one request: each is asked of the model some hundred times
# The query's parameters, and what each asks for.
QUERY = {
    "explain": "what each feature contributes, and what would change the verdict",
    "evidence": "the calibration bin that the probability falls in",
    "interval": "the 95 % interval of the probability",
    "watch": "false: the rows are no traffic, and the metrics of rows and the drift leave them out",
}


def predict(service: Service, request: Request) -> Answer | Pending:
    """POST /predict: an object answers an object, an array an array, and CSV is answered with columns added to it.

    JSON lines are answered by JSON lines. Accept may ask for another of the three. ?explain=true, ?evidence=true
    (passfail/explain.py) and ?interval=true (passfail/intervals.py) add to an answer in JSON. ?watch=false keeps rows
    that are no traffic out of the metrics and the drift.
    """
    served = service.served
    request_digest = digest(request)
    asked: Set[str] = frozenset()
    try:
        asked = _asked(request.query) if request.query else asked
        kind, wanted = media_types(request)
        if wanted == CSV and (more := sorted({"explain", "evidence", "interval"}.intersection(asked))):
            raise UnsupportedMediaType(f"only {JSON} has room for {' and '.join(more)}: send that")
        if kind == wanted == CSV:
            answer = _table(served, request.body, request_digest, asked)
        elif kind == JSON:
            found = served.codecs.json.read(request.body)
            if isinstance(found, np.ndarray):
                answer = _answers(served, found, "$[{}]".format, request_digest, asked, wanted)
            elif wanted == JSON and not asked and served.shadow is None:  # the shadow compares whole requests
                return Pending(served, found, partial(_row, served, request, request_digest))
            else:
                x = served.codecs.columns.matrix([found])
                answer = _answers(served, x, "$".format, request_digest, asked, wanted, single=True)
        elif kind == CSV:
            x, _ = served.codecs.csv.read(request.body)
            answer = _answers(served, x, _nth("row"), request_digest, asked, wanted)
        else:
            x = read_json_lines(served.codecs, request.body)
            answer = _answers(served, x, _nth("line"), request_digest, asked, wanted)
    except RequestError as error:
        answer = refusal(_with_hint(error, request))
        if "unwatched" in asked:
            answer = answer._replace(error=None)
    return stamped(answer, served.model.manifest, request, request_digest)


def explained(service: Service, request: Request) -> Answer | Pending:
    """POST /explain is POST /predict?explain=true."""
    return predict(service, request._replace(query=f"{request.query}&explain=true"))


def _row(served: Served, request: Request, request_digest: str, found: RowAnswer | RequestError) -> Answer:
    """The Answer of a request for a single row, from the model's answer or the error that the row is."""
    if isinstance(found, RequestError):
        answer = refusal(found)
    else:
        answer = json_answer(served.codecs.json.write_row(*found), rows=1)
    return stamped(answer, served.model.manifest, request, request_digest)


def _answers(
    served: Served,
    x: Floats,
    place: Callable[[int], str],
    request_digest: str,
    asked: Set[str],
    wanted: str,
    single: bool = False,
) -> Answer:
    """Answer rows x, float64 (n, d), in the media type that is wanted; `place` names a row in an error."""
    model, manifest = served.model, served.model.manifest
    intervals = model.intervals if "interval" in asked else None
    logit, probability = served.predict(x, place, request_digest, "unwatched" not in asked)
    more: dict[str, Sequence[object]] = {}
    if intervals is not None:
        more["interval"] = [{"low": low, "high": high} for low, high in intervals.at(x, logit).tolist()]
    if "explain" in asked:
        if len(x) > EXPLAINED:
            raise BodyTooLarge(f"more than {EXPLAINED} rows to explain; send them in several requests")
        more["explanation"] = explain(model, x, logit)
    if "evidence" in asked:
        more["evidence"] = evidence(manifest.training.calibration, probability)
    single = single and wanted == JSON
    stable, outside = model.stable(x, logit), model.outside(x)
    verdict, codec = model.verdict(logit), served.codecs.json
    if wanted == JSON:
        return json_answer(codec.write(verdict, logit, probability, stable, single, more, outside), rows=len(x))
    pieces = codec.pieces(verdict, logit, probability, stable, more, outside)
    if wanted == CSV:
        return Answer(200, AS_CSV, as_csv(pieces, names(manifest), outside is not None), len(x))
    return Answer(200, ((b"Content-Type", JSON_LINES.encode()),), as_json_lines(pieces), len(x))


def _table(served: Served, body: bytes, request_digest: str, asked: Set[str]) -> Answer:
    """Answer a CSV with the same table and the answer's columns added."""
    model, codecs = served.model, served.codecs
    x, sent = codecs.csv.read(body)
    logit, probability = served.predict(x, _nth("row"), request_digest, "unwatched" not in asked)
    stable, outside = model.stable(x, logit), model.outside(x)
    table = codecs.csv.write(model.verdict(logit), logit, probability, stable, sent, outside)
    return Answer(200, AS_CSV, table, len(x))


def _nth(what: str) -> Callable[[int], str]:
    return lambda row: f"{what} {row + 1}"


def _with_hint(error: RequestError, request: Request) -> RequestError:
    """The error; where the body is another protocol's, it says where that one is spoken."""
    if isinstance(error, InvalidInstance) and isinstance(request.sent, bytes):
        found = re.match(rb'\s*\{\s*"(instances|inputs|dataframe_split|dataframe_records)"', request.sent)
        if found:
            hint = f'/predict takes a row or an array of rows; POST {{"{found[1].decode()}": ...}} to /invocations'
            return InvalidInstance(f"{error}: {hint}", error.problems)
    return error


def _asked(query: str) -> Set[str]:
    """What a query asks for: some of explain, evidence, interval and unwatched. Raises UnknownParameter."""
    pairs = parse_qsl(query, keep_blank_values=True)
    problems, (*others, last) = [], QUERY
    for name, value in pairs:
        if name not in QUERY:
            place = f"?{name}" if name.isidentifier() and name.isascii() and len(name) <= 64 else "?"
            problems.append(Problem(place, f"unknown; there are {', '.join(others)} and {last}"))
        elif value not in ("true", "false"):
            problems.append(Problem(f"?{name}", "expected true or false"))
    if problems:
        raise UnknownParameter(f"{len(problems)} unknown or malformed query parameter(s)", problems)
    asked = {name for name, value in pairs if value == "true"} - {"watch"}
    return asked | {"unwatched"} if ("watch", "false") in pairs else asked
