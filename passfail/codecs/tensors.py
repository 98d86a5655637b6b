"""The codec of Open Inference Protocol V2 tensors: inputs to rows, answers to outputs.

https://github.com/kserve/open-inference-protocol; binary tensors as in Triton's "binary data" extension.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from passfail.arrays import Bools, Floats
from passfail.codecs import strict_json
from passfail.columns import Column, Columns, floats, wrong
from passfail.errors import InvalidInstance, MalformedBody, Problem
from passfail.spelling import EXACT

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
INTEGERS = {f"{sign}INT{bits}": f"<{sign.lower() or 'i'}{bits // 8}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
DATATYPES = (*FLOATS, *INTEGERS, "BYTES")
OTHER_COUNT = "its number of values differs from the shape"

# The outputs of an answer, unless the request names fewer. `stable` is also false if it is unknown (hidden layer).
OUTPUTS = {"probability": "FP64", "logit": "FP64", "verdict": "BOOL", "label": "BYTES", "stable": "BOOL"}

Texts = list[str | int | None]
Values = Floats | Bools | list[str] | list[float] | list[bool]  # an output's values, (n,)
Wanted = Mapping[str, bool]  # {output that a request asks for: whether its data is binary}
ALL: Wanted = dict.fromkeys(OUTPUTS, False)  # what most requests ask for


def described(**schema: object) -> msgspec.Meta:
    """OpenAPI's description of a field beyond its type.

    msgspec does not check it; our own errors name the place.
    """
    return msgspec.Meta(extra_json_schema=schema)


# Not decoded with the rest of a request, because it may be of any size.
Parameters = Annotated[msgspec.Raw, described(type=["object", "null"])] | UnsetType


class Input(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A tensor of a request; its data is JSON or, with parameters.binary_data_size, binary."""

    name: str
    shape: Annotated[msgspec.Raw, described(type="array", items={"type": "integer"})]
    datatype: Annotated[str, described(enum=list(DATATYPES))]
    parameters: Parameters = UNSET
    data: Annotated[msgspec.Raw, described(type="array", items={})] | UnsetType = UNSET

    @property
    def values(self) -> msgspec.Raw:
        """The data; empty if the tensor has none."""
        return msgspec.Raw() if isinstance(self.data, UnsetType) else self.data


