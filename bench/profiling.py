"""make profile: where the service's time goes, for one row and for 1,000: shares of server, decode, runtime, encode.

py-spy looks 500 times a second at who holds the GIL, which waiting doesn't. A look belongs to the innermost of its
frames that SHARES knows: what NumPy or json does for the decoder is decoding.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from bench.model import make_model
from bench.serve import OBJECTS, ONE8, OURS, Bench
from bench.server import CLIENT, load, need_wrk

# Share -> the frames that are its, as py-spy names them: "function (file:line)".
SHARES = {
    "runtime": r"\(passfail/runtimes/|\(onnxruntime/",
    "decode": r"\b(_?read\w*|_numbers|_may_repeat) \(passfail/codecs/|\(passfail/columns\.py",
    "encode": r"\b(write|write_row|_texts|chosen) \(passfail/codecs/",
    "verdict, stable, turn": r"\((passfail/(loading|proof/rounding)|serve/server/microbatch)\.py",
    "receipt": r"\(serve/http/receipt\.py",
    "watching": r"\(serve/telemetry/",
    "front": r"\(serve/",
    "server": r"\(gunicorn|\(uvloop|\(asyncio|\(site-packages/gunicorn",
}
PATTERNS = {share: re.compile(pattern) for share, pattern in SHARES.items()}
SECONDS = 6


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--python", required=True, help="the interpreter that the service is installed for")
    python = options.parse_args().python
    need_wrk()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(make_model(python, folder), python, None, SECONDS)
        found = {what: profiled(bench, bench.asks[what]) for what in (ONE8, OBJECTS)}
        parser = bench.parser(OURS)
    print(f"HTTP parser {parser}. Shares of the worker's time, 8 connections:\n")
    print("| | 1 row | 1,000 rows |\n|-|-|-|")
    for share in [*SHARES, "other"]:
        print(f"| {share} | " + " | ".join(f"{looks[share] / looks.total():.1%}" for looks in found.values()) + " |")


def profiled(bench, ask):
    """{share: looks} of the worker under that load."""
    with bench.server(OURS) as server, tempfile.NamedTemporaryFile("r") as file:
        (worker,) = server.workers()
        busy = threading.Thread(target=load, args=(server, ask, 8, SECONDS + 3))
        busy.start()
        spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--gil", "-r", "500", "-d", str(SECONDS)]
        command = ["taskset", "-c", str(CLIENT), *spy, "-f", "raw", "-o", file.name, "-p", str(worker)]
        run = subprocess.run(command, capture_output=True, text=True)
        busy.join()
        if run.returncode:
            raise SystemExit(f"py-spy can't look at the worker (it needs root, or ptrace allowed): {run.stderr[-500:]}")
        return shares(file.read())


def shares(raw):
    """py-spy's raw format, "outermost;...;innermost looks" a line -> {share: looks}."""
    looks = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        looks[share_of(stack.split(";"))] += int(count)
    return looks


def share_of(frames):
    for frame in reversed(frames):
        for share, pattern in PATTERNS.items():
            if pattern.search(frame):
                return share
    return "other"


if __name__ == "__main__":
    main()
