"""JSON as RFC 8259 has it, each field of an object at most once: msgspec would take the last of several."""

import json
from typing import TypeVar

import msgspec

from passfail.errors import MalformedBody

T = TypeVar("T")
UNREADABLE = "invalid request body: not JSON that this endpoint can read"
MOST_DIGITS = 400  # of a whole number: float64 ends at 309, and reading more takes long


class Fields(list[tuple[str, object]]):
    """A JSON object as its (name, value) pairs, so that a duplicate field is seen."""


def parse(body: bytes) -> object:
    """Decode JSON with objects as Fields, NaN and infinities as floats. Raises MalformedBody."""
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=Fields,
            parse_constant=lambda name: float("nan"),  # found again as "not a finite number"
            parse_int=lambda text: int(text) if len(text) < MOST_DIGITS else float("inf"),
        )
    except json.JSONDecodeError as error:
        raise MalformedBody(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise MalformedBody("not JSON: not UTF-8") from error
    except RecursionError as error:
        raise MalformedBody("not JSON that this endpoint can read: nested too deep") from error


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode JSON. Raises MalformedBody, which repeats nothing of what was sent."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # msgspec names the place and the types; but of an unknown field it repeats the name.
        reason = "unknown field" if "unknown field" in str(error) else error
        raise MalformedBody(f"invalid request body: {reason}") from error


def decode_once(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode JSON whose objects (Structs) have each field once. Raises MalformedBody."""
    document = decode(decoder, body)
    if may_repeat(body, document):
        try:
            json.loads(body, object_pairs_hook=_check_once, parse_int=len, parse_float=len)
        except (ValueError, RecursionError) as error:  # msgspec does not look into the values that it drops
            raise MalformedBody(UNREADABLE) from error
    return document


def may_repeat(body: bytes, document: object) -> bool:
    """Whether a body may hold a duplicate field: it has more quotes than the document that msgspec made of it.

    Structs must leave out what was not sent (omit_defaults). An escaped quote counts, too: `parse` tells which it is.
    """
    return body.count(b'"') != msgspec.json.encode(document).count(b'"')


def field_names(body: bytes) -> list[str]:
    """The names in a JSON object, duplicates included. Raises MalformedBody."""
    document = parse(body)
    return [name for name, _ in document] if isinstance(document, Fields) else []


def _check_once(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise MalformedBody("invalid request body: duplicate field")
