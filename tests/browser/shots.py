"""python -m tests.browser.shots FILE: the page as a picture, of a service that answers on PORT."""

import os
import shutil
import sys

from playwright.sync_api import sync_playwright


def main(file, scheme="light", width=1280):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": int(width), "height": 900}, color_scheme=scheme)
        page.goto(f"http://127.0.0.1:{os.environ.get('PORT', 8000)}/")
        page.wait_for_selector("#picture path.line")
        page.screenshot(path=file, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
