"""A test of speed without a clock: valgrind counts instructions of the codecs and the model.

python -m bench.count             count, and compare with bench/instructions.json; exit status 1 if a count rose
python -m bench.count --record    count, and write the counts to that file

A count doesn't depend on the machine's load or speed. It depends on the versions of the packages, so these are recorded
too, and other versions are not compared.
"""

import argparse
import gc
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from bench.model import ROOT, ROW, ROWS, make_model

RECORD = ROOT / "bench" / "instructions.json"
# The rise that fails, in %. The same code gave exactly the same count; another environment and training gave 0.2 %.
TOLERANCE = 0.02
REPEATED = {"decode 1 row": 500, "predict 1 row": 500, "encode 1 row": 500,
            "decode 1,000 rows": 4, "predict 1,000 rows": 4, "encode 1,000 rows": 4}  # fmt: skip


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--record", action="store_true", help="write bench/instructions.json anew")
    options.add_argument("--run", metavar="MODELS", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.run:
        work(args.run)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {"of": versions(), "instructions": counted(make_model(sys.executable, folder))}
    if args.record:
        RECORD.write_text(json.dumps(found, indent=1) + "\n")
    told, rose = compared(found, json.loads(RECORD.read_text()))
    print("\n".join(told))
    sys.exit(rose)


def compared(found, recorded):
    """Compare two records: (lines of differences, whether a count rose)."""
    if found["of"] != recorded["of"]:
        other = [f"{name} {recorded['of'].get(name)}" for name, said in found["of"].items()
                 if said != recorded["of"].get(name)]  # fmt: skip
        told = [f"{name}: {count:,} instructions" for name, count in found["instructions"].items()]
        return [*told, f"not compared: recorded with {', '.join(other)}; --record counts for this set"], False
    told, rose = [], False
    for name, count in found["instructions"].items():
        before = recorded["instructions"][name]
        change = count / before - 1
        said = "ROSE" if change > TOLERANCE else "fell: --record it" if change < -TOLERANCE else ""
        told.append(f"{name}: {count:,} instructions, {before:,} recorded: {change:+.2%} {said}".rstrip())
        rose |= change > TOLERANCE
    return told, rose


def counted(models):
    """The instructions of each operation, from a process that marks each beginning and end."""
    environ = os.environ | {"PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        # callgrind writes its counts and resets them at each call of this function of the C library.
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/part", "--dump-before=getsid"]
        command += [sys.executable, "-m", "bench.count", "--run", models]
        try:
            run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise SystemExit("counting needs valgrind: apt-get install valgrind") from error
        if run.returncode:
            raise SystemExit(f"counting failed: {run.stderr[-2000:]}")
        # Part 1 is the start, part 2 the first operation, part 3 the code before the second.
        parts = [Path(folder, f"part.{2 * i + 2}").read_text() for i in range(len(REPEATED))]
    totals = [int(re.search(r"^totals: (\d+)", part, re.M)[1]) for part in parts]
    return {name: round(total / REPEATED[name]) for name, total in zip(REPEATED, totals, strict=True)}


def work(models):
    """Run the counted operations, in a process of their own."""
    from passfail.codecs import Codecs
    from passfail.model import Model
    from passfail.repository import read_manifest
    from passfail.runtimes import MODEL_FILES, load_runtime

    folder = Path(models, "bench", "1")  # opened without its self-checks, which would dominate the counts
    manifest = read_manifest(folder)
    model = Model(manifest, load_runtime("onnx", (folder / MODEL_FILES["onnx"]).read_bytes()))
    rows_of = Codecs(manifest, 1000)
    decoder = rows_of.json
    one, thousand = json.dumps(ROW).encode(), json.dumps(ROWS).encode()
    x, row = decoder.read(thousand), decoder.read(one)
    _, (answer,) = model.predict_rows([row])
    found = model.answer(x)
    operations = {
        "decode 1 row": lambda: decoder.read(one),
        "predict 1 row": lambda: model.predict_rows([row]),
        "encode 1 row": lambda: decoder.write_row(*answer),
        "decode 1,000 rows": lambda: decoder.read(thousand),
        "predict 1,000 rows": lambda: model.answer(x),
        "encode 1,000 rows": lambda: list(decoder.pieces(found)),
    }
    gc.collect()
    gc.freeze()
    gc.disable()
    for name, function in operations.items():
        function()
        os.getsid(0)
        for _ in range(REPEATED[name]):
            function()
        os.getsid(0)


def versions():
    """The versions on which the counts depend, besides the code."""
    packages = {name: metadata.version(name) for name in ("numpy", "onnxruntime", "msgspec")}
    tool = subprocess.run(["valgrind", "--version"], capture_output=True, text=True).stdout.strip()
    return {"python": platform.python_version(), "machine": platform.machine(), "valgrind": tool, **packages}


if __name__ == "__main__":
    main()
