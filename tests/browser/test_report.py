"""The report in a real browser, opened as a file."""

import msgspec
import numpy as np
import pytest

from passfail.proof import reference
from tests.support.cases import LEVELS, awkward, awkward_rows
from tests.support.models import opened
from train.report import report


@pytest.fixture(scope="module")
def context(browser):
    return browser.new_context(offline=True)


@pytest.fixture
def show(context):
    """show(file) -> the page, without a network; a complaint of the browser fails the test."""
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def show(file):
        page.goto(file.as_uri())
        return page

    yield show
    page.close()
    assert complaints == []


@pytest.fixture
def page(show, models):
    return show(models / "admissions/1/report.html")


@pytest.mark.parametrize(
    "row", [{"gre": "640", "gpa": "3.1", "rank": "2"}, {"gre": "800", "gpa": "4", "rank": "1"}], ids=["no", "yes"]
)
def test_it_answers_offline_as_the_model_does(page, models, row):
    for name, value in row.items():
        field = page.locator(f"#try [name={name}]")
        field.select_option(value) if name == "rank" else field.fill(value)

    answer = opened(models, "admissions").predict([row | {"gre": float(row["gre"]), "gpa": float(row["gpa"])}])
    assert page.locator("#label").text_content() == answer.label[0]
    assert f"{100 * answer.probability[0]:.1f} %" in page.locator("#told").text_content()


def test_awkward_names_and_levels_have_the_models_answers(show, models, tmp_path):
    manifest = awkward(opened(models, "admissions").manifest)
    spread = manifest.training.baseline.features[:1] * len(manifest.features)
    baseline = msgspec.structs.replace(manifest.training.baseline, features=spread)
    training = msgspec.structs.replace(manifest.training, baseline=baseline, statistics=None)
    manifest = msgspec.structs.replace(manifest, training=training)
    (tmp_path / "report.html").write_text(report.html(manifest, None))
    page = show(tmp_path / "report.html")
    x = awkward_rows(manifest, 200)
    kept = (x[:, -3:-1] != LEVELS.index("")) & ~np.isnan(x[:, -3:-1])  # the text of both is empty
    x = x[kept.all(axis=1)]
    texts = [
        [
            "" if np.isnan(v) else f.levels[int(v)] if f.levels else repr(v)
            for f, v in zip(manifest.features, row.tolist(), strict=True)
        ]
        for row in x
    ]

    found = page.evaluate(
        """(rows) => rows.map((row) => {
            document.querySelectorAll("#try [name]").forEach((field, at) => {
                field.value = row[at];
                field.dispatchEvent(new Event("input", {bubbles: true}));
            });
            return [document.getElementById("label").textContent, document.getElementById("told").textContent];
        })""",
        texts,
    )

    z = reference.logit(manifest, x)
    for (label, told), logit in zip(found, z.tolist(), strict=True):
        assert label == manifest.target.labels[logit > manifest.logit_threshold]
        assert float(told.split(" %")[0]) == pytest.approx(100 / (1 + np.exp(-logit)), abs=0.051)


def test_a_mistake_and_an_extrapolation_are_named(page):
    page.locator("#try [name=gre]").fill("much")
    assert page.locator("#told").text_content() == "gre: expected a number"
    page.locator("#try [name=gre]").fill("1200")
    assert "outside the training range of gre" in page.locator("#told").text_content()


def test_the_threshold_moves_the_matrix_the_cost_and_the_dot_on_the_roc_curve(page):
    def matrix():
        names = ("truePositives", "falseNegatives", "falsePositives", "trueNegatives")
        return [int(page.locator(f"#{name}").text_content()) for name in names]

    dot = page.locator("#in-use")
    before, rows, place = matrix(), sum(matrix()), dot.get_attribute("cy")
    page.locator("#slider").fill("19")
    page.locator("#cost-fn").fill("3")

    true_positives, false_negatives, false_positives, true_negatives = matrix()
    assert page.locator("#at").text_content() == "0.2"
    assert sum(matrix()) == rows
    assert true_positives > before[0]
    assert float(page.locator("#cost").text_content()) == false_positives + 3 * false_negatives
    assert float(dot.get_attribute("cy")) == pytest.approx(true_positives / (true_positives + false_negatives))
    assert float(dot.get_attribute("cx")) == pytest.approx(false_positives / (false_positives + true_negatives))
    assert dot.get_attribute("cy") != place


def test_on_paper_no_column_is_lost_and_what_is_folded_is_there(page):
    """A4 is 794 pixels wide; 1.2 cm of margin on either side leaves 703."""
    page.set_viewport_size({"width": 703, "height": 1000})
    page.emulate_media(media="print")

    lost = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((one) => one.checkVisibility()
        && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert lost == []
    assert page.get_by_role("cell", name="0.5 (in use)").bounding_box()["height"] > 0  # of a table that folds
    assert page.locator("#try").is_hidden()
