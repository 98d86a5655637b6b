"""The Open Inference Protocol V2 over HTTP, with binary tensors and the repository index.

https://github.com/kserve/open-inference-protocol; binary tensors as in Triton's "binary data" extension.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from passfail.codecs import strict_json, tensors
from passfail.codecs.answers import Outside
from passfail.codecs.tensors import ALL, OUTPUTS, Values, Wanted
from passfail.columns import wrong
from passfail.errors import MalformedBody, RequestError, in_one_line
from passfail.spelling import whole
from serve.http.messages import Answer, Pending, Request, Shape, header_line, json_answer, refusal
from serve.http.receipt import pending, stamped
from serve.protocols import management
from serve.registry import RowAnswer, Served, Service

VERSION = "2.0"
HEADER_LENGTH = b"inference-header-content-length"
MODELS = ("/v2/models/<name>", "/v2/models/<name>/versions/<version>")
TRITON = {"FP64": "TYPE_FP64", "BOOL": "TYPE_BOOL", "BYTES": "TYPE_STRING"}
PLATFORMS = {"onnx": "onnx_onnxv1", "torchscript": "pytorch_torchscript"}
EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]


class Error(msgspec.Struct):
    """An error in the protocol's format; KServe's client shows it only as application/json."""

    error: str


class Server(msgspec.Struct):
    """The server, its protocol version and its extensions."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct):
    """An input or an output; -1 in its shape stands for any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """The signature of a model; `parameters.x` is the other form of its input."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any]


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """An output tensor; its data is JSON or, with parameters.binary_data_size, binary."""

    name: str
    shape: list[int]
    datatype: str
    data: Annotated[list[Any], tensors.described(items={})] | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET


class Inferred(msgspec.Struct):
    """The answer to an inference, as passfail/codecs/tensors.py writes it.

    parameters.outside names the values outside the training range: `row 0: age; row 3: age, income`.
    """

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET
    parameters: dict[str, str] | UnsetType = UNSET


class ModelReady(msgspec.Struct):
    """The readiness of a model."""

    name: str
    ready: bool


class IndexEntry(msgspec.Struct):
    """A version that can be requested, or a refused version with the reason."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class IndexRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A filter on the versions; {"ready": true} leaves the refused ones out."""

    ready: bool | UnsetType | None = UNSET


class ConfigTensor(msgspec.Struct):
    """An input or an output, in the format of Triton's model configuration."""

    name: str
    data_type: str
    dims: list[int] = msgspec.field(default_factory=lambda: [1])  # of one row


class ModelConfig(msgspec.Struct):
    """A model, in the format of Triton's model configuration."""

    name: str
    platform: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]


class Duration(msgspec.Struct):
    """A number of requests, and their total duration in nanoseconds."""

    count: int
    ns: int


class ModelStats(msgspec.Struct):
    """Rows (inference_count) and requests (execution_count) that were answered."""

    name: str
    version: str
    inference_count: int
    execution_count: int
    inference_stats: dict[str, Duration]


class Statistics(msgspec.Struct):
    """The statistics of the models."""

    model_stats: list[ModelStats]


ERROR = Shape("Open Inference Protocol", Error, lambda status, title, detail, wrong: Error(in_one_line(detail, wrong)))
INDEX = msgspec.json.Decoder(IndexRequest)


def infer(service: Service, request: Request, name: str, version: str | None = None) -> Answer | Pending:
    """POST /v2/models/{name}[/versions/{version}]/infer: tensors in, tensors out.

    Each tensor is JSON or binary. passfail/codecs/tensors.py defines the inputs and the outputs.
    """
    served = service.find(name, version)
    try:
        answer = _infer(served, request)
    except RequestError as error:
        answer = refusal(error, ERROR)
    return answer if isinstance(answer, Pending) else stamped(answer, served.model.manifest, request)


def server(service: Service, request: Request) -> Answer:
    """GET /v2: the server."""
    return json_answer(Server("passfail", VERSION, EXTENSIONS))


def model(service: Service, request: Request, name: str, version: str | None = None) -> Answer:
    """GET /v2/models/{name}[/versions/{version}]: the signature."""
    manifest = service.find(name, version).model.manifest
    features = manifest.features
    inputs = [TensorMetadata(f.name, "FP64" if f.kind == "numeric" else "BYTES", [-1]) for f in features]
    outputs = [TensorMetadata(output, datatype, [-1]) for output, datatype in OUTPUTS.items()]
    versions, platform = list(map(str, sorted(service.kept))), PLATFORMS[service.config.runtime]
    x = {"datatype": "FP64", "shape": [-1, len(features)]}
    return json_answer(ModelMetadata(manifest.name, versions, platform, inputs, outputs, {"x": x}))


def ready(service: Service, request: Request, name: str, version: str | None = None) -> Answer:
    """GET /v2/models/{name}[/versions/{version}]/ready: 503 once the service shuts down."""
    manifest = service.find(name, version).model.manifest
    return management.health(service, ModelReady(manifest.name, not service.leaving))


def index(service: Service, request: Request) -> Answer:
    """POST /v2/repository/index: the versions that can be requested, and the refused ones."""
    name = service.served.model.manifest.name
    asked = strict_json.decode_once(INDEX, request.body) if request.body.strip() else IndexRequest()
    entries = [IndexEntry(name, str(version), "READY", "") for version in sorted(service.kept)]
    if asked.ready is not True:
        entries += [IndexEntry(name, version, "UNAVAILABLE", reason) for version, reason in service.refused.items()]
    return json_answer(entries)


