"""python -m tests.support.onnxruntime_web: model.onnx on ONNX Runtime's build for browsers.

It runs in Node. The package is npm's onnxruntime-web in .venv-web (make conform); the options are those of python -m
train conform.
"""

import shutil
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from passfail.arrays import Floats
from passfail.runtimes import Runtime
from tests.support import ROOT
from tests.support.outside import conform
from train.errors import ExportError

PACKAGE = ROOT / ".venv-web" / "node_modules" / "onnxruntime-web"
NODE = shutil.which("node")
PROGRAM = """
import * as ort from %r;
import fs from 'node:fs';
ort.env.wasm.numThreads = 1;
const bytes = new Uint8Array(fs.readFileSync('x')), x = new Float64Array(bytes.buffer), d = %d;
const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync('model.onnx')));
const { logit, probability } = await session.run({ x: new ort.Tensor('float64', x, [x.length / d, d]) });
fs.writeFileSync('logit', logit.data);
fs.writeFileSync('probability', probability.data);
"""


def main(arguments: list[str]) -> int:
    """Replay a published version's examples; return the exit status."""
    return conform("onnxruntime-web", serving if installed() else None, arguments)


def serving(folder: Path) -> AbstractContextManager[Runtime]:
    return nullcontext(web((folder / "model.onnx").read_bytes()))


def installed() -> bool:
    return PACKAGE.exists() and NODE is not None


def web(model: bytes) -> Runtime:
    """The bytes of a model.onnx on WebAssembly."""

    def run(x: Floats) -> tuple[Floats, Floats]:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            (home / "model.onnx").write_bytes(model)
            (home / "x").write_bytes(np.ascontiguousarray(x).tobytes())
            program = PROGRAM % ((PACKAGE / "dist" / "ort.node.min.mjs").as_uri(), x.shape[1])
            (home / "program.mjs").write_text(program)
            done = subprocess.run([str(NODE), "program.mjs"], cwd=home, capture_output=True, text=True, timeout=120)
            if done.returncode:
                raise ExportError(f"onnxruntime-web doesn't answer: {done.stderr.strip().splitlines()[-1]}")
            return np.fromfile(home / "logit"), np.fromfile(home / "probability")

    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
