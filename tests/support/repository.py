"""A repository of exports that a test may change."""

import contextlib
import shutil
from collections.abc import Iterator
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


@contextlib.contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """A file with one bit flipped in place, and flipped back at the end.

    A file that is written anew is flushed to the disk by ext4 (auto_da_alloc), which takes long on a busy one.
    """
    _flip(path, bit)
    try:
        yield
    finally:
        _flip(path, bit)


def _flip(path: Path, bit: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))
