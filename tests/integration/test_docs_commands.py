"""Every console block of the documents prints what the page says, in a checkout of its own."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.support.clients import OTHERS
from tests.support.console import Command, Terminal, agrees, commands, serving, terminal
from tests.support.pages import PAGES, section, table

# The pages that train models take as long as all others together. The README also runs the command of proof.md.
TRAINING = ("docs/how-to/own-csv.md", "docs/how-to/threshold.md", "docs/explanation/proof.md")
SHARED = [
    pytest.param(name, marks=pytest.mark.heavy) if name in TRAINING else name
    for name, page in PAGES.items()
    if list(commands(page)) and name != "docs/tutorial.md"
]


def check(page: str, shell: Terminal) -> None:
    for command in commands(page):
        found = shell.run(command)
        difference = "\n".join(
            unified_diff(command.output.splitlines(), found.splitlines(), "page", "now", lineterm="")
        )
        assert agrees(command.output, found), f"$ {command.line}\n{difference}"


@pytest.mark.heavy
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    with terminal(tmp_path) as shell:
        check(PAGES["docs/tutorial.md"], shell)


@pytest.fixture(scope="module")
def hours(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A checkout in which the lecture's model is served."""
    with terminal(tmp_path_factory.mktemp("checkout"), models) as shell:
        shell.run(serving("hours"))
        yield shell


@pytest.mark.parametrize("page", SHARED)
def test_a_page_does_what_it_says(page: str, hours: Terminal) -> None:
    check(PAGES[page], hours)


PYTHON = {
    name: found for name, page in PAGES.items() if (found := re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S))
}


@pytest.mark.parametrize("page", PYTHON)
def test_a_pages_python_prints_what_it_says(page: str, hours: Terminal) -> None:
    blocks = hours.folder / "page.txt"
    blocks.write_text("\n".join(PYTHON[page]).replace("8000", str(hours.port)))

    assert hours.run(Command(".venv/bin/python -m doctest -o ELLIPSIS page.txt", "", False, 0, 0)) == ""


# The output of each command of the README's comparison; the three that take long have tests of their own.
SHOWN = {
    "passfail verify": "as it was certified",
    '{"hours": 7}': '"stable":true',
    "/explain": '"flips"',
    "?evidence=true": '"evidence"',
    "serve replay": "the same, bit for bit",
    "/v2/models/hours": '"platform"',
    "/drift": '"psi"',
    "make use": "version 1",
    "make score": "4 rows, 4 answered",
}
SLOW = ("make parity", "make reproduce", "make bench-quick")
CLAIMS = [row[1].strip("`") for row in table(section(PAGES["README.md"], "## Features that others lack"))]


@pytest.mark.parametrize("command", [command for command in CLAIMS if command not in SLOW])
def test_a_claim_of_the_readme_is_shown_by_its_command(hours: Terminal, command: str) -> None:
    (shown,) = [words for part, words in SHOWN.items() if part in command]
    ask = "curl -s -H 'Content-Type: application/json' -d @request.json -o answer.json localhost:8000/predict"
    for line in ("echo '{\"hours\": 7}' > request.json", ask):
        hours.run(Command(line, "", False, 0, 0))

    assert shown in hours.run(Command(f"export MODEL_NAME=hours; {command}", "", False, 0, 0))


LINE = "import numpy as np, {0}; from {0} import *; print({1})"
RUN = {
    "requests": (sys.executable, "-c", LINE),
    "JavaScript": ("node", "--input-type=module", "-e", "console.log({1})"),
    "tritonclient.http": (sys.executable, "-c", LINE),
    "mlflow.pyfunc.scoring_server.client": (OTHERS, "-c", f"import pandas as pd; {LINE}"),
}


# mlflow and pandas take several seconds; tests/contract/test_clients.py asks by the same client in `make test`.
@pytest.mark.parametrize(
    "client", [pytest.param(client, marks=pytest.mark.heavy) if "mlflow" in client else client for client in RUN]
)
def test_the_line_for_a_client_gets_the_answer(hours: Terminal, client: str) -> None:
    page = PAGES["docs/how-to/call.md"]
    (line,) = re.findall(rf"^\| (?:\w+, )?`?{re.escape(client)}`? \| `(.*)` \|$", page, re.M)
    line = line.replace("localhost", "127.0.0.1").replace("8000", str(hours.port))
    program, *options, code = RUN[client]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here: the page's line for {client} is NOT tested")
    command = [program, *options, code.replace("{0}", client).replace("{1}", line)]

    done = subprocess.run(command, capture_output=True, text=True)

    first = next(commands(page))
    assert done.stdout.splitlines()[-1:] == [str(json.loads(first.output)["probability"])], done.stderr


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("took ... s\n", "took 0.3 s\n", True),
        ("took ... s\n", "took 0.3 min\n", False),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("a\n...\nb\n", "a\nb\n", True),
        ("a.c\n", "abc\n", False),
        ("a\n", "a\nb\n", False),
        ("", "", True),
        ("", "b\n", False),
    ],
    ids=["word", "other word", "lines", "no line", "dot", "more", "nothing", "something"],
)
def test_only_marked_text_may_differ(expected: str, found: str, same: bool) -> None:
    assert agrees(expected, found) is same
