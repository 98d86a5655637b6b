"""The documentation page in a real browser: requests are sent from it."""

import json


def test_a_request_can_be_tried_in_the_documentation(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/docs")
    page.get_by_text("Try it: POST /predict").click()
    form = page.locator("form.try").first

    form.get_by_label("evidence").select_option("true")
    form.get_by_role("button", name="Send").click()

    form.locator(".told").get_by_text("200 OK").wait_for()
    answer = json.loads(form.locator(".response").text_content())
    assert answer["model"] == "admissions"
    assert "evidence" in answer

    form.get_by_label("Content-Type").select_option("text/csv")
    form.get_by_label("evidence").select_option("")
    form.get_by_role("button", name="Send").click()
    form.locator(".response").get_by_text("gre,gpa,rank").wait_for()
    page.close()
