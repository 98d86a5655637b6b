"""Content-Encoding and Accept (RFC 9110, 8.4 and 12.5): bodies decoded within bounds, what a client wants chosen."""

import gzip
import zlib
from collections.abc import Sequence
from functools import lru_cache

from passfail.errors import BodyTooLarge, MalformedBody
from serve.http.errors import NotAcceptable, UnsupportedEncoding

WORTHWHILE = 32 * 1024  # bytes of an answer: a smaller one is sent sooner than it is compressed
LEVEL = 1  # of gzip: most of the size for the least of the time
ZLIB, RAW, GZIP = 15, -15, 31  # zlib's wbits


def decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Raises
    ------
    UnsupportedEncoding : the encoding is neither gzip nor deflate.
    MalformedBody : the body is not in that encoding.
    BodyTooLarge : it decodes to more than `limit` bytes; no more are made of it.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        raise UnsupportedEncoding("send Content-Encoding: gzip or deflate, or none")
    decoder = zlib.decompressobj(_deflate(body) if name == b"deflate" else GZIP)
    try:
        found = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedBody(f"the body is not in the Content-Encoding {name.decode()}") from error
    if len(found) > limit:
        raise BodyTooLarge(f"the body decodes to more than {limit} bytes: send several smaller requests")
    if not decoder.eof or decoder.unused_data:
        raise MalformedBody(f"the body ends before its {name.decode()} data does, or goes on behind it")
    return found


def compressed(body: bytes, accepted: bytes) -> bytes | None:
    """An answer in gzip, or None where Accept-Encoding does not take it or the body is too small to gain by it."""
    if len(body) < WORTHWHILE or quality(accepted, "gzip") == 0:
        return None
    return gzip.compress(body, LEVEL, mtime=0)


def chosen(accepted: bytes, offers: Sequence[str]) -> str:
    """The media type that an Accept header prefers of those that we can send; the first where it does not care.

    Raises NotAcceptable if it accepts none of them.
    """
    if accepted in (b"", b"*/*"):
        return offers[0]
    best = max(offers, key=lambda offer: quality(accepted, offer))
    if quality(accepted, best) == 0:
        raise NotAcceptable(f"send Accept: {' or '.join(offers)}")
    return best


@lru_cache(256)
def quality(accepted: bytes, offer: str) -> float:
    """The weight of an offer in an Accept or Accept-Encoding header, from 0 (not accepted) to 1."""
    kind = offer.partition("/")[0]
    found: dict[str, float] = {}
    for part in accepted.decode("latin-1").lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        try:
            found[name] = min(max(float(weights[0]), 0.0), 1.0) if weights else 1.0
        except ValueError:
            found[name] = 0.0
    for name in (offer, f"{kind}/*", "*/*" if "/" in offer else "*"):
        if name in found:
            return found[name]
    return 0.0


def _deflate(body: bytes) -> int:
    """RFC 9110 has deflate in zlib's format (RFC 1950), whose header adds up; some clients send it bare (RFC 1951)."""
    return ZLIB if len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0 else RAW
