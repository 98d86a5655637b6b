"""The documentation page in a real browser: requests are sent from it."""

import json


def test_a_request_can_be_tried_in_the_documentation(context, address):
    page = context.new_page()
    page.goto(f"{address}/docs")
    form = page.locator("form.try").first  # of POST /predict, which is unfolded

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


def test_a_link_to_an_operation_unfolds_it(context, address):
    page = context.new_page()
    page.goto(f"{address}/docs#post-explain")

    assert page.locator("#post-explain form").is_visible()
    assert page.locator("#get-model form").is_hidden()
    page.get_by_text("GET /model", exact=True).click()
    assert page.locator("#get-model form").is_visible()
    page.close()
