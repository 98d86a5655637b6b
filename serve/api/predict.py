"""POST /predict: rows in, verdicts out, as JSON or CSV."""

from serve.errors import RequestError, UnsupportedMediaType
from serve.exchange import Answer, refusal

JSON, CSV = "application/json", "text/csv"


def predict(service, request):
    """An object answers an object, an array an array, CSV answers CSV with the answer's columns added."""
    try:
        content_type, body = _answer(service.model, service.payload, request.media_type, request.body)
    except RequestError as error:
        return refusal(error)
    return Answer(200, (("Content-Type", content_type),), body)


def _answer(model, payload, media_type, body):
    if media_type == JSON:
        x, single = payload.decode_json(body)
        logit, probability = model.predict(x, (lambda _: "$") if single else "$[{}]".format)
        return JSON, payload.encode_json(model.verdict(logit), logit, probability, single)
    if media_type == CSV:
        x, cells = payload.decode_csv(body)
        logit, probability = model.predict(x, lambda row: f"row {row + 1}")
        return CSV + "; charset=utf-8", payload.encode_csv(model.verdict(logit), logit, probability, cells)
    raise UnsupportedMediaType(f"send Content-Type: {JSON} or {CSV}")
