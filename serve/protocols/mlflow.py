"""MLflow's scoring protocol, which SageMaker also uses: a table in, predictions out.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ (`/invocations`, `/ping`, `/version`);
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from passfail.arrays import Floats, Row
from passfail.codecs import Codecs, strict_json
from passfail.codecs.answers import names
from passfail.codecs.tensors import described
from passfail.errors import MalformedBody, Problem, RequestError, in_one_line
from serve.http.messages import CSV, JSON, Answer, Pending, Request, Shape, header_line, json_answer, refusal
from serve.http.receipt import pending, stamped
from serve.protocols import management
from serve.protocols import table_formats as formats
from serve.registry import RowAnswer, Served, Service

Rows = Sequence[Row] | Floats  # (n, d)
VERSION = "3.0.0"  # of MLflow, which defines this protocol


# The endpoint does not use these fields, so the decoder skips them, whatever their size.
Unused = Annotated[msgspec.Raw, described(type=["object", "null"])]


class Split(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A table in the format of pandas' to_dict(orient="split")."""

    columns: Annotated[msgspec.Raw, described(type="array", items={"type": "string"})]
    data: Annotated[msgspec.Raw, described(type="array", items={"type": "array", "items": {}})]
    index: Annotated[msgspec.Raw, described(type=["array", "null"], items={})] | UnsetType = UNSET


# The schemas of a row and of its answer depend on the model: serve/protocols/openapi.py.
Table = Annotated[msgspec.Raw, described(type="array", items={"$ref": "#/components/schemas/Row"})]
Answers = Annotated[msgspec.Raw, described(type="array", items={"$ref": "#/components/schemas/Answer"})]


