"""The formats of tables that several protocols share."""

import csv
import gzip
import io
import json

import pytest

from serve.http import content
from serve.http.messages import CSV, JSON
from serve.protocols.table_formats import csv_text


def test_a_written_table_reads_back_whatever_its_cells_hold():
    rows = [["name", "label"], ["a\rb", "c\nd"], ['"', ","], ["", "\r\n"]]

    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows


X = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [800, 4, 0] * 2}
ROWS = [{"gre": 800, "gpa": 4, "rank": "1"}] * 2
LINES = b"800,4,1\n" * 2


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/predict", JSON, json.dumps(ROWS).encode()),
        ("/predict", CSV, b"gre,gpa,rank\n" + LINES),
        ("/invocations", JSON, json.dumps({"inputs": ROWS}).encode()),
        ("/invocations", CSV, b"gre,gpa,rank\n" + LINES),
        ("/invocations", CSV, LINES),
        ("/vertex", JSON, json.dumps({"instances": ROWS}).encode()),
        ("/v2/models/admissions/infer", JSON, json.dumps({"inputs": [X]}).encode()),
    ],
)
def test_a_compressed_body_is_decompressed_once(ask, monkeypatch, path, kind, body):
    decoded = []
    monkeypatch.setattr(content, "decoded", lambda sent, *_: decoded.append(sent) or gzip.decompress(sent))
    sent = gzip.compress(body)

    assert ask(path, sent, kind, Content_Encoding="gzip").status_code == 200
    assert decoded == [sent]
