"""The versions of make chaos: copies of a few exports of a model with other parameters."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.judge import Judge
from passfail.manifest import decode
from passfail.repository import read_manifest
from tests.support import ROOT

NAME = "admissions"
KEPT = 3  # versions left on the disk


def train(folder: Path) -> list[Path]:
    """Fit and export versions of one model with different parameters; return their folders."""
    for penalty in ("0", "1", "10", "100"):
        about = ["--checkpoints", f"{folder}/checkpoints"]
        for command in (
            ["fit", "--data", "data/admissions.csv", "--categorical", "rank", "--l2", penalty, *about],
            ["export", "--data", "data/admissions.csv", "--models", f"{folder}/trained", *about],
        ):
            subprocess.run([sys.executable, "-m", "train", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "trained" / NAME).glob("[0-9]*"))


class Versions:
    """Publishes versions one after another into a repository, and reports each to the judge.

    Attributes
    ----------
    home : the model's folder.
    newest : the number of the last published version.
    arrival : the duration of its publication, in seconds.
    """

    def __init__(self, models: Path, templates: Sequence[Path], judge: Judge) -> None:
        self._templates, self._judge, self.newest, self.arrival = templates, judge, 0, 0.0
        self.name = read_manifest(templates[0]).name
        self.home = models / self.name
        self.home.mkdir()

    def publish(self, pause: float | None = None) -> int:
        """Publish the next version, with other parameters than the last; return its number.

        pause : seconds before each piece of a file, if a slow copy writes the files, the manifest first; None: all at
            once, as the export does.
        """
        number, began = self.newest + 1, time.monotonic()
        folder, home = self.write(number), self.home / str(number)
        self._judge.manifests[number] = decode((folder / "manifest.json").read_bytes())
        self._judge.serving |= {number}
        if pause is None:
            folder.rename(home)
        else:
            home.mkdir()
            for path in sorted(folder.iterdir(), key=lambda path: path.name != "manifest.json"):
                _copy_slowly(path, home / path.name, pause)
            shutil.rmtree(folder)
        self.newest, self.arrival = number, time.monotonic() - began
        for old in self.home.glob("[0-9]*"):
            if int(old.name) <= number - KEPT:
                shutil.rmtree(old)
        return number

    def write(self, number: int) -> Path:
        """Write a version into a hidden folder, which a rename publishes."""
        template, folder = self._templates[number % len(self._templates)], self.home / f".{number}"
        shutil.copytree(template, folder)
        manifest = msgspec.structs.replace(read_manifest(template), name=self.name, version=number)
        (folder / "manifest.json").write_bytes(manifest.encode())
        return folder


def _copy_slowly(source: Path, target: Path, pause: float) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        half = max(1, os.stat(source).st_size // 2)
        while piece := read.read(half):
            time.sleep(pause)
            write.write(piece)
            write.flush()
