"""Files that a person drops on the page."""

import csv
import io
import json
import math

import pytest

from tests.support import DATA
from tests.support.webpage import answered, ask, choose, column, downloaded, fetched, saved


def test_a_table_is_answered_and_downloaded(page, address, tmp_path):
    """The file has more rows than one request of the page takes; its formulas stay text."""
    rows = [[300 + n % 500, 2 + n % 20 / 10, 1 + n % 4, "=1+1" if n == 7 else f"n{n}"] for n in range(6000)]
    lines = "gre,gpa,rank,note\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    choose(page, lines)

    found = downloaded(page, tmp_path)
    assert len(found) == 6000
    assert page.locator("#rows tbody tr").count() >= 100
    for at in (0, 4999, 5000, 5999):  # on both sides of where the page cuts
        answer = ask(address, {"gre": rows[at][0], "gpa": rows[at][1], "rank": rows[at][2]})
        assert float(found[at]["probability"]) == answer["probability"]
    assert not found[7]["note"].startswith("=")
    assert (found[0]["note"], found[0]["gre"]) == ("n0", "300")


def test_mistakes_in_a_table_are_said_at_their_cells_and_the_other_rows_answered(page, address, tmp_path):
    """The page lists the mistakes in the order of the file's lines."""
    lines = "name,gre,gpa,rank\nA,500,3,1\nB,much,3,7\nC,500,3\nD,,3,1\n"
    dropped = page.evaluate_handle(
        "lines => { const it = new DataTransfer(); it.items.add(new File([lines], 'mine.csv')); return it }", lines
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})

    page.locator("#told").get_by_text("3 rows with an error").wait_for()
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
    shares = [float(text.split()[-1]) for text in column(page, 4)]
    assert shares[1] > shares[0] > shares[2]

    page.locator("#rows thead").get_by_role("button", name="probability").click()
    assert [text.split()[-1] for text in column(page, 4)] == [f"{share:.4f}" for share in sorted(shares)]
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
        (LATIN.replace(";", "\t").encode("utf-16"), "utf-16le"),
        (b"sep=;\r\n" + LATIN.encode(), ""),
        (b"Applicants\n\n" + LATIN.encode(), ""),
        (LATIN.replace("3,5", '"3,5"').replace(";", ",").encode(), ""),
    ],
    ids=[
        "Latin-1",
        "semicolons and decimal commas",
        "UTF-16",
        "tabs",
        "Excel's Unicode text",
        "Excel's separator line",
        "a title",
        "quoted decimal commas",
    ],
)
def test_a_file_is_read_as_spreadsheets_write_it(page, address, tmp_path, data, name):
    choose(page, data)

    [found] = downloaded(page, tmp_path)
    assert found["Näme"] == "José"
    assert float(found["probability"]) == ask(address, {"gre": 500, "gpa": 3.5, "rank": "1"})["probability"]
    assert (f"Read as {name}." in page.locator("#told").text_content()) == bool(name)


def test_commas_are_decimal_marks_in_numbers_alone(page, address, tmp_path):
    """A file with decimal points has commas between thousands; texts stay as they are."""
    choose(page, 'note;gre;gpa;rank\n"1,5";500;3,25;1\n')
    [found] = downloaded(page, tmp_path)
    assert (found["note"], found["gpa"]) == ("1,5", "3,25")
    assert float(found["probability"]) == ask(address, {"gre": 500, "gpa": 3.25, "rank": "1"})["probability"]

    choose(page, "gre;gpa;rank\n1,500;3.25;1\n")
    assert "expected a number with a decimal point" in page.locator("#rows td.wrong").text_content()


@pytest.mark.parametrize(
    ("changed", "features", "data", "sent"),
    [
        ({"dates": {"gpa": {"parts": ["year"]}}}, "gre,gpa.year,rank", "gre,gpa,rank\n500,2024-05-31,1\n", ""),
        ({"dialect": {"header": False}}, "column1,column2,column3", "500,3,1\n", "column1,column2,column3\n500,3,1\n"),
        ({"dialect": {"extra": "first"}}, "gre,gpa,rank", "gre,gpa,rank\nA,500,3,1\n", "gre,gpa,rank\n500,3,1\n"),
        ({"dialect": {"decimal": ","}}, "gre,gpa,rank", "gre,gpa,rank\n500,3.5,1\n", 'gre,gpa,rank\n500,"3,5",1\n'),
    ],
    ids=["a column of dates", "no header", "row names", "decimal commas between commas"],
)
def test_a_file_is_read_as_the_training_table_was(page, address, changed, features, data, sent):
    """The manifest says how the table was written; the page sends its rows so."""
    manifest = json.loads(fetched(address, "/model")) | changed
    for feature, name in zip(manifest["features"], features.split(","), strict=True):
        feature["name"] = name
    page.route("**/model", lambda route: route.fulfill(json=manifest))
    page.reload()
    answered(page)

    with page.expect_request(lambda request: "errors=row" in request.url) as request:
        page.set_input_files("#file", [{"name": "mine.csv", "mimeType": "", "buffer": data.encode()}])
    assert request.value.post_data == (sent or data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "The file is empty."),
        ("a,b\n1,2\n", "None of the first 2 lines names a column of the model: gre, gpa, rank."),
        ("a,b\n" * 30, "None of the first 20 lines names a column of the model: gre, gpa, rank."),
        ("gre,rank,rank\n1,2,3\n", "line 1: column gpa is missing, column rank is duplicated."),
    ],
    ids=["empty", "another table", "a long table", "another header"],
)
def test_a_file_without_the_models_columns_is_refused(page, data, said):
    page.set_input_files("#file", [{"name": "mine.csv", "mimeType": "", "buffer": data.encode()}])

    page.locator("#told").get_by_text(said).wait_for()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04...", "an Excel file or another archive"),
        (b"\xd0\xcf\x11\xe0...", "an old Excel file"),
        (b"PAR1...", "a Parquet file"),
        (b"\x1f\x8b\x08...", "a compressed file"),
    ],
    ids=["xlsx", "xls", "parquet", "gzip"],
)
def test_a_file_that_is_no_text_is_named_as_what_it_is(page, data, kind):
    page.set_input_files("#file", [{"name": "mine", "mimeType": "", "buffer": data}])

    page.locator("#told").get_by_text(f"This is {kind}. Save the table as CSV, and choose that file.").wait_for()


