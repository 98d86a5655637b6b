"""The page in a real browser: what a person does, and what they see."""

import csv
import io
import json
import math
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.browser import shots
from tests.support import DATA
from tests.support.service import service


@pytest.fixture(scope="module")
def address(models):
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1") as (address, _):
        yield address


@pytest.fixture
def page(browser, address, tmp_path, request):
    """The page, open and answered; whatever the browser complains of fails the test. It leaves a picture."""
    settings = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **settings})
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith((address, "data:", "blob:")) or complaints.append(sent.url))
    page.goto(address)
    if settings.get("java_script_enabled", True):
        answered(page)
    yield page
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()
    # Chromium logs a response of 422 or 503, or a lost connection, which a test asked for, as an error of its own.
    asked_for = ("status of 422", "status of 503", "net::ERR_FAILED")
    assert [text for text in complaints if not any(part in text for part in asked_for)] == []


def ask(address, row, path="/predict"):
    request = urllib.request.Request(address + path, json.dumps(row).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def positive(address):
    with urllib.request.urlopen(f"{address}/model") as answer:
        return json.load(answer)["target"]["labels"][1]


def fill(page, **values):
    for name, value in values.items():
        field = page.get_by_label(name, exact=True)
        field.select_option(value) if name == "rank" else field.fill(value)
    if page.locator("body.live").count():
        answered(page)


def answered(page):
    """Wait until the answer, picture and all, is that of the form: each value filled asks anew."""
    page.wait_for_selector("body.live #answer[aria-busy=false]")


def shown(page, text):
    page.wait_for_function("text => document.getElementById('verdict').textContent.includes(text)", arg=text)


def test_it_answers_as_you_type(page, address):
    fill(page, gre="800", gpa="4", rank="1")
    answer = ask(address, {"gre": 800, "gpa": 4, "rank": "1"})

    shown(page, f"{100 * answer['probability']:.1f}")
    assert page.locator("#label").text_content() == answer["label"]
    why = ask(address, {"gre": 800, "gpa": 4, "rank": "1"}, "/explain?evidence=true")
    values = sorted(why["explanation"]["contributions"].values(), key=abs, reverse=True)
    parts = [f"{part:+.3f}" for part in values]
    assert page.locator("#contributions .number").all_text_contents() == parts
    told = page.locator("#evidence").text_content()
    assert f"Of {why['evidence']['rows']} similar held-out rows" in told
    bounds = [why["evidence"]["low"], why["evidence"]["high"]]
    low, high = bounds if answer["admit"] else [1 - bound for bound in reversed(bounds)]
    assert f"{100 * low:.1f}\u00a0% to {100 * high:.1f}\u00a0%" in told


def test_the_curve_has_the_rows_point_the_threshold_and_the_training_range(page, address):
    fill(page, gre="500", gpa="3", rank="2")
    point, box = page.locator("#picture circle.here"), page.locator("#picture rect.range")
    top, bottom = 34, 300 - 52  # of the plot, in serve/web/static/draw.js
    probability = ask(address, {"gre": 500, "gpa": 3, "rank": "2"})["probability"]
    assert bottom - float(point.get_attribute("cy")) == pytest.approx((bottom - top) * probability)
    low, width = (float(box.get_attribute(name)) for name in ("x", "width"))
    assert (float(point.get_attribute("cx")) - low) / width == pytest.approx((500 - 220) / (800 - 220))
    assert float(page.locator("#picture line.limit").get_attribute("y1")) == pytest.approx((top + bottom) / 2)
    assert page.locator("#picture path.line").get_attribute("class") == "line no"  # never above the threshold
    assert page.locator("#picture text.x").all_text_contents() == ["200", "300", "400", "500", "600", "700", "800"]
    assert page.locator("#picture text.name").all_text_contents() == [f"probability of {positive(address)}", "gre"]

    page.get_by_label("Feature", exact=True).select_option("rank")
    answered(page)
    assert page.locator("#picture rect.column").count() == 4
    assert page.locator("#picture rect.here").count() == 1
    assert page.locator("#picture text.x").all_text_contents() == ["1", "2", "3", "4"]
    assert page.locator("#ranged").is_hidden()
    assert page.locator("#calibration circle.here").count() == 1


def test_the_suggested_value_flips_the_verdict_and_back_undoes_it(page):
    fill(page, gre="500", gpa="3", rank="2")
    before = page.locator("#label").text_content()

    page.locator("#flips a").first.click()

    page.wait_for_function("before => document.getElementById('label').textContent !== before", arg=before)
    answered(page)
    assert f"gre={page.get_by_label('gre', exact=True).input_value()}" in page.url
    page.go_back()
    shown(page, before)
    assert page.get_by_label("gre", exact=True).input_value() == "500"


def test_rows_that_were_sent_are_kept_side_by_side(page):
    page.get_by_role("link", name="low").click()
    answered(page)
    page.get_by_role("link", name="high").click()
    answered(page)

    lines = page.locator("#tries tbody tr")
    assert lines.count() == 2  # the latest first
    assert lines.first.locator("td").first.text_content() == page.get_by_label("gre", exact=True).input_value()
    assert lines.first.locator("td").nth(3).text_content() == page.locator("#label").text_content()
    before = lines.last.locator("td").first.text_content()
    lines.last.get_by_role("link").click()
    answered(page)
    assert page.get_by_label("gre", exact=True).input_value() == before


def test_the_address_of_the_page_brings_the_row_back(page, browser, address):
    """After the #, which no browser sends: the row stands in no log, and opening the link is no traffic."""
    fill(page, gre="612", gpa="3.3", rank="4")
    page.wait_for_function("() => location.hash === '#gre=612&gpa=3.3&rank=4'")
    link, verdict = page.url, page.locator("#verdict").text_content()
    assert link.startswith(f"{address}/#")

    other = browser.new_page()
    other.goto(link)
    answered(other)

    assert [other.get_by_label(name, exact=True).input_value() for name in ("gre", "gpa", "rank")] == [
        "612",
        "3.3",
        "4",
    ]
    assert other.locator("#verdict").text_content() == verdict
    other.close()


def test_a_pending_answer_is_dimmed_until_it_is_the_forms(page):
    held = []
    page.route("**/answer*", lambda route: held.append(route))
    page.get_by_label("gre", exact=True).fill("800")
    page.wait_for_selector("#answer[aria-busy=true]")
    page.wait_for_function("() => getComputedStyle(document.getElementById('why')).opacity < 0.5")
    assert page.locator("#updating").is_visible()

    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    answered(page)
    page.wait_for_function("() => getComputedStyle(document.getElementById('why')).opacity === '1'")
    assert page.locator("#updating").is_hidden()


@pytest.mark.parametrize("fault", ["slow", "gone"])
def test_the_browser_answers_while_the_service_does_not_and_says_so(page, address, fault):
    assert page.locator("#by").text_content() == "Answered by the service."
    expected = ask(address, {"gre": 800, "gpa": 4, "rank": "1"})
    page.route("**/answer*", (lambda route: None) if fault == "slow" else (lambda route: route.abort()))
    for name, value in {"gre": "800", "gpa": "4"}.items():
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_label("rank", exact=True).select_option("1")

    page.wait_for_selector("#answer[data-by=browser]")
    assert page.locator("#by").text_content() == "Answered in this browser, by version 1."
    assert page.locator("#label").text_content() == expected["label"]
    assert page.locator("#probability").text_content() == f"{100 * expected['probability']:.1f}"
    assert page.locator("#offline").is_visible() == (fault == "gone")
    page.wait_for_function("() => getComputedStyle(document.getElementById('verdict')).opacity === '1'")

    page.get_by_label("gre", exact=True).fill("much")
    page.locator("#f0-note").get_by_text("expected a number").wait_for()
    page.get_by_label("gre", exact=True).fill("1200")
    page.locator("#f0-note").get_by_text("outside the training range").wait_for()
    page.unroute("**/answer*")
    page.get_by_label("gre", exact=True).fill("700")
    answered(page)
    assert page.locator("#by").text_content() == "Answered by the service."


@pytest.mark.parametrize("fault", ["lost", "at capacity"])
def test_an_unreachable_service_is_reported_at_the_answer(page, fault):
    fail = (lambda route: route.abort()) if fault == "lost" else (lambda route: route.fulfill(status=503, body="{}"))
    page.route("**/answer*", fail)
    page.get_by_label("gre", exact=True).fill("800")

    page.locator("#answer #offline").get_by_text("The service can't be reached").wait_for()
    page.wait_for_function("() => getComputedStyle(document.getElementById('why')).opacity < 0.5")
    page.unroute("**/answer*")
    page.get_by_label("gre", exact=True).fill("700")
    answered(page)
    page.locator("#offline").wait_for(state="hidden")


def test_the_pointer_reads_a_value_off_the_curve(page, address):
    fill(page, gre="500", gpa="3", rank="1")
    assert page.locator("#picture path.line").count() == 2  # below the threshold, and above
    page.locator("#picture").scroll_into_view_if_needed()
    box = page.locator("#picture circle.here").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)

    value, probability = page.locator("#picture .readout").text_content().split(": ")
    assert float(value) == pytest.approx(500, abs=10)
    found = ask(address, {"gre": float(value), "gpa": 3, "rank": "1"})["probability"]
    assert float(probability.removesuffix("\u00a0%")) == pytest.approx(100 * found, abs=0.1)


