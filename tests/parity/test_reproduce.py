"""`make reproduce` repeats an export, and names the differences of another one."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from passfail.manifest import File, decode
from tests.support import DATA, ROOT
from train.__main__ import main
from train.export import formats

# The trainer's command, with few rows in the proof.
TRAIN = """
import sys
from tests.support.models import QUICK, proven_on
from train.__main__ import main
with proven_on(QUICK):
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a model of several arguments, exported twice by one process.

    TorchScript names the model's class otherwise the second time.
    """
    folder = tmp_path_factory.mktemp("reproduced")
    data = ["--data", str(DATA / "titanic.csv"), "--checkpoints", str(folder / "checkpoints")]
    given = ["--missing", "age=indicator", "--unit", "age=years", "--labels", "lost,saved", "--l2", "0.5"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("to_onnx", "to_torchscript", "to_exported_program"):  # made anew each time, not kept
            patch.setattr(formats, name, getattr(formats, name).__wrapped__)
        for command in (["fit", *data, *given], *2 * [["export", *data, "--models", str(folder)]]):
            assert main(command) == 0
    return folder


def test_the_same_table_gives_the_same_export_in_another_process(published: Path) -> None:
    arguments = ["reproduce", "--data", str(DATA / "titanic.csv"), "--models", str(published)]
    found = subprocess.run([sys.executable, "-c", TRAIN, *arguments], cwd=ROOT, capture_output=True, text=True)

    out = found.stdout.splitlines()
    assert found.returncode == 0, found
    assert out[-1] == "reproduced: this table and this code give version 2 again, bit for bit"
    assert all(line.endswith(": the same") for line in out[:-1])


def test_what_another_table_changes_is_named(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *rows = (DATA / "titanic.csv").read_text().splitlines(keepends=True)
    (tmp_path / "titanic.csv").write_text("".join([header, *rows[:-1]]))

    status = main(["reproduce", "--data", str(tmp_path / "titanic.csv"), "--models", str(published)])

    out, error = capsys.readouterr()
    assert status == 2
    assert error.startswith("error: not reproduced: data_sha256, rows, ")
    assert "rows: 1309 in the export, 1308 now (differs by 7.6e-04 of it)" in out
    assert "target: the same" in out


def test_a_field_or_file_that_was_changed_is_named(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole in itself, with digests that fit."""
    folder = shutil.copytree(published / "titanic", tmp_path / "titanic") / "2"
    card = (folder / "MODEL_CARD.md").read_bytes() + b"It is right.\n"
    (folder / "MODEL_CARD.md").write_bytes(card)
    manifest = decode((folder / "manifest.json").read_bytes())
    files = manifest.files | {"MODEL_CARD.md": File(hashlib.sha256(card).hexdigest(), len(card))}
    (folder / "manifest.json").write_bytes(replace(manifest, files=files, units={"age": "months"}).encode())

    assert main(["reproduce", "--data", str(DATA / "titanic.csv"), "--models", str(tmp_path)]) == 2
    out, error = capsys.readouterr()
    assert error.startswith("error: not reproduced: units, ")
    assert "units.age: months in the export, years now" in out
    assert "MODEL_CARD.md: 1 differ" in out
    assert "report.html: the same" in out
