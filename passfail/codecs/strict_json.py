"""JSON after RFC 8259 without duplicate fields; msgspec would take the last of several."""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from functools import partial
from typing import TypeVar

import msgspec

from passfail.errors import BodyTooLarge, MalformedBody

T = TypeVar("T")
UNREADABLE = "invalid request body: not JSON that this endpoint can read"
MOST_DIGITS = 400  # of an integer: float64 ends at 309, and parsing more takes long
SLICE = 2**17  # bytes decoded at a time: no call holds the interpreter's lock for more than milliseconds
WHITE = b" \t\n\r"
UNKNOWN, PLACE, LONGEST_PLACE = "Object contains unknown field", re.compile(r" - at `[\w$.\[\]]+`$"), 100
BYTE, NOT_FINITE = re.compile(r"\(byte (\d+)\)$"), re.compile(rb"NaN|Infinity")  # which json of Python writes
ELEMENT_END = re.compile(rb"[}\]][ \t\n\r]*,")
# The errors that decoding raises if a body is not plainly right; KeyError is for an unknown level.
FAULTS = (msgspec.MsgspecError, ValueError, RecursionError, KeyError)


# A Struct type for `plain` and `decode_once`.
struct = partial(msgspec.defstruct, forbid_unknown_fields=True, omit_defaults=True, gc=False)


class Fields(list[tuple[str, object]]):
    """A JSON object as its (name, value) pairs, which keep duplicate fields."""


SPACE = re.compile(rb"[ \t\n\r]*")
CONTINUATION = bytes(range(0x80, 0xC0))  # the bytes of a character in UTF-8 but its first
DECODER = json.JSONDecoder(
    object_pairs_hook=Fields,
    parse_constant=lambda name: float("nan"),  # reported later as "not a finite number"
    parse_int=lambda text: int(text) if len(text) < MOST_DIGITS else float("inf"),
)


def pieces(array: bytes, most: int) -> Iterator[tuple[int, bytes]]:
    """Cut a JSON array of flat objects or flat arrays into arrays of about SLICE bytes.

    Parameters
    ----------
    most : the largest number of bytes in an element.

    Yields
    ------
    The byte of the array at which the piece's first element begins, and the piece.

    Raises
    ------
    ValueError : an element is larger, or text follows the array.
    """
    at, last = array.find(b"[") + 1, array.rfind(b"]")
    if len(array) <= SLICE:
        yield at, array
        return
    if array[last + 1 :].strip(WHITE):
        raise ValueError
    while at <= last:
        end = _element_end(array, at, last, most)
        yield at, b"[%b]" % array[at:end]
        at = end + 1


def _element_end(array: bytes, at: int, last: int, most: int) -> int:
    """Find the end of the piece that begins at `at`: a comma after an element, or `last`."""
    seen, end, quotes = at, at + SLICE, 0
    while end < last:
        found = ELEMENT_END.search(array, end, end + most)
        if found is None and end + most >= last:
            return last
        if found is None or end > at + SLICE + most:
            raise ValueError
        part, end = array[seen : found.end()], found.end()
        # With an odd number of unescaped quotes, the comma is inside a text.
        quotes += part.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') if b"\\" in part else part.count(b'"')
        if quotes % 2 == 0:
            return end - 1
        seen = end
    return last


def is_array(body: bytes) -> bool:
    """Whether a JSON document begins as an array."""
    return body[:1] != b"{" and body.lstrip(WHITE)[:1] == b"["


def values(body: bytes, most: int, start: int = 0) -> Iterator[object]:
    """Decode the elements of a JSON array, or the only value, lazily.

    An object becomes Fields; NaN and infinities become floats.

    Parameters
    ----------
    most : the largest number of bytes in a value.
    start : the byte at which the first element to decode begins; 0: the first element.

    Raises
    ------
    MalformedBody; BodyTooLarge : a value may have more than `most` bytes.
    """
    at, single = _after_space(body, 0), not is_array(body)
    if not single:
        at = _after_space(body, start or at + 1)
    more = single or start > 0 or body[at : at + 1] != b"]"
    base, window, begin = at, _window(body, at, most), 0
    while more:
        if at - base > most:  # move the window, so that a value is read at most as far as it may reach
            base, window, begin = at, _window(body, at, most), 0
        found, end = _value(body, at, window, begin, base + 2 * most >= len(body))
        yield found
        behind = at + len(window[begin:end].encode())
        at = _after_space(body, behind)
        more = not single and body[at : at + 1] == b","
        if more:
            at = _after_space(body, at + 1)
        begin = end + at - behind
    if not single:
        if body[at : at + 1] != b"]":
            raise _malformed("Expecting ',' delimiter", body, at)
        at = _after_space(body, at + 1)
    if at < len(body):
        raise _malformed("Extra data", body, at)


