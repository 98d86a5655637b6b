"""A headless chromium."""

import contextlib
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium():
    """A browser, closed at the end; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page is NOT tested")
    if CHROMIUM is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium): the page is NOT tested in a browser")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser():
    """A browser, closed after each module: its thread can run no other event loop."""
    with chromium() as browser:
        yield browser
