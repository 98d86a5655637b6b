"""The rule of a column: which values it takes."""

import math

import msgspec
import pytest

from passfail.columns import Column, InvalidValue
from passfail.manifest import Feature
from passfail.spelling import written


def column(*levels: str, fill: float | None = None) -> Column:
    return Column(Feature("a", "categorical", levels, None, None, fill))


def test_a_boolean_is_one_in_every_spelling() -> None:
    boolean = column("false", "true", fill=0.0)

    assert [boolean.number(value) for value in (True, False, "true", "false")] == [1, 0, 1, 0]
    assert [boolean.cell(text) for text in ("TRUE", "True", "true", "FALSE", "False", "false")] == [1, 1, 1, 0, 0, 0]
    assert math.isnan(boolean.cell("?"))
    for text in (b"true", b'"true"', b"null"):
        msgspec.json.decode(text, type=boolean.json_type)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b"1", type=boolean.json_type)


@pytest.mark.parametrize("levels", [("0", "1"), ("no", "yes"), ("False", "True", "perhaps")])
def test_other_levels_take_no_boolean(levels: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValue, match="expected one of the levels"):
        column(*levels).number(True)


@pytest.mark.parametrize("text", ["\u0661", "\u0661.\u0665", "1\u0662", "\u0663 kg"])
def test_a_digit_of_another_script_makes_no_number(text: str) -> None:
    assert written(text, ".") is None


def test_an_error_names_twelve_levels_and_counts_the_others() -> None:
    names = [f"l{number}" for number in range(60)]
    with pytest.raises(InvalidValue, match=r"^not one of the levels: l0, l1, .*, l11 and 48 more$"):
        column(*names).number("l60")
    with pytest.raises(InvalidValue, match=r"^not one of the levels: l0, l1, l2$"):
        column(*names[:3]).number("l60")
