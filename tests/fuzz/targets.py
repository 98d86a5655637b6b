"""The targets of the fuzzers, {decoder: judge (service, bytes) -> the status answered}.

Every answer is a 200 that is the closed form's to the bit, of rows that a second, naive reader finds in the request; or
a refusal in the protocol's shape that names no value sent. All else is an AssertionError, and so a finding.
"""

import csv
import io
import json
import math
import re
from itertools import zip_longest

import numpy as np

from passfail import columns
from passfail.codecs import tensors
from passfail.errors import BodyTooLarge, InvalidInstance, MalformedBody, RequestError
from passfail.manifest import MISSING
from passfail.proof import reference
from serve.http import messages
from serve.http.auth import Auth
from serve.http.errors import Unauthenticated
from serve.http.messages import Request, completed
from serve.http.receipt import REQUEST_ID
from serve.protocols import mlflow
from serve.protocols import open_inference as v2
from serve.protocols import vertex as vertex_ai
from serve.protocols.predict import explained, predict
from serve.protocols.routes import Routes
from serve.settings import Config

MAX_ROWS = 1000  # of the services that are asked
SECRETS = ("5ecre7-", "777777.25")  # what mutations put into requests, and no refusal may repeat
JSON, CSV, PROBLEM = (name.encode() for name in (messages.JSON, messages.CSV, messages.PROBLEM))


def ask(service, endpoint, body, path="/predict", query="", headers=(), **names):
    request = Request(path, query, {b"content-type": JSON, **dict(headers)}, body)
    try:
        return completed(endpoint(service, request, **names))
    except RequestError as error:  # as the server answers it
        return Routes(Config()).refusal(path, error)


def refused(answer, body, media_type, *keys):
    """Judge a refusal: its status, its shape, and that it repeats nothing of the body."""
    assert answer.status in (400, 413, 415, 422), answer
    assert dict(answer.fields)["Content-Type"].encode() == media_type
    assert set(keys) <= json.loads(answer.body, parse_constant=_forbidden).keys()
    # A name that is nearly a feature's is said again, so that its sender can correct it; a value never is.
    without_names = re.sub(rb"unknown name\(s\): .*?; the features are", b"", answer.body, flags=re.DOTALL)
    for secret in SECRETS:
        if secret.encode() in body:
            assert secret.encode() not in without_names
    return answer.status


def _forbidden(name):
    raise AssertionError(f"{name} is not JSON")


def right(model, rows, logit, probability, label):
    """Judge the numbers and verdicts of rows (lists like a row of x) by the closed form."""
    manifest = model.manifest
    x = np.array(rows, dtype=np.float64).reshape(len(rows), len(manifest.features))
    expected = reference.logit(manifest, x)
    assert np.isfinite(expected).all()
    assert logit == expected.tolist()
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(probability, 1 / (1 + np.exp(-expected)), rtol=1e-14, atol=1e-300)
    assert label == [manifest.target.labels[z > manifest.logit_threshold] for z in expected.tolist()]


def objects(manifest, found):
    """Rows of x from JSON objects, or arrays in the features' order, or the columns by name."""
    if isinstance(found, dict):
        found = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    names = [feature.name for feature in manifest.features]
    found = [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in found]
    assert all(row.keys() == set(names) for row in found)
    return [[number(f, row[f.name]) for f in manifest.features] for row in found]


def number(feature, value):
    assert value is not None or feature.nullable
    if value is None:
        return math.nan
    if feature.kind == "categorical":
        assert isinstance(value, (str, int))
        assert not isinstance(value, bool)
        return float(feature.levels.index(str(value)))
    assert isinstance(value, (int, float))
    assert not isinstance(value, bool)
    assert math.isfinite(value)
    return float(value)


