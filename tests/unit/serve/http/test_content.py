"""Content-Encoding and Accept: bounded, strict, and as RFC 9110 has them."""

import gzip
import random
import zlib

import pytest

from passfail.errors import BodyTooLarge, MalformedBody
from serve.http.content import PIECE, chosen, decoded, quality
from serve.http.errors import NotAcceptable, UnsupportedEncoding

BODY = b'{"hours": 7}'


def bare(body):
    encoder = zlib.compressobj(wbits=-15)
    return encoder.compress(body) + encoder.flush()


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        (b"gzip", gzip.compress(BODY, mtime=0)),
        (b"GZIP", gzip.compress(BODY, mtime=0)),
        (b"x-gzip", gzip.compress(BODY, mtime=0)),
        (b"gzip", gzip.compress(BODY[:5]) + gzip.compress(b"") + gzip.compress(BODY[5:])),  # RFC 1952, 2.2: members
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", bare(BODY)),
        (b"identity", BODY),
        (b"", BODY),
    ],
    ids=["gzip", "upper case", "x-gzip", "gzip of members", "zlib", "bare deflate", "identity", "none"],
)
def test_a_compressed_body_is_decoded(encoding, sent):
    assert decoded(sent, encoding, 100) == BODY


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"compress", b"gzip, gzip", b"gzip,identity"])
def test_another_encoding_is_unsupported(encoding):
    with pytest.raises(UnsupportedEncoding):
        decoded(BODY, encoding, 100)


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        (b"gzip", BODY),
        (b"gzip", b""),
        (b"gzip", gzip.compress(BODY, mtime=0)[:-1]),
        (b"gzip", gzip.compress(BODY, mtime=0) + b"x"),
        (b"gzip", gzip.compress(b"") * 1001),
        (b"gzip", gzip.compress(BODY[:5]) + gzip.compress(BODY[5:])[:-1]),
        (b"gzip", zlib.compress(BODY)),
        (b"deflate", zlib.compress(BODY)[:-1]),
        (b"deflate", zlib.compress(BODY) * 2),
        (b"deflate", BODY),
    ],
    ids=[
        "plain as gzip",
        "empty",
        "gzip cut",
        "gzip and more",
        "too many members",
        "last member cut",
        "zlib as gzip",
        "zlib cut",
        "zlib twice",
        "plain as deflate",
    ],
)
def test_a_body_that_is_not_in_its_encoding_is_malformed(encoding, sent):
    with pytest.raises(MalformedBody):
        decoded(sent, encoding, 100)


@pytest.mark.parametrize("members", [[101], [10_000_000], [60, 41], [50, 50, 10_000_000]])
def test_no_more_than_the_limit_is_made_of_a_bomb(members):
    with pytest.raises(BodyTooLarge):
        decoded(b"".join(gzip.compress(bytes(size)) for size in members), b"gzip", 100)


@pytest.mark.parametrize("members", [[100], [60, 40], [100, 0]])
def test_a_body_of_exactly_the_limit_is_decoded(members):
    assert decoded(b"".join(gzip.compress(bytes(size)) for size in members), b"gzip", 100) == bytes(100)


def test_a_body_larger_than_a_piece_is_decoded():
    body = random.Random(1).randbytes(3 * PIECE)

    assert decoded(gzip.compress(body), b"gzip", len(body)) == body


OFFERS = ("application/json", "text/csv", "application/jsonlines")


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        (b"", OFFERS[0]),
        (b"*/*", OFFERS[0]),
        (b"text/csv", "text/csv"),
        (b"TEXT/CSV", "text/csv"),
        (b"text/*", "text/csv"),
        (b"text/csv;q=0.5, application/json;q=0.4", "text/csv"),
        (b"text/csv;q=0.5, */*;q=0.8", "application/json"),
        (b"application/json;q=0, */*", "text/csv"),
        (b"text/html, application/xhtml+xml, */*;q=0.8", OFFERS[0]),
        (b"application/jsonlines", OFFERS[2]),
    ],
)
def test_the_preferred_media_type_is_chosen(accepted, expected):
    assert chosen(accepted, OFFERS) == expected


@pytest.mark.parametrize("accepted", [b"image/png", b"application/json;q=0", b"*/*;q=0", b"text/csv;q=x"])
def test_where_nothing_is_acceptable_it_says_what_there_is(accepted):
    with pytest.raises(NotAcceptable, match="application/json or text/csv or application/jsonlines"):
        chosen(accepted, OFFERS)


def test_a_weight_is_between_0_and_1():
    assert [quality(b"a/b;q=7", "a/b"), quality(b"a/b;q=-1", "a/b"), quality(b"a/b; q=0.25", "a/b")] == [1, 0, 0.25]
