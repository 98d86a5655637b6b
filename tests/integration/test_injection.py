"""Injection by a table or a caller: formulas, HTML, header and log lines, paths.

The download's cells are in tests/browser/test_dropped_file.py, the lines of the log in tests/integration/test_logs.py.
"""

import csv
import io
import json
import shutil

import msgspec
import pytest

from passfail import manifest as contract
from passfail.__main__ import main as passfail
from passfail.errors import ConfigError, IntegrityError, StartupError
from passfail.loading import open_model
from passfail.repository import PINNED, choices, pin
from serve.http.messages import Answer
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.logs import Line, access
from serve.telemetry.recorder import Asked
from tests.support.service import service
from train.__main__ import main as train

ROW = {"=cmd|' /C calc'!A0": -1.5, "<img src=x onerror=alert(1)>": "=1+1", "größe, cm": 2, "rank": "-4"}


@pytest.fixture(scope="module")
def client(awkward):
    return create_app(Config(models=awkward, model_name="awkward")).test_client()


def test_a_program_gets_its_cells_as_it_sent_them(client):
    """The page's download has an apostrophe before a formula; a program gets its own bytes."""
    sent = io.StringIO()
    csv.writer(sent).writerows([ROW.keys(), ROW.values()])
    header, cells = csv.reader(io.StringIO(client.post("/predict", data=sent.getvalue(), content_type="text/csv").text))

    assert header[:4] == list(ROW)
    assert cells[:4] == [str(value) for value in ROW.values()]
    assert cells[5] in ("no", "=yes()")
    assert client.post("/predict", json=ROW).json["label"] == cells[5]


def test_no_markup_of_the_table_is_the_pages(awkward, browser):
    """No text of the table becomes an element or a script, on each page in a real browser."""
    with service(awkward, MODEL_NAME="awkward", WEB_CONCURRENCY="1") as (address, _):
        page = browser.new_page()
        dialogs, complaints = [], []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.goto(address)
        page.wait_for_selector("body.live #answer[aria-busy=false]")
        page.locator("#along").select_option(index=1)  # its levels, drawn
        page.wait_for_selector("#picture rect.column")
        lines = io.StringIO()
        csv.writer(lines).writerows([[*ROW, "<b>note</b>"], [*ROW.values(), "<img src=x onerror=alert(3)>"]])
        table = {"name": "<img src=x>.csv", "mimeType": "text/csv", "buffer": lines.getvalue().encode()}
        page.locator("#file").set_input_files(table)
        page.wait_for_selector("#rows td")
        for path in ("", "/docs", "/report"):
            if path:
                page.goto(address + path)
            found = page.evaluate(
                "[...document.querySelectorAll("
                "'img[src=x], script:not([src], [type=module]), main pre b, td b, th b, [onerror]')]"
                ".map(one => one.outerHTML)"
            )
            assert found == [], path
            assert "<img src=x onerror=alert(1)>" in page.evaluate("document.body.textContent"), path
        page.close()
    assert dialogs == []
    assert complaints == []


def test_no_name_of_a_column_is_javascripts(browser, tmp_path):
    """A column may have the name of a property that every JavaScript object has."""
    rows = "".join(f"{n},{n * n % 7},{n % 2}\n" for n in range(9))
    (tmp_path / "own.csv").write_text(f"constructor,__proto__,y\n{rows}")
    data = ["--data", str(tmp_path / "own.csv"), "--checkpoints", str(tmp_path)]
    assert train(["fit", *data, "--l2", "1"]) == 0
    assert train(["export", *data, "--models", str(tmp_path / "models")]) == 0
    with service(tmp_path / "models", WEB_CONCURRENCY="1") as (address, _):
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("body.live #answer[aria-busy=false]")
        assert page.locator("form [id$=-note]").all_inner_texts() == ["", ""]
        for at in ("#f0", "#f1"):
            page.locator(at).fill("x")
        page.wait_for_selector("#answer[aria-busy=false]")
        assert page.locator("form .error").all_inner_texts() == ["expected a number"] * 2
        page.close()


def test_no_markup_of_the_table_is_the_model_cards(awkward):
    """Markdown passes HTML on: each < of a name or level has a backslash before it."""
    card = (awkward / "awkward" / "1" / "MODEL_CARD.md").read_text()

    assert r"\<img src=x onerror=alert\(1\)\>" in card
    assert "<img" not in card.replace(r"\<", "")
    assert "<script" not in card.replace(r"\<", "")


