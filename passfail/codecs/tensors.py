"""Tensors of the Open Inference Protocol, version 2, to rows of numbers, strictly, and answers to tensors.

https://github.com/kserve/open-inference-protocol; binary tensors as in Triton's "binary data" extension.
"""

import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from passfail.arrays import Bools, Floats
from passfail.codecs import strict_json
from passfail.columns import Column, Columns, floats
from passfail.errors import InvalidInstance, MalformedBody, Problem

FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
INTEGERS = {f"{sign}INT{bits}": f"<{sign.lower() or 'i'}{bits // 8}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
EXACT = 2**53  # float64 holds every whole number up to here
OTHER_COUNT = "doesn't hold as many values as the shape says"

# What an answer holds, unless it is asked for less. `stable` is false also where it is not known: with a hidden layer.
OUTPUTS = {"probability": "FP64", "logit": "FP64", "verdict": "BOOL", "label": "BYTES", "stable": "BOOL"}

Parameters = dict[str, Any] | UnsetType | None
Texts = list[str | int | None]
Values = Floats | Bools | list[str]  # an output's values, (n,)


def described(**schema: object) -> msgspec.Meta:
    """What OpenAPI says of a field beyond its type. The decoder does not check it: our own errors name the place."""
    return msgspec.Meta(extra_json_schema=schema)


class Input(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A tensor of a request, its data as JSON or, with parameters.binary_data_size, behind the JSON."""

    name: str
    shape: list[int]
    datatype: Annotated[str, described(enum=[*FLOATS, *INTEGERS, "BYTES"])]
    parameters: Parameters = UNSET
    data: Annotated[msgspec.Raw, described(type="array")] | UnsetType = UNSET

    @property
    def values(self) -> msgspec.Raw:
        """The data; empty where there is none."""
        return msgspec.Raw() if isinstance(self.data, UnsetType) else self.data


class Output(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A tensor that a request asks for."""

    name: Annotated[str, described(enum=list(OUTPUTS))]
    parameters: Parameters = UNSET


class Inference(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A request's JSON."""

    inputs: Annotated[list[Input], described(minItems=1)]
    outputs: list[Output] | UnsetType | None = UNSET
    id: str | UnsetType | None = UNSET
    parameters: Parameters = UNSET
    model_name: str | UnsetType | None = UNSET  # KServe's client repeats the path's
    model_version: str | UnsetType | None = UNSET


NUMBER = float | int | None
INFERENCE = msgspec.json.Decoder(Inference)
FLAT = msgspec.json.Decoder(list[float])  # nearly always
NUMBERS = msgspec.json.Decoder(list[NUMBER | list[NUMBER]])
WHOLES = msgspec.json.Decoder(list[int | list[int]])
TEXTS = msgspec.json.Decoder(list[str | int | list[str | int | None] | None])
ALL = [Output(name) for name in OUTPUTS]


class TensorRows:
    """The decoder of one model's rows in tensors.

    Either one tensor x [n, d], a category as the index of its level; or one tensor [n] a feature, a category as its
    level in BYTES. NaN, null and an empty text are a missing value.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def read(self, inputs: Sequence[Input], binary: bytes | memoryview = b"") -> Floats:
        """Decode a request's inputs, with the bytes behind its JSON, to x, float64 (n, d).

        Raises MalformedBody, or InvalidInstance naming the places that are wrong.
        """
        tensors = self._tensors(inputs, binary)
        d, names = len(self._columns), list(self._columns.by_name)
        if set(tensors) == {"x"} and ("x" not in names or tensors["x"][1].shape[1:] == [d]):
            return self._matrix(*tensors["x"])
        if set(tensors) != set(names):
            wanted = f"expected x [n, {d}], or a tensor for each of the features: {', '.join(names)}"
            raise InvalidInstance("the inputs are not the model's", [Problem("$.inputs", wanted)])
        columns = [_column(*tensors[column.name], column) for column in self._columns]
        if len({len(column) for column in columns}) > 1:
            raise wrong("$.inputs", "the tensors differ in their number of rows")
        return np.stack(columns, axis=1)

    def _tensors(
        self, inputs: Sequence[Input], binary: bytes | memoryview
    ) -> dict[str, tuple[str, Input, Floats | Texts]]:
        """{name: (its place, the input, its values)}."""
        d, at = len(self._columns), 0
        tensors: dict[str, tuple[str, Input, Floats | Texts]] = {}
        for i, one in enumerate(inputs):
            place = f"$.inputs[{i}]"
            if one.name in tensors:
                raise InvalidInstance("an input is given more than once", [Problem(place, "given more than once")])
            if not one.shape or one.shape[0] < 0 or one.shape[1:] not in ([], [1], [d]):
                raise wrong(f"{place}.shape", f"expected [n], or for x [n, {d}]")
            self._columns.check_rows(one.shape[0])
            size = parameter(one.parameters, "binary_data_size")
            absent = len(memoryview(one.values)) <= 4 and bytes(one.values) in (b"", b"null")
            if size is None:
                if absent:
                    raise wrong(place, "neither data nor parameters.binary_data_size")
                tensors[one.name] = place, one, _from_json(one, place)
                continue
            if not absent or type(size) is not int or not 0 <= size <= len(binary) - at:
                raise wrong(f"{place}.parameters.binary_data_size", "not the size of a buffer behind the JSON")
            tensors[one.name] = place, one, _from_binary(one, binary[at : at + size], place)
            at += size
        if at != len(binary):
            raise MalformedBody("the body holds more bytes than its tensors do")
        return tensors

    def _matrix(self, place: str, one: Input, values: Floats | Texts) -> Floats:
        """The tensor x, each column checked."""
        d = len(self._columns)
        if one.shape[1:] != [d] or isinstance(values, list):
            raise wrong(f"{place}.shape", f"expected numbers in the shape [n, {d}]")
        whole = np.isfinite(values).all()  # nearly always, and then no numeric column has to be looked at
        for j, column in enumerate(self._columns):
            if not whole or column.codes is not None:
                column.check(values[:, j], place)
        return np.ascontiguousarray(values)


def read_inference(body: bytes) -> Inference:
    """Decode a request's JSON. Raises MalformedBody."""
    return strict_json.decode_once(INFERENCE, body)


def outputs(asked: Inference) -> Sequence[Output]:
    """The outputs that a request asks for: all, or some, each once: more would be a response of any size.

    Raises InvalidInstance.
    """
    if not isinstance(asked.outputs, list):
        return ALL
    left = set(OUTPUTS)
    for i, output in enumerate(asked.outputs):
        if output.name not in left:
            detail = "given more than once" if output.name in OUTPUTS else f"there are {', '.join(OUTPUTS)}"
            raise wrong(f"$.outputs[{i}].name", detail)
        left.remove(output.name)
    return asked.outputs


def write(asked: Inference, values: Mapping[str, Values], n: int, head: Mapping[str, object]) -> tuple[bytes, bytes]:
    """Encode the response to a request: its JSON, and the bytes behind it.

    Parameters
    ----------
    values : {output: its n values}.
    head : the fields before the outputs.
    """
    everywhere = parameter(asked.parameters, "binary_data_output") is True
    described, binary = [], []
    for output in outputs(asked):
        some, datatype = values[output.name], OUTPUTS[output.name]
        about = b'{"name":"%b","shape":[%d],"datatype":"%b",' % (output.name.encode(), n, datatype.encode())
        if parameter(output.parameters, "binary_data", everywhere) is True:
            binary.append(_bytes(some))
            described.append(b'%b"parameters":{"binary_data_size":%d}}' % (about, len(binary[-1])))
        else:
            listed = some if isinstance(some, list) else some.tolist()
            described.append(b'%b"data":%b}' % (about, msgspec.json.encode(listed)))
    return b'%b,"outputs":[%b]}' % (msgspec.json.encode(head)[:-1], b",".join(described)), b"".join(binary)


def parameter(parameters: Parameters, name: str, default: object = None) -> object:
    """The value of a request's or a tensor's parameter."""
    return parameters.get(name, default) if parameters else default


def wrong(place: str, detail: str) -> InvalidInstance:
    """The error of one place."""
    return InvalidInstance("1 place is wrong", [Problem(place, detail)])


def _column(place: str, one: Input, values: Floats | Texts, column: Column) -> Floats:
    """One feature's tensor -> float64 (n,)."""
    if one.shape[1:] not in ([], [1]):
        raise wrong(f"{place}.shape", "expected [n]")
    if column.codes is not None:
        return column.levels(values if isinstance(values, list) else values.reshape(-1).tolist(), place)
    if isinstance(values, list):
        raise wrong(f"{place}.datatype", "expected numbers")
    numbers = values.reshape(-1)
    column.check(numbers, place)
    return numbers


def _from_json(one: Input, place: str) -> Floats | Texts:
    """A tensor's data -> float64 (n,) or (n, columns), or, of BYTES, a flat list."""
    try:
        if one.datatype == "BYTES":
            return _flat(TEXTS.decode(one.values), one.shape, place)
        if one.datatype in INTEGERS:
            whole = _flat(WHOLES.decode(one.values), one.shape, place)
            return _exact(np.array(whole, dtype=INTEGERS[one.datatype]).reshape(one.shape), place)
        if one.datatype not in FLOATS:
            raise _unknown_datatype(place)
        values = _numbers(one, place).reshape(one.shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        expected = "texts" if one.datatype == "BYTES" else f"numbers that are {one.datatype}"
        raise wrong(f"{place}.data", f"expected {expected}, flat or an array for each row") from error
    if one.datatype == "FP64":
        return values
    with np.errstate(over="ignore"):  # beyond FP32 is infinite, and refused as that
        return values.astype(FLOATS[one.datatype]).astype(np.float64)


def _numbers(one: Input, place: str) -> Floats:
    """A tensor's data, as many numbers as the shape says -> float64, flat; null is NaN."""
    try:
        flat = FLAT.decode(one.values)
    except msgspec.ValidationError:
        return np.array(_flat(NUMBERS.decode(one.values), one.shape, place), dtype=np.float64)
    if len(flat) != prod(one.shape):
        raise wrong(f"{place}.data", OTHER_COUNT)
    return floats(flat)


def _flat(values: list[Any], shape: Sequence[int], place: str) -> list[Any]:
    """The values without the nesting, which must be the shape's."""
    if not values or not isinstance(values[0], list):
        if len(values) != prod(shape) or any(isinstance(value, list) for value in values):
            raise wrong(f"{place}.data", OTHER_COUNT)
        return values
    if len(values) != shape[0] or any(not isinstance(v, list) or len(v) != prod(shape[1:]) for v in values):
        raise wrong(f"{place}.data", "is not nested as the shape says")
    return [value for row in values for value in row]


def _from_binary(one: Input, buffer: bytes | memoryview, place: str) -> Floats | Texts:
    """A tensor's little-endian buffer -> as `_from_json`."""
    count = prod(one.shape)
    if one.datatype == "BYTES":
        return _texts(buffer, count, place)
    dtype = FLOATS.get(one.datatype) or INTEGERS.get(one.datatype)
    if dtype is None:
        raise _unknown_datatype(place)
    if len(buffer) != count * np.dtype(dtype).itemsize:
        raise wrong(f"{place}.parameters.binary_data_size", OTHER_COUNT)
    values = np.frombuffer(buffer, dtype).reshape(one.shape)
    return _exact(values, place) if one.datatype in INTEGERS else values.astype(np.float64)


def _exact(values: "np.ndarray[Any, np.dtype[Any]]", place: str) -> Floats:
    """Whole numbers as float64, where it holds them."""
    if values.size and (values.max() > EXACT or values.min() < -EXACT):
        raise wrong(place, "a whole number is beyond 2^53: float64 would round it")
    return values.astype(np.float64)


def _texts(buffer: bytes | memoryview, count: int, place: str) -> Texts:
    """BYTES elements: a 4-byte little-endian length and so many bytes each."""
    texts: list[bytes] = []
    at = 0
    while at < len(buffer) and len(texts) <= count:
        size = int.from_bytes(buffer[at : at + 4], "little")
        texts.append(bytes(buffer[at + 4 : at + 4 + size]))
        at += 4 + size
    if at != len(buffer) or len(texts) != count:
        raise wrong(place, "its bytes are not as many texts as the shape says")
    try:
        return [text.decode() for text in texts]
    except UnicodeDecodeError:
        raise wrong(place, "a text is not UTF-8") from None


def _unknown_datatype(place: str) -> InvalidInstance:
    return wrong(f"{place}.datatype", f"expected one of {', '.join([*FLOATS, *INTEGERS, 'BYTES'])}")


def _bytes(values: Values) -> bytes:
    """An output's values as a little-endian buffer."""
    if isinstance(values, list):
        packed = {text: struct.pack("<I", len(text.encode())) + text.encode() for text in set(values)}
        return b"".join(map(packed.__getitem__, values))
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
