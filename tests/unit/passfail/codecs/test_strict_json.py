"""JSON that is decoded strictly into Structs."""

import msgspec
import pytest

from passfail.codecs.strict_json import decode
from passfail.errors import MalformedBody


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    shape: list[int]


class Body(msgspec.Struct, forbid_unknown_fields=True, rename={"kind": "type"}):
    inputs: list[Tensor]
    kind: str = ""


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"input":[]}', "unknown field; there are inputs, type"),
        (b'{"a` b\\n":[]}', "unknown field; there are inputs, type"),
        (b'{"inputs":[{"shape":[]},{"Shape":[]}]}', "unknown field - at `$.inputs[1]`"),
        (
            b'{"inputs":[{"shape":[1, NaN]}]}',
            "JSON is malformed: invalid character (byte 24): send null for NaN and infinities",
        ),
        (b'{"inputs":[{"shape":[1, nan]}]}', "JSON is malformed: invalid character (byte 28)"),
        (b'{"inputs":[{"shape":"s"}]}', "Expected `array`, got `str` - at `$.inputs[0].shape`"),
    ],
)
def test_a_fault_is_said_with_its_place_and_the_remedy(body, fault):
    with pytest.raises(MalformedBody) as caught:
        decode(msgspec.json.Decoder(Body), body)

    assert str(caught.value) == f"invalid request body: {fault}"