def test_drift_is_shown_and_only_what_is_sent_counts(page, address):
    """Of what is typed, and of the curve's points, nothing."""

    def rows():
        with urllib.request.urlopen(f"{address}/drift") as answer:
            return json.load(answer)["rows"]

    before = rows()
    fill(page, gre="600", gpa="3.5", rank="3")
    assert rows() == pytest.approx(before, rel=1e-3)
    page.get_by_label("gpa", exact=True).press("Enter")
    answered(page)
    assert rows() == pytest.approx(before + 1, rel=1e-3)

    row = {"gre": 800, "gpa": 4, "rank": "1"}
    ask(address, [row] * 500)
    page.reload()
    answered(page)
    table = page.locator("#drift table")
    assert table.locator("tbody th").all_text_contents() == ["(score)", "gre", "gpa", "rank"]
    assert table.locator("tbody tr").nth(1).locator("td").nth(1).text_content() == "drifted"


def test_a_mistake_is_said_at_its_field_and_can_be_mended(page):
    fill(page, gre="much")
    shown(page, "No answer")
    assert page.locator("#curve").is_hidden()  # it was another row's
    assert page.get_by_label("gre", exact=True).get_attribute("aria-invalid") == "true"
    assert "number" in page.locator("#f0-note").text_content()

    fill(page, gre="500")
    shown(page, "%")
    assert page.locator("#curve").is_visible()
    assert page.get_by_label("gre", exact=True).get_attribute("aria-invalid") is None


