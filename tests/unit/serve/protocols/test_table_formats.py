"""The formats of tables that several protocols share."""

import csv
import io

from serve.protocols.table_formats import csv_text


def test_a_written_table_reads_back_whatever_its_cells_hold():
    rows = [["name", "label"], ["a\rb", "c\nd"], ['"', ","], ["", "\r\n"]]

    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows
