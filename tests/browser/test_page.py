"""The page in a real Chromium: what a person does on it."""

import csv
import json
import shutil
import warnings

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if CHROMIUM is None:
    warnings.warn(
        "SKIPPED: the page's browser tests, because there is no chromium: apt-get install chromium", stacklevel=1
    )
    pytest.skip("no chromium here: apt-get install chromium", allow_module_level=True)

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from tests.service import service


@pytest.fixture(scope="module")
def address(models):
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1", MAX_ROWS="200") as (found, _):
        yield found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The page with its first answer; at the end the console must have had nothing to complain of."""
    said = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    expect(page.locator("#picture path.line")).to_have_count(1)
    yield page
    page.close()
    assert said == []


def drop(page, name, text):
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": text.encode()})


def test_answers_as_you_type(page, tmp_path):
    page.get_by_label("gre", exact=True).fill("800")
    page.get_by_label("gpa", exact=True).fill("4")
    page.get_by_label("rank", exact=True).select_option("1")
    expect(page.locator("#label")).to_have_text("pass")
    page.get_by_label("rank", exact=True).select_option("4")
    expect(page.locator("#label")).to_have_text("fail")
    assert page.locator("#contributions tr").count() == 3
    page.screenshot(path=tmp_path / "page.png", full_page=True)


def test_suggested_value_flips_the_verdict(page):
    before = page.locator("#label").inner_text()
    page.locator("#flips button", has_text="gpa").click()
    expect(page.locator("#label")).not_to_have_text(before)
    expect(page.get_by_label("gpa", exact=True)).to_be_focused()


def test_half_typed_number_is_said_at_its_field(page):
    page.get_by_label("gre", exact=True).fill("7e")
    expect(page.locator("#f0-error")).to_have_text("expected a number")
    expect(page.locator("#label")).to_have_text("No answer")


def test_table_of_several_slices_is_answered(page):
    """Columns that the model doesn't have are kept; of their text none may be a formula in a spreadsheet."""
    texts = ["=1+1", "-1", "+x", "@x", "\tx", "plain, quoted", "-2.5e3"]
    rows = [f'{400 + n},3.{n % 10},{1 + n % 4},"{texts[n % len(texts)]}"' for n in range(450)]
    drop(page, "mine.csv", "\n".join(["gre,gpa,rank,note", *rows]))
    expect(page.locator("#told")).to_contain_text("450 rows answered, the first 100 shown. Kept, but not read: note.")
    assert page.locator("#rows tbody tr").count() == 100
    with page.expect_download() as download:
        page.locator("#download").click()
    with open(download.value.path(), newline="") as file:
        answered = list(csv.DictReader(file))
    assert len(answered) == 450
    assert [row["note"] for row in answered[:7]] == ["'=1+1", "-1", "'+x", "'@x", "'\tx", "plain, quoted", "-2.5e3"]
    assert {row["label"] for row in answered} == {"pass", "fail"}
    assert [row["gre"] for row in answered] == [str(400 + n) for n in range(450)]


def test_error_is_shown_at_its_cell(browser, address):
    """In the second slice, whose own lines count from 1 again, and after a cell of two lines."""
    page = browser.new_page()
    page.goto(address)
    rows = ['400,3,1,"two\nlines"', *["400,3,1,x"] * 250]
    rows[230] = "400,3,9,x"
    drop(page, "bad.csv", "\n".join(["gre,gpa,rank,note", *rows]))
    expect(page.locator("#rows td.wrong")).to_contain_text("not one of the levels: 1, 2, 3, 4")
    expect(page.locator("#rows tbody th")).to_have_text("233")
    expect(page.locator("#download")).to_be_hidden()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(browser, address, scheme, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(address)
    expect(page.locator("#picture path.line")).to_have_count(1)
    drop(page, "mine.csv", "gre,gpa,rank\n400,3,1\n")
    expect(page.locator("#rows")).to_be_visible()
    page.locator("summary").click()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_keyboard_alone_is_enough(page):
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the answer")).to_be_focused()
    for _ in range(30):
        if page.evaluate("document.activeElement.name") == "gre":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    before = page.locator("#probability").inner_text()
    page.keyboard.type("790")
    expect(page.locator("#probability")).not_to_have_text(before)


def test_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    page.get_by_label("gre").fill("800")
    page.get_by_label("gpa").fill("4")
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("#label")).to_have_text("pass")
    page.locator("#flips a").first.click()
    expect(page.locator("#label")).to_have_text("fail")
    page.get_by_label("gre").fill("much")
    page.get_by_role("button", name="Answer").click()
    expect(page.locator("#f0-error")).to_have_text("expected a number")
    context.close()


def test_docs_show_an_openapi_document(browser, address):
    document = {
        "info": {"title": "<b>admissions</b>"},
        "paths": {"/predict": {"post": {"summary": "Ask", "responses": {"200": {"description": "answers"}}}}},
        "components": {"schemas": {"Row": {"type": "object"}}},
    }
    page = browser.new_page()
    page.route("**/openapi.json", lambda route: route.fulfill(body=json.dumps(document)))
    page.goto(f"{address}/docs")
    expect(page.locator("h1")).to_have_text("<b>admissions</b>")
    expect(page.locator("h2").first).to_have_text("POST/predict")
    expect(page.locator("summary")).to_have_text("Row")
    page.close()