def test_a_table_is_answered_and_downloaded(page, address, tmp_path):
    """More rows than one request of the page takes; text that a spreadsheet would run stays text."""
    rows = [[300 + n % 500, 2 + n % 20 / 10, 1 + n % 4, "=1+1" if n == 7 else f"n{n}"] for n in range(6000)]
    lines = "gre,gpa,rank,note\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines.encode()})
    page.wait_for_selector("#found:not([hidden])", timeout=60_000)

    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "answers.csv")
    found = list(csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text())))
    assert len(found) == 6000
    assert page.locator("#rows tbody tr").count() >= 100
    for at in (0, 4999, 5000, 5999):  # on both sides of where the page cuts
        answer = ask(address, {"gre": rows[at][0], "gpa": rows[at][1], "rank": rows[at][2]})
        assert float(found[at]["probability"]) == answer["probability"]
    assert not found[7]["note"].startswith("=")
    assert (found[0]["note"], found[0]["gre"]) == ("n0", "300")


def test_mistakes_in_a_table_are_said_at_their_cells_and_the_other_rows_answered(page, address, tmp_path):
    """In the order of the file's lines, whatever is wrong there."""
    lines = "name,gre,gpa,rank\nA,500,3,1\nB,much,3,7\nC,500,3\nD,,3,1\n"
    dropped = page.evaluate_handle(
        "lines => { const it = new DataTransfer(); it.items.add(new File([lines], 'mine.csv')); return it }", lines
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})

    page.locator("#told").get_by_text("3 rows have an error").wait_for()
    assert page.locator("#rows thead th").all_text_contents() == ["line", "name", "gre", "gpa", "rank"]
    shown = [row.locator("th, td").all_text_contents() for row in page.locator("#rows tbody tr").all()]
    assert [row[:3] for row in shown] == [
        ["3", "B", "muchexpected a number"],
        ["43 cells where the header has 4", "C", "500"],
        ["5", "D", shown[2][2]],
    ]
    assert shown[0][4] == "7not one of the levels: 1, 2, 3, 4"
    assert shown[2][2].startswith("may not be empty")
    assert page.locator("#rows .wrong").count() == 4

    found = downloaded(page, tmp_path)
    answer = ask(address, {"gre": 500, "gpa": 3, "rank": "1"})
    assert [row["name"] for row in found] == ["A", "B", "C", "D"]
    assert (float(found[0]["probability"]), found[0]["error"]) == (answer["probability"], "")
    assert [row["label"] for row in found[1:]] == ["", "", ""]
    assert found[2]["error"] == "3 cells where the header has 4"
    assert "gre: expected a number" in found[1]["error"]
    assert "rank: not one of the levels" in found[1]["error"]