@pytest.mark.parametrize("sent", ["a\tb", "a\x7f", "a\x00b", "ä", "x" * 129, "a\x0bSet-Cookie: b", "a\x85b"])
def test_an_id_that_is_no_plain_text_is_not_sent_back(client, sent):
    response = client.post("/predict", json=ROW, environ_base={"HTTP_X_REQUEST_ID": sent})

    assert len(response.headers["X-Request-Id"]) == 32
    assert "Set-Cookie" not in response.headers


PATHS = ["../hours", "..", ".", "/etc", "hours/../hours", "hours\x00", "hours\n", "-x", "", "hours/1"]


@pytest.mark.parametrize("name", PATHS)
def test_a_model_is_named_by_a_name_and_never_by_a_path(models, tmp_path, name, capsys):
    """The name comes from a setting, a command line of either program, or a route."""
    if name:
        with pytest.raises(ConfigError):
            choices(models, name)
        assert train(["fit", f"--name={name}", "--checkpoints", str(tmp_path / "c")]) == 2
        assert passfail(["pin", "1", f"--model={name}"]) == 2
    assert not any(tmp_path.iterdir())
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("path", [
    "/v2/models/..%2fhours/ready", "/v2/models/../models/hours", "/v2/models/hours/versions/..%2f1",
    "/page/..%2f..%2fapp.py",
    "/v2/models/hours/versions/1%00", "/v2/models/hours/versions/+1", "/page/%2e%2e/index.html", "/page//etc/passwd",
    "/report/../../../etc/passwd", "/v2/models/hours/versions/1/../../../../etc/passwd",
])  # fmt: skip
def test_no_route_is_a_path(models, path):
    client = create_app(Config(models=models, model_name="hours")).test_client()

    assert client.get(path).status_code in (404, 308)


@pytest.mark.parametrize(
    "text", ["../1", "1/../1", "/1", "1\n2", "\uff11", "-1", "0x1", "1" * 16, "\x001", " ", "1 # comment"]
)
def test_what_a_version_is_pinned_to_is_a_number(models, tmp_path, text):
    shutil.copytree(models / "hours", tmp_path / "hours")
    (tmp_path / "hours" / PINNED).write_text(text)

    with pytest.raises(ConfigError, match="make use"):
        choices(tmp_path, "hours")


def test_a_pin_is_not_written_through_a_link(models, tmp_path):
    shutil.copytree(models / "hours", tmp_path / "hours")
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "hours" / PINNED).symlink_to(tmp_path / "elsewhere")
    pin(tmp_path / "hours", 1)

    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert (tmp_path / "hours" / PINNED).read_text() == "1\n"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "report/../../secret", "..", ""])
def test_a_manifest_names_files_of_its_folder_only(models, tmp_path, name):
    shutil.copytree(models / "hours", tmp_path / "hours")
    folder = tmp_path / "hours" / "1"
    manifest = contract.decode((folder / "manifest.json").read_bytes())
    files = manifest.files | {name: contract.File("0" * 64, 1)}
    (folder / "manifest.json").write_bytes(msgspec.structs.replace(manifest, files=files).encode())

    with pytest.raises(IntegrityError, match="names a file outside its folder"):
        open_model(folder)


def test_a_linked_version_is_served_only_as_itself(models, tmp_path):
    """Volumes are mounted as links; the version behind one must be this model's all the same."""
    shutil.copytree(models / "hours", tmp_path / "hours")
    (tmp_path / "hours" / "2").symlink_to(models / "admissions" / "1")

    with pytest.raises(StartupError, match="belongs to admissions/1"):
        open_model(tmp_path / "hours" / "2")


@pytest.mark.parametrize(
    "path", ["/\x1b[31m", "/\x9b31m", "/\u2028{}", "/\x85{}", '/"}\n{"level":"forged', "/\ud83d\ude00"]
)
def test_a_line_of_the_log_has_no_control_characters(path):
    """A terminal or a reader of lines takes other characters for control characters, too."""
    path = path.encode("utf-16", "surrogatepass").decode("utf-16")
    line = access([(0.001, Asked("GET", path, None, {}), Answer(404, "", b""))]).decode()

    assert line.isascii()
    assert line[:-1].isprintable()
    assert len(line.splitlines()) == 1
    assert msgspec.json.decode(line, type=Line).path == json.loads(line)["path"]
