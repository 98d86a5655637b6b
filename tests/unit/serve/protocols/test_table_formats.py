"""The formats of tables that several protocols share."""

import csv
import gzip
import io
import json

import pytest

from serve.http import content
from serve.protocols.table_formats import csv_text


def test_a_written_table_reads_back_whatever_its_cells_hold():
    rows = [["name", "label"], ["a\rb", "c\nd"], ['"', ","], ["", "\r\n"]]

    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/vertex", "/v2/models/admissions/infer"])
def test_a_compressed_body_is_decompressed_once(ask, monkeypatch, path):
    decoded, rows = [], [{"gre": 800, "gpa": 4, "rank": "1"}] * 2
    monkeypatch.setattr(content, "decoded", lambda sent, *_: decoded.append(sent) or gzip.decompress(sent))
    x = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [800, 4, 0] * 2}
    bodies = {"/predict": rows, "/invocations": {"inputs": rows}, "/vertex": {"instances": rows}}
    sent = gzip.compress(json.dumps(bodies.get(path, {"inputs": [x]})).encode())

    assert ask(path, sent, Content_Encoding="gzip").status_code == 200
    assert decoded == [sent]
