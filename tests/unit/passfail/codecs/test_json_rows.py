"""The only row of a document, as most clients write it, decoded in one call."""

import json

import pytest

from passfail.codecs import Codecs, strict_json
from passfail.codecs.tensors import INFERENCE
from passfail.errors import MalformedBody
from tests.support.models import opened

FIELDS = ("dataframe_split", "dataframe_records", "instances")
ROW = {"gre": 380, "gpa": 3.61, "rank": "3"}
VALUES, NAMES = list(ROW.values()), list(ROW)
SPLIT = {"columns": NAMES, "data": [VALUES]}


@pytest.fixture(scope="module")
def rows(models):
    return Codecs(opened(models, "admissions").manifest, 10).json


@pytest.mark.parametrize("document", [
    {"instances": [ROW]}, {"instances": [VALUES]}, {"instances": [dict(reversed(ROW.items()))]},
    {"dataframe_records": [ROW | {"rank": 3}]}, {"dataframe_split": SPLIT}, {"dataframe_split": {"index": [0]} | SPLIT},
], ids=str)  # fmt: skip
def test_a_plain_row_is_the_row_that_the_full_decoder_reads(rows, document):
    assert rows.only_row(json.dumps(document).encode(), FIELDS) == rows.read(json.dumps(ROW).encode())


@pytest.mark.parametrize("document", [
    {}, [], {"instances": []}, {"instances": [ROW, ROW]}, {"instances": [VALUES], "dataframe_records": [ROW]},
    {"instances": [ROW], "params": {}}, {"inputs": [ROW]}, {"instances": [VALUES[:2]]}, {"instances": [[*VALUES, 1]]},
    {"instances": [ROW | {"rank": "9"}]}, {"instances": [ROW | {"gpa": None}]}, {"instances": [[True, 3.61, "3"]]},
    {"dataframe_split": SPLIT | {"columns": NAMES[::-1]}}, {"dataframe_split": SPLIT | {"index": ["a"]}},
], ids=str)  # fmt: skip
def test_any_other_document_is_left_to_the_full_decoder(rows, document):
    assert rows.only_row(json.dumps(document).encode(), FIELDS) is None


@pytest.mark.parametrize("body", [
    b'{"instances":[{"gre":1,"gre":1,"gpa":1,"rank":"1"}]}', b'{"instances":[[1,1,"1"]],"instances":[[1,1,"1"]]}',
    b'{"instances":[[1,1,"1"]]} 1', b'{"instances":[[1,1,"1"]]' + b" " * 100_000 + b"}",
], ids=["a field twice", "two tables", "text behind it", "longer than any row"])  # fmt: skip
def test_so_is_a_body_that_may_repeat_a_field_or_is_too_long(rows, body):
    assert rows.only_row(body, FIELDS) is None


@pytest.mark.parametrize(
    "text", [r"\u0022", r"\\\u0022", r"\\\u00750022", r"\u005cu0022", r"\\u0022", r"\u005c\u00750022"]
)
@pytest.mark.parametrize("white", ["", " " * strict_json.SLICE], ids=["short", "long"])
@pytest.mark.parametrize("count", range(1, 9))
def test_escaped_quotes_in_a_text_hide_no_field_given_twice(text, white, count):
    body = f'{{"id":"{text * count}","model_name":"a","model_name":"b","inputs":[{white}]}}'

    with pytest.raises(MalformedBody, match="duplicate field"):
        strict_json.decode_once(INFERENCE, body.encode())


def test_a_long_body_may_escape_its_quotes():
    body = r'{"id":"\u0022a\u0022","inputs":[%s]}' % (" " * strict_json.SLICE)

    assert strict_json.decode_once(INFERENCE, body.encode()).id == '"a"'
