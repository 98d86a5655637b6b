"""Vertex AI's prediction protocol: {"instances": [...]} in, {"predictions": [...]} out.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements.
"""

import msgspec
from msgspec import UNSET, UnsetType

from passfail.codecs import Codecs, strict_json
from passfail.errors import in_one_line
from serve.http.messages import Answer, Pending, Request, Shape
from serve.protocols.mlflow import Rows, Table, Unused, check_unused, read_rows, score
from serve.registry import Service


class Prediction(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The rows of a request; the service ignores `parameters`."""

    instances: Table
    parameters: Unused | UnsetType = UNSET


class VertexError(msgspec.Struct):
    """An error on Vertex AI's route."""

    error: str


ERROR = Shape("Vertex AI", VertexError, lambda status, title, detail, wrong: VertexError(in_one_line(detail, wrong)))
PREDICTION = msgspec.json.Decoder(Prediction)


def predict(service: Service, request: Request) -> Answer | Pending:
    """POST to AIP_PREDICT_ROUTE; Vertex AI does not always send a Content-Type."""
    return score(service, request, _read, ERROR)


def _read(codecs: Codecs, request: Request, body: bytes) -> Rows:
    if row := codecs.json.only_row(body, ("instances",)):
        return [row]
    asked = strict_json.decode_once(PREDICTION, body)
    check_unused(asked.parameters, "parameters")
    return read_rows(codecs, asked.instances, "instances")
