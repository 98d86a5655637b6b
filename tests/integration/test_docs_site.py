"""The documents' site builds without a dead link, and loads nothing from elsewhere."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support import ROOT

MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"
# The addresses that a page loads by itself; a link that a person clicks (an <a>) is not among them.
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not MKDOCS.exists():
        pytest.skip("mkdocs-material is not installed (make docs): the site is NOT tested")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([MKDOCS, "build", "--quiet", "--site-dir", folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


class Loads(HTMLParser):
    """Collects the addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADS.get(tag, ""))
        if address and dict(attrs).get("rel") not in ("canonical", "next", "prev"):
            self.found.append(address)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = Loads()
    for page in site.rglob("*.html"):
        loaded.feed(page.read_text())
    styles = [address for path in site.rglob("*.css") for address in re.findall(r"url\(([^)]*)\)", path.read_text())]

    assert len(loaded.found) > 100
    assert [address for address in [*loaded.found, *styles] if re.match(r"[\"']?(https?:)?//", address)] == []


def test_the_search_works_from_the_disk(site: Path, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("threshold")
    page.wait_for_selector(".md-search-result__item >> text=Choose the threshold")
    page.close()

    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
