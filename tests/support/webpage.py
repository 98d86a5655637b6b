"""The actions of a person on the page, and the service's answers beside it."""

from __future__ import annotations

import csv
import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page


def ask(address: str, row: object, path: str = "/predict") -> Any:
    """The service's own answer to a row, or to rows."""
    request = urllib.request.Request(address + path, json.dumps(row).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def fetched(address: str, path: str) -> str:
    """The body of the answer to a GET."""
    with urllib.request.urlopen(address + path) as answer:
        text: str = answer.read().decode()
    return text


def fill(page: Page, **values: str) -> None:
    """Fill in fields of the form, and wait for the answer if there is a script."""
    for name, value in values.items():
        field = page.get_by_label(name, exact=True)
        field.select_option(value) if name == "rank" else field.fill(value)
    if page.locator("body.live").count():
        answered(page)


def answered(page: Page) -> None:
    """Wait until the answer, picture and all, is that of the form: each value filled asks anew."""
    page.wait_for_selector("body.live #answer[aria-busy=false]")


def shown(page: Page, text: str) -> None:
    """Wait until the verdict contains a text."""
    page.wait_for_function("text => document.getElementById('verdict').textContent.includes(text)", arg=text)


def choose(page: Page, text: str | bytes, name: str = "mine.csv") -> None:
    """Choose a file, and wait until it is answered."""
    data = text if isinstance(text, bytes) else text.encode()
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": data})
    page.wait_for_selector("#found:not([hidden])", timeout=60_000)


def saved(page: Page, folder: Path, link: str = "#download") -> Path:
    """Click a link that downloads a file; the file, under the name that the page gives it."""
    with page.expect_download() as waiting:
        page.locator(link).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def downloaded(page: Page, folder: Path) -> list[dict[str, str]]:
    """The rows of the file of answers."""
    with saved(page, folder).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(page: Page, at: int) -> list[str | None]:
    """The texts of a column of the table of rows."""
    return [row.locator("th, td").nth(at).text_content() for row in page.locator("#rows tbody tr").all()]


def broken_rules(page: Page) -> list[object]:
    """Find what axe-core says of labels, contrast, roles and order; what sticks out; cut texts."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = [(one["id"], one["nodes"][0]["html"][:200]) for one in axe.run(page).response["violations"]]
    wider = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [*found, *(["the page is wider than the window"] if wider else []), *cut_texts(page)]


def cut_texts(page: Page) -> list[str]:
    """The elements whose text is cut off by the page's width or by their picture's.

    A table that scrolls is none, nor is a field whose whole value stands below it.
    """
    found: list[str] = page.evaluate(
        """() => [...[...document.querySelectorAll("main *")].filter((one) => !one.closest(".wide, svg, .aside")
        && one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0
        && getComputedStyle(one).overflowX !== "visible"
        && !(one.value && document.getElementById(`${one.id}-whole`)?.textContent === one.value)),
        ...[...document.querySelectorAll("svg text")].filter((one) => {
            const [own, whole] = [one, one.ownerSVGElement].map((some) => some.getBoundingClientRect());
            return own.left < whole.left - 1 || own.right > whole.right + 1 || own.bottom > whole.bottom + 1;
        })].map((one) => one.outerHTML.slice(0, 200))"""
    )
    return found
