"""POST /predict: rows in, verdicts out, as JSON or CSV."""

from flask import Blueprint, Response, current_app, request

from serve.errors import UnsupportedMediaType

JSON, CSV = "application/json", "text/csv"

blueprint = Blueprint("predict", __name__)


@blueprint.post("/predict")
def view():
    """An object answers an object, an array an array, CSV answers CSV with the answer's columns added."""
    content_type, body = answer(current_app.model, current_app.payload, request.mimetype, request.get_data())
    return Response(body, content_type=content_type)


def answer(model, payload, media_type, body):
    """A request's body -> (content type, body) of its answer. Raises RequestError."""
    if media_type == JSON:
        x, single = payload.decode_json(body)
        logit, probability = model.predict(x, (lambda _: "$") if single else "$[{}]".format)
        return JSON, payload.encode_json(model.verdict(logit), logit, probability, single)
    if media_type == CSV:
        x, cells = payload.decode_csv(body)
        logit, probability = model.predict(x, lambda row: f"row {row + 1}")
        return CSV + "; charset=utf-8", payload.encode_csv(model.verdict(logit), logit, probability, cells)
    raise UnsupportedMediaType(f"send Content-Type: {JSON} or {CSV}")
