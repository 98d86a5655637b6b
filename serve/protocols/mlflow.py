"""MLflow's scoring protocol, which SageMaker speaks as well, and Vertex AI's: a JSON table in, predictions out.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ (`/invocations`, `/ping`, `/version`);
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html;
https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements.
"""

import json

import msgspec
from msgspec import UNSET, UnsetType

from passfail.codecs import strict_json
from passfail.errors import InvalidInstance, MalformedBody, Problem, RequestError
from serve.http.errors import UnsupportedMediaType, status
from serve.http.messages import Answer
from serve.http.receipt import digest, stamped

JSON, CSV = "application/json", "text/csv"
VERSION = "3.0.0"  # of MLflow, whose protocol this is


class Split(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """pandas' to_dict(orient="split")."""

    columns: list[str]
    data: msgspec.Raw
    index: list | UnsetType | None = UNSET


class Invocation(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    dataframe_split: Split | UnsetType | None = UNSET
    dataframe_records: msgspec.Raw = msgspec.Raw()
    instances: msgspec.Raw = msgspec.Raw()
    inputs: msgspec.Raw = msgspec.Raw()
    params: dict | UnsetType | None = UNSET


class Prediction(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    instances: msgspec.Raw
    parameters: dict | UnsetType | None = UNSET


INVOCATION, PREDICTION = msgspec.json.Decoder(Invocation), msgspec.json.Decoder(Prediction)
COLUMNS = msgspec.json.Decoder(dict[str, list])
ROWS = msgspec.json.Decoder(list[list])
TABLES = ("dataframe_split", "dataframe_records", "instances", "inputs")


def invocations(service, request):
    """POST /invocations: one of dataframe_split, dataframe_records, instances, inputs; or text/csv."""
    return _scored(service, request, _invocation, refused_by_mlflow)


def vertex(service, request):
    """POST to AIP_PREDICT_ROUTE: {"instances": [...]}."""
    return _scored(service, request, _prediction, refused_by_vertex)


def ping(service, request):
    """GET /ping: 200 from before the first request can come in until the service takes its leave."""
    return Answer(503 if service.leaving else 200, ((b"Content-Type", JSON.encode()),), b"{}")


def version(service, request):
    """GET /version: as text, the MLflow whose protocol this is."""
    return Answer(200, ((b"Content-Type", b"text/plain; charset=utf-8"),), VERSION.encode())


def _scored(service, request, decode, refused):
    served = service.served
    model, codecs = served.model, served.codecs
    request_digest = digest(request.sent) if isinstance(request.sent, bytes) else ""
    try:
        x = decode(codecs, request)
        logit, probability = served.predict(x, "row {}".format, request_digest)
        rows = codecs.json.write(model.verdict(logit), logit, probability, model.stable(x, logit), single=False)
        answer = Answer(200, ((b"Content-Type", JSON.encode()),), b'{"predictions":%b}' % rows, len(x))
    except RequestError as error:
        answer = refused(error)
    return stamped(answer, model.manifest, request, request_digest)


def _invocation(codecs, request):
    """The body -> x float64 (n, d)."""
    if request.media_type == CSV:
        return codecs.csv.read(request.body)[0]
    if request.media_type != JSON:
        raise UnsupportedMediaType(f"send Content-Type: {JSON} or {CSV}")
    asked = strict_json.decode_once(INVOCATION, request.body)
    given = [name for name in TABLES if getattr(asked, name)]
    if len(given) != 1:
        raise MalformedBody(f"exactly one of {', '.join(TABLES)} is needed")
    if split := asked.dataframe_split:
        return codecs.json.read_table(split.columns, strict_json.decode(ROWS, split.data), "$.dataframe_split.data")
    return _rows(codecs, getattr(asked, given[0]), given[0])


def _prediction(codecs, request):
    """The body -> x float64 (n, d); Vertex AI sends JSON without always saying so."""
    return _rows(codecs, strict_json.decode_once(PREDICTION, request.body).instances, "instances")


def _rows(codecs, raw, name):
    """Objects, arrays in the features' order, or (inputs) an array for each feature -> x float64 (n, d)."""
    text = bytes(raw).lstrip()
    if text[:1] == b"{" and name == "inputs":
        return _columns(codecs, text)
    if text[:1] != b"[":
        raise InvalidInstance("1 place is wrong", [Problem(f"$.{name}", "expected an array")])
    if text[1:].lstrip()[:1] == b"[":
        names = list(codecs.columns.by_name)
        return codecs.json.read_table(names, strict_json.decode(ROWS, text), f"$.{name}")
    return codecs.columns.matrix(codecs.json.read(text)[0])


def _columns(codecs, text):
    columns = strict_json.decode(COLUMNS, text)
    if len({len(values) for values in columns.values()}) > 1:
        raise InvalidInstance("1 place is wrong", [Problem("$.inputs", "the columns differ in their number of rows")])
    names = strict_json.field_names(text) if strict_json.may_repeat(text, columns) else list(columns)
    return codecs.json.read_table(names, list(zip(*columns.values(), strict=True)), "$.inputs")


def refused_by_mlflow(error):
    """The Answer to a RequestError, in MLflow's shape."""
    said = {"error_code": "UNAUTHENTICATED" if status(error) == 401 else "BAD_REQUEST", "message": error.text}
    return Answer(status(error), ((b"Content-Type", JSON.encode()),), json.dumps(said).encode(), error=error)


def refused_by_vertex(error):
    """The Answer to a RequestError, on Vertex AI's route."""
    said = {"error": error.text}
    return Answer(status(error), ((b"Content-Type", JSON.encode()),), json.dumps(said).encode(), error=error)
