"""The bodies that take the most memory of their size, in every protocol."""

import gzip
import json
from collections.abc import Iterator
from typing import NamedTuple

JSON, CSV, LINES = "application/json", "text/csv", "application/jsonlines"


class Body(NamedTuple):
    """A request: where to, in what, and the body; `name` says what is bad about it."""

    name: str
    path: str
    media_type: str
    body: bytes
    encoding: str = ""


def repeated(piece: bytes, size: int, begin: bytes = b"[", end: bytes = b"]") -> bytes:
    """A body of `size` bytes at the most: one piece again and again, with commas between."""
    count = (size - len(begin) - len(end) + 1) // (len(piece) + 1)
    return begin + b",".join([piece] * count) + end


def worst(size: int, name: str, feature: str, most_rows: int) -> Iterator[Body]:
    """Bodies of `size` bytes for a model of one numeric feature, made one at a time."""
    infer, field = f"/v2/models/{name}/infer", feature.encode()
    pieces = {
        "objects": b"{}",
        "arrays": b"[]",
        "numbers": b"0",
        "texts": b'"a"',
        "nulls": b"null",
        "escapes": b'"\\u0041"',
    }
    for kind, piece in pieces.items():
        yield Body(f"{kind} for rows", "/predict", JSON, repeated(piece, size))
        yield Body(f"{kind} for instances", "/invocations", JSON, repeated(piece, size, b'{"instances":[', b"]}"))
        column = b'{"inputs":{"%b":[' % field
        yield Body(f"{kind} for a column", "/invocations", JSON, repeated(piece, size, column, b"]}}"))
        split = b'{"dataframe_split":{"columns":["%b"],"data":[' % field
        yield Body(f"{kind} for data", "/invocations", JSON, repeated(piece, size, split, b"]}}"))
        names = b'{"dataframe_split":{"data":[],"columns":['
        yield Body(f"{kind} for columns", "/invocations", JSON, repeated(piece, size, names, b"]}}"))
        for datatype in ("FP64", "INT64", "BYTES"):
            count = size // (len(piece) + 1)
            head = b'{"inputs":[{"name":"%b","shape":[%d],"datatype":"%b","data":['
            tensor = head % (field, min(count, most_rows), datatype.encode())
            yield Body(f"{kind} for {datatype}", infer, JSON, repeated(piece, size, tensor, b"]}]}"))
    yield Body("arrays in arrays", "/predict", JSON, b"[" * size)
    one = json.dumps({"name": "a", "shape": [1], "datatype": "FP64", "data": [0]}).encode()
    yield Body("many inputs", infer, JSON, repeated(one, size, b'{"inputs":[', b"]}"))
    yield Body("many outputs", infer, JSON, repeated(b'{"name":"logit"}', size, b'{"inputs":[],"outputs":[', b"]}"))
    yield Body("one field again and again", "/predict", JSON, repeated(b'"a":0', size, b"{", b"}"))
    fields = b",".join(b'"%d":0' % i for i in range(size // 13))
    yield Body("many fields", "/predict", JSON, b"{" + fields + b"}")
    yield Body("one text", "/predict", JSON, b'{"%b":"' % field + b"a" * (size - 40) + b'"}')
    for kind, line in {
        "rows": b"1\n",
        "empty lines": b"\n",
        "quotes": b'""\n',
        "commas": b",",
        "cells": b"1,1,1\n",
    }.items():
        head = field + b"\n"
        yield Body(f"a CSV of {kind}", "/predict", CSV, head + line * ((size - len(head)) // len(line)))
        yield Body(f"a CSV of {kind} for MLflow", "/invocations", CSV, line * (size // len(line)))
    for kind, line in {"objects": b"{}\n", "arrays": b"[]\n", "numbers": b"1\n"}.items():
        yield Body(f"lines of {kind}", "/predict", LINES, line * (size // len(line)))
    row = b'{"%b":1e-100}' % field
    count = min(most_rows, size // (len(row) + 1))
    rows = b"[" + b",".join([row] * count) + b"]"
    yield Body("rows to explain", "/predict?explain=true&evidence=true", JSON, rows)
    yield Body("rows to explain, by Flask", "/explain?evidence=true", JSON, rows)
    for body in (repeated(b"{}", size), repeated(b"[]", size)):
        yield Body("compressed", "/predict", JSON, gzip.compress(body, 1), "gzip")
        yield Body("compressed, by Flask", "/explain", JSON, gzip.compress(body, 1), "gzip")
    yield Body("a form", "/answer", "application/x-www-form-urlencoded", b"a=&" * (size // 3))
    yield Body("an index", "/v2/repository/index", JSON, repeated(b"{}", size, b'{"ready":[', b"]}"))