class Output(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A tensor that a request asks for."""

    name: Annotated[str, described(enum=list(OUTPUTS))]
    parameters: Parameters = UNSET


class Inference(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The JSON of an inference request."""

    inputs: Annotated[list[Input], described(minItems=1)]
    outputs: list[Output] | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    parameters: Parameters = UNSET
    model_name: str | UnsetType | None = UNSET  # KServe's client repeats the path's
    model_version: str | UnsetType | None = UNSET


INFERENCE = msgspec.json.Decoder(Inference)
SHAPE = msgspec.json.Decoder(list[int])
PARAMETERS = msgspec.json.Decoder(dict[str, Any] | None)
FLOAT = msgspec.json.Decoder(list[float])  # for nearly all tensors
NULLABLE = msgspec.json.Decoder(list[float | None])
WHOLE = msgspec.json.Decoder(list[int])
TEXTS = msgspec.json.Decoder(list[str | int | list[str | int | None] | None])
LONGEST_ABOUT = 2**16  # bytes of a shape, or of parameters
UNMARKED = bytes(set(range(256)) - set(b"[],"))
NO_BRACKETS = bytes.maketrans(b"[]", b"  ")


class Tensor(NamedTuple):
    """A decoded input.

    Attributes
    ----------
    place : its place in the request.
    values : float64 in that shape, or a flat list for BYTES.
    """

    place: str
    shape: list[int]
    values: Floats | Texts


class TensorRows:
    """The decoder of one model's rows in tensors.

    A request has either one tensor x [n, d], with the index of a category's level, or one tensor [n] for each feature,
    with a category's level as BYTES. NaN, null and an empty text are missing values.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        levels = [level for column in columns for level in column.feature.levels]
        self._most_commas, braces = (1 + sum(level.count(mark) for level in levels) for mark in ",{")
        self._most_braces = 1000 + 2 * len(columns) + (braces - 1) * columns.max_rows

    def decode(self, body: bytes) -> Inference:
        """Decode a request's JSON, except its tensors' data. Raises MalformedBody."""
        if body.count(b"{") > self._most_braces:
            raise MalformedBody("invalid request body: more inputs and outputs than a request for this model can have")
        return strict_json.decode_once(INFERENCE, body)

    def read(self, inputs: Sequence[Input], binary: bytes | memoryview = b"") -> Floats:
        """Decode a request's inputs, with the bytes behind its JSON, to x, float64 (n, d).

        Raises MalformedBody, or InvalidInstance with the wrong places.
        """
        tensors = self._tensors(inputs, binary)
        d, names = len(self._columns), list(self._columns.by_name)
        if set(tensors) == {"x"} and ("x" not in names or tensors["x"].shape[1:] == [d]):
            return self._matrix(tensors["x"])
        if set(tensors) != set(names):
            wanted = f"expected x [n, {d}], or a tensor for each of the features: {', '.join(names)}"
            raise InvalidInstance("the inputs are not the model's", [Problem("$.inputs", wanted)])
        columns = [_column(tensors[column.name], column) for column in self._columns]
        if len({len(column) for column in columns}) > 1:
            raise wrong("$.inputs", "the tensors differ in their number of rows")
        return self._columns.pooled(np.stack(columns, axis=1))

    def _tensors(self, inputs: Sequence[Input], binary: bytes | memoryview) -> dict[str, Tensor]:
        """The inputs by name, decoded."""
        d, at = len(self._columns), 0
        tensors: dict[str, Tensor] = {}
        for i, one in enumerate(inputs):
            place = f"$.inputs[{i}]"
            if one.name in tensors:
                raise InvalidInstance("an input is given more than once", [Problem(place, "given more than once")])
            shape = _shape(one.shape)
            if not shape or shape[0] < 0 or shape[1:] not in ([], [1], [d]):
                raise wrong(f"{place}.shape", f"expected [n], or for x [n, {d}]")
            self._columns.check_rows(shape[0])
            if one.datatype not in DATATYPES:
                raise wrong(f"{place}.datatype", f"expected one of {', '.join(DATATYPES)}")
            if one.datatype == "BYTES" and prod(shape[1:]) > 1:  # before texts without number are decoded
                raise wrong(f"{place}.shape", f"expected [n] for texts, or numbers for x [n, {d}]")
            size, values = parameter(one.parameters, "binary_data_size"), bytes(one.values)
            absent = values in (b"", b"null")
            if size is None:
                if absent:
                    raise wrong(place, "it needs data, or parameters.binary_data_size")
                found = _from_json(values, one.datatype, shape, place, self._most_commas)
            elif not absent or type(size) is not int or not 0 <= size <= len(binary) - at:
                raise wrong(f"{place}.parameters.binary_data_size", "must be the size of a buffer behind the JSON")
            else:
                found = _from_binary(binary[at : at + size], one.datatype, shape, place)
                at += size
            tensors[one.name] = Tensor(place, shape, found)
        if at != len(binary):
            raise MalformedBody("the body has bytes after its last tensor")
        return tensors

    def _matrix(self, tensor: Tensor) -> Floats:
        """The tensor x, each column checked."""
        place, shape, values = tensor
        d = len(self._columns)
        if shape[1:] != [d] or isinstance(values, list):
            raise wrong(f"{place}.shape", f"expected numbers in the shape [n, {d}]")
        whole = np.isfinite(values).all()  # true for nearly all tensors; no numeric column needs a check then
        for j, column in enumerate(self._columns):
            if not whole or column.codes is not None:
                column.check(values[:, j], place)
        return np.ascontiguousarray(values)


def outputs(asked: Inference) -> Wanted:
    """The outputs that a request asks for: all if it names none.

    Raises InvalidInstance or MalformedBody.
    """
    everywhere = parameter(asked.parameters, "binary_data_output") is True
    if not isinstance(asked.outputs, list):
        return dict.fromkeys(OUTPUTS, True) if everywhere else ALL
    found: dict[str, bool] = {}
    for i, output in enumerate(asked.outputs):
        if output.name not in OUTPUTS or output.name in found:  # duplicates would make a response of any size
            detail = "given more than once" if output.name in OUTPUTS else f"there are {', '.join(OUTPUTS)}"
            raise wrong(f"$.outputs[{i}].name", detail)
        found[output.name] = parameter(output.parameters, "binary_data", everywhere) is True
    return found


def write(wanted: Wanted, values: Mapping[str, Values], n: int, head: Mapping[str, object]) -> tuple[bytes, bytes]:
    """Encode the response to a request: its JSON, and the bytes behind it.

    Parameters
    ----------
    values : {output: its n values}.
    head : the fields before the outputs.
    """
    described, binary = [], []
    for name, behind in wanted.items():
        some, about = values[name], _about(name, n)
        if behind:
            binary.append(_bytes(some if OUTPUTS[name] == "BYTES" else np.asarray(some)))
            described.append(b'%b"parameters":{"binary_data_size":%d}}' % (about, len(binary[-1])))
        else:
            listed = some if isinstance(some, list) else some.tolist()
            described.append(b'%b"data":%b}' % (about, msgspec.json.encode(listed)))
    return b'%b,"outputs":[%b]}' % (msgspec.json.encode(head)[:-1], b",".join(described)), b"".join(binary)


def parameter(parameters: Parameters, name: str, default: object = None) -> object:
    """The value of a request's or a tensor's parameter. Raises MalformedBody."""
    if isinstance(parameters, UnsetType):
        return default
    if len(memoryview(parameters)) > LONGEST_ABOUT:
        raise MalformedBody("invalid request body: parameters of more than 64 KiB")
    return (strict_json.decode_once(PARAMETERS, bytes(parameters)) or {}).get(name, default)


def _shape(raw: msgspec.Raw) -> list[int]:
    """Decode a shape; empty if it is malformed."""
    try:
        return SHAPE.decode(raw) if len(memoryview(raw)) <= LONGEST_ABOUT else []
    except msgspec.MsgspecError:
        return []


def _column(tensor: Tensor, column: Column) -> Floats:
    """Convert one feature's tensor to float64 (n,)."""
    place, shape, values = tensor
    if shape[1:] not in ([], [1]):
        raise wrong(f"{place}.shape", "expected [n]")
    if column.codes is not None:
        return column.levels(values if isinstance(values, list) else values.reshape(-1).tolist(), place)
    if isinstance(values, list):
        raise wrong(f"{place}.datatype", "expected numbers")
    numbers = values.reshape(-1)
    column.check(numbers, place)
    return numbers


def _from_json(text: bytes, datatype: str, shape: list[int], place: str, most_commas: int) -> Floats | Texts:
    """Decode a tensor's data as float64 in that shape or, for BYTES, as a flat list.

    most_commas: the largest number of commas in one text, plus 1.
    """
    try:
        if datatype == "BYTES":
            if text.count(b",") > prod(shape) * most_commas + 1000:
                raise wrong(f"{place}.data", OTHER_COUNT)
            return _flat(TEXTS.decode(text), shape, place)
        if datatype in INTEGERS:
            parts = [np.array(WHOLE.decode(some), dtype=INTEGERS[datatype]) for some in _slices(text, shape, place)]
        else:
            parts = [_floats(some) for some in _slices(text, shape, place)]
        values = np.concatenate(parts)
    except (*strict_json.FAULTS, OverflowError) as error:
        expected = "texts" if datatype == "BYTES" else f"numbers that are {datatype}"
        raise wrong(f"{place}.data", f"expected {expected}, flat or an array for each row") from error
    if len(values) != prod(shape):
        raise wrong(f"{place}.data", OTHER_COUNT)
    values = values.reshape(shape)
    if datatype in INTEGERS:
        return _exact(values, place)
    if datatype == "FP64":
        return values
    with np.errstate(over="ignore"):  # a number beyond FP32 becomes infinite, and is refused as such
        return values.astype(FLOATS[datatype]).astype(np.float64)


def _slices(text: bytes, shape: list[int], place: str) -> Iterator[bytes]:
    """Cut a tensor's data, flat or nested by row, into flat arrays of about SLICE bytes."""
    rows, count = shape[0], prod(shape)
    width = prod(shape[1:])
    pieces = range(0, len(text), 2**20)  # one call would hold the interpreter's lock for long
    # `text` is JSON: the marks show the places of its numbers.
    marks = b"".join([text[at : at + 2**20].translate(None, UNMARKED) for at in pieces])
    if len(marks) == max(count + 1, 2):
        right = marks == b"[%b]" % (b"," * (count - 1))
    else:
        row = b"[%b]" % (b"," * (width - 1))
        right = len(marks) == rows * (len(row) + 1) + 1 and marks == b"[%b]" % b",".join([row] * rows)
    if not right:
        raise wrong(f"{place}.data", f"{OTHER_COUNT}, or its nesting does")
    text, at = text.translate(NO_BRACKETS), 0
    while at < len(text):
        end = text.find(b",", at + strict_json.SLICE)
        end = len(text) if end < 0 else end
        yield b"[%b]" % text[at:end]
        at = end + 1


def _floats(array: bytes) -> Floats:
    """Decode a flat JSON array of n numbers as float64 (n,); null becomes NaN."""
    try:
        return floats(FLOAT.decode(array))
    except msgspec.ValidationError:
        return np.array(NULLABLE.decode(array), dtype=np.float64)


def _flat(values: list[Any], shape: Sequence[int], place: str) -> list[Any]:
    """Flatten values; their nesting must be the shape's."""
    if not values or not isinstance(values[0], list):
        if len(values) != prod(shape) or any(isinstance(value, list) for value in values):
            raise wrong(f"{place}.data", OTHER_COUNT)
        return values
    if len(values) != shape[0] or any(not isinstance(v, list) or len(v) != prod(shape[1:]) for v in values):
        raise wrong(f"{place}.data", "its nesting differs from the shape")
    return [value for row in values for value in row]


def _from_binary(buffer: bytes | memoryview, datatype: str, shape: list[int], place: str) -> Floats | Texts:
    """Decode a tensor's little-endian buffer, with the result of `_from_json`."""
    count = prod(shape)
    if datatype == "BYTES":
        return _texts(buffer, count, place)
    dtype = (FLOATS | INTEGERS)[datatype]
    if len(buffer) != count * np.dtype(dtype).itemsize:
        raise wrong(f"{place}.parameters.binary_data_size", OTHER_COUNT)
    values = np.frombuffer(buffer, dtype).reshape(shape)
    return _exact(values, place) if datatype in INTEGERS else values.astype(np.float64)


def _exact(values: "np.ndarray[Any, np.dtype[Any]]", place: str) -> Floats:
    """Integers as float64. Raises InvalidInstance if float64 would round one."""
    if values.size and (values.max() > EXACT or values.min() < -EXACT):
        raise wrong(place, "a whole number is beyond 2^53: float64 would round it")
    return values.astype(np.float64)


def _texts(buffer: bytes | memoryview, count: int, place: str) -> Texts:
    """Decode BYTES elements, each a 4-byte little-endian length and its bytes."""
    texts: list[bytes] = []
    at = 0
    while at < len(buffer) and len(texts) <= count:
        size = int.from_bytes(buffer[at : at + 4], "little")
        texts.append(bytes(buffer[at + 4 : at + 4 + size]))
        at += 4 + size
    if at != len(buffer) or len(texts) != count:
        raise wrong(place, "its number of texts differs from the shape")
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError:
        raise wrong(place, "a text is not UTF-8") from None


@lru_cache(64)  # many answers have one row
def _about(name: str, n: int) -> bytes:
    return b'{"name":"%b","shape":[%d],"datatype":"%b",' % (name.encode(), n, OUTPUTS[name].encode())


def _bytes(values: Any) -> bytes:
    """Encode an output's values, an array or a list of texts, as a little-endian buffer."""
    if isinstance(values, list):
        packed = {text: struct.pack("<I", len(text.encode())) + text.encode() for text in set(values)}
        return b"".join(map(packed.__getitem__, values))
    buffer: bytes = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return buffer
