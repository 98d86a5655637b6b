"""Exported models: made once by the command line, and opened as the service opens them."""

import contextlib
import fcntl
import functools
import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
import torch

from passfail.files import replacing
from passfail.loading import open_model
from passfail.manifest import Feature, Hidden, Manifest, Unit
from passfail.model import Model
from passfail.repository import find
from passfail.signing import PublicKey
from tests.support import DATA, ROOT
from train.__main__ import main
from train.export import parity
from train.model.logistic import LogisticModel
from train.table.reading import Reading
from train.table.table import read_table

# Rows of the proof of an export that a test makes: a tenth of the time, for the same steps. The shared models get all.
QUICK = {"ROWS": 200, "ACROSS": 2_000, "EXACT": 500, "BATCH_LEAST": 1_025, "BATCH_ROWS": 1_025}
WHOLE = {name: getattr(parity, name) for name in QUICK}
AWKWARD = ROOT / "tests" / "fuzz" / "awkward.csv"


def opened(
    models: Path,
    name: str | None = None,
    version: int | None = None,
    runtime: str = "onnx",
    signed_by: PublicKey | None = None,
) -> Model:
    """The model that a repository's folder serves, or the version asked for.

    Raises StartupError.
    """
    return open_model(find(Path(models), name, version), runtime, signed_by)


@contextlib.contextmanager
def proven_on(rows: Mapping[str, int]) -> Iterator[None]:
    """Prove exports on so many rows, QUICK or WHOLE."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rows.items():
            patch.setattr(parity, name, value)
        yield


def shared(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of all workers of pytest-xdist."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def kept(make: Callable[[LogisticModel], bytes], folder: Path) -> Callable[[LogisticModel], bytes]:
    """The function `make`, whose result for each model is kept in a folder."""

    @functools.wraps(make)
    def file(model: LogisticModel) -> bytes:
        plain = {name: value for name, value in vars(model).items() if not name.startswith("_")}
        key = repr((type(model), plain, [tensor.tolist() for tensor in model.state_dict().values()]))
        path = folder / f"{make.__name__}-{hashlib.sha256(key.encode()).hexdigest()}"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(make(model))
        return path.read_bytes()

    return file


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills; the first process of pytest-xdist makes it."""
    folder = shared(factory) / name
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            half = factory.mktemp(name)
            make(half)
            half.rename(folder)
    return folder


def written(folder: Path) -> dict[str, int]:
    """The time at which each file below a folder was last written, in nanoseconds."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


TABLES = {
    "hours": ([], ()),
    "study_hours": (["--data", str(DATA / "study_hours.csv")], ("--target", "passed")),
    "admissions": (["--data", str(DATA / "admissions.csv")], ("--categorical", "rank")),
}


def export_table(name: str, folder: Path) -> None:
    """Fit and export one of the three tables, and prove it on as many rows as the trainer does."""
    data, options = TABLES[name]
    with proven_on(WHOLE):
        export(data, folder, *options)


def made_models(factory: pytest.TempPathFactory) -> Path:
    """A repository with one version of each table's model.

    Each process of pytest-xdist begins with another table.
    """
    first = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % len(TABLES)
    names = [*TABLES][first:] + [*TABLES][:first]
    made = {name: made_once(factory, f"model-{name}", functools.partial(export_table, name)) for name in names}

    def gather(folder: Path) -> None:
        for name, one in made.items():
            shutil.copytree(one / name, folder / name)

    return made_once(factory, "models", gather)


def export_awkward(models: Path, folder: Path) -> None:
    """Copy the admissions' model, and export one with formulas and HTML for names and levels."""
    shutil.copytree(models / "admissions", folder / "admissions")
    chosen = ["--target", "target", "--positive", "=yes()", "--categorical", "rank", "--l2", "1"]
    export(["--data", str(AWKWARD)], folder, *chosen)


def export(data: list[str], folder: Path, *options: str) -> None:
    checkpoints = ["--checkpoints", f"{folder}.checkpoints"]
    assert main(["fit", *data, *options, *checkpoints]) == 0
    assert main(["export", *data, *checkpoints, "--models", str(folder)]) == 0


def random_hidden_model(name: str) -> tuple[list[Feature], LogisticModel]:
    """A model of the admissions' features, with three hidden units of random weights."""
    table = read_table(DATA / "admissions.csv", Reading(categorical=("rank",)))
    model = LogisticModel(table.features, 3, name).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        columns = model.columns(torch.from_numpy(table.x))
        model.standardize(columns.mean(0), columns.std(0, correction=0))
        for parameter in model.parameters():
            parameter.uniform_(-2, 2, generator=generator)
    return table.features, model


def with_hidden(manifest: Manifest, activation: str) -> Manifest:
    """The manifest with a hidden layer of three units, their weights drawn from [-2, 2]."""
    draw = random.Random(1)
    columns = tuple(msgspec.structs.replace(column, weight=1.0) for column in manifest.parameters.columns)
    units = tuple(
        Unit(draw.uniform(-2, 2), tuple(draw.uniform(-2, 2) for _ in columns), draw.uniform(-2, 2)) for _ in range(3)
    )
    hidden = Hidden(activation, 0.25 if activation == "PReLU" else None, units)
    parameters = msgspec.structs.replace(manifest.parameters, columns=columns, hidden=hidden)
    return msgspec.structs.replace(manifest, parameters=parameters)
