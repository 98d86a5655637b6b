"""The codec of one row in V2 tensors: decoded in one call, answered from prebuilt text."""

from collections.abc import Sequence
from functools import lru_cache, partial, reduce
from itertools import chain
from operator import or_
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from passfail.arrays import Row
from passfail.codecs import strict_json
from passfail.codecs.tensors import ALL, OUTPUTS, write
from passfail.columns import Columns
from passfail.manifest import Manifest


class TensorRow:
    """The decoder and encoder of a single row of one model in tensors."""

    def __init__(self, manifest: Manifest, columns: Columns) -> None:
        self._codes = [(at, column.codes) for at, column in enumerate(columns) if column.codes is not None]
        self._decoder, self._forms = _decoder(manifest, columns)
        self._frame = lru_cache(partial(_frame, manifest))

    def read(self, body: bytes) -> tuple[Row, str | UnsetType] | None:
        """Decode a request for one row as most clients write it: the row and the request's id.

        Any other request is None: `TensorRows` decodes it.
        """
        asked: Any = strict_json.plain(self._decoder, body)
        if asked is None or tuple(map(type, asked.inputs)) not in self._forms:
            return None
        row: list[Any] = list(chain.from_iterable([one.data for one in asked.inputs]))
        for at, codes in self._codes:
            row[at] = codes[row[at]]
        return row, asked.id

    def write(
        self, request_id: str | UnsetType | None, verdict: bool, logit: float, probability: float, stable: bool
    ) -> bytes:
        """Encode ALL outputs of one row, from plain values, with the bytes of `tensors.write`."""
        text, named = msgspec.json.encode, isinstance(request_id, str)
        values = (text(request_id), text(probability), text(logit)) if named else (text(probability), text(logit))
        return self._frame(named, verdict, stable) % values


def _decoder(manifest: Manifest, columns: Columns) -> tuple[msgspec.json.Decoder[Any], set[tuple[type, ...]]]:
    """The decoder of requests for one row, and their tensors' types: x, or each feature's."""

    def tensor(name: str, datatype: str, shape: Any, data: Sequence[object]) -> type:
        fields: list[Any] = [("shape", shape), ("datatype", Literal[datatype]), ("data", tuple[tuple(data)])]  # type: ignore[misc]
        return strict_json.struct("Tensor", fields, tag_field="name", tag=name)

    kinds: list[Any] = [column.json_type for column in columns]
    one = Annotated[list[Literal[1]], msgspec.Meta(min_length=1, max_length=2)]
    forms: set[tuple[type, ...]] = set()
    if not any(column.open or column.boolean for column in columns):
        of = ["FP64" if column.codes is None else "BYTES" for column in columns]
        forms.add(tuple(map(tensor, columns.by_name, of, [one] * len(kinds), [[kind] for kind in kinds])))
    if not columns.categorical and "x" not in columns.by_name:
        forms.add((tensor("x", "FP64", tuple[Literal[1], Literal[len(kinds)]], kinds),))  # type: ignore[misc]
    tensors: Any = reduce(or_, chain.from_iterable(forms), None)
    fields: list[Any] = [
        ("inputs", Annotated[list[tensors], msgspec.Meta(max_length=len(kinds))]),
        ("id", str | UnsetType, UNSET),
        ("model_name", Literal[manifest.name] | UnsetType, UNSET),
        ("model_version", Literal["", str(manifest.version)] | UnsetType, UNSET),
    ]
    return msgspec.json.Decoder(strict_json.struct("OnlyRow", fields)), forms


def _frame(manifest: Manifest, named: bool, verdict: bool, stable: bool) -> bytes:
    """The response with one row; %b is its id, if it is `named`, its probability and its logit."""
    gap, label = msgspec.Raw(b"\0"), manifest.target.labels[verdict]
    head: dict[str, object] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    values: list[list[Any]] = [[gap], [gap], [verdict], [label], [stable]]
    text, _ = write(ALL, dict(zip(OUTPUTS, values, strict=True)), 1, head | ({"id": gap} if named else {}))
    return text.replace(b"%", b"%%").replace(b"\0", b"%b")