def config(service: Service, request: Request, name: str, version: str | None = None) -> Answer:
    """GET /v2/models/{name}[/versions/{version}]/config: Triton's model configuration."""
    manifest = service.find(name, version).model.manifest
    inputs = [ConfigTensor(f.name, "TYPE_FP64" if f.kind == "numeric" else "TYPE_STRING") for f in manifest.features]
    outputs = [ConfigTensor(output, TRITON[datatype]) for output, datatype in OUTPUTS.items()]
    platform = PLATFORMS[service.config.runtime]
    return json_answer(ModelConfig(manifest.name, platform, service.config.max_rows, inputs, outputs))


def stats(service: Service, request: Request, name: str | None = None, version: str | None = None) -> Answer:
    """GET /v2/models[/{name}[/versions/{version}]]/stats: the counts of requests and rows.

    They are sums over all workers and all versions.
    """
    manifest = (service.served if name is None else service.find(name, version)).model.manifest
    totals = management.telemetry(service).metrics.totals()
    infer = [f"{rule}/infer" for rule in MODELS]
    good = sum(totals.requests.get(rule, {}).get("200", 0.0) for rule in infer)
    bad = sum(sum(totals.requests.get(rule, {}).values()) for rule in infer) - good
    seconds = sum(totals.seconds[rule].sum for rule in infer if rule in totals.seconds)
    counts = {"success": Duration(int(good), int(seconds * 1e9)), "fail": Duration(int(bad), 0)}
    one = ModelStats(manifest.name, str(manifest.version), int(totals.rows), int(good), counts)
    return json_answer(Statistics([one]))


def load(service: Service, request: Request, name: str) -> Answer:
    """POST /v2/repository/models/{name}/load or /unload: always refused."""
    return ERROR(409, "Refused", "the versions in service follow the repository: make use VERSION=... pins one")


def _infer(served: Served, request: Request) -> Answer | Pending:
    model, codec = served.model, served.codecs.tensors
    head, binary = _parts(request)
    alone = served.shadow is None  # the shadow compares whole requests
    if alone and not binary and (only := served.codecs.tensor_row.read(head)):
        row, request_id = only
        return pending(served, row, request, ERROR, partial(_row, request_id, ALL))
    asked = codec.decode(head)
    if asked.model_name not in (None, UNSET, model.manifest.name):
        raise wrong("$.model_name", "not the model that the path names")
    if asked.model_version not in (None, UNSET, "", str(model.manifest.version)):
        raise wrong("$.model_version", "not the version that answers here")
    wanted = tensors.outputs(asked)
    x = codec.read(asked.inputs, binary)
    if alone and len(x) == 1:
        return pending(served, x[0].tolist(), request, ERROR, partial(_row, asked.id, wanted))
    verdict, logit, probability, known, outside = served.predict(x, "row {}".format, request)
    labels = list(map(model.manifest.target.labels.__getitem__, verdict.tolist())) if "label" in wanted else []
    stable = np.zeros(len(x), dtype=bool) if known is None else known
    return _answer(served, asked.id, wanted, (probability, logit, verdict, labels, stable), outside)


def _row(request_id: str | UnsetType | None, wanted: Wanted, served: Served, found: RowAnswer) -> Answer:
    verdict, logit, probability, stable, outside = found
    if not outside and wanted is ALL:  # not a request that names them, perhaps in another order
        text = served.codecs.tensor_row.write(request_id, verdict, logit, probability, stable is True)
        return json_answer(text, rows=1)
    label = served.model.manifest.target.labels[verdict]
    values = [probability], [logit], [verdict], [label], [stable is True]
    return _answer(served, request_id, wanted, values, [outside])


def _answer(
    served: Served, request_id: object, wanted: Wanted, values: Sequence[Values], outside: Outside | None
) -> Answer:
    """The Answer with the values of each of OUTPUTS, in that order."""
    manifest, n = served.model.manifest, len(values[0])
    head: dict[str, object] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if isinstance(request_id, str):
        head["id"] = request_id
    if outside and any(outside):
        said = {names: ", ".join(names) for names in set(outside)}
        places = [f"row {row}: {said[names]}" for row, names in enumerate(outside) if names]
        head["parameters"] = {"outside": "; ".join(places)}
    text, buffers = tensors.write(wanted, dict(zip(OUTPUTS, values, strict=True)), n, head)
    if not buffers:
        return json_answer(text, rows=n)
    length = header_line("Inference-Header-Content-Length", str(len(text)))
    headers = header_line("Content-Type", "application/octet-stream") + length
    return Answer(200, headers, text + buffers, n)


def _parts(request: Request) -> tuple[bytes, bytes | memoryview]:
    """Split a body into its JSON and the bytes behind it. Raises MalformedBody, BodyTooLarge."""
    body = request.body
    sent = request.headers.get(HEADER_LENGTH)
    if not sent:
        return body, b""
    length = whole(sent.decode("latin-1"))
    if length is None or length > len(body):
        raise MalformedBody("Inference-Header-Content-Length must be the length of the body's JSON")
    return body[:length], memoryview(body)[length:]
