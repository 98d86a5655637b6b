"""A table as a spreadsheet exports it becomes a served model by the first command."""

import json
from pathlib import Path

import pytest

from serve.server.flask_app import create_app
from serve.settings import Config
from train.__main__ import main

HEAD = "Customer export\n\nCustomer-ID;Since;Age;Active;Town;Note;Churn\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    rows = [
        f"{9_007_199_254_740_993 + 2 * i};{i % 28 + 1}.02.2024;{' ' if i % 9 == 4 else f'{20 + i % 31},5'};"
        f"{['TRUE', 'FALSE', ''][i % 3 if i % 2 else 0]};{['Zürich', 'Bonn'][i % 2]};call {i} times;"
        f"{['Yes', 'No', 'yes ', ''][i % 4]}"
        for i in range(120)
    ]
    (folder / "churn.csv").write_bytes((HEAD + "\n".join(rows) + "\n").encode("windows-1252"))
    return folder


def test_a_spreadsheets_export_is_served_by_the_first_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(folder / "churn.csv"), "--checkpoints", str(folder)]
    assert main(["fit", *arguments, "--l2", "1"]) == 0
    printed = capsys.readouterr().out
    for said in (
        "separator ';', decimal comma, encoding windows-1252, 2 lines above the header skipped",
        "rows left out for a missing target",
        "warning: Customer-ID is left out: 90 different identifiers",
        "warning: Since is left out: its cells are dates",
        "warning: Note is left out: 90 different texts",
        "Active: categorical, 2 levels: false, true; missing becomes",
    ):
        assert said in printed

    assert main(["export", *arguments, "--models", str(folder / "models")]) == 0
    client = create_app(Config(models=folder / "models")).test_client()
    row = {"Age": None, "Active": True, "Town": "Zürich"}
    answer = client.post("/predict", json=row)
    assert (answer.status_code, answer.json["label"] in ("no", "yes")) == (200, True)
    text = "Customer-ID,Town,Active,Age,Churn\n007,Zürich,TRUE,?,Yes\n"
    header, line = client.post("/predict", data=text.encode(), content_type="text/csv").text.splitlines()
    assert header.startswith("Customer-ID,Town,Active,Age,Churn,predicted_Churn,label,probability")
    assert line.startswith("007,Zürich,TRUE,?,Yes,")
    assert json.loads(line.split(",")[7]) == answer.json["probability"]
