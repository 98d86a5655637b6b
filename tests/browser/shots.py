"""Pictures of the page, as a browser shows it.

`python -m tests.browser.shots` writes the documents' pictures into docs/. With a folder as its argument it writes every
state of the page there, for a person to look at: in three widths, light and dark.
"""

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.support import ROOT
from tests.support.browser import CHROMIUM
from tests.support.service import service
from tests.support.wide import LONG, write_wide
from train.__main__ import main as train

ROW = "gre=640&gpa=3.1&rank=2"
WIDTHS = (1440, 1280, 390)
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def row(page: Page) -> None:
    """An answered form."""
    page.wait_for_selector("#picture svg")


def outside(page: Page) -> None:
    """A value beyond the training range."""
    row(page)
    page.fill("input[name=gre]", "1200")
    page.wait_for_selector("#answer[aria-busy=false]")
    page.wait_for_function("() => location.hash.includes('1200')")


def wrong(page: Page) -> None:
    """A mistake in the form."""
    row(page)
    page.fill("input[name=gpa]", "three")
    page.wait_for_selector("[aria-invalid=true]")


def offline(page: Page) -> None:
    """A service that can't be reached."""
    row(page)
    page.context.set_offline(True)
    page.fill("input[name=gpa]", "3.5")
    page.wait_for_selector("#offline:not([hidden])")


def slow(page: Page) -> None:
    """A service that doesn't answer: the browser does."""
    row(page)
    page.evaluate(
        "own = fetch; fetch = (at, ...more) => (/answer/.test(at) ? new Promise(() => {}) : own(at, ...more))"
    )
    page.fill("input[name=gpa]", "3.5")
    page.wait_for_selector("#answer[data-by=browser]")


def table(page: Page) -> None:
    """An answered file."""
    row(page)
    lines = (ROOT / "data" / "admissions.csv").read_text().splitlines()[:9]
    rows = "".join(f"{line.rpartition(',')[0]}\n" for line in lines).encode()
    page.set_input_files("#file", [{"name": "applicants.csv", "mimeType": "text/csv", "buffer": rows}])
    page.wait_for_selector("#found:not([hidden])")


def judged(page: Page) -> None:
    """An answered file that has the outcomes, too."""
    row(page)
    page.set_input_files("#file", ROOT / "data" / "admissions.csv")
    page.wait_for_selector("#truth table")


def wrong_table(page: Page) -> None:
    """A file with mistakes."""
    row(page)
    rows = b"gre,gpa,rank\n640,three,2\n,3.1,9\n"
    page.set_input_files("#file", [{"name": "applicants.csv", "mimeType": "text/csv", "buffer": rows}])
    page.wait_for_selector("#rows .wrong")


def opened(page: Page) -> None:
    """All that folds, unfolded."""
    row(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")


def along(page: Page) -> None:
    """The curve of the feature with the longest name."""
    row(page)
    page.select_option("#along", LONG)
    page.wait_for_selector("#answer[aria-busy=false]")


def wrong_level(page: Page) -> None:
    """A level that the model does not know."""
    row(page)
    page.fill("input[name=town]", "Atlantis")
    page.wait_for_selector("[aria-invalid=true]")


STATES: dict[str, tuple[str, Callable[[Page], object]]] = {
    "row": (f"/?{ROW}", row),
    "outside": (f"/?{ROW}", outside),
    "wrong": (f"/?{ROW}", wrong),
    "offline": (f"/?{ROW}", offline),
    "slow": (f"/?{ROW}", slow),
    "table": (f"/?{ROW}", table),
    "judged": (f"/?{ROW}", judged),
    "wrong-table": (f"/?{ROW}", wrong_table),
    "opened": (f"/?{ROW}", opened),
    "docs": ("/docs", lambda page: None),
    "report": ("/report", lambda page: None),
}
# Pages of a model of forty features and sixty levels, with names of sixty characters.
WIDE: dict[str, tuple[str, Callable[[Page], object]]] = {
    "wide": ("/", row),
    "wide-opened": ("/", opened),
    "wide-along": ("/", along),
    "wide-wrong": ("/", wrong_level),
    "wide-report": ("/report", lambda page: None),
}


def show(context: BrowserContext, address: str, state: str, scheme: Scheme, width: int, height: int = 900) -> Page:
    """The page in a state; its caller closes it."""
    path, prepare = (STATES | WIDE)[state]
    context.set_offline(False)  # another page may have set it
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}{path}")
    prepare(page)
    page.evaluate("""() => {
        scrollTo({ top: 0, behavior: "instant" });
        return Promise.allSettled(document.getAnimations().map((one) => one.finished)).then(() => {});
    }""")
    return page


def every_state(context: BrowserContext, address: str, folder: Path, states: Iterable[str]) -> None:
    for state in states:
        for width in WIDTHS:
            for scheme in SCHEMES:
                page = show(context, address, state, scheme, width)
                page.screenshot(path=folder / f"{state}-{width}-{scheme}.png", full_page=True)
                page.close()
        print(f"wrote {folder / state}-*.png", flush=True)


def documents(context: BrowserContext, address: str) -> None:
    """The pictures of the documents: the form with its answer, and an answered file."""
    page = show(context, address, "row", "light", 1200)
    bottom = page.locator("#one").bounding_box()
    assert bottom is not None
    height = bottom["y"] + bottom["height"] + 24
    page.screenshot(
        path=ROOT / "docs" / "page.png", full_page=True, clip={"x": 0, "y": 0, "width": 1200, "height": height}
    )
    page.close()
    page = show(context, address, "table", "light", 1200)
    page.locator("#table").screenshot(path=ROOT / "docs" / "table.png")
    page.close()
    print("wrote docs/page.png, docs/table.png")


def first_answer(context: BrowserContext, address: str) -> str:
    """The milliseconds until a browser has the page, and until its script has the first answer."""
    page = show(context, address, "row", "light", 1280)
    timings = page.evaluate("""() => [performance.getEntriesByType("navigation")[0],
        ...performance.getEntriesByType("resource").filter(({ name }) => name.includes("/answer"))]
        .map((one) => one.responseEnd - one.startTime)""")
    page.close()
    return f"the page with its answer came after {timings[0]:.0f} ms, a further answer takes {timings[1]:.0f} ms"


@contextlib.contextmanager
def published(data: Path, *options: str) -> Iterator[str]:
    """The address of a service of a table's model."""
    with tempfile.TemporaryDirectory() as made:
        given = ["--data", str(data), "--checkpoints", str(Path(made, "checkpoints"))]
        with contextlib.redirect_stdout(io.StringIO()):
            assert train(["fit", *given, *options]) == 0
            assert train(["export", *given, "--models", str(Path(made, "models"))]) == 0
        with service(Path(made, "models"), WEB_CONCURRENCY="1") as (address, _):
            yield address


def main(arguments: list[str]) -> None:
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        context = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_context()
        admissions = ROOT / "data" / "admissions.csv"
        options = ("--categorical", "rank", "--labels", "refused,admitted", *(("--by", "rank") if arguments else ()))
        address = stack.enter_context(published(admissions, *options))
        if not arguments:
            return documents(context, address)
        folder = Path(arguments[0])
        folder.mkdir(parents=True, exist_ok=True)
        print(first_answer(context, address))
        every_state(context, address, folder, STATES)
        invoices = write_wide(Path(stack.enter_context(tempfile.TemporaryDirectory()), "invoices.csv"))
        wide = stack.enter_context(published(invoices, "--target", "late", "--l2", "1"))
        every_state(context, wide, folder, WIDE)


if __name__ == "__main__":
    main(sys.argv[1:])
