"""Two services for all tests of the page: a model of three features, and one of forty."""

import pytest

from tests.support.models import export, made_once
from tests.support.service import service
from tests.support.webpage import answered
from tests.support.wide import write_wide


@pytest.fixture(scope="session")
def address(models):
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1") as (address, _):
        yield address


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """The address of a model of forty features, one of sixty levels, with long names."""

    def make(folder):
        export(["--data", str(write_wide(folder.parent / "invoices.csv"))], folder, "--target", "late", "--l2", "1")

    with service(made_once(tmp_path_factory, "wide", make), WEB_CONCURRENCY="1") as (address, _):
        yield address


@pytest.fixture(scope="module")
def context(browser):
    """The context of a module's pages, which store nothing.

    One of them stays open: else each page that follows costs twice the time.
    """
    context = browser.new_context()
    context.new_page()
    return context


@pytest.fixture
def page(context, address):
    """The page, open and answered; whatever the browser complains of fails the test."""
    page = context.new_page()
    page.set_viewport_size({"width": 1200, "height": 900})
    complaints = []
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith((address, "data:", "blob:")) or complaints.append(sent.url))
    page.goto(address)
    answered(page)
    yield page
    page.unroute_all(behavior="ignoreErrors")
    page.close()
    # Chromium logs a response of 422 or 503, or a lost connection, which a test asked for, as an error of its own.
    asked_for = ("status of 422", "status of 503", "net::ERR_FAILED")
    assert [text for text in complaints if not any(part in text for part in asked_for)] == []
