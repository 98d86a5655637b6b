"""`passfail verify` asks every installed engine, and names one that answers otherwise."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from passfail.arrays import Floats
from passfail.loading import load
from passfail.measurements import Proof
from passfail.proof import engines
from passfail.proof.engines import prove, table, wrong
from passfail.repository import read_verified
from passfail.sql import select


@pytest.mark.parametrize("name", ["hours", "admissions"])
def test_every_engine_gives_the_same_logits_and_verdicts(models: Path, name: str) -> None:
    manifest = load(models / name).manifest
    proofs = prove(manifest, read_verified(models / name / "1", manifest), 50, 50)

    assert list(proofs) == [*engines.ENGINES, *engines.ELSEWHERE]
    asked = [one for one in proofs.values() if not one.absent]
    assert all(one.rows > 100 and one.logits == one.verdicts == 0 for one in asked)
    assert table(proofs).endswith(f"one export, {len(asked)} engines, 0 verdicts differ")
    assert not wrong(proofs, manifest.link)


@pytest.mark.parametrize("name", ["hours", "admissions"])
def test_the_manifest_has_the_figures_of_every_engine(models: Path, name: str) -> None:
    targets = load(models / name).manifest.certificate.targets

    assert list(targets) == [*engines.ENGINES, *engines.ELSEWHERE]
    for engine in ("onnx", "torchscript", "torch.export", "onnx reference", "numpy"):
        assert targets[engine].rows > 1_000
    assert not wrong(targets, "logit")
    card = (models / name / "1" / "MODEL_CARD.md").read_text()
    for engine, one in targets.items():
        row = f"| {engine} | {f'not proven here: {one.absent}' if one.absent else f'{one.rows} | 0 | 0 |'}"
        assert row in card
        assert f'<td class="text">{engine}</td>' in (models / name / "1" / "report.html").read_text()


def test_an_engine_that_answers_otherwise_is_seen(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load(models / "hours").manifest
    onnx = engines.ENGINES["onnx"]
    turned = {"turned": lambda manifest, files, x: (-onnx(manifest, files, x)[0], None, None)}
    monkeypatch.setattr(engines, "ENGINES", turned)

    proofs = prove(manifest, read_verified(models / "hours" / "1", manifest), 50, 50)
    assert proofs["turned"].logits > 0
    assert proofs["turned"].verdicts > 0
    assert wrong(proofs, manifest.link) == ["turned"]


def test_an_engine_whose_probability_is_off_is_seen(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load(models / "hours").manifest
    onnx = engines.ENGINES["onnx"]

    def off(*asked: Any) -> tuple[Floats, Floats, None]:
        logit, probability, _ = onnx(*asked)
        return logit, probability * (1 + 1e-14), None

    monkeypatch.setattr(engines, "ENGINES", {"off": off})
    proofs = prove(manifest, read_verified(models / "hours" / "1", manifest), 50, 50)

    assert proofs["off"].logits == 0
    assert wrong(proofs, manifest.link) == ["off"]


@pytest.mark.parametrize("change", [{"threshold": 0.7}, {"labels": ("pass", "fail")}], ids=["threshold", "labels"])
def test_sql_of_another_manifest_is_seen(models: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    manifest = load(models / "hours").manifest
    target = msgspec.structs.replace(manifest.target, labels=change.get("labels", manifest.target.labels))
    other = msgspec.structs.replace(manifest, threshold=change.get("threshold", manifest.threshold), target=target)
    monkeypatch.setattr("passfail.sql.select", lambda manifest, *rest: select(other, *rest))

    proofs = prove(manifest, read_verified(models / "hours" / "1", manifest), 50, 50)
    assert "sql, sqlite" in wrong(proofs, manifest.link)


def test_an_engine_that_is_not_here_says_why(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load(models / "hours").manifest
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(engines, "ENGINES", {"javascript, node": engines.ENGINES["javascript, node"]})
    found = prove(manifest, read_verified(models / "hours" / "1", manifest), 50, 50)

    assert found["javascript, node"] == Proof("node is not installed")
    assert "not proven here: node is not installed" in table(found)
