"""Targets, options, settings, statuses, metrics and modules in the documents.

What their console blocks print is test_docs_commands.py's.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from passfail import manifest as contract
from passfail import measurements
from passfail.__main__ import main as library
from serve.http import errors
from serve.replay import main as replay
from serve.server import head
from serve.server.flask_app import create_app
from serve.settings import Config
from serve.telemetry.logs import Line
from tests.support import ROOT
from tests.support.pages import PAGES, REFERENCE, names, section, sentences, table
from train.arguments import model_name, parse

ROOMS = ("passfail", "serve", "train")
README_LINES = 150
WORDS = 20  # of a sentence, at most


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES)
def test_no_sentence_is_longer_than_twenty_words(page: str) -> None:
    assert [said for said in sentences(PAGES[page]) if len(re.findall(r"[\w'-]+", said)) > WORDS] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_targets_that_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = re.findall(r"(?:^|`|\$ )make ([^`\n]*)", PAGES[page], re.M)
    named = {word for line in commands for word in re.findall(r"^[a-z -]*", line)[0].split()}

    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_the_trainer_takes_the_options_that_a_page_gives_it(page: str) -> None:
    for command, options in re.findall(r"make (train|compare)[^`\n]*ARGS='([^']*)'", PAGES[page]):
        assert parse([{"train": "fit"}.get(command, command), *options.split()])


def test_make_prints_its_targets() -> None:
    output = subprocess.check_output(["make"], cwd=ROOT, text=True, env={**os.environ, "MAKEFLAGS": ""})

    for target in ("demo", "train", "export", "serve", "test", "test-docker", "docs"):
        assert f"make {target} " in output


@pytest.mark.parametrize("data", ["data/my.csv", "in my documents/my.csv.gz", "my.parquet", "/srv/my/"])
def test_the_demo_serves_the_model_that_it_trains(data: str) -> None:
    dry = ["make", "--dry-run", "demo", f"DATA={data}"]
    output = subprocess.check_output(dry, cwd=ROOT, text=True, env={**os.environ, "MAKEFLAGS": ""})

    assert 'MODEL_NAME="my" ' in output
    assert model_name(parse(["fit", "--data", data])) == "my"


@pytest.mark.parametrize(
    ("goals", "commands"),
    [("train", ["fit"]), ("export", ["export"]), ("train export", ["publish"]), ("demo", ["publish"])],
)
def test_make_trains_and_exports_in_one_process_if_both_are_asked_for(goals: str, commands: list[str]) -> None:
    dry = ["make", "--dry-run", "--assume-old", ".venv/train", *goals.split()]
    output = subprocess.check_output(dry, cwd=ROOT, text=True, env={**os.environ, "MAKEFLAGS": ""})

    assert re.findall(r"-m train (\w+)", output) == commands


def test_a_demo_on_no_port_is_one_line() -> None:
    demo = [sys.executable, "-m", "deploy.demo"]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PORT": "http"})

    assert (done.returncode, done.stderr) == (3, "passfail can't start: PORT must be a whole number from 1 to 65535\n")


def test_every_setting_is_in_the_table_with_its_default() -> None:
    before, _, _ = REFERENCE["settings"].partition("\n## ")
    rows = {row[0].strip("`"): row[1].strip("`") for row in table(before)}
    used = set(re.findall(r"(?:_variable\(|\"port\",)\s*\"([A-Z_]+)\"", (ROOT / "serve/settings.py").read_text()))

    assert set(rows) == used
    assert (rows["MAX_ROWS"], rows["MAX_BODY_BYTES"]) == (str(Config.max_rows), str(Config.max_body_bytes))
    assert (rows["MODELS_DIR"], rows["RUNTIME"]) == (str(Config.from_env({}).models), Config.runtime)


def test_compose_passes_every_setting_that_the_page_names() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    named = re.findall(r"`([A-Z_]+)`", section(REFERENCE["settings"], "## Compose"))

    assert len(named) > 15
    for name in named:
        assert re.search(rf"^      {name}:|\$\{{{name}[:-]", compose, re.M), name


def test_make_reads_every_variable_that_the_page_names() -> None:
    makefile = (ROOT / "Makefile").read_text()

    for name in names(table(section(REFERENCE["settings"], "## make"))):
        assert re.search(rf"\$\((or \$\()?{name}\b", makefile), name


def test_every_status_is_in_the_table_of_errors() -> None:
    listed = {
        int(status) for row in table(section(REFERENCE["errors"], "## Over HTTP")) for status in row[0].split(",")
    }

    assert {status for status, _ in errors.MEANINGS.values()} <= listed


def test_every_status_of_the_parser_is_in_the_table_of_what_it_refuses() -> None:
    """tests/integration/test_worker_classes.py sends what the rows say."""
    rows = table(section(REFERENCE["errors"], "## Refused by the parser"))
    code = (ROOT / "serve" / "server" / "head.py").read_text()

    assert {row[0] for row in rows} == set(re.findall(r"Refused\((\d+)", code))
    assert set(re.findall("[0-9]{1,2},[0-9]{3}", str(rows))) == {
        f"{most:,}" for most in (head.LINE_MOST, head.FIELD_MOST)
    }


def test_every_metric_is_in_the_table_of_metrics(models: Path) -> None:
    client = create_app(Config(models=models, model_name="hours")).test_client()
    served = set(re.findall(r"^# TYPE passfail_(\S+)", client.get("/metrics").text, re.M))

    assert set(names(table(REFERENCE["metrics"]))) == served


COMMANDS = {
    **{f"train {name}": (lambda name=name: parse([name, "--help"])) for name in
       ("fit", "export", "publish", "parity", "reproduce", "conform", "report", "lesson", "compare")},
    **{f"passfail {name}": (lambda name=name: library([name, "--help"])) for name in ("pin", "verify", "score", "sql")},
    "serve replay": lambda: replay(["--help"]),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_exactly_the_options_of_its_table(command: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        COMMANDS[command]()
    taken = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)|, (--[\w-]+)", printed.getvalue(), re.M))
    named = names(table(section(REFERENCE["commands"], f"### {command.split()[1]}")))

    assert {name for name in named if name.startswith("--")} == {a or b for a, b in taken} - {"--help"}


def test_every_command_is_on_the_page_of_commands() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
        library(["--help"])
    assert set(re.findall(r"\{([\w,]+)\}", printed.getvalue())[0].split(",")) == {
        name.split()[1] for name in COMMANDS if name.startswith("passfail")
    }
    assert set(re.findall(r"^### (\w+)", REFERENCE["commands"], re.M)) == {name.split()[1] for name in COMMANDS}


RECORDS = {
    name: record
    for name, record in (vars(contract) | vars(measurements)).items()
    if isinstance(record, type) and issubclass(record, msgspec.Struct) and record.__struct_fields__
}


@pytest.mark.parametrize("record", RECORDS)
def test_the_page_of_the_manifest_has_every_field(record: str) -> None:
    assert tuple(names(table(section(REFERENCE["manifest"], f"## {record}")))) == RECORDS[record].__struct_fields__


def test_the_words_for_a_missing_cell_are_on_the_page_of_file_formats() -> None:
    (row,) = [row for row in table(REFERENCE["files"]) if row[0] == "a missing value"]

    assert set(re.findall(r"`([^`]+)`", row[1])) == contract.MISSING - {""}


def test_the_architecture_names_every_module_and_no_other() -> None:
    named = re.findall(r"^\| `([\w/]+\.py)` \|", section(PAGES["ARCHITECTURE.md"], "## Code map"), re.M)
    there = {p.relative_to(ROOT).as_posix(): p.read_text() for room in ROOMS for p in (ROOT / room).rglob("*.py")}

    assert set(named) == {
        path for path, text in there.items() if "__init__" not in path or re.search(r"^(def|class) ", text, re.M)
    }
    assert len(named) == len(set(named))


def test_every_path_that_the_architecture_names_exists() -> None:
    named = re.findall(r"`((?:passfail|serve|train|tests)/[\w/.]*)`", PAGES["ARCHITECTURE.md"])

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_name_that_the_architecture_gives_with_a_path_is_in_that_file() -> None:
    given = re.findall(r"`((?:passfail|serve|train)/[\w/.]+)` \(((?:`\w+`(?:, )?)+)\)", PAGES["ARCHITECTURE.md"])
    named = [(path, name) for path, text in given for name in re.findall(r"\w+", text)]

    assert len(named) > 8
    assert [(path, name) for path, name in named if not re.search(rf"\b{name}\b", (ROOT / path).read_text())] == []


def test_the_glossary_has_at_most_twenty_words() -> None:
    assert 10 <= len(table(section(PAGES["CONTRIBUTING.md"], "## Glossary"))) <= 20


def test_no_package_is_a_misspelt_or_empty_file() -> None:
    for folder in ROOMS:
        for path in Path(ROOT / folder).rglob("*.py"):
            assert path.name == "__init__.py" or len(path.read_text()) > 100


def test_every_field_of_a_requests_line_is_on_the_page_of_file_formats() -> None:
    log = section(REFERENCE["files"], "## The log")

    assert set(names(table(log))) == set(Line.__struct_fields__)
    assert re.findall(r"`(passfail_\w+)`", log) == [
        f"passfail_{name}" for name in names(table(REFERENCE["metrics"])) if "dropped" in name
    ]
