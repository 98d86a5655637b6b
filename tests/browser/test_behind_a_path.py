"""The pages behind nginx at /model-a/, as docs/how-to/proxy.md has it, in a real browser."""

from urllib.parse import urlsplit

from tests.support.proxies import BEHIND_A_PATH


def test_the_pages_work_behind_a_path(browser, behind_nginx):
    """All that they load is below the path: scripts, styles, answers, tables, links, Back."""
    port, _ = behind_nginx(BEHIND_A_PATH, "/model-a", ROOT_PATH="/model-a")
    address, complaints = f"http://127.0.0.1:{port}/model-a/", []
    page = browser.new_context().new_page()
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith((address, "data:", "blob:")) or complaints.append(sent.url))
    page.on("response", lambda got: got.status < 400 or complaints.append(f"{got.status} {got.url}"))

    page.goto(address)
    page.wait_for_selector("body.live #answer[aria-busy=false]")
    verdicts = []
    for hours in ("1", "7"):
        page.get_by_label("hours", exact=True).fill(hours)
        page.wait_for_selector("body.live #answer[aria-busy=false]")
        verdicts.append(page.locator("#label").inner_text())
    assert verdicts == ["fail", "pass"]
    assert f"{address}predict" in page.content()  # the request as code

    page.set_input_files("#file", [{"name": "mine.csv", "mimeType": "text/csv", "buffer": b"hours\n1\n7\n"}])
    page.locator("#told").get_by_text("2 rows answered").wait_for()
    rows = page.locator("#rows tbody tr").all_inner_texts()
    assert [next(word for word in row.split() if word in ("fail", "pass")) for row in rows] == ["fail", "pass"]

    page.goto(f"{address}docs")
    links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
    assert any(urlsplit(link).path == "/model-a/openapi.json" for link in links), links
    assert f"{address}predict" in page.content()
    for kind in ("application/json", "application/jsonlines"):
        form = page.locator("form.try", has=page.locator("#post-predict-url"))
        form.get_by_label("Content-Type").select_option(kind)
        form.get_by_role("button").click()
        form.locator(".told").get_by_text(kind).wait_for()
        assert '"label"' in form.locator(".response").inner_text()
    page.goto(f"{address}report")
    page.go_back()
    assert page.url == f"{address}docs"
    assert complaints == []