def test_a_quote_that_is_not_closed_is_named(page):
    page.set_input_files("#file", [{"name": "mine.csv", "mimeType": "", "buffer": b'gre,gpa,rank\n640,"3,1\n'}])

    page.locator("#told").get_by_text("line 2: a quoted cell is not closed").wait_for()


def test_a_header_that_begins_as_such_a_file_does_is_text(page):
    choose(page, "PAR,gre,gpa,rank\nx,500,3,1\n")

    assert "1 row answered" in page.locator("#told").text_content()


def test_the_sample_file_can_be_answered(page, tmp_path):
    sample = saved(page, tmp_path, "#sample")
    assert sample.name == "admissions_sample.csv"

    choose(page, sample.read_text())
    assert page.locator("#rows tbody tr").count() == len(sample.read_text().splitlines()) - 1
    assert "error" not in page.locator("#told").text_content()


def test_the_rows_of_a_table_are_no_traffic(page, address):
    """A file of test rows must not set the drift."""

    def counted():
        return [line for line in fetched(address, "/metrics").splitlines() if line.startswith("passfail_rows_total")]

    before = counted()
    choose(page, "gre,gpa,rank\n" + "800,4,1\n" * 500)

    assert counted() == before


def test_each_mistake_of_many_is_told(page, tmp_path):
    choose(page, "gre,gpa,rank\n" + "x,3,1\n" * 130)

    assert "130 rows with an error" in page.locator("#told").text_content()
    assert page.locator("#shown").text_content() == "100 of 130 rows"
    assert {row["error"] for row in downloaded(page, tmp_path)} == {"gre: expected a number"}


def test_a_long_table_shows_how_far_it_is(page):
    """The page shows the share of the rows that have an answer."""
    page.evaluate("""() => {
        window.seen = []
        const bar = document.getElementById("progress")
        const note = () => bar.hidden || window.seen.push(bar.value)
        new MutationObserver(note).observe(bar, { attributes: true })
    }""")
    choose(page, "gre,gpa,rank\n" + "500,3,1\n" * 40_000)

    seen = page.evaluate("window.seen")
    assert len(set(seen)) >= 8
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)
    assert page.locator("#progress").is_hidden()


def test_the_cell_is_found_in_a_later_slice(page):
    """Its own lines count from 1 again there; and a cell of two lines came before."""
    rows = ['400,3,1,"two\nlines"', *["400,3,1,x"] * 5200]
    rows[5100] = "400,3,9,x"
    choose(page, "\n".join(["gre,gpa,rank,note", *rows]))

    assert page.locator("#rows tbody th").text_content() == "5103"
    assert "not one of the levels: 1, 2, 3, 4" in page.locator("#rows td.wrong").text_content()


def test_no_text_in_the_download_is_a_formula_and_numbers_stay(page, tmp_path):
    texts = ["=1+1", "-1", "+x", "@x", "\tx", "plain, quoted", "-2.5e3", "-x"]
    lines = "gre,gpa,rank,=note\n" + "".join(f'400,3,1,"{text}"\n' for text in texts)
    choose(page, lines)

    found = [row["'=note"] for row in downloaded(page, tmp_path)]
    assert found == [
        "'=1+1",
        "-1",
        "'+x",
        "'@x",
        "'\tx",
        "plain, quoted",
        "-2.5e3",
        "'-x",
    ]


def test_each_column_of_the_download_has_a_name_of_its_own(page, tmp_path):
    lines = "gre,gpa,rank,label,predicted_label,predicted_logit\n400,3,1,a,b,c\n"
    choose(page, lines)

    header = saved(page, tmp_path).read_text().splitlines()[0].split(",")
    assert header[:6] == lines.splitlines()[0].split(",")
    assert header[6:9] == ["admit", "predicted_predicted_label", "probability"]
    assert len(set(header)) == len(header)
