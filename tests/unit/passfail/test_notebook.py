"""A model in a notebook is a card, and a short text."""

from pathlib import Path

import pytest

from passfail.loading import load


@pytest.mark.parametrize("runtime", ["onnx", "torchscript"])
def test_an_opened_model_is_a_card_with_its_version_and_coefficients(models: Path, runtime: str) -> None:
    model = load(models / "admissions", runtime=runtime)

    assert model._repr_html_().startswith("<h4>admissions/1: admit = 1</h4><p>400 rows, 127 positive. ")
    assert "<td>gre</td>" in model._repr_html_()
    assert repr(model) == "<Model admissions/1>"


def test_the_card_escapes_every_name_of_the_table(awkward: Path) -> None:
    card = load(awkward / "awkward")._repr_html_()

    assert "<h4>awkward/1: target = =yes()</h4>" in card
    assert "<td>&lt;img src=x onerror=alert(1)&gt;==1+1</td>" in card
    assert "<img" not in card
    assert "<script" not in card