class Invocation(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Exactly one table: dataframe_split, dataframe_records, instances or inputs."""

    dataframe_split: Split | UnsetType | None = UNSET
    dataframe_records: Table | UnsetType = UNSET
    instances: Table | UnsetType = UNSET
    inputs: Table | UnsetType = UNSET
    params: Unused | UnsetType = UNSET


class Predictions(msgspec.Struct):
    """The answers to the rows, in their order."""

    predictions: Answers


class MlflowError(msgspec.Struct):
    """An error in MLflow's format."""

    error_code: str
    message: str


def _error(status: int, title: str, detail: str, problems: Sequence[Problem]) -> MlflowError:
    code = {401: "UNAUTHENTICATED", 500: "INTERNAL_ERROR"}.get(status, "BAD_REQUEST")
    return MlflowError(code, in_one_line(detail, problems))


ERROR = Shape("MLflow and SageMaker", MlflowError, _error)
INVOCATION = msgspec.json.Decoder(Invocation)
NAMES = msgspec.json.Decoder(list[str])
DOCUMENT = b'{"predictions":[%b]}'
MOST_NAMES = 2**20  # bytes of the columns' names
MOST_WITH_NAN = 2**20  # bytes of a body whose NaN are read
TABLES = ("dataframe_split", "dataframe_records", "instances", "inputs")


def invocations(service: Service, request: Request) -> Answer | Pending:
    """POST /invocations: one of TABLES, CSV with or without a header, or JSON lines."""
    return score(service, request, _read, ERROR)


def ping(service: Service, request: Request) -> Answer:
    """GET /ping: 200 until the service shuts down, then 503."""
    return management.health(service, {})


def version(service: Service, request: Request) -> Answer:
    """GET /version: the version of MLflow that defines this protocol, as text."""
    return Answer(200, header_line("Content-Type", "text/plain; charset=utf-8"), VERSION.encode())


def score(
    service: Service, request: Request, read: Callable[[Codecs, Request, bytes], Rows], error_shape: Shape
) -> Answer | Pending:
    """Answer the rows of a request in the format that the Accept header prefers.

    The formats are JSON, {"predictions": [...]}, CSV and JSON lines.

    Parameters
    ----------
    read : makes the rows from a request and its decompressed body; raises a RequestError.
    error_shape : the protocol's error format.
    """
    served, codecs = service.served, service.served.codecs
    try:
        first = formats.LINES[0] if request.media_type in formats.LINES else JSON
        wanted = formats.answer_type(request.headers.get(b"accept", b""), first)
        body = request.body
        rows = read(codecs, request, body)
        if len(rows) == 1 and wanted == JSON and served.shadow is None:  # the shadow compares whole requests
            return pending(served, list(rows[0]), request, error_shape, _row)
        x = np.asarray(rows, dtype=np.float64)
        found = served.predict(x, "row {}".format, request)
        header = request.media_type != CSV or not formats.is_headerless(codecs, request, body)
        # A table without a header leaves `outside` out: all its parts then have the same columns.
        columns = [*names(served.model.manifest), *(["outside"] if header and found.outside is not None else [])]
        answer = formats.encoded(codecs.json.pieces(found), len(x), wanted, DOCUMENT, columns, header)
    except RequestError as error:
        answer = refusal(error, error_shape)
    return stamped(answer, served.model.manifest, request)


def _row(served: Served, found: RowAnswer) -> Answer:
    return json_answer(DOCUMENT % served.codecs.json.write_row(*found), rows=1)


def read_rows(codecs: Codecs, raw: msgspec.Raw | UnsetType, name: str) -> Floats:
    """Read a field's rows, objects or arrays in feature order, as x, float64 (n, d)."""
    text = b"" if isinstance(raw, UnsetType) else bytes(raw).lstrip()
    return formats.read_json_rows(codecs, text, f"$.{name}")


def check_unused(raw: msgspec.Raw | UnsetType, name: str, first: bytes = b"{") -> None:
    """Raise MalformedBody if an unused field neither begins with `first` nor is null."""
    if not isinstance(raw, UnsetType) and bytes(memoryview(raw)[:1]) not in (first, b"n"):
        expected = "an object" if first == b"{" else "an array"
        raise MalformedBody(f"invalid request body: expected {expected} at $.{name}")


def _without_nan(body: bytes, token: bytes = b"null") -> bytes:
    """The body with a token for NaN, with which MLflow's client writes missing cells."""
    if len(body) > MOST_WITH_NAN or b"NaN" not in body or b'\\"' in body:
        return body
    parts = body.split(b'"')  # every second one is a text
    parts[::2] = [part.replace(b"NaN", token) for part in parts[::2]]
    return b'"'.join(parts)


def _read(codecs: Codecs, request: Request, body: bytes) -> Rows:
    kind = formats.rows_type(request.media_type)
    if kind == CSV:
        if formats.is_headerless(codecs, request, body):
            return formats.read_headerless(codecs, body)
        return codecs.csv.read(body)[0]
    if kind != JSON:
        return formats.read_json_lines(codecs, body)
    if row := codecs.json.only_row(body, TABLES):
        return [row]
    try:
        asked = strict_json.decode_once(INVOCATION, _without_nan(body))
    except MalformedBody:
        strict_json.decode_once(INVOCATION, _without_nan(body, b"0.0"))  # as long as NaN: its error has the right byte
        raise
    check_unused(asked.params, "params")
    given = [name for name in TABLES if getattr(asked, name) not in (UNSET, None)]
    if len(given) != 1:
        raise MalformedBody(f"the request body must have exactly one of {', '.join(TABLES)}")
    if split := asked.dataframe_split:
        check_unused(split.index, "dataframe_split.index", b"[")
        columns = strict_json.decode(NAMES, split.columns) if len(bytes(split.columns)) <= MOST_NAMES else []
        return codecs.json.read_arrays(bytes(split.data), columns, "$.dataframe_split.data")
    if asked.inputs and (text := bytes(asked.inputs).lstrip())[:1] == b"{":
        return codecs.json.read_columns(text, "$.inputs")
    return read_rows(codecs, getattr(asked, given[0]), given[0])
