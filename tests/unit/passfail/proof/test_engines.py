"""`passfail verify` asks every engine that is installed, and sees the one that answers otherwise."""

from pathlib import Path

import pytest

from passfail.loading import load
from passfail.proof import engines
from passfail.proof.engines import Proof, prove, table
from passfail.repository import read_verified


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "ROWS", 50)
    monkeypatch.setattr(engines, "ACROSS", 50)


@pytest.mark.parametrize("name", ["hours", "admissions"])
def test_every_engine_gives_the_same_logits_and_verdicts(models: Path, name: str) -> None:
    manifest = load(models / name).manifest
    proofs = list(prove(manifest, read_verified(models / name / "1", manifest)))

    assert [one.engine for one in proofs] == list(engines.ENGINES)
    assert all(one.absent or (one.rows > 100 and one.logits == one.verdicts == 0) for one in proofs)
    assert "6 engines, 0 verdicts differ" in table(proofs) or any(one.absent for one in proofs)


def test_an_engine_that_answers_otherwise_is_seen(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load(models / "hours").manifest
    onnx = engines.ENGINES["onnx"]
    turned = {"turned": lambda manifest, files, x: (-onnx(manifest, files, x)[0], None)}
    monkeypatch.setattr(engines, "ENGINES", turned)

    (found,) = prove(manifest, read_verified(models / "hours" / "1", manifest))
    assert found.logits > 0
    assert found.verdicts > 0


def test_an_engine_that_is_not_here_says_why(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load(models / "hours").manifest
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = {one.engine: one for one in prove(manifest, read_verified(models / "hours" / "1", manifest))}

    assert found["javascript, node"] == Proof("javascript, node", "node is not installed")
    assert "not asked: node is not installed" in table(list(found.values()))
