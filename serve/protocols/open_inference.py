"""The Open Inference Protocol, version 2, over HTTP, with the binary extension and the repository index.

https://github.com/kserve/open-inference-protocol; binary tensors as in Triton's "binary data" extension.
"""

import json
import re
import struct
from math import prod

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from passfail.codecs.csv_rows import floats
from passfail.errors import BodyTooLarge, InvalidInstance, MalformedBody, Problem, RequestError
from serve.http.errors import status
from serve.http.messages import Answer, decoded_once
from serve.http.receipt import digest, stamped

VERSION = "2.0"
HEADER_LENGTH = b"inference-header-content-length"
PLATFORMS = {"onnx": "onnx_onnxv1", "torchscript": "pytorch_torchscript"}
FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
INTEGERS = {f"{sign}INT{bits}": f"<{sign.lower() or 'i'}{bits // 8}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
NOT_AS_MANY = "doesn't hold as many values as the shape says"
EXACT = 2**53  # float64 holds every whole number up to here


class Input(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict | UnsetType = UNSET
    data: msgspec.Raw = msgspec.Raw()


class Output(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    parameters: dict | UnsetType = UNSET


class Inference(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    inputs: list[Input]
    outputs: list[Output] | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    parameters: dict | UnsetType = UNSET
    model_name: str | UnsetType | None = UNSET  # KServe's client repeats the path's


NUMBER = float | int | None
READ = msgspec.json.Decoder(Inference)
FLAT = msgspec.json.Decoder(list[float])  # nearly always
NUMBERS = msgspec.json.Decoder(list[NUMBER | list[NUMBER]])
WHOLES = msgspec.json.Decoder(list[int | list[int]])
TEXTS = msgspec.json.Decoder(list[str | int | list[str | int | None] | None])


def infer(service, request, name, version=None):
    """POST /v2/models/{name}[/versions/{version}]/infer: tensors in, tensors out; JSON or binary, each as asked.

    Either one tensor x [n, d], a category as the index of its level, or one tensor [n] a feature, a category as its
    level in BYTES. NaN, null or an empty text is a missing value. Outputs: OUTPUTS, or those that are named.
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
    model, payload = served.model, served.payload
    wanted, buffers = _read(request)
    if wanted.model_name not in (None, UNSET, model.manifest.name):
        raise _wrong("$.model_name", "not the model that the path names")
    x = _x(wanted.inputs, buffers, payload)
    outputs = _known(wanted.outputs) if isinstance(wanted.outputs, list) else ALL
    logit, probability = served.predict(x, "row {}".format, request_digest)
    everywhere = _parameter(wanted, "binary_data_output") is True
    described, binary = [], []
    for output in outputs:
        values = _values(output.name, model, x, logit, probability)
        about = b'{"name":"%b","shape":[%d],"datatype":"%b",' % (
            output.name.encode(), len(x), OUTPUTS[output.name].encode()
        )  # fmt: skip
        if _parameter(output, "binary_data", everywhere) is True:
            binary.append(_bytes(values))
            described.append(b'%b"parameters":{"binary_data_size":%d}}' % (about, len(binary[-1])))
        else:
            listed = values if isinstance(values, list) else values.tolist()
            described.append(b'%b"data":%b}' % (about, msgspec.json.encode(listed)))
    manifest = model.manifest
    head = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if isinstance(wanted.id, str):
        head["id"] = wanted.id
    text = b'%b,"outputs":[%b]}' % (msgspec.json.encode(head)[:-1], b",".join(described))
    if not binary:
        return Answer(200, ((b"Content-Type", b"application/json"),), text, len(x))
    headers = (b"Content-Type", b"application/octet-stream"), (b"Inference-Header-Content-Length", b"%d" % len(text))
    return Answer(200, headers, b"".join([text, *binary]), len(x))


# What an answer holds, unless it is asked for less. `stable` is false also where it is not known: with a hidden layer.
OUTPUTS = {"probability": "FP64", "logit": "FP64", "verdict": "BOOL", "label": "BYTES", "stable": "BOOL"}
ALL = [Output(name) for name in OUTPUTS]


def _known(outputs):
    """The outputs, where each is one of OUTPUTS, once: named again and again they would be an answer of any size."""
    left = set(OUTPUTS)
    for i, output in enumerate(outputs):
        if output.name not in left:
            said = "given more than once" if output.name in OUTPUTS else f"there are {', '.join(OUTPUTS)}"
            raise _wrong(f"$.outputs[{i}].name", said)
        left.remove(output.name)
    return outputs


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


def _bytes(values):
    if isinstance(values, list):
        packed = {text: struct.pack("<I", len(text.encode())) + text.encode() for text in set(values)}
        return b"".join(map(packed.__getitem__, values))
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def _read(request):
    """(Inference, the bytes behind it). Raises MalformedBody, BodyTooLarge."""
    body, binary = request.body, b""
    if length := request.headers.get(HEADER_LENGTH):
        if not (re.fullmatch(b"[0-9]{1,15}", length) and int(length) <= len(body)):
            raise MalformedBody("Inference-Header-Content-Length must be the length of the body's JSON")
        body, binary = body[: int(length)], memoryview(body)[int(length) :]
    return decoded_once(READ, body), binary


def _parameter(of, name, default=None):
    return of.parameters.get(name, default) if of.parameters else default


def _x(inputs, binary, payload):
    """The inputs -> x float64 (n, d)."""
    d, at, tensors = len(payload.features), 0, {}
    for i, one in enumerate(inputs):
        place = f"$.inputs[{i}]"
        if one.name in tensors:
            raise InvalidInstance("an input is given more than once", [Problem(place, "given more than once")])
        if not one.shape or one.shape[0] < 0 or one.shape[1:] not in ([], [1], [d]):
            raise _wrong(f"{place}.shape", f"expected [n], or for x [n, {d}]")
        if one.shape[0] > payload.max_rows:
            raise BodyTooLarge(f"more than {payload.max_rows} rows; send them in several requests")
        size = _parameter(one, "binary_data_size")
        absent = len(memoryview(one.data)) <= 4 and bytes(one.data) in (b"", b"null")
        if size is None:
            if absent:
                raise _wrong(place, "neither data nor parameters.binary_data_size")
            tensors[one.name] = place, one, _from_json(one, place)
            continue
        if not absent or type(size) is not int or not 0 <= size <= len(binary) - at:
            raise _wrong(f"{place}.parameters.binary_data_size", "not the size of a buffer behind the JSON")
        tensors[one.name] = place, one, _from_binary(one, binary[at : at + size], place)
        at += size
    if at != len(binary):
        raise MalformedBody("the body holds more bytes than its tensors do")
    names = [feature.name for feature in payload.features]
    if set(tensors) == {"x"} and ("x" not in names or tensors["x"][1].shape[1:] == [d]):
        return _whole(*tensors["x"], payload)
    if set(tensors) != set(names):
        wanted = f"expected x [n, {d}], or a tensor for each of the features: {', '.join(names)}"
        raise InvalidInstance("the inputs are not the model's", [Problem("$.inputs", wanted)])
    columns = [_column(*tensors[f.name], f, codes) for f, codes in zip(payload.features, payload.codes, strict=True)]
    if len({len(column) for column in columns}) > 1:
        raise _wrong("$.inputs", "the tensors differ in their number of rows")
    return np.stack(columns, axis=1)


def _unknown(place):
    return _wrong(f"{place}.datatype", f"expected one of {', '.join([*FLOATS, *INTEGERS, 'BYTES'])}")


def _wrong(place, detail):
    return InvalidInstance("1 place is wrong", [Problem(place, detail)])


def _from_json(one, place):
    """A tensor's data -> float64 (n,) or (n, columns), or, of BYTES, a flat list."""
    try:
        if one.datatype == "BYTES":
            return _flat(TEXTS.decode(one.data), one.shape, place)
        if one.datatype in INTEGERS:
            flat = _flat(WHOLES.decode(one.data), one.shape, place)
            return _exact(np.array(flat, dtype=INTEGERS[one.datatype]).reshape(one.shape), place)
        if one.datatype not in FLOATS:
            raise _unknown(place)
        values = _numbers(one, place).reshape(one.shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        kind = "texts" if one.datatype == "BYTES" else f"numbers that are {one.datatype}"
        raise _wrong(f"{place}.data", f"expected {kind}, flat or an array for each row") from error
    if one.datatype == "FP64":
        return values
    with np.errstate(over="ignore"):  # beyond FP32 is infinite, and refused as that
        return values.astype(FLOATS[one.datatype]).astype(np.float64)


def _numbers(one, place):
    """A tensor's data, as many numbers as the shape says -> float64, flat; null is NaN."""
    try:
        flat = FLAT.decode(one.data)
    except msgspec.ValidationError:
        return np.array(_flat(NUMBERS.decode(one.data), one.shape, place), dtype=np.float64)
    if len(flat) != prod(one.shape):
        raise _wrong(f"{place}.data", NOT_AS_MANY)
    return floats(flat)


def _flat(values, shape, place):
    """The values without the nesting, which must be the shape's."""
    if not values or not isinstance(values[0], list):
        if len(values) != prod(shape) or any(isinstance(value, list) for value in values):
            raise _wrong(f"{place}.data", NOT_AS_MANY)
        return values
    if len(values) != shape[0] or any(not isinstance(v, list) or len(v) != prod(shape[1:]) for v in values):
        raise _wrong(f"{place}.data", "is not nested as the shape says")
    return [value for row in values for value in row]


def _from_binary(one, buffer, place):
    """A tensor's little-endian buffer -> as `_from_json`."""
    count = prod(one.shape)
    if one.datatype == "BYTES":
        return _texts(buffer, count, place)
    dtype = FLOATS.get(one.datatype) or INTEGERS.get(one.datatype)
    if dtype is None:
        raise _unknown(place)
    if len(buffer) != count * np.dtype(dtype).itemsize:
        raise _wrong(f"{place}.parameters.binary_data_size", NOT_AS_MANY)
    values = np.frombuffer(buffer, dtype).reshape(one.shape)
    if one.datatype in INTEGERS:
        return _exact(values, place)
    return values.astype(np.float64)


def _exact(values, place):
    """Whole numbers as float64, where it holds them."""
    if values.size and (values.max() > EXACT or values.min() < -EXACT):
        raise _wrong(place, "a whole number is beyond 2^53: float64 would round it")
    return values.astype(np.float64)


def _texts(buffer, count, place):
    """BYTES elements: a 4-byte little-endian length and so many bytes each."""
    texts, at = [], 0
    while at < len(buffer) and len(texts) <= count:
        size = int.from_bytes(buffer[at : at + 4], "little")
        texts.append(bytes(buffer[at + 4 : at + 4 + size]))
        at += 4 + size
    if at != len(buffer) or len(texts) != count:
        raise _wrong(place, "its bytes are not as many texts as the shape says")
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError:
        raise _wrong(place, "a text is not UTF-8") from None


def _whole(place, one, values, payload):
    """The tensor x, each column checked."""
    d = len(payload.features)
    if one.shape[1:] != [d] or isinstance(values, list):
        raise _wrong(f"{place}.shape", f"expected numbers in the shape [n, {d}]")
    whole = np.isfinite(values).all()  # nearly always, and then no column has to be looked at
    for j, (feature, codes) in enumerate(zip(payload.features, payload.codes, strict=True)):
        if not whole:
            _check(values[:, j], feature, place)
        if codes is not None:
            known = np.isnan(values[:, j]) | np.isin(values[:, j], np.arange(len(feature.levels)))
            _refuse(~known, f"{place}, {feature.name}", f"not the index of one of its {len(feature.levels)} levels")
    return np.ascontiguousarray(values)


def _column(place, one, values, feature, codes):
    """One feature's tensor -> float64 (n,)."""
    if one.shape[1:] not in ([], [1]):
        raise _wrong(f"{place}.shape", "expected [n]")
    if codes is None:
        if isinstance(values, list):
            raise _wrong(f"{place}.datatype", "expected numbers")
        column = values.reshape(-1)
        _check(column, feature, place)
        return column
    if not isinstance(values, list):
        values = [_level(value) for value in values.reshape(-1).tolist()]
    if feature.nullable:
        codes = codes | {"": codes[None]}
    column = [codes.get(value) for value in values]
    unseen = [row for row, code in enumerate(column) if code is None]
    if unseen:
        places = unseen[: InvalidInstance.LIMIT]
        problems = [Problem.unseen_level(f"{place}, {feature.name}, row {row}", feature) for row in places]
        raise InvalidInstance(f"{len(unseen)} value(s) are wrong", problems)
    return np.array(column, dtype=np.float64)


def _level(value):
    """A float as what `Payload.codes` knows: the whole number, None for NaN; others as they are, which are no level."""
    return int(value) if value.is_integer() else None if np.isnan(value) else value


def _check(column, feature, place):
    _refuse(np.isinf(column), f"{place}, {feature.name}", "not a finite number")
    if not feature.nullable:
        _refuse(np.isnan(column), f"{place}, {feature.name}", "may not be missing, and is not a number")


def _refuse(wrong, place, detail):
    rows = np.flatnonzero(wrong).tolist()
    if rows:
        places = [Problem(f"{place}, row {row}", detail) for row in rows[: InvalidInstance.LIMIT]]
        raise InvalidInstance(f"{len(rows)} value(s) are wrong", places)
