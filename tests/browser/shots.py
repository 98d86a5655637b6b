"""python -m tests.browser.shots FILE [QUERY [light|dark [WIDTH]]]: a picture of the page, of MODEL_NAME in models/."""

import os
import shutil
import sys

from playwright.sync_api import sync_playwright

from tests.support.service import service


def main(file, query="", scheme="light", width=1280):
    with (
        service(os.environ.get("MODELS_DIR", "models"), WEB_CONCURRENCY="1") as (address, _),
        sync_playwright() as with_,
    ):
        browser = with_.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": int(width), "height": 900}, color_scheme=scheme)
        page.goto(f"{address}/?{query}")
        page.wait_for_selector("#picture svg")
        page.screenshot(path=file, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
