"""The requests of make bench, each with the test of its answer."""

import json
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from bench import peers
from bench.measures import ARRAYS, BARE, BINARY, CSV, OBJECTS, ONE8, ONE_ARRAY, ONE_V2, TENSOR
from bench.model import COLUMNS, ROW, ROWS
from bench.server import Ask

NAMES = ("logit", "probability")


def answered(rows):
    """(logit, probability) of the rows, by ONNX Runtime itself."""
    return peers.runtime()(rows)


def objects(expected):
    """The test of answers, dicts, against (logit, probability)."""
    logits, probabilities = (values.tolist() for values in expected)
    wanted = [(z > 0, z, p) for z, p in zip(logits, probabilities, strict=True)]
    return lambda got: [(one["passed"], one["logit"], one["probability"]) for one in got] == wanted


def tensors(expected):
    """The test of a body of V2 tensors in JSON."""

    def right(body):
        found = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return all(found[name] == values.tolist() for name, values in zip(NAMES, expected, strict=True))

    return right


def cells(expected):
    """The test of a body of CSV."""

    def right(body):
        header, *answers = body.decode().splitlines()
        at = [header.split(",").index(name) for name in NAMES]
        got = np.array([[cells[column] for column in at] for cells in (line.split(",") for line in answers)], float)
        return np.array_equal(got.T, expected)

    return right


def asks():
    """The requests {name: Ask}."""
    rows = np.array([list(row.values()) for row in ROWS])
    lines = [[f"{row * prime % 1000 / 7:.6g}" for prime in (37, 41, 43, 47)] for row in range(100_000)]
    # In a process that then ends: the bench must not share pages of ONNX Runtime with the peers, whose memory it
    # measures.
    with ProcessPoolExecutor(1) as aside:
        one, thousand, table = aside.map(answered, [[list(ROW.values())], rows, np.array(lines, dtype=np.float64)])

    x = {"name": "x", "shape": [1000, 4], "datatype": "FP64"}
    single = {"inputs": [x | {"shape": [1, 4], "data": list(ROW.values())}]}
    tensor = {"inputs": [x | {"data": rows.ravel().tolist()}], "outputs": [{"name": name} for name in NAMES]}
    head = json.dumps({
        "inputs": [x | {"parameters": {"binary_data_size": rows.nbytes}}],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in NAMES],
    }).encode()  # fmt: skip
    kind = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    binary = b"".join(values.astype("<f8").tobytes() for values in thousand)
    csv = "\n".join([",".join(COLUMNS), *map(",".join, lines)]).encode()
    infer, scoring, right_one, right_all = "/v2/models/bench/infer", "/invocations", objects(one), objects(thousand)

    def ask(path, value, right):
        return Ask(path, json.dumps(value).encode(), right)

    return {
        ONE8: ask("/predict", ROW, lambda body: right_one([json.loads(body)])),
        ONE_V2: ask(infer, single, tensors(one)),
        ONE_ARRAY: ask(scoring, {"instances": [list(ROW.values())]},
                       lambda body: right_one(json.loads(body)["predictions"])),
        ARRAYS: ask(scoring, {"instances": rows.tolist()}, lambda body: right_all(json.loads(body)["predictions"])),
        OBJECTS: ask("/predict", ROWS, lambda body: right_all(json.loads(body))),
        TENSOR: ask(infer, tensor, tensors(thousand)),
        BINARY: Ask(infer, head + rows.astype("<f8").tobytes(), lambda body: body.endswith(binary), kind),
        CSV: Ask("/predict", csv, cells(table), {"Content-Type": "text/csv"}),
        BARE: ask("/predict", ROW, lambda body: body == peers.ANSWER),
    }  # fmt: skip
