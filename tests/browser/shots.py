"""make page-shots: the page of the admissions table's model, as the README shows it."""

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.conftest import DATA
from tests.service import service
from train.__main__ import main

DOCS = DATA.parent / "docs"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        both = ["--data", str(DATA / "admissions.csv"), "--checkpoints", folder]
        main(["fit", *both, "--categorical", "rank", "--labels", "refused,admitted"])
        main(["export", *both, "--models", f"{folder}/models"])
        with service(Path(folder) / "models", WEB_CONCURRENCY="1") as (address, _), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 1160})
            page.goto(address)
            page.wait_for_selector("#picture svg")
            DOCS.mkdir(exist_ok=True)
            page.screenshot(path=DOCS / "page.png")
            browser.close()