def test_rows_are_sorted_and_filtered_by_their_verdict(page):
    lines = "gre,gpa,rank\n" + "".join(
        f"{gre},{gpa},{rank}\n" for gre, gpa, rank in [(400, 3, 2), (800, 4, 1), (90, 2, 4)]
    )
    choose(page, lines)
    assert column(page, 5) == sorted(column(page, 5), key=lambda p: column(page, 5).index(p))

    page.locator("#rows thead").get_by_role("button", name="probability").click()
    assert column(page, 5) == sorted(column(page, 5))
    assert page.locator("#rows th[aria-sort=ascending]").text_content() == "probability"
    page.locator("#rows thead").get_by_role("button", name="gre").click()
    page.locator("#rows thead").get_by_role("button", name="gre").click()
    assert column(page, 1) == ["800", "400", "90"]  # numbers by size

    page.get_by_label("Show", exact=True).select_option("yes")
    assert column(page, 1) == ["800"]
    page.get_by_label("Show", exact=True).select_option("no")
    assert column(page, 1) == ["400", "90"]
    assert page.locator("#spread rect").count() == 20


def test_a_table_with_the_target_is_judged(page, address):
    """The training file itself, scored back."""
    choose(page, (DATA / "admissions.csv").read_text())
    page.locator("#truth caption").wait_for()

    rows = list(csv.DictReader(io.StringIO((DATA / "admissions.csv").read_text())))
    answers = ask(address, [{"gre": float(r["gre"]), "gpa": float(r["gpa"]), "rank": r["rank"]} for r in rows])
    p = [answer["probability"] for answer in answers]
    loss = -sum(math.log(q if row["admit"] == "1" else 1 - q) for q, row in zip(p, rows, strict=True)) / len(rows)
    said = page.locator("#truth caption").text_content()
    assert f"log loss {loss:.4f}" in said
    assert said.startswith("400 rows with a known admit")
    cells = [int(text) for text in page.locator("#truth td.number").all_text_contents()]
    pairs = [(row["admit"], answer["admit"]) for row, answer in zip(rows, answers, strict=True)]
    assert cells == [pairs.count(pair) for pair in [("1", True), ("1", False), ("0", True), ("0", False)]]


LATIN = "Näme;gre;gpa;rank\nJosé;500;3,5;1\n"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (LATIN.encode("latin-1"), "windows-1252"),
        (LATIN.encode(), ""),
        (LATIN.encode("utf-16"), "utf-16le"),
        (LATIN.replace(",", ".").replace(";", "\t").encode(), ""),
    ],
    ids=["Latin-1", "semicolons and decimal commas", "UTF-16", "tabs"],
)
def test_a_file_is_read_as_spreadsheets_write_it(page, address, tmp_path, data, name):
    choose(page, data)

    [found] = downloaded(page, tmp_path)
    assert found["Näme"] == "José"
    assert float(found["probability"]) == ask(address, {"gre": 500, "gpa": 3.5, "rank": "1"})["probability"]
    assert (f"Read as {name}." in page.locator("#told").text_content()) == bool(name)


def test_an_excel_file_is_named_as_such(page):
    page.locator("#file").set_input_files({"name": "mine.xlsx", "mimeType": "", "buffer": b"PK\x03\x04..."})

    page.locator("#told").get_by_text("This is an Excel file").wait_for()


def test_the_sample_file_can_be_answered(page, tmp_path):
    with page.expect_download() as waiting:
        page.locator("#sample").click()
    waiting.value.save_as(tmp_path / "sample.csv")
    assert waiting.value.suggested_filename == "admissions_sample.csv"

    choose(page, (tmp_path / "sample.csv").read_text())
    assert page.locator("#rows tbody tr").count() == 5
    assert "error" not in page.locator("#told").text_content()


def column(page, at):
    return [row.locator("th, td").nth(at).text_content() for row in page.locator("#rows tbody tr").all()]


def choose(page, text):
    """Choose a file, and wait until it is answered."""
    data = text if isinstance(text, bytes) else text.encode()
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": data})
    page.locator("#download").wait_for()


