"""POST /predict: rows in, verdicts out, as JSON or CSV. POST /explain: the same, and why."""

from collections.abc import Sequence, Set
from functools import partial
from urllib.parse import parse_qsl

from passfail.arrays import Row
from passfail.errors import Problem, RequestError
from passfail.explain import evidence, explain
from serve.http.errors import UnknownParameter, UnsupportedMediaType
from serve.http.messages import CSV, JSON, Answer, Pending, Request, json_answer, refusal
from serve.http.receipt import digest, stamped
from serve.registry import RowAnswer, Served, Service

# The query's parameters, and what each asks for.
QUERY = {
    "explain": "what each feature contributes, and what would change the verdict",
    "evidence": "the calibration bin that the probability falls in",
    "watch": "false: the rows are no traffic, and the metrics of rows and the drift leave them out",
}


def predict(service: Service, request: Request) -> Answer | Pending:
    """POST /predict: an object answers an object, an array an array, and CSV is answered with columns added to it.

    ?explain=true and ?evidence=true add to an answer in JSON (passfail/explain.py). ?watch=false keeps rows that are
    no traffic out of the metrics and the drift.
    """
    served = service.served
    request_digest = digest(request)
    asked: Set[str] = frozenset()
    try:
        asked = _asked(request.query) if request.query else asked
        kind = request.media_type
        if kind == JSON:
            rows, single = served.codecs.json.read(request.body)
            if single and not asked and served.shadow is None:  # the shadow compares whole requests
                return Pending(served, rows[0], partial(_row, served, request, request_digest))
            answer = json_answer(_json(served, rows, single, request_digest, asked), rows=len(rows))
        elif kind == CSV:
            answer = _csv(served, request.body, request_digest, asked)
        else:
            raise UnsupportedMediaType(f"send Content-Type: {JSON} or {CSV}")
    except RequestError as error:
        answer = refusal(error)
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


def _json(served: Served, rows: list[Row], single: bool, request_digest: str, asked: Set[str]) -> bytes:
    model, codecs = served.model, served.codecs
    x = codecs.columns.matrix(rows)
    place = (lambda _: "$") if single else "$[{}]".format
    logit, probability = served.predict(x, place, request_digest, "unwatched" not in asked)
    more: dict[str, Sequence[object]] = {}
    if "explain" in asked:
        more["explanation"] = explain(model, x, logit)
    if "evidence" in asked:
        more["evidence"] = evidence(model.manifest.training.calibration, probability)
    return codecs.json.write(model.verdict(logit), logit, probability, model.stable(x, logit), single, more)


def _csv(served: Served, body: bytes, request_digest: str, asked: Set[str]) -> Answer:
    model, codecs = served.model, served.codecs
    if more := sorted({"explain", "evidence"}.intersection(asked)):
        raise UnsupportedMediaType(f"only {JSON} has room for {' and '.join(more)}: send that")
    x, sent = codecs.csv.read(body)
    logit, probability = served.predict(x, lambda row: f"row {row + 1}", request_digest, "unwatched" not in asked)
    table = codecs.csv.write(model.verdict(logit), logit, probability, model.stable(x, logit), sent)
    return Answer(200, ((b"Content-Type", b"text/csv; charset=utf-8"),), table, len(x))


def _asked(query: str) -> Set[str]:
    """What a query asks for: some of explain, evidence and unwatched. Raises UnknownParameter."""
    pairs = parse_qsl(query, keep_blank_values=True)
    problems = []
    for name, value in pairs:
        if name not in QUERY:
            place = f"?{name}" if name.isidentifier() and name.isascii() and len(name) <= 64 else "?"
            problems.append(Problem(place, "unknown; there are explain, evidence and watch"))
        elif value not in ("true", "false"):
            problems.append(Problem(f"?{name}", "expected true or false"))
    if problems:
        raise UnknownParameter(f"{len(problems)} unknown or malformed query parameter(s)", problems)
    asked = {name for name, value in pairs if value == "true"} - {"watch"}
    return asked | {"unwatched"} if ("watch", "false") in pairs else asked
