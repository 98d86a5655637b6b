"""model.js in Node and in Chromium, as runtimes: x (n, d) -> (logit, probability)."""

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from passfail.arrays import Floats
from passfail.runtimes import Runtime

NODE = shutil.which("node")
BLOB = "data:application/octet-stream;base64,"

SCORE = """
function score(model, x, d) {
  const n = x.length / d, out = new Float64Array(2 * n);
  for (let row = 0; row < n; row++) {
    out[row] = model.logit(x.subarray(row * d, (row + 1) * d));
    out[n + row] = model.probability(out[row]);
  }
  return out;
}
"""


def in_node(module: bytes, folder: Path, program: str) -> None:
    """Run a program in a folder, beside the module as model.mjs; skip the test without Node."""
    if NODE is None:
        pytest.skip("no node here (Debian: apt-get install nodejs): model.js is NOT tested there")
    (folder / "model.mjs").write_bytes(module)
    (folder / "program.mjs").write_text(f"import * as model from './model.mjs';\nimport fs from 'node:fs';\n{program}")
    done = subprocess.run([NODE, "program.mjs"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def node(module: bytes, folder: Path) -> Runtime:
    def run(x: Floats) -> tuple[Floats, Floats]:
        (folder / "x").write_bytes(x.tobytes())
        read = "const bytes = new Uint8Array(fs.readFileSync('x'))"
        in_node(
            module,
            folder,
            f"{SCORE}{read}; fs.writeFileSync('out', score(model, new Float64Array(bytes.buffer), {x.shape[1]}))",
        )
        logit, probability = np.fromfile(folder / "out").reshape(2, len(x))
        return logit, probability

    return run


def answers(module: bytes, folder: Path, function: str, rows: Sequence[dict[str, object]]) -> list[Any]:
    """The answers of `predict` or `predictTexts` to rows; for an error, [name, detail]s."""
    (folder / "rows.json").write_text(json.dumps(rows))
    in_node(
        module,
        folder,
        f"""
        const tried = JSON.parse(fs.readFileSync("rows.json")).map((row) => {{
          try {{ return model.{function}(row); }}
          catch (error) {{ return error.errors.map(({{ name, detail }}) => [name, detail]); }}
        }});
        fs.writeFileSync("answers.json", JSON.stringify(tried));
        """,
    )
    found: list[Any] = json.loads((folder / "answers.json").read_text())
    return found


def chromium(browser: Any, module: bytes) -> Runtime:
    """The module in a page of a browser, which nothing is loaded into but it and the rows."""
    rows: list[bytes] = []

    def serve(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        kind = {"model.js": "text/javascript", "x": "application/octet-stream"}.get(name, "text/html")
        route.fulfill(body={"model.js": module, "x": rows[-1] if rows else b""}.get(name, b""), content_type=kind)

    page = browser.new_page()
    page.route("**/*", serve)
    page.goto("http://model.test/")

    def run(x: Floats) -> tuple[Floats, Floats]:
        rows.append(x.tobytes())
        text = page.evaluate(
            f"""async (d) => {{
            {SCORE}
            const x = new Float64Array(await (await fetch("x")).arrayBuffer());
            const out = new Blob([score(await import("/model.js"), x, d)]);
            return new Promise((resolve) => {{
              const reader = new FileReader();
              reader.onload = () => resolve(reader.result);
              reader.readAsDataURL(out);
            }});
            }}""",
            x.shape[1],
        )
        logit, probability = np.frombuffer(base64.b64decode(text.removeprefix(BLOB))).reshape(2, len(x))
        return logit, probability

    return run
