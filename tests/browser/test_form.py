"""The form in a real browser: what a person does, and what they see."""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.support.webpage import answered, ask, fetched, fill, shown


def test_it_answers_as_you_type(page, address):
    fill(page, gre="800", gpa="4", rank="1")
    answer = ask(address, {"gre": 800, "gpa": 4, "rank": "1"})

    shown(page, f"{100 * answer['probability']:.1f}")
    assert page.locator("#label").text_content() == answer["label"]
    why = ask(address, {"gre": 800, "gpa": 4, "rank": "1"}, "/explain?evidence=true")
    values = sorted(why["explanation"]["contributions"].values(), key=abs, reverse=True)
    parts = [f"{part:+.3f}" for part in values]
    assert page.locator("#contributions .number").all_text_contents() == parts
    told = page.locator("#evidence").text_content()
    assert f"Of {why['evidence']['rows']} similar held-out rows" in told
    bounds = [why["evidence"]["low"], why["evidence"]["high"]]
    low, high = bounds if answer["admit"] else [1 - bound for bound in reversed(bounds)]
    assert f"{100 * low:.1f}\u00a0% to {100 * high:.1f}\u00a0%" in told


def test_the_curve_has_the_rows_point_the_threshold_and_the_training_range(page, address):
    fill(page, gre="500", gpa="3", rank="2")
    point, box = page.locator("#picture circle.here"), page.locator("#picture rect.range")
    top, bottom = 34, 300 - 52  # of the plot, in serve/web/static/draw.js
    probability = ask(address, {"gre": 500, "gpa": 3, "rank": "2"})["probability"]
    assert bottom - float(point.get_attribute("cy")) == pytest.approx((bottom - top) * probability)
    low, width = (float(box.get_attribute(name)) for name in ("x", "width"))
    assert (float(point.get_attribute("cx")) - low) / width == pytest.approx((500 - 220) / (800 - 220))
    assert float(page.locator("#picture line.limit").get_attribute("y1")) == pytest.approx((top + bottom) / 2)
    assert page.locator("#picture path.line").get_attribute("class") == "line no"  # never above the threshold
    assert page.locator("#picture text.x").all_text_contents() == ["200", "300", "400", "500", "600", "700", "800"]
    assert page.locator("#picture text.name").all_text_contents() == [
        f"probability of {json.loads(fetched(address, '/model'))['target']['labels'][1]}",
        "gre",
    ]

    page.get_by_label("Feature", exact=True).select_option("rank")
    answered(page)
    assert page.locator("#picture rect.column").count() == 4
    assert page.locator("#picture rect.here").count() == 1
    assert page.locator("#picture text.x").all_text_contents() == ["1", "2", "3", "4"]
    assert page.locator("#ranged").is_hidden()
    assert page.locator("#calibration circle.here").count() == 1


def test_the_pointer_reads_a_value_off_the_curve(page, address):
    fill(page, gre="500", gpa="3", rank="1")
    assert page.locator("#picture path.line").count() == 2  # below the threshold, and above
    page.locator("#picture").scroll_into_view_if_needed()
    box = page.locator("#picture circle.here").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)

    value, probability = page.locator("#picture .readout").text_content().split(": ")
    assert float(value) == pytest.approx(500, abs=10)
    found = ask(address, {"gre": float(value), "gpa": 3, "rank": "1"})["probability"]
    assert float(probability.removesuffix("\u00a0%")) == pytest.approx(100 * found, abs=0.1)


def test_the_suggested_value_flips_the_verdict_and_back_undoes_it(page):
    fill(page, gre="500", gpa="3", rank="2")
    before = page.locator("#label").text_content()

    page.locator("#flips a").first.click()

    page.wait_for_function("before => document.getElementById('label').textContent !== before", arg=before)
    answered(page)
    assert f"gre={page.get_by_label('gre', exact=True).input_value()}" in page.url
    page.go_back()
    shown(page, before)
    assert page.get_by_label("gre", exact=True).input_value() == "500"


def test_undo_takes_back_one_field_after_the_other(page):
    def values():
        return [page.get_by_label(name, exact=True).input_value() for name in ("gre", "gpa", "rank")]

    undo, first = page.get_by_role("button", name="Undo"), values()
    assert undo.is_hidden()
    for value in ("6", "61", "612"):  # as it is typed
        page.get_by_label("gre", exact=True).fill(value)
    page.get_by_label("rank", exact=True).select_option("4")
    answered(page)
    assert values() == ["612", first[1], "4"]

    undo.click()
    page.wait_for_function("() => document.querySelector('[name=rank]').value !== '4'")
    assert values() == ["612", *first[1:]]
    undo.click()
    page.wait_for_function("() => document.querySelector('[name=gre]').value !== '612'")
    assert values() == first
    assert undo.is_hidden()


