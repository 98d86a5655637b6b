"""The page while the service is slow, gone, locked or new: what answers, and what says so."""

import urllib.request

import pytest

from tests.support.service import service
from tests.support.webpage import answered, ask, choose, fill, shown


def test_a_pending_answer_is_dimmed_until_it_is_the_forms(page):
    held = []
    page.route("**/answer*", lambda route: held.append(route))
    page.get_by_label("gre", exact=True).fill("800")
    page.wait_for_selector("#answer[aria-busy=true]")
    page.wait_for_function("() => getComputedStyle(document.getElementById('why')).opacity < 0.5")
    assert page.locator("#updating").is_visible()

    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    answered(page)
    page.wait_for_function("() => getComputedStyle(document.getElementById('why')).opacity === '1'")
    assert page.locator("#updating").is_hidden()


@pytest.mark.parametrize("fault", ["slow", "gone"])
def test_the_browser_answers_while_the_service_does_not_and_says_so(page, address, fault):
    assert page.locator("#by").text_content() == "Answered by the service."
    expected = ask(address, {"gre": 800, "gpa": 4, "rank": "1"})
    page.route("**/answer*", (lambda route: None) if fault == "slow" else (lambda route: route.abort()))
    for name, value in {"gre": "800", "gpa": "4"}.items():
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_label("rank", exact=True).select_option("1")

    page.wait_for_selector("#answer[data-by=browser]")
    assert page.locator("#by").text_content() == "Answered in this browser, by version 1."
    assert page.locator("#label").text_content() == expected["label"]
    assert page.locator("#probability").text_content() == f"{100 * expected['probability']:.1f}"
    assert page.locator("#offline").is_visible() == (fault == "gone")
    page.wait_for_function("() => getComputedStyle(document.getElementById('picture')).opacity < 0.5")
    assert page.locator("#label").evaluate("label => getComputedStyle(label).opacity") == "1"

    page.get_by_label("gre", exact=True).fill("much")
    page.locator("#f0-note").get_by_text("expected a number").wait_for()
    page.get_by_label("gre", exact=True).fill("1200")
    page.locator("#f0-note").get_by_text("outside the training range").wait_for()
    page.unroute("**/answer*")
    page.get_by_label("gre", exact=True).fill("700")
    answered(page)
    assert page.locator("#by").text_content() == "Answered by the service."


@pytest.mark.parametrize("fault", ["lost", "at capacity"])
def test_an_unreachable_service_is_reported_at_the_answer(page, fault):
    fail = (lambda route: route.abort()) if fault == "lost" else (lambda route: route.fulfill(status=503, body="{}"))
    page.route("**/answer*", fail)
    page.get_by_label("gre", exact=True).fill("800")

    page.locator("#answer #offline").get_by_text("The service can't be reached").wait_for()
    page.wait_for_function("() => getComputedStyle(document.getElementById('why')).opacity < 0.5")
    page.unroute("**/answer*")
    page.get_by_label("gre", exact=True).fill("700")
    answered(page)
    page.locator("#offline").wait_for(state="hidden")


def test_a_table_chosen_before_the_script_is_ready_is_answered(browser, address):
    """A slow network delays the script, or the browser restores the chosen file."""
    page, held = browser.new_page(), []
    page.route("**/model", lambda route: held.append(route))
    page.goto(address)
    page.set_input_files("#file", [{"name": "mine.csv", "mimeType": "text/csv", "buffer": b"gre,gpa,rank\n400,3,1\n"}])
    while not held:
        page.wait_for_timeout(10)
    assert page.locator("body.live").count() == 0
    held[0].continue_()
    page.wait_for_selector("#found:not([hidden])")
    page.close()


def test_behind_a_key_the_browser_asks_for_it_once(browser, models, tmp_path):
    """Basic, the key as the password: what the page itself asks brings it along."""
    (tmp_path / "keys").write_text("0123456789abcdef\n")
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "1", "API_KEY_FILE": str(tmp_path / "keys")}
    with service(models, **settings) as (address, _):
        page = browser.new_page(http_credentials={"username": "me", "password": "0123456789abcdef"})
        page.goto(address)
        fill(page, gre="800", gpa="4", rank="1")
        shown(page, "%")
        choose(page, "gre,gpa,rank\n400,3,1\n")
        assert page.goto(f"{address}/report").status == 200
        page.close()
        page = browser.new_page(http_credentials={"username": "me", "password": "wrong"})
        assert page.goto(address).status == 401
        page.close()


def test_headers_forbid_everything_from_elsewhere(address):
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
