"""Requests in every protocol, and a judge of the answers, for make chaos and make soak."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from passfail.arrays import Floats
from passfail.codecs.answers import names
from passfail.links import LINKS
from passfail.manifest import Manifest
from passfail.proof import reference
from passfail.proof.certificate import ulp

JSON, CSV, LINES = "application/json", "text/csv", "application/jsonlines"
VERTEX = "/vertex"  # AIP_PREDICT_ROUTE of the tested services
SIZES = (1, 1, 1, 10, 1000)  # rows of a question that can have several
BAD = [b"", b"{", b'{"x": "y"}', b"[1, 2]", b"\xff\x00", b"[" * 5000, b'{"a": 1, "a": 2}']
OUTPUTS = {"probability": "<f8", "logit": "<f8", "verdict": "?", "stable": "?"}


class Question(NamedTuple):
    """A request, and its rows.

    Attributes
    ----------
    kind : the protocol, as in the table.
    x : the rows, float64 (n, d); None for a body that must be refused.
    version : the version that the path names, or None.
    """

    kind: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    x: Floats | None
    version: int | None = None


class Wrong(Exception):
    """An answer is wrong; the argument describes the difference."""


class Judge:
    """The manifest of each version, and the versions that may answer.

    Attributes
    ----------
    manifests : {version: manifest}.
    kinds : the protocols that it draws from.
    serving : the versions that may answer a request without a version.
    find : reads the manifest of a version that this process has not seen yet.
    """

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self.manifests, self.kinds = {one.version: one for one in manifests}, sorted(KINDS)
        self.serving = frozenset(self.manifests)
        self.find: Callable[[int], Manifest] = self.manifests.__getitem__

    def question(
        self, draw: random.Random, kind: str | None = None, sizes: Sequence[int] = SIZES, plain: bool = False
    ) -> Question:
        """Draw a request: its kind, its rows, and whether its body is compressed (plain: never)."""
        manifest = next(iter(self.manifests.values()))
        kind = kind or draw.choice(self.kinds)
        n = 1 if kind == "predict, object" else draw.choice(sizes)
        rows = [[_value(feature, draw) for feature in manifest.features] for _ in range(n)]
        path, media_type, body, version = KINDS[kind](self, manifest, rows, draw)
        headers = {"Content-Type": media_type, "X-Request-Id": f"{draw.getrandbits(64):016x}"}
        if kind == "v2, binary":
            headers["Inference-Header-Content-Length"] = str(body.index(b"]}") + 2)
        elif not plain and draw.random() < 0.25:
            body = gzip.compress(body, 1)
            headers |= {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
        levels = [{level: i for i, level in enumerate(feature.levels)} for feature in manifest.features]
        x = [[of.get(value, value) for of, value in zip(levels, row, strict=True)] for row in rows]
        return Question(kind, path, headers, body, np.array(x, dtype=np.float64), version)

    def bad_question(self, draw: random.Random) -> Question:
        """Draw a request that must be refused."""
        headers = {"Content-Type": JSON, "X-Request-Id": f"{draw.getrandbits(64):016x}"}
        return Question("refused", "/predict", headers, draw.choice(BAD), None)

    def check(
        self, asked: Question, status: int, headers: Mapping[str, str], body: bytes, serving: frozenset[int]
    ) -> None:
        """Compare an answer with the closed form of the version that it names, logits bit for bit.

        serving : the versions that may answer during the request. Raises Wrong.
        """
        if headers.get("X-Request-Id") != asked.headers["X-Request-Id"]:
            raise Wrong("its X-Request-Id is another request's")
        if asked.x is None:
            if not (400 <= status < 500 and b'"detail"' in body):
                raise Wrong(f"status {status} for a body that must be refused")
            return
        if status != 200:
            raise Wrong(f"status {status}: {body[:200]!r}")
        if headers.get("X-Request-Digest") != hashlib.sha256(asked.body).hexdigest():
            raise Wrong("its X-Request-Digest is another body's")
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        versions, columns = _read(asked, headers, body, next(iter(self.manifests.values())))
        if len(versions) != 1:
            raise Wrong(f"it names {len(versions)} versions")
        (version,) = versions
        if version not in ({asked.version} if asked.version else serving):
            raise Wrong(f"version {version} answered, where {asked.version or sorted(serving)} must")
        if version not in self.manifests:
            self.manifests[version] = self.find(version)
        manifest = self.manifests[version]
        if headers.get("X-Model-Digest") != manifest.digest:
            raise Wrong("its X-Model-Digest is another version's")
        _compare(manifest, asked.x, columns)


def _compare(manifest: Manifest, x: Floats, columns: Mapping[str, list[Any]]) -> None:
    z = reference.logit(manifest, x)
    with np.errstate(over="ignore"):
        p = 1 / (1 + np.exp(-z))
    verdict = z > manifest.logit_threshold
    if any(len(column) != len(x) for column in columns.values()):
        raise Wrong("it has another number of rows than the request")
    if not np.array_equal(np.array(columns["logit"]), z):
        raise Wrong("a logit is not the closed form's")
    if ulp(np.array(columns["probability"]), p) > 2 * LINKS[manifest.link].ulp:
        raise Wrong("a probability is not the closed form's")
    if columns["verdict"] != verdict.tolist():
        raise Wrong("a verdict is not the closed form's")
    if columns["label"] != [manifest.target.labels[positive] for positive in verdict.tolist()]:
        raise Wrong("a label is not the verdict's")


def _value(feature: Any, draw: random.Random) -> float | str:
    if feature.kind == "categorical":
        return draw.choice(feature.levels)
    low, high = feature.range
    return draw.uniform(2 * low - high, 2 * high - low)


# Requests: functions of (judge, manifest, rows, draw) that return (path, media type, body, version in the path).


def _objects(manifest: Manifest, rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip([feature.name for feature in manifest.features], row, strict=True)) for row in rows]


def _csv(manifest: Manifest, rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[feature.name for feature in manifest.features], *rows])
    return text.getvalue().encode()


def _tensors(manifest: Manifest, rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "shape": [len(rows)], "datatype": "BYTES" if one.levels else "FP64", "data": list(column)}
        for one, column in zip(manifest.features, zip(*rows, strict=True), strict=True)
    ]


def _v2_binary(judge: Judge, manifest: Manifest, rows: list[list[Any]], draw: random.Random) -> Any:
    tensors, buffers = _tensors(manifest, rows), []
    for tensor in tensors:
        data = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            buffers.append(b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data))
        else:
            buffers.append(np.array(data, "<f8").tobytes())
        tensor["parameters"] = {"binary_data_size": len(buffers[-1])}
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": tensors}).encode()
    return f"/v2/models/{manifest.name}/infer", "application/octet-stream", head + b"".join(buffers), None


def _v2_version(judge: Judge, manifest: Manifest, rows: list[list[Any]], draw: random.Random) -> Any:
    version = min(judge.serving)  # a higher one may not be there yet
    body = json.dumps({"inputs": _tensors(manifest, rows)}).encode()
    return f"/v2/models/{manifest.name}/versions/{version}/infer", JSON, body, version


def _json(path: str, make: Any) -> Any:
    return lambda judge, manifest, rows, draw: (
        path.format(manifest.name),
        JSON,
        json.dumps(make(manifest, rows)).encode(),
        None,
    )


KINDS: dict[str, Any] = {
    "predict, object": _json("/predict", lambda manifest, rows: _objects(manifest, rows)[0]),
    "predict, rows": _json("/predict", _objects),
    "predict, CSV": lambda judge, manifest, rows, draw: ("/predict", CSV, _csv(manifest, rows), None),
    "predict, JSON lines": lambda judge, manifest, rows, draw: (
        "/predict", LINES, "\n".join(map(json.dumps, _objects(manifest, rows))).encode(), None,
    ),
    "MLflow, split": _json("/invocations", lambda manifest, rows: {
        "dataframe_split": {"columns": [feature.name for feature in manifest.features], "data": rows}}),
    "SageMaker, instances": _json("/invocations", lambda manifest, rows: {"instances": _objects(manifest, rows)}),
    "SageMaker, CSV": lambda judge, manifest, rows, draw: ("/invocations", CSV, _csv(manifest, rows), None),
    "Vertex AI": _json(VERTEX, lambda manifest, rows: {"instances": _objects(manifest, rows)}),
    "v2, JSON": _json("/v2/models/{}/infer", lambda manifest, rows: {"inputs": _tensors(manifest, rows)}),
    "v2, binary": _v2_binary,
    "v2, a version": _v2_version,
}  # fmt: skip


def _read(
    asked: Question, headers: Mapping[str, str], body: bytes, manifest: Manifest
) -> tuple[set[int], dict[str, list[Any]]]:
    """The versions in an answer, and its columns (verdict, label, probability, logit).

    Raises Wrong.
    """
    try:
        if asked.kind.startswith("v2"):
            return _read_tensors(headers, body)
        verdict = names(manifest)[0]
        if headers["Content-Type"].startswith(CSV):
            records: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(body.decode())))
            for one in records:
                one |= {"logit": float(one["logit"]), "probability": float(one["probability"])}
                one |= {verdict: {"true": True, "false": False}[one[verdict]], "version": int(one["version"])}
        elif headers["Content-Type"].startswith(LINES):
            records = [json.loads(line) for line in body.splitlines()]
        else:
            found = json.loads(body)
            records = [found] if isinstance(found, dict) and "logit" in found else found
            records = records["predictions"] if isinstance(records, dict) else records
        keys = {"verdict": verdict, "label": "label", "probability": "probability", "logit": "logit"}
        return {one["version"] for one in records}, {key: [one[at] for one in records] for key, at in keys.items()}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Wrong(f"it can't be read: {error!r}") from error


def _read_tensors(headers: Mapping[str, str], body: bytes) -> tuple[set[int], dict[str, list[Any]]]:
    size = int(headers.get("Inference-Header-Content-Length", len(body)))
    document, at, columns = json.loads(body[:size]), size, {}
    for output in document["outputs"]:
        if "data" in output:
            columns[output["name"]] = output["data"]
            continue
        buffer = body[at : at + output["parameters"]["binary_data_size"]]
        at += len(buffer)
        if output["datatype"] == "BYTES":
            texts, start = [], 0
            while start < len(buffer):
                (length,) = struct.unpack_from("<I", buffer, start)
                texts.append(buffer[start + 4 : start + 4 + length].decode())
                start += 4 + length
            columns[output["name"]] = texts
        else:
            columns[output["name"]] = np.frombuffer(buffer, OUTPUTS[output["name"]]).tolist()
    return {int(document["model_version"])}, columns