def downloaded(page, folder):
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(folder / "answers.csv")
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_rows_of_a_table_are_no_traffic(page, address):
    """A file of test rows must not set the drift."""

    def counted():
        with urllib.request.urlopen(f"{address}/metrics") as answer:
            return [line for line in answer.read().decode().splitlines() if line.startswith("passfail_rows_total")]

    before = counted()
    lines = "gre,gpa,rank\n" + "800,4,1\n" * 500
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines.encode()})
    page.wait_for_selector("#found:not([hidden])")

    assert counted() == before


def test_a_request_can_be_tried_in_the_documentation(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/docs")
    page.get_by_text("Try it: POST /predict").click()
    form = page.locator("form.try").first

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


def test_each_mistake_of_many_is_told(page, tmp_path):
    choose(page, "gre,gpa,rank\n" + "x,3,1\n" * 130)

    assert "130 rows have an error" in page.locator("#told").text_content()
    assert page.locator("#shown").text_content() == "100 of 130 rows"
    assert {row["error"] for row in downloaded(page, tmp_path)} == {"gre: expected a number"}


def test_a_long_table_shows_how_far_it_is(page):
    """By what has been answered: the browser has read such a file at once."""
    page.evaluate("""() => {
        window.seen = []
        const bar = document.getElementById("progress")
        const note = () => bar.hidden || window.seen.push(bar.value)
        new MutationObserver(note).observe(bar, { attributes: true })
    }""")
    lines = "gre,gpa,rank\n" + "500,3,1\n" * 40_000
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines.encode()})
    page.wait_for_selector("#found:not([hidden])")

    seen = page.evaluate("window.seen")
    assert len(set(seen)) >= 8
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)
    assert page.locator("#progress").is_hidden()


def test_the_cell_is_found_in_a_later_slice(page):
    """Its own lines count from 1 again there; and a cell of two lines came before."""
    rows = ['400,3,1,"two\nlines"', *["400,3,1,x"] * 5200]
    rows[5100] = "400,3,9,x"
    lines = "\n".join(["gre,gpa,rank,note", *rows])
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines.encode()})

    page.get_by_text("not one of the levels").wait_for()
    assert page.locator("#rows tbody th").text_content() == "5103"
    assert "not one of the levels: 1, 2, 3, 4" in page.locator("#rows td.wrong").text_content()


def test_no_text_in_the_download_is_a_formula_and_numbers_stay(page, tmp_path):
    texts = ["=1+1", "-1", "+x", "@x", "\tx", "plain, quoted", "-2.5e3", "-x"]
    lines = "gre,gpa,rank,=note\n" + "".join(f'400,3,1,"{text}"\n' for text in texts)
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines.encode()})
    page.wait_for_selector("#found:not([hidden])")
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="") as file:
        found = [row["'=note"] for row in csv.DictReader(file)]
    assert found == ["'=1+1", "-1", "'+x", "'@x", "'\tx", "plain, quoted", "-2.5e3", "'-x"]


def test_each_column_of_the_download_has_a_name_of_its_own(page, tmp_path):
    lines = "gre,gpa,rank,label,predicted_label,predicted_logit\n400,3,1,a,b,c\n"
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines.encode()})
    page.wait_for_selector("#found:not([hidden])")
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "answers.csv")

    header = (tmp_path / "answers.csv").read_text().splitlines()[0].split(",")
    assert header[:6] == lines.splitlines()[0].split(",")
    assert header[6:9] == ["admit", "predicted_predicted_label", "probability"]
    assert len(set(header)) == len(header)


@pytest.mark.parametrize("page", [{"java_script_enabled": False}], indirect=True)
def test_the_form_works_without_javascript(page, address):
    """What there is stands in the order in which one reads; what needs JavaScript isn't there."""
    assert page.locator("h2:visible").all_text_contents() == ["Fill in", "Answer", "The model"]
    where = page.locator("label:visible, input:visible, select:visible, button:visible, #label").evaluate_all(
        "all => all.map(one => one.id || one.htmlFor)"
    )
    assert where == ["f0", "f0", "f1", "f1", "f2", "f2", "ask", "label"]
    fill(page, gre="800", gpa="4", rank="1")
    page.locator("#ask").click()
    page.wait_for_load_state()
    assert "gre=800" in page.url
    answer = ask(address, {"gre": 800, "gpa": 4, "rank": "1"})
    assert page.locator("#label").text_content() == answer["label"]
    assert page.locator("#probability").text_content() == f"{100 * answer['probability']:.1f}"
    page.locator("#flips a").first.click()
    page.wait_for_load_state()
    assert page.locator("#label").text_content() not in (answer["label"], "No answer")