def test_rows_that_were_sent_are_kept_side_by_side(page):
    page.get_by_role("link", name="low").click()
    answered(page)
    page.get_by_role("link", name="high").click()
    answered(page)

    lines = page.locator("#tries tbody tr")
    assert lines.count() == 2  # the latest first
    assert lines.first.locator("td").first.text_content() == page.get_by_label("gre", exact=True).input_value()
    assert lines.first.locator("td").nth(3).text_content() == page.locator("#label").text_content()
    before = lines.last.locator("td").first.text_content()
    lines.last.get_by_role("link").click()
    answered(page)
    assert page.get_by_label("gre", exact=True).input_value() == before


def test_the_address_of_the_page_brings_the_row_back(page, context, address):
    """The row follows the #, which no browser sends: no log has it, and a link is no traffic."""
    fill(page, gre="612", gpa="3.3", rank="4")
    page.wait_for_function("() => location.hash === '#gre=612&gpa=3.3&rank=4'")
    link, verdict = page.url, page.locator("#verdict").text_content()
    assert link.startswith(f"{address}/#")

    other = context.new_page()
    other.goto(link)
    answered(other)

    assert [other.get_by_label(name, exact=True).input_value() for name in ("gre", "gpa", "rank")] == [
        "612",
        "3.3",
        "4",
    ]
    assert other.locator("#verdict").text_content() == verdict
    other.close()


def test_a_mistake_is_said_at_its_field_and_can_be_mended(page):
    fill(page, gre="much")
    shown(page, "No answer")
    assert page.locator("#curve").is_hidden()  # it was another row's
    assert page.get_by_label("gre", exact=True).get_attribute("aria-invalid") == "true"
    assert "number" in page.locator("#f0-note").text_content()

    fill(page, gre="500")
    shown(page, "%")
    assert page.locator("#curve").is_visible()
    assert page.get_by_label("gre", exact=True).get_attribute("aria-invalid") is None


def test_the_form_works_without_javascript(browser, address):
    """The elements are in reading order; those that need JavaScript are absent."""
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    assert page.locator("h2:visible").all_text_contents() == ["Fill in", "Answer", "The model"]
    where = page.locator("label:visible, input:visible, select:visible, button:visible, #label").evaluate_all(
        "all => all.map(one => one.id || one.htmlFor)"
    )
    assert where == ["f0", "f0", "f1", "f1", "f2", "f2", "ask", "label"]
    fill(page, gre="800", gpa="4", rank="1")
    page.locator("#ask").click()
    page.wait_for_load_state()
    assert "gre=800" in page.url
    answer = ask(address, {"gre": 800, "gpa": 4, "rank": "1"})
    assert page.locator("#label").text_content() == answer["label"]
    assert page.locator("#probability").text_content() == f"{100 * answer['probability']:.1f}"
    page.locator("#flips a").first.click()
    page.wait_for_load_state()
    assert page.locator("#label").text_content() not in (answer["label"], "No answer")
    page.close()


def test_the_form_alone_says_what_is_wrong_at_its_field(address):
    query = urllib.parse.urlencode({"gre": "<script>alert(1)</script>", "gpa": "3", "rank": "9"})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{address}/?{query}")
    with raised.value as answer:
        text = answer.read().decode()
    assert answer.code == 422
    assert "<script>alert" not in text
    assert "expected a number" in text


def test_drift_is_shown_and_only_what_is_sent_counts(page, address):
    """Drift counts neither the values that a person types nor the points of the curve."""

    def rows():
        return json.loads(fetched(address, "/drift"))["rows"]

    before = rows()
    fill(page, gre="600", gpa="3.5", rank="3")
    assert rows() == pytest.approx(before, rel=1e-3)
    page.get_by_label("gpa", exact=True).press("Enter")
    answered(page)
    assert rows() == pytest.approx(before + 1, rel=1e-3)

    row = {"gre": 800, "gpa": 4, "rank": "1"}
    ask(address, [row] * 500)
    page.reload()
    answered(page)
    table = page.locator("#drift table")
    assert table.locator("tbody th").all_text_contents() == ["(score)", "gre", "gpa", "rank"]
    assert table.locator("tbody tr").nth(1).locator("td").nth(1).text_content() == "drifted"
