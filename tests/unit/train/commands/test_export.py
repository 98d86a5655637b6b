"""The command export, beside a pinned version."""

from argparse import Namespace

import pytest

from passfail.repository import pin, read_manifest
from train.commands import export


@pytest.mark.parametrize("held", [1, None])
def test_the_export_says_that_another_version_is_pinned(models, tmp_path, monkeypatch, capsys, held):
    (tmp_path / "hours").mkdir()
    pin(tmp_path / "hours", held)
    monkeypatch.setattr(export, "export", lambda *_: read_manifest(models / "hours" / "1"))
    monkeypatch.setattr(export.checkpoint, "load", lambda *_: ())
    monkeypatch.setattr(export, "signer_of", lambda _: None)
    export.run(Namespace(models=tmp_path, checkpoints=tmp_path, name="hours", data=None))

    said = "version 1 is pinned, so the service keeps it; make use VERSION=highest removes the pin"
    assert (said in capsys.readouterr().out) == (held is not None)