def test_it_can_be_used_by_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "gre":
            break
    page.keyboard.press("Control+a")
    page.keyboard.type("812")
    page.keyboard.press("Enter")

    shown(page, "%")
    assert page.get_by_label("gre", exact=True).input_value() == "812"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_table_chosen_before_the_script_is_ready_is_answered(browser, address):
    """On a slow line, or by a browser that keeps what was chosen when the page is loaded again."""
    page, held = browser.new_page(), []
    page.route("**/model", lambda route: held.append(route))
    page.goto(address)
    lines = b"gre,gpa,rank\n400,3,1\n"
    page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines})
    while not held:
        page.wait_for_timeout(10)
    assert page.locator("body.live").count() == 0
    held[0].continue_()
    page.wait_for_selector("#found:not([hidden])")
    page.close()


def test_behind_a_key_the_browser_asks_for_it_once(browser, models, tmp_path):
    """Basic, the key as the password: what the page itself asks brings it along."""
    (tmp_path / "keys").write_text("0123456789abcdef\n")
    settings = {"MODEL_NAME": "admissions", "WEB_CONCURRENCY": "1", "API_KEY_FILE": str(tmp_path / "keys")}
    with service(models, **settings) as (address, _):
        page = browser.new_page(http_credentials={"username": "me", "password": "0123456789abcdef"})
        page.goto(address)
        fill(page, gre="800", gpa="4", rank="1")
        shown(page, "%")
        lines = b"gre,gpa,rank\n400,3,1\n"
        page.locator("#file").set_input_files({"name": "mine.csv", "mimeType": "text/csv", "buffer": lines})
        page.wait_for_selector("#found:not([hidden])")
        assert page.goto(f"{address}/report").status == 200
        page.close()
        page = browser.new_page(http_credentials={"username": "me", "password": "wrong"})
        assert page.goto(address).status == 401
        page.close()


@pytest.mark.parametrize("state", shots.STATES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)], ids=["light", "dark phone"])
def test_axe_finds_nothing_in_any_state(browser, address, state, scheme, width):
    """axe-core: labels, contrast, roles, order."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = shots.show(browser, address, state, scheme, width)
    found = axe.run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out
    page.context.close()


def test_the_page_is_small_and_nothing_moves_when_an_answer_comes(browser, address):
    """150 kB in all, and a cumulative layout shift below 0.1, which web.dev calls good."""
    page, bodies = browser.new_page(), []
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((one) => "
        "window.shift += one.value)).observe({ type: 'layout-shift', buffered: true })"
    )
    page.on("response", lambda response: bodies.append(response.body()))
    page.goto(address)
    answered(page)
    assert sum(map(len, bodies)) < 150_000

    for value in ("640", "800", "300"):
        page.get_by_label("gre", exact=True).evaluate(  # as no key does: a shift after one would not count
            "(field, value) => { field.value = value; field.dispatchEvent(new Event('input', { bubbles: true })) }",
            value,
        )
        answered(page)
    assert page.evaluate("window.shift") < 0.1
    page.close()


def test_everything_is_reached_by_the_tab_key_and_shows_that_it_has_the_focus(page):
    """In the order of the page, and the last is followed by none: nothing holds the focus."""
    choose(page, "gre,gpa,rank\n400,3,1\n")
    every = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
        .filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 90))"""
    )
    page.evaluate("document.body.focus()")
    reached = []
    for _ in range(len(every) + 5):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "(() => { const here = document.activeElement;"
            " return [here.outerHTML.slice(0, 90), getComputedStyle(here).outlineStyle] })()"
        )
        if here[0].startswith("<body"):
            break
        assert here[1] != "none", here
        reached.append(here[0])
    assert reached == every


def test_headers_forbid_everything_from_elsewhere(address):
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_form_alone_says_what_is_wrong_at_its_field(address):
    query = urllib.parse.urlencode({"gre": "<script>alert(1)</script>", "gpa": "3", "rank": "9"})
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{address}/?{query}")
    with raised.value as answer:
        text = answer.read().decode()
    assert answer.code == 422
    assert "<script>alert" not in text
    assert "expected a number" in text
