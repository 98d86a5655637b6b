"""The Open Inference Protocol, version 2, over HTTP, with the binary extension and the repository index.

https://github.com/kserve/open-inference-protocol; binary tensors as in Triton's "binary data" extension.
"""

import json
import re

import msgspec
import numpy as np
from msgspec import UNSET

from passfail.codecs import tensors
from passfail.codecs.tensors import OUTPUTS
from passfail.errors import MalformedBody, RequestError
from serve.http.errors import status
from serve.http.messages import Answer
from serve.http.receipt import digest, stamped

VERSION = "2.0"
HEADER_LENGTH = b"inference-header-content-length"
PLATFORMS = {"onnx": "onnx_onnxv1", "torchscript": "pytorch_torchscript"}


def infer(service, request, name, version=None):
    """POST /v2/models/{name}[/versions/{version}]/infer: tensors in, tensors out; JSON or binary, each as asked.

    passfail/codecs/tensors.py says which inputs and outputs there are.
    """
    try:
        served = service.find(name, version)
    except RequestError as error:
        return refusal(error)
    request_digest = digest(request.sent) if isinstance(request.sent, bytes) else ""
    try:
        answer = _answer(served, request, request_digest)
    except RequestError as error:
        answer = refusal(error)
    return stamped(answer, served.model.manifest, request, request_digest)


def server(service, request):
    """GET /v2: what this server is."""
    return _json({"name": "passfail", "version": VERSION, "extensions": ["binary_tensor_data", "model_repository"]})


def model(service, request, name, version=None):
    """GET /v2/models/{name}[/versions/{version}]: the signature. `parameters.x` is the other form of the input."""
    try:
        manifest = service.find(name, version).model.manifest
    except RequestError as error:
        return refusal(error)
    inputs = [
        {"name": f.name, "datatype": "FP64" if f.kind == "numeric" else "BYTES", "shape": [-1]}
        for f in manifest.features
    ]
    return _json(
        {
            "name": manifest.name,
            "versions": [str(number) for number in sorted(service.kept)],
            "platform": PLATFORMS[service.config.runtime],
            "inputs": inputs,
            "outputs": [{"name": said, "datatype": kind, "shape": [-1]} for said, kind in OUTPUTS.items()],
            "parameters": {"x": {"datatype": "FP64", "shape": [-1, len(manifest.features)]}},
        }
    )


def ready(service, request, name, version=None):
    """GET /v2/models/{name}[/versions/{version}]/ready: 200 where it is served, 503 once the service stops."""
    try:
        manifest = service.find(name, version).model.manifest
    except RequestError as error:
        return refusal(error)
    answer = _json({"name": manifest.name, "ready": not service.leaving})
    return answer._replace(status=503) if service.leaving else answer


def index(service, request):
    """POST /v2/repository/index: the versions that can be asked for, and those that were refused, with the reason."""
    name = service.config.model_name
    versions = [{"name": name, "version": str(v), "state": "READY", "reason": ""} for v in sorted(service.kept)]
    refused = [
        {"name": name, "version": version, "state": "UNAVAILABLE", "reason": reason}
        for version, reason in service.refused.items()
    ]
    return _json(versions + refused)


def load(service, request, name):
    """POST /v2/repository/models/{name}/load or /unload: not ours to do."""
    return problem(409, "what is served follows the repository; make use VERSION=... pins a version")


def problem(status, text):
    """An error in the protocol's shape; KServe's client shows it only under exactly this Content-Type."""
    return Answer(status, ((b"Content-Type", b"application/json"),), json.dumps({"error": text}).encode())


def refusal(error):
    """The Answer to a RequestError."""
    return problem(status(error), error.text)._replace(error=error)


def _json(document):
    return Answer(200, ((b"Content-Type", b"application/json"),), msgspec.json.encode(document))


def _answer(served, request, request_digest):
    model = served.model
    asked, binary = _read(request)
    if asked.model_name not in (None, UNSET, model.manifest.name):
        raise tensors.wrong("$.model_name", "not the model that the path names")
    x = served.codecs.tensors.read(asked.inputs, binary)
    wanted = {output.name for output in tensors.outputs(asked)}
    logit, probability = served.predict(x, "row {}".format, request_digest)
    values = {name: _values(name, model, x, logit, probability) for name in wanted}
    head = {"model_name": model.manifest.name, "model_version": str(model.manifest.version)}
    if isinstance(asked.id, str):
        head["id"] = asked.id
    text, buffers = tensors.write(asked, values, len(x), head)
    if not buffers:
        return Answer(200, ((b"Content-Type", b"application/json"),), text, len(x))
    headers = (b"Content-Type", b"application/octet-stream"), (b"Inference-Header-Content-Length", b"%d" % len(text))
    return Answer(200, headers, text + buffers, len(x))


def _read(request):
    """The request's JSON and the bytes behind it. Raises MalformedBody, BodyTooLarge."""
    body, binary = request.body, b""
    if length := request.headers.get(HEADER_LENGTH):
        if not (re.fullmatch(b"[0-9]{1,15}", length) and int(length) <= len(body)):
            raise MalformedBody("Inference-Header-Content-Length must be the length of the body's JSON")
        body, binary = body[: int(length)], memoryview(body)[int(length) :]
    return tensors.read_inference(body), binary


def _values(name, model, x, logit, probability):
    """float64 (n,), bool (n,) or n texts."""
    if name == "probability":
        return probability
    if name == "logit":
        return logit
    if name == "stable":
        stable = model.stable(x, logit)
        return np.zeros(len(x), dtype=bool) if stable is None else stable
    verdict = model.verdict(logit)
    return verdict if name == "verdict" else list(map(model.manifest.target.labels.__getitem__, verdict.tolist()))
