"""`make reproduce` repeats an export, and names the differences of another one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own: TorchScript names a class otherwise the second time."""
    return subprocess.run([sys.executable, "-m", "train", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model whose fit was given several arguments."""
    folder = tmp_path_factory.mktemp("reproduced")
    data = ["--data", "data/titanic.csv", "--checkpoints", folder / "checkpoints"]
    given = ["--missing", "age=indicator", "--unit", "age=years", "--labels", "lost,saved", "--l2", "0.5"]
    assert train("fit", *data, *given).returncode == 0
    assert train("export", *data, "--models", folder).returncode == 0
    return folder


def test_the_same_table_gives_the_same_export(published: Path) -> None:
    found = train("reproduce", "--data", "data/titanic.csv", "--models", published)

    out = found.stdout.splitlines()
    assert found.returncode == 0, found
    assert out[-1] == "reproduced: this table and this code give version 1 again, bit for bit"
    assert all(line.endswith(": the same") for line in out[:-1])


def test_what_another_table_changes_is_named(published: Path, tmp_path: Path) -> None:
    header, *rows = (ROOT / "data" / "titanic.csv").read_text().splitlines(keepends=True)
    (tmp_path / "titanic.csv").write_text("".join([header, *rows[:-1]]))

    found = train("reproduce", "--data", tmp_path / "titanic.csv", "--models", published)

    assert found.returncode == 2
    assert found.stderr.startswith("error: not reproduced: table, ")
    assert "metrics[1]: 1309 in the export, 1308 now (differs by 7.6e-04 of it)" in found.stdout
    assert "target: the same" in found.stdout
