"""`pip install .` installs the library and its command, and no web server or PyTorch."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from tests.support import ROOT

NEEDED = ("msgspec", "numpy", "onnxruntime")
OTHERS = ("flask", "gunicorn", "uvloop", "torch", "serve", "train")
LOAD = """
import sys
import passfail
assert "numpy" not in sys.modules
model = passfail.load(sys.argv[1])
assert isinstance(model, passfail.Model) and isinstance(model.manifest, passfail.Manifest)
try:
    passfail.load("nowhere")
except passfail.PassfailError as error:
    print(error)
print(model.manifest.name, *sys.modules)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with passfail's wheel and its dependencies alone."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # built in a copy: setuptools leaves files behind
    for name in ("passfail", "serve", "train", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "-q"]
    isolation = ["--no-build-isolation"] if int(version("setuptools").split(".")[0]) >= 77 else []
    subprocess.run([*pip, "wheel", "--no-deps", *isolation, "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    for name in closure(NEEDED):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution(name).locate_file(top))
    return python.parent


def closure(names: tuple[str, ...]) -> set[str]:
    """The distributions and all that they require here, extras aside."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [re.split(r"[^\w.-]", one)[0] for one in distribution(name).requires or [] if "extra" not in one]
    return found


def run(*command: str | Path, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, env={}).stdout


def test_an_export_loads_without_a_web_server_and_without_torch(installed: Path, models: Path, tmp_path: Path) -> None:
    error, loaded = run(installed / "python", "-c", LOAD, models / "hours", cwd=tmp_path).splitlines()

    assert error.startswith("nowhere holds no model")
    assert loaded.split()[0] == "hours"
    assert not set(OTHERS) & set(loaded.split()[1:])


@pytest.mark.parametrize("package", OTHERS)
def test_nothing_else_is_installed(installed: Path, tmp_path: Path, package: str) -> None:
    find = f"import importlib.util; print(importlib.util.find_spec({package!r}))"

    assert run(installed / "python", "-c", find, cwd=tmp_path) == "None\n"


def test_the_command_runs(installed: Path, models: Path, tmp_path: Path) -> None:
    text = run(installed / "passfail", "verify", "--models", models, "--model", "hours", cwd=tmp_path)

    assert "files verified" in text
