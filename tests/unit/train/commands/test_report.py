"""The command report prints the path of the newest report, and opens it for a person."""

import webbrowser
from pathlib import Path

from tests.support import DATA
from train.__main__ import main


def test_report_prints_the_newest_and_opens_it_at_a_terminal_only(models, tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.delenv("CI", raising=False)
    command = ["report", "--data", str(DATA / "admissions.csv"), "--models"]
    assert main([*command, str(models)]) == 0
    newest = Path(models / "admissions/1/report.html")
    assert capsys.readouterr().out == f"{newest}\n"
    assert opened == []

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main([*command, str(models)]) == 0
    assert opened == [newest.as_uri()]
    monkeypatch.setenv("CI", "true")
    assert main([*command, str(models)]) == 0
    assert len(opened) == 1

    assert main([*command, str(tmp_path)]) == 2
    assert "there is no export with a report" in capsys.readouterr().err
