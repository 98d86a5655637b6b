"""Content-Encoding and Accept (RFC 9110, 8.4 and 12.5).

The service decodes bodies within a size limit, and chooses the media type of a response.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache

from passfail.errors import BodyTooLarge, MalformedBody
from serve.http.errors import NotAcceptable, UnsupportedEncoding

ZLIB, RAW, GZIP = 15, -15, 31  # zlib's wbits
PIECE = 64 * 1024  # bytes that are decoded at a time
MEMBERS = 1000  # of gzip data (RFC 1952, 2.2); the decoder of one takes some time, whatever its size


def decoded(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Raises
    ------
    UnsupportedEncoding : the encoding is neither gzip nor deflate.
    MalformedBody : the body is not in that encoding.
    BodyTooLarge : the body decodes to more than `limit` bytes; decoding stops there.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in (b"gzip", b"x-gzip", b"deflate"):
        raise UnsupportedEncoding("send Content-Encoding: gzip or deflate, or none")
    wbits, members = (_deflate(body), 1) if name == b"deflate" else (GZIP, MEMBERS)
    found, rest, room = [], memoryview(body), limit + 1
    try:
        for _ in range(members):
            decoder = zlib.decompressobj(wbits)
            while rest and room and not decoder.eof:
                found.append(decoder.decompress(rest[:PIECE], room))
                room -= len(found[-1])
                rest = rest[min(PIECE, len(rest)) - len(decoder.unused_data) :]
            if not (rest and room):
                break
    except zlib.error as error:
        raise MalformedBody(f"the body is not in the Content-Encoding {name.decode()}") from error
    if not room:
        raise BodyTooLarge(f"the body decodes to more than {limit} bytes: send several smaller requests")
    if rest or not decoder.eof:
        raise MalformedBody(f"the body's {name.decode()} data is truncated, or bytes follow it")
    return b"".join(found)


def chosen(accepted: bytes, offers: Sequence[str]) -> str:
    """The offered media type that an Accept header prefers; in a tie, the first.

    Raises NotAcceptable if the header accepts none of them.
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
    """The wbits that zlib needs for a deflate body.

    RFC 9110 defines deflate as zlib's format (RFC 1950): its 16-bit header is a multiple of 31. Some clients send raw
    deflate (RFC 1951).
    """
    return ZLIB if len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0 else RAW