def _window(body: bytes, at: int, most: int) -> str:
    """Decode twice `most` bytes from a place on, without a character that is cut at their end."""
    try:
        return getincrementaldecoder("utf-8")().decode(body[at : at + 2 * most], at + 2 * most >= len(body))
    except UnicodeDecodeError as error:
        raise MalformedBody("not JSON: not UTF-8") from error


def _value(body: bytes, at: int, window: str, begin: int, last: bool) -> tuple[object, int]:
    """Decode the value at `at`, which is at `begin` in a window; return it and its end there.

    last : whether the body ends in the window.
    """
    try:
        found, end = DECODER.raw_decode(window, begin)
    except json.JSONDecodeError as error:
        if last:
            raise _malformed(error.msg, body, at + len(window[begin : error.pos].encode())) from error
        end = len(window)
    except RecursionError as error:
        raise MalformedBody("not JSON that this endpoint can read: nested too deeply") from error
    if end == len(window) and not last:
        raise BodyTooLarge("a row is larger than any row of this model can be")
    return found, end


def _after_space(body: bytes, at: int) -> int:
    found = SPACE.match(body, at)
    return found.end() if found else at


def _malformed(message: str, body: bytes, at: int) -> MalformedBody:
    line, begin = body.count(b"\n", 0, at) + 1, body.rfind(b"\n", 0, at) + 1
    column = len(body[begin:at].translate(None, CONTINUATION)) + 1
    return MalformedBody(f"not JSON: {message} at line {line}, column {column}")


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode JSON. Raises MalformedBody, which repeats nothing of the body."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # msgspec names the place and the types; it would also repeat an unknown field's name, which may be long.
        reason = str(error)
        if reason.startswith(UNKNOWN):
            known = (field.encode_name for field in msgspec.structs.fields(decoder.type))  # type: ignore[arg-type]
            place = PLACE.search(reason[-LONGEST_PLACE:])
            reason = f"unknown field{place[0] if place else '; there are ' + ', '.join(known)}"
        elif (at := BYTE.search(reason)) and NOT_FINITE.match(body, int(at[1])):
            reason += ": send null for NaN and infinities"
        raise MalformedBody(f"invalid request body: {reason}") from error


def decode_once(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode JSON without duplicate fields into Structs. Raises MalformedBody."""
    document = decode(decoder, body)
    if may_repeat(body, document):
        if len(body) > SLICE:  # json would hold the interpreter's lock
            raise MalformedBody("invalid request body: duplicate field, or a backslash written before u0022")
        try:
            json.loads(body, object_pairs_hook=_check_once, parse_int=len, parse_float=len)
        except (ValueError, RecursionError) as error:  # msgspec does not decode values that it skips
            raise MalformedBody(UNREADABLE) from error
    return document


def plain(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """Decode JSON as most clients write it; None: another type, or perhaps a duplicate field."""
    try:
        document = decoder.decode(body)
    except FAULTS:
        return None
    return None if may_repeat(body, document) else document


def may_repeat(body: bytes, document: object) -> bool:
    """Whether a body may have a duplicate field: it has other quotes than its document.

    The Structs must omit absent fields (omit_defaults).
    """
    written = msgspec.json.encode(document)
    if b"\\" not in body:
        return body.count(b'"') != written.count(b'"')
    # A quote may be written as \u0022, which after another backslash is none: such a text counts as a repetition.
    sent, ours = (_count(text, b'"') + _count(text, rb"\u0022") for text in (body, written))
    return sent != ours or _count(body, rb"\\u0022") + _count(written, rb"\\u0022") > 0


def _count(text: bytes, mark: bytes) -> int:
    """Count a mark in pieces: one call would hold the interpreter's lock for long."""
    return sum(text.count(mark, at, at + SLICE + len(mark) - 1) for at in range(0, len(text), SLICE))


def field_names(body: bytes) -> list[str]:
    """The names in a JSON object, duplicates included. Raises MalformedBody."""
    return [name for document in values(body, len(body)) if isinstance(document, Fields) for name, _ in document]


def _check_once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise MalformedBody("invalid request body: duplicate field")
