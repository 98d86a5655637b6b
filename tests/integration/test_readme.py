"""The README says what is so: its targets, settings, statuses and sample answers."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serve.http import errors
from serve.replay import main as replay
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support import ROOT
from tests.support.clients import OTHERS
from tests.support.service import service
from train.__main__ import _name as trained
from train.arguments import parse

ROOMS = ("passfail", "serve", "train")
README = (ROOT / "README.md").read_text()


def table(heading):
    """The rows of the table below a heading, each a list of cells."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"][
        2:
    ]


def test_every_target_it_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        word for line in re.findall(r"^make (.*)", README, re.M) for word in re.findall(r"^[a-z -]+", line)[0].split()
    }

    assert {"demo", "test", "train", "export", "serve"} <= named
    assert named <= targets


def test_the_trainer_takes_the_options_that_it_names():
    given = re.findall(r"make (train|compare)[^`\n]*ARGS='([^']*)'", README)

    assert {command for command, _ in given} == {"train", "compare"}
    for command, options in given:
        assert parse([{"train": "fit"}.get(command, command), *options.split()])


def test_make_prints_its_targets():
    output = subprocess.check_output(["make"], cwd=ROOT, text=True, env={**os.environ, "MAKEFLAGS": ""})

    for target in ("demo", "train", "export", "serve", "test", "test-docker"):
        assert f"make {target} " in output


@pytest.mark.parametrize("data", ["data/my.csv", "in my documents/my.csv.gz", "my.parquet", "/srv/my/"])
def test_its_demo_serves_the_model_that_it_trains(data):
    dry = ["make", "--dry-run", "demo", f"DATA={data}"]
    output = subprocess.check_output(dry, cwd=ROOT, text=True, env={**os.environ, "MAKEFLAGS": ""})

    assert 'MODEL_NAME="my" ' in output
    assert trained(parse(["fit", "--data", data])) == "my"


def test_a_demo_on_no_port_is_one_line():
    demo = [sys.executable, "-m", "deploy.demo"]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PORT": "http"})

    assert (done.returncode, done.stderr) == (3, "passfail can't start: PORT must be a whole number from 1 to 65535\n")


def test_every_setting_is_in_the_table_with_its_default():
    rows = {row[0].strip("`"): row[1].strip("`") for row in table("Settings")}
    used = set(re.findall(r"\bread\.\w+\(\"([A-Z_]+)\"", (ROOT / "serve/settings.py").read_text()))

    assert set(rows) == used
    assert (rows["MAX_ROWS"], rows["MAX_BODY_BYTES"]) == (str(Config.max_rows), str(Config.max_body_bytes))
    assert (rows["MODELS_DIR"], rows["RUNTIME"]) == (str(Config.from_env({}).models), Config.runtime)


def test_compose_passes_every_setting_of_the_application():
    compose = (ROOT / "docker-compose.yml").read_text()

    said = README.split("Compose reads")[1].split(".\n")[0]
    for name in re.findall(r"`([A-Z_]+)`", said):
        assert re.search(rf"^      {name}:|\$\{{{name}:", compose, re.M), name


def test_every_status_is_in_the_table():
    listed = {int(status) for row in table("Errors") for status in row[0].split(",")}

    assert {status for status, _ in errors.MEANINGS.values()} <= listed


def test_its_sample_answers_are_what_is_answered(models):
    client = create_app(Config(models=models, model_name="hours")).test_client()
    sample = re.search(r"-d '(\{.*?\})' .*\n(\{.*\})", README)
    answer = client.post("/predict", data=sample[1], content_type="application/json").json
    assert answer == json.loads(sample[2])

    body, expected = re.search(r"--data-binary \$'(.*?)' .*\n((?:.+\n)+?)```", README).groups()
    response = client.post("/predict", data=body.replace("\\n", "\n"), content_type="text/csv")
    assert response.text == expected

    sample = re.search(r"-d '(\{.*?\})' localhost:8000/explain\n(\{.*\})", README)
    answer = client.post("/explain", data=sample[1], content_type="application/json").json
    assert answer == json.loads(sample[2])


@pytest.fixture(scope="module")
def port(models):
    with service(models, MODEL_NAME="hours", WEB_CONCURRENCY="1") as (address, _):
        yield address.rpartition(":")[2]


PYTHON = "import numpy as np, {0}; from {0} import *; print({1})"
RUN = {
    "requests": (sys.executable, "-c", PYTHON),
    "JavaScript": ("node", "--input-type=module", "-e", "console.log({1})"),
    "tritonclient.http": (sys.executable, "-c", PYTHON),
    "mlflow.pyfunc.scoring_server.client": (OTHERS, "-c", f"import pandas as pd; {PYTHON}"),
}


@pytest.mark.parametrize("client", RUN)
def test_its_line_for_a_client_gets_the_answer(port, client):
    (line,) = re.findall(rf"^\| (?:\w+, )?`?{re.escape(client)}`? \| `(.*)` \|$", README, re.M)
    line = line.replace("localhost", "127.0.0.1").replace("8000", port)
    program, *options, code = RUN[client]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here: the README's line for {client} is NOT tested")
    command = [program, *options, code.replace("{0}", client).replace("{1}", line)]

    done = subprocess.run(command, capture_output=True, text=True)

    sample = json.loads(re.search(r"-d '\{.*?\}' .*\n(\{.*\})", README)[1])
    assert done.stdout.splitlines()[-1:] == [str(sample["probability"])], done.stderr


def test_its_replay_is_what_is_said(models, tmp_path, monkeypatch, capfd):
    command = r"^\$ \.venv/bin/python -m serve replay (.*)\n(.*)\n(.*)\n```"
    arguments, answer, said = re.search(command, README, re.M).groups()
    (tmp_path / "request.json").write_text('{"hours": 7}')
    (tmp_path / "answer.json").write_text(answer)
    monkeypatch.setenv("MODELS_DIR", str(models))
    monkeypatch.chdir(tmp_path)

    assert replay(arguments.split()) == 0
    assert capfd.readouterr().err.splitlines()[-1] == said


def test_the_architecture_says_where_each_module_is():
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "ARCHITECTURE.md").read_text()))
    there = {p.relative_to(ROOT).as_posix() for room in ROOMS for p in (ROOT / room).rglob("*.py")}
    assert {path for path in there if not path.endswith("__init__.py")} - named == set()


def test_no_package_is_a_misspelt_or_empty_file():
    for folder in ROOMS:
        for path in Path(ROOT / folder).rglob("*.py"):
            assert path.name == "__init__.py" or len(path.read_text()) > 100