def table(manifest, body):
    """(header, rows of x, records) of a CSV."""
    header, *records = [row for row in csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")) if row]
    header = [name.strip() for name in header]
    rows = []
    for record in records:
        cells = dict(zip(header, map(str.strip, record), strict=True))
        assert cells.keys() >= {feature.name for feature in manifest.features}
        rows.append([
            math.nan if cell in MISSING and cell not in f.levels
            else float(f.levels.index(cell)) if f.kind == "categorical" else float(cell)
            for f, cell in ((f, cells[f.name]) for f in manifest.features)
        ])  # fmt: skip
        assert all(f.nullable or not math.isnan(v) for f, v in zip(manifest.features, rows[-1], strict=True))
    return header, rows, records


def listed(model, rows, answers):
    answers = answers if isinstance(answers, list) else [answers]
    logit, probability, label = ([one[name] for one in answers] for name in ("logit", "probability", "label"))
    right(model, rows, logit, probability, label)
    assert all((one["model"], one["version"]) == (model.manifest.name, model.manifest.version) for one in answers)


def from_json(service, body):
    """POST /predict in JSON, whose two decoders agree; the same body explained."""
    model, decoder = service.served.model, service.served.codecs.json
    answer = ask(service, predict, body)
    agreed(decoder, body, answer.error)
    if len(body) % 16 == 0:  # it takes far longer than an answer
        why = ask(service, explained, body, path="/explain")
        assert why.status == answer.status
    if answer.status != 200:
        return refused(answer, body, PROBLEM, "type", "title", "status", "detail")
    found = json.loads(body)
    rows = objects(model.manifest, found if isinstance(found, list) else [found])
    listed(model, rows, json.loads(answer.body, parse_constant=_forbidden))
    return 200


def agreed(decoder, body, error):
    """Check that the slow decoder finds a fault in a body exactly if the fast one refused it."""
    if isinstance(error, BodyTooLarge) and body.count(b"{") > MAX_ROWS:  # refused before either of them reads it
        return
    slow = []
    try:
        decoder.read_slowly(body)
    except InvalidInstance as found:
        slow = list(found.problems)
    except RequestError as found:
        slow = str(found)
    if isinstance(slow, str):
        assert str(error) == slow
        return
    if error is None:
        assert slow == []
    elif isinstance(error, MalformedBody):
        # Half of a surrogate pair: json takes it for a character, and it is none.
        assert slow == []
        assert b"\\u" in body
    elif slow:
        assert list(error.problems) == slow
    else:
        assert "float64" in error.problems[0].detail


def from_csv(service, body):
    """POST /predict in CSV: the cells come back as they were sent."""
    model = service.served.model
    answer = ask(service, predict, body, headers={b"content-type": CSV})
    if answer.status != 200:
        return refused(answer, body, PROBLEM, "type", "title", "status", "detail")
    header, rows, records = table(model.manifest, body)
    first, *found = csv.reader(io.StringIO(answer.body.decode(), newline=""))
    width = len(header)
    assert first[:width] == header
    assert [row[:width] for row in found] == records
    _, label, probability, logit, *_ = zip_longest(*(row[width:] for row in found)) if found else [()] * 4
    right(model, rows, [float(z) for z in logit], [float(p) for p in probability], list(label))
    return 200


def from_mlflow(service, body):
    """POST /invocations, and the same body to Vertex AI's route."""
    model = service.served.model
    answer = ask(service, mlflow.invocations, body, path="/invocations")
    vertex = ask(service, vertex_ai.predict, body, path="/vertex")
    if vertex.status == 200:
        listed(model, objects(model.manifest, json.loads(body)["instances"]), json.loads(vertex.body)["predictions"])
    else:
        refused(vertex, body, JSON, "error")
    if answer.status != 200:
        return refused(answer, body, JSON, "error_code", "message")
    sent = json.loads(body, parse_constant={"NaN": None}.__getitem__)  # MLflow's client writes a missing cell so
    (name,) = (name for name in mlflow.TABLES if sent.get(name) is not None)
    found = sent[name]
    if name == "dataframe_split":
        found = [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]
    listed(model, objects(model.manifest, found), json.loads(answer.body)["predictions"])
    return 200


def from_tensors(service, data):
    """POST /v2/models/{name}/infer; the first line may be Inference-Header-Content-Length."""
    model = service.served.model
    length, _, body = data.partition(b"\n")
    headers = {v2.HEADER_LENGTH: length} if length else {}
    answer = ask(service, v2.infer, body, headers=headers, name=model.manifest.name)
    if answer.status != 200:
        return refused(answer, body, JSON, "error")
    size = int(length or len(body))
    sent = json.loads(body[:size])
    outputs = _outputs(answer)
    wanted = sent.get("outputs")
    assert [name for name, _ in outputs] == [
        o["name"] for o in ([{"name": n} for n in v2.OUTPUTS] if wanted is None else wanted)
    ]
    outputs = dict(outputs)
    rows = _rows(model.manifest, sent["inputs"], body[size:])
    everything = dict(
        _outputs(ask(service, v2.infer, _all(sent, body, size), headers=_sized(sent, length), name=model.manifest.name))
    )
    right(model, rows, everything["logit"], everything["probability"], everything["label"])
    assert all(everything[name] == values for name, values in outputs.items())
    return 200


def _all(sent, body, size):
    return json.dumps({"inputs": sent["inputs"]}).encode() + body[size:]


def _sized(sent, length):
    return {v2.HEADER_LENGTH: b"%d" % len(_all(sent, b"", 0))} if length else {}


def _outputs(answer):
    """[(name, values)] of the tensors in an answer, JSON or binary."""
    size = int(dict(answer.fields).get("Inference-Header-Content-Length", len(answer.body)))
    head, rest = json.loads(answer.body[:size], parse_constant=_forbidden), answer.body[size:]
    found = []
    for one in head["outputs"]:
        if "data" in one:
            values = one["data"]
        else:
            size = one["parameters"]["binary_data_size"]
            buffer, rest = rest[:size], rest[size:]
            values = (
                [t.decode() for t in _texts(buffer)]
                if one["datatype"] == "BYTES"
                else np.frombuffer(buffer, "<f8" if one["datatype"] == "FP64" else "?").tolist()
            )
        assert len(values) == one["shape"][0]
        found.append((one["name"], values))
    assert rest == b""
    return found


def _texts(buffer):
    while buffer:
        size = int.from_bytes(buffer[:4], "little")
        yield buffer[4 : 4 + size]
        buffer = buffer[4 + size :]


def _rows(manifest, inputs, binary):
    """Rows of x from tensors."""
    found = {}
    for one in inputs:
        kind, size = one["datatype"], (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            flat = [v for row in one["data"] for v in (row if isinstance(row, list) else [row])]
        else:
            buffer, binary = binary[:size], binary[size:]
            flat = (
                [t.decode() for t in _texts(buffer)]
                if kind == "BYTES"
                else np.frombuffer(buffer, tensors.FLOATS.get(kind) or tensors.INTEGERS[kind]).tolist()
            )
        if kind in tensors.FLOATS:
            with np.errstate(over="ignore"):
                flat = np.array(flat, dtype=np.float64).astype(tensors.FLOATS[kind]).astype(np.float64).tolist()
        elif kind in tensors.INTEGERS:
            assert all(float(value) == value for value in flat)  # none was rounded
        found[one["name"]] = flat, one["shape"]
    assert binary == b""
    d = len(manifest.features)
    if set(found) == {"x"}:
        flat, shape = found["x"]
        assert shape[1:] == [d]
        rows = [flat[i : i + d] for i in range(0, len(flat), d)]
        assert all(math.isnan(v) or f.kind == "numeric" or v in range(len(f.levels))
                   for row in rows for f, v in zip(manifest.features, row, strict=True))  # fmt: skip
        return rows
    columns = [[_entry(f, value) for value in found[f.name][0]] for f in manifest.features]
    return list(map(list, zip(*columns, strict=True)))


def _entry(feature, value):
    if feature.kind == "numeric":
        return float(value)
    if value is None or value == "" or value != value:
        return math.nan
    return float(feature.levels.index(str(int(value)) if isinstance(value, float) else str(value)))


def from_headers(service, data):
    """A path with its query, then lines of headers; the body is a good row."""
    path, *lines = data.split(b"\n")
    path, _, query = path.decode("latin-1").partition("?")
    parted = [line.partition(b":") for line in lines]
    headers = {name.strip().lower(): value.strip() for name, _, value in parted}
    manifest = service.served.model.manifest
    assert isinstance(AUTH.refusal("/predict", None, headers), Unauthenticated)
    rule, endpoint, names = Routes(Config()).hot(path) or ("/predict", predict, {})
    row = manifest.examples[0].instance
    tensor = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": columns.row(manifest.features, row)}
    body = {"/predict": row, "/invocations": {"instances": [row]}}.get(rule, {"inputs": [tensor]})
    answer = ask(service, endpoint, json.dumps(body).encode(), path=path, query=query, headers=headers, **names)
    assert answer.status in (200, 400, 404, 413, 415, 422)
    given = dict(answer.fields)
    for name, value in given.items():
        assert value.isascii()
        assert value.isprintable(), name
    if answer.status != 404:
        sent, said = headers.get(b"x-request-id", b""), given["X-Request-Id"].encode()
        assert said == sent if REQUEST_ID.fullmatch(sent) else len(said) == 32
        assert given.get("traceparent", "").encode() in (b"", headers.get(b"traceparent"))
    for secret in SECRETS:
        if secret in query or secret in path:
            assert secret.encode() not in answer.body
    return answer.status


AUTH = Auth(Config(api_keys=(bytes(32),)), lambda path: False)  # no fuzzer has the key
TARGETS = {"json": from_json, "csv": from_csv, "mlflow": from_mlflow, "v2": from_tensors, "headers": from_headers}
