"""The page by keyboard and screen reader, on a phone, and on a slow network."""

import re
from itertools import pairwise

import pytest

from tests.browser import shots
from tests.support.webpage import answered, broken_rules, choose, shown


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("dark", 390), pytest.param("light", 1280, marks=pytest.mark.heavy)],
    ids=["phone", "desk"],
)
@pytest.mark.parametrize("state", shots.STATES)
def test_axe_finds_nothing_in_any_state(context, address, state, scheme, width):
    page = shots.show(context, address, state, scheme, width)
    assert broken_rules(page) == []
    page.close()


def test_a_screen_reader_meets_each_thing_after_what_names_it(page):
    """The browser's tree has the form, its answer, the chart, the file and the model in order."""
    tree = page.locator("body").aria_snapshot()

    found = re.findall(r"- ((?:banner|main|heading|region|textbox|slider|combobox|status|alert)\b[^:\n]*)", tree)
    ours = [one for one in found if not one.startswith(("heading", "status"))]
    assert ours == [
        "banner",
        "main",
        'region "Fill in"',
        'textbox "gre"',
        'slider "gre, slider"',
        'textbox "gpa"',
        'slider "gpa, slider"',
        'combobox "rank"',
        'region "Answer"',
        'region "Probability along a feature"',
        'combobox "Feature"',
        'region "A table"',
        'region "The model"',
    ]
    assert found.index("status") == found.index('region "Answer"') + 2  # the verdict, after the heading of its region
    headings = re.findall(r'heading "([^"]*)" \[level=(\d)\]', tree)
    assert headings[:3] == [("admissions version 1", "1"), ("Fill in", "2"), ("Answer", "2")]
    levels = [int(level) for _, level in headings]
    assert all(after - before <= 1 for before, after in pairwise(levels))  # none is skipped
    described = page.get_by_label("gre", exact=True).get_attribute("aria-describedby")
    assert page.locator(f"#{described.split()[0]}").text_content() == "220 to 800 in training"


def test_it_can_be_used_by_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "gre":
            break
    page.keyboard.press("Control+a")
    page.keyboard.type("812")
    page.keyboard.press("Enter")

    shown(page, "%")
    assert page.get_by_label("gre", exact=True).input_value() == "812"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_everything_is_reached_by_the_tab_key_and_shows_that_it_has_the_focus(page):
    """The focus follows the order of the page, and leaves it after the last element."""
    choose(page, "gre,gpa,rank\n400,3,1\n")
    every = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button:enabled, input, select, summary, [tabindex='0']")]
        .filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 90))"""
    )
    page.evaluate("document.body.focus()")
    reached = []
    for _ in range(len(every) + 5):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "(() => { const here = document.activeElement;"
            " return [here.outerHTML.slice(0, 90), getComputedStyle(here).outlineStyle] })()"
        )
        if here[0].startswith("<body"):
            break
        assert here[1] != "none", here
        reached.append(here[0])
    assert reached == every


def test_the_page_is_small_and_nothing_moves_when_an_answer_comes(browser, address):
    """150 kB in all, and a cumulative layout shift of nothing; web.dev calls 0.1 good."""
    page, bodies = browser.new_page(), []
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((one) => "
        "window.shift += one.value)).observe({ type: 'layout-shift', buffered: true })"
    )
    page.on("response", lambda response: bodies.append(response.body()))
    page.goto(address)
    answered(page)
    assert sum(map(len, bodies)) < 150_000

    for value in ("640", "800", "300"):
        page.get_by_label("gre", exact=True).evaluate(  # as no key does: a shift after one would not count
            "(field, value) => { field.value = value; field.dispatchEvent(new Event('input', { bubbles: true })) }",
            value,
        )
        answered(page)
    assert page.evaluate("window.shift") < 0.01
    page.close()
