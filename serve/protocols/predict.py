"""POST /predict: rows in, verdicts out, as JSON or CSV. POST /explain: the same, and why."""

from functools import partial
from urllib.parse import parse_qsl

from passfail.errors import Problem, RequestError
from passfail.explain import evidence, explain
from serve.http.errors import UnknownParameter, UnsupportedMediaType
from serve.http.messages import Answer, Pending, refusal
from serve.http.receipt import digest, stamped

JSON, CSV = "application/json", "text/csv"
PARAMETERS = ("explain", "evidence", "watch")  # of the query
AS_JSON = ((b"Content-Type", JSON.encode()),)


def predict(service, request):
    """An object answers an object, an array an array, CSV answers CSV with the answer's columns added.

    ?explain=true and ?evidence=true add to an answer in JSON what passfail/explain.py says of it;
    ?watch=false leaves rows that are no traffic out of the metrics and of the drift.
    """
    served = service.served
    request_digest = digest(request.sent) if isinstance(request.sent, bytes) else ""
    asked = ()
    try:
        asked = _asked(request.query) if request.query else ()
        kind = request.media_type
        if kind == JSON:
            rows, single = served.codecs.json.read(request.body)
            if single and not asked and served.shadow is None:  # the shadow compares whole requests
                return Pending(served, rows[0], partial(_row, served, request, request_digest))
            answer = Answer(200, AS_JSON, _json(served, rows, single, request_digest, asked), len(rows))
        elif kind == CSV:
            answer = _csv(served, request.body, request_digest, asked)
        else:
            raise UnsupportedMediaType(f"send Content-Type: {JSON} or {CSV}")
    except RequestError as error:
        answer = refusal(error)
        if "unwatched" in asked:
            answer = answer._replace(error=None)
    return stamped(answer, served.model.manifest, request, request_digest)


def _row(served, request, request_digest, found):
    """The Answer of a request for a single row; found: what the model said of it, or the RequestError."""
    if isinstance(found, RequestError):
        answer = refusal(found)
    else:
        answer = Answer(200, AS_JSON, served.codecs.json.write_row(*found), 1)
    return stamped(answer, served.model.manifest, request, request_digest)


def explained(service, request):
    """POST /explain is POST /predict?explain=true."""
    return predict(service, request._replace(query=f"{request.query}&explain=true"))


def _json(served, rows, single, request_digest, asked):
    model, codecs = served.model, served.codecs
    x = codecs.columns.matrix(rows)
    place = (lambda _: "$") if single else "$[{}]".format
    logit, probability = served.predict(x, place, request_digest, "unwatched" not in asked)
    more = {}
    if "explain" in asked:
        more["explanation"] = explain(model, x, logit)
    if "evidence" in asked:
        more["evidence"] = evidence(model.manifest.training.calibration, probability)
    return codecs.json.write(model.verdict(logit), logit, probability, model.stable(x, logit), single, more)


def _csv(served, body, request_digest, asked):
    model, codecs = served.model, served.codecs
    if more := sorted({"explain", "evidence"}.intersection(asked)):
        raise UnsupportedMediaType(f"only {JSON} has room for {' and '.join(more)}: send that")
    x, sent = codecs.csv.read(body)
    logit, probability = served.predict(x, lambda row: f"row {row + 1}", request_digest, "unwatched" not in asked)
    table = codecs.csv.write(model.verdict(logit), logit, probability, model.stable(x, logit), sent)
    return Answer(200, ((b"Content-Type", b"text/csv; charset=utf-8"),), table, len(x))


def _asked(query):
    """What a query asks for beside the answer: some of explain, evidence and unwatched. Raises UnknownParameter."""
    pairs = parse_qsl(query, keep_blank_values=True)
    problems = []
    for name, value in pairs:
        if name not in PARAMETERS:
            place = f"?{name}" if name.isidentifier() and name.isascii() and len(name) <= 64 else "?"
            problems.append(Problem(place, "unknown; there are explain, evidence and watch"))
        elif value not in ("true", "false"):
            problems.append(Problem(f"?{name}", "expected true or false"))
    if problems:
        raise UnknownParameter(f"{len(problems)} query parameter(s) can't be understood", problems)
    asked = {name for name, value in pairs if value == "true"} - {"watch"}
    return asked | {"unwatched"} if ("watch", "false") in pairs else asked
