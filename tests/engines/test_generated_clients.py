"""Clients that openapi-typescript and openapi-generator generate compile, and predict."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.service import service

pytestmark = pytest.mark.engines
PROGRAMS = Path(__file__).with_name("clients")  # each asks every protocol, and prints the label
TYPESCRIPT, GENERATOR = ROOT / ".venv-typescript" / "node_modules", ROOT / ".venv-generator" / "bin"


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    with service(models, MODEL_NAME="admissions", WEB_CONCURRENCY="1", AIP_PREDICT_ROUTE="/vertex") as (address, _):
        yield address


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_client_in_typescript(address: str, tmp_path: Path) -> None:
    if not TYPESCRIPT.exists() or shutil.which("node") is None:
        pytest.skip("no Node or no openapi-typescript (make test-engines): clients in TypeScript are NOT tested")
    (tmp_path / "node_modules").symlink_to(TYPESCRIPT)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(PROGRAMS / "predict.ts", tmp_path)
    run("node_modules/.bin/openapi-typescript", f"{address}/openapi.json", "-o", "api.ts", cwd=tmp_path)
    target = ["--target", "es2022", "--module", "nodenext", "--skipLibCheck"]
    run("node_modules/.bin/tsc", "--strict", *target, "predict.ts", cwd=tmp_path)

    assert run("node", "predict.js", address, cwd=tmp_path) == "yes\n"


def test_a_python_client_of_openapi_generator(address: str, tmp_path: Path) -> None:
    if not GENERATOR.exists() or shutil.which("java") is None:
        pytest.skip("no Java or no openapi-generator (make test-engines): its clients are NOT tested")
    made = ["-o", ".", "--additional-properties=packageName=made"]
    run(
        GENERATOR / "openapi-generator-cli",
        "generate",
        "-g",
        "python",
        "-i",
        f"{address}/openapi.json",
        *made,
        cwd=tmp_path,
    )
    run(GENERATOR / "python", "-m", "compileall", "-q", "made", cwd=tmp_path)
    shutil.copy(PROGRAMS / "predict.py", tmp_path)

    assert run(GENERATOR / "python", "predict.py", address, cwd=tmp_path) == "yes\n"
