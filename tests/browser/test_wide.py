"""The page of a model of forty features, one of sixty levels, with long names."""

import pytest

from tests.browser import shots
from tests.support.webpage import answered, broken_rules, choose, cut_texts, saved
from tests.support.wide import LEVELS, LONG, NAMES


@pytest.fixture
def page(context, wide, request):
    width, height = getattr(request, "param", (1280, 800))
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(wide)
    answered(page)
    yield page
    page.close()


def test_a_feature_and_a_level_are_found_by_their_name(page):
    page.get_by_label("Find a feature").fill("measure_17")
    assert page.locator("#form .field:visible label").all_text_contents() == ["measure_17"]
    assert page.locator(".group:visible summary").all_text_contents() == ["measure 38 features"]
    page.get_by_label("Find a feature").fill("")
    assert page.locator("#form .field:visible").count() == len(NAMES)

    town = page.get_by_label("town", exact=True)
    assert set(town.evaluate("field => [...field.list.options].map(({ value }) => value)")) == set(LEVELS)
    town.fill(LEVELS[40])
    answered(page)
    assert page.locator("#label").text_content() in ("yes", "no")
    town.fill("Atlantis")
    answered(page)
    note = page.locator(f"#f{NAMES.index('town')}-note").text_content()
    assert note == f"not one of the levels: {', '.join(sorted(LEVELS)[:12])} and 48 more"


def test_features_of_one_first_word_are_a_group_that_folds_and_opens_for_a_mistake(page):
    measures, others = page.locator(".group").all()
    assert measures.locator(".field").count() == 38
    assert others.locator("label").all_text_contents() == [LONG, "town"]

    measures.locator("summary").click()
    assert page.locator("#form .field:visible").count() == 2
    page.evaluate("field = document.querySelector('[name=measure_3]'); field.value = 'much'; field.dispatchEvent("
                  "new Event('input', { bubbles: true }))")  # fmt: skip
    answered(page)
    assert page.get_by_label("measure_3", exact=True).is_visible()
    assert page.locator("#tries thead th").all_text_contents()[:40] == NAMES


@pytest.mark.parametrize("state", shots.WIDE)
def test_axe_finds_nothing_in_any_state(context, wide, state):
    page = shots.show(context, wide, state, "dark", 390)
    assert broken_rules(page) == []
    page.close()


def test_the_largest_contributions_come_first_and_all_stay_unfolded(page):
    def sizes(where):
        return [abs(float(text)) for text in page.locator(f"{where} .number").all_text_contents()]

    first = sizes("#contributions")
    page.locator("#more-contributions summary").click()
    every = first + sizes("#more-contributions")
    assert len(first) == 8
    assert len(every) == len(NAMES)
    assert every == sorted(every, reverse=True)

    page.get_by_label("measure_1", exact=True).fill("2")
    answered(page)
    assert page.locator("#more-contributions[open]").count() == 1


def test_the_smallest_changes_that_flip_the_verdict_come_first(page):
    features = {one["name"]: one for one in page.evaluate("fetch('model').then(found => found.json())")["features"]}
    changes = []
    for link in page.locator("#flips a").all():
        name, value = link.text_content().replace(" at least ", " at most ").split(" at most ")
        reach = features[name]["maximum"] - features[name]["minimum"]
        changes.append(abs(float(value) - float(page.get_by_label(name, exact=True).input_value())) / reach)
    assert len(changes) == 8
    assert changes == pytest.approx(sorted(changes), abs=0.02)  # the values shown are rounded


def test_flips_outside_the_training_range_are_folded(page):
    assert page.locator("#flips li").count() <= 8
    assert page.locator("#flips").get_by_text("outside the training range").count() == 0
    assert page.locator("#more-flips[open]").count() == 0
    assert page.locator("#more-flips li").count() > 0


@pytest.mark.parametrize("page", [(1280, 800), (390, 844)], ids=["desk", "phone"], indirect=True)
def test_the_verdict_stays_in_sight(page):
    """The verdict is on the first screen, and stays in sight at the form's last field."""
    for field in ("measure_1", "town"):
        page.get_by_label(field, exact=True).scroll_into_view_if_needed()
        box = page.locator("#label").bounding_box()
        assert 0 <= box["y"] < page.viewport_size["height"] - box["height"], field


@pytest.mark.parametrize("page", [(1280, 800), (390, 844)], ids=["desk", "phone"], indirect=True)
def test_the_answers_to_a_file_of_many_columns_are_in_sight(page, tmp_path):
    choose(page, saved(page, tmp_path, "#sample").read_text())

    box = page.locator("#rows td.ours").first.bounding_box()
    assert box["x"] + box["width"] <= page.viewport_size["width"]


@pytest.mark.parametrize("page", [(390, 844)], ids=["phone"], indirect=True)
def test_long_names_neither_widen_the_page_nor_are_cut(page):
    page.locator("#along").select_option(LONG)
    answered(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert cut_texts(page) == []
    level = max(LEVELS, key=len)
    page.get_by_label("town", exact=True).fill(level)
    answered(page)
    assert page.locator(f"#f{NAMES.index('town')}-whole").inner_text() == level  # the field itself has room for a part


def test_the_page_ends_below_its_last_part_with_everything_unfolded(page):
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")

    bottoms = "[document.documentElement.scrollHeight, document.querySelector('main').getBoundingClientRect().bottom]"
    whole, main = page.evaluate(bottoms)
    assert abs(whole - main) < 2
