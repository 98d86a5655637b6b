"""A repository of exports that a test may change."""

import shutil
from pathlib import Path

import msgspec

from passfail.manifest import decode


def publish(home: Path, version: int, damage: bool = False) -> None:
    """Copy version 1 under another number, renamed into place as an export is."""
    beside = home / f".export-{version}"
    shutil.copytree(home / "1", beside)
    manifest = decode((beside / "manifest.json").read_bytes())
    (beside / "manifest.json").write_bytes(msgspec.structs.replace(manifest, version=version).encode())
    if damage:
        with open(beside / "model.onnx", "r+b") as file:
            file.truncate(100)
    beside.rename(home / str(version))
