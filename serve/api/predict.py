"""POST /predict: rows in, verdicts out, as JSON or CSV. POST /explain: the same, and why."""

from urllib.parse import parse_qsl

from serve.errors import Problem, RequestError, UnknownParameter, UnsupportedMediaType
from serve.evidence import evidence
from serve.exchange import Answer, refusal
from serve.explain import explain
from serve.receipt import digest, stamped

JSON, CSV = "application/json", "text/csv"


def predict(service, request):
    """An object answers an object, an array an array, CSV answers CSV with the answer's columns added.

    ?explain=true and ?evidence=true add to an answer in JSON what serve/explain.py and serve/evidence.py say of it;
    ?watch=false leaves rows that are no traffic out of the metrics and of the drift.
    """
    served = service.served
    request_digest = digest(request.sent) if isinstance(request.sent, bytes) else ""
    try:
        asked = _asked(request.query) if request.query else ()
        content_type, body, rows = _answer(served, request, request_digest, asked)
        answer = Answer(200, (("Content-Type", content_type),), body, rows)
    except RequestError as error:
        answer = refusal(error)
    return stamped(answer, served.model.manifest, request, request_digest)


def explained(service, request):
    """POST /explain is POST /predict?explain=true."""
    return predict(service, request._replace(query=f"{request.query}&explain=true"))


def _answer(served, request, request_digest, asked):
    model, payload = served
    watched = "unwatched" not in asked
    if request.media_type == JSON:
        x, single = payload.decode_json(request.body)
        logit, probability = model.predict(x, (lambda _: "$") if single else "$[{}]".format, request_digest, watched)
        more = {}
        if "explain" in asked:
            more["explanation"] = explain(model, x, logit)
        if "evidence" in asked:
            more["evidence"] = evidence(model.manifest.training.calibration, probability)
        sure = model.stable(x, logit)
        return JSON, payload.encode_json(model.verdict(logit), logit, probability, sure, single, more), len(x)
    if request.media_type != CSV:
        raise UnsupportedMediaType(f"send Content-Type: {JSON} or {CSV}")
    if more := sorted({"explain", "evidence"}.intersection(asked)):
        raise UnsupportedMediaType(f"only {JSON} has room for {' and '.join(more)}: send that")
    x, cells = payload.decode_csv(request.body)
    logit, probability = model.predict(x, lambda row: f"row {row + 1}", request_digest, watched)
    table = payload.encode_csv(model.verdict(logit), logit, probability, model.stable(x, logit), cells)
    return CSV + "; charset=utf-8", table, len(x)


def _asked(query):
    """What a query asks for beside the answer: some of explain, evidence and unwatched. Raises UnknownParameter."""
    pairs = parse_qsl(query, keep_blank_values=True)
    problems = []
    for name, value in pairs:
        if name not in ("explain", "evidence", "watch"):
            place = f"?{name}" if name.isidentifier() and name.isascii() and len(name) <= 64 else "?"
            problems.append(Problem(place, "unknown; there are explain, evidence and watch"))
        elif value not in ("true", "false"):
            problems.append(Problem(f"?{name}", "expected true or false"))
    if problems:
        raise UnknownParameter(f"{len(problems)} query parameter(s) can't be understood", problems)
    asked = {name for name, value in pairs if value == "true"} - {"watch"}
    return asked | {"unwatched"} if ("watch", "false") in pairs else asked
