"""make profile: the shares of server, decoding, runtime and encoding in the service's time.

It measures requests of 1 row and of 1,000. py-spy samples 500 times a second the stack that holds the GIL; waiting
holds none. A sample belongs to the innermost of its frames that SHARES knows, so NumPy's and msgspec's work for the
decoder counts as decoding.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from bench.measures import OBJECTS, ONE8, OURS
from bench.model import make_model
from bench.serve import Bench
from bench.server import CLIENT, load, need_wrk

# Share -> patterns of its frames in py-spy's format, "function (file:line)". tests/unit/bench compares each pattern
# with the existing modules and packages.
SHARES = {
    "runtime": [r"\(passfail/runtimes/", r"\(onnxruntime/"],
    "decode": [r"\b(read|decode|parse)\w* \(passfail/codecs/", r"\(passfail/columns\.py"],
    "encode": [r"\bwrite\w* \(passfail/codecs/"],
    "verdict, stable": [r"\(passfail/model\.py", r"\(passfail/proof/rounding\.py"],
    "receipt": [r"\(serve/http/receipt\.py"],
    "telemetry": [r"\(serve/telemetry/"],
    "service": [r"\(serve/"],
    "server": [r"\bgunicorn/", r"\buvloop/", r"\basyncio/"],
}
PATTERNS = {share: re.compile("|".join(patterns)) for share, patterns in SHARES.items()}
OTHER = "other"
MOST_OTHER = 0.05  # of the samples; above it, the patterns no longer match the code
SECONDS = 6


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--python", required=True, help="the interpreter that the service is installed for")
    python = options.parse_args().python
    need_wrk()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(make_model(python, folder), python, None, SECONDS)
        stacks = {what: sampled(bench, bench.asks[what]) for what in (ONE8, OBJECTS)}
    print("Shares of the worker's time, 8 connections:\n")
    print("| | 1 row | 1,000 rows |\n|-|-|-|")
    found = [shares(one) for one in stacks.values()]
    for share in [*SHARES, OTHER]:
        print(f"| {share} | " + " | ".join(f"{one[share] / one.total():.1%}" for one in found) + " |")
    for what, one in stacks.items():
        for line in unmatched(one):
            print(f"WARNING: {what}: {line}", file=sys.stderr)


def sampled(bench, ask):
    """Sample the worker under that load: {stack, outermost frame first: samples}."""
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
        return stacks_of(file.read())


def stacks_of(raw):
    """Parse py-spy's raw format, "outermost;...;innermost samples" a line, to {stack: samples}."""
    found = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(count)
    return found


def shares(stacks):
    """Count the samples of each share: {share: samples}."""
    found = Counter()
    for stack, count in stacks.items():
        found[share_of(stack)] += count
    return found


def share_of(stack):
    for frame in reversed(stack):
        for share, pattern in PATTERNS.items():
            if pattern.search(frame):
                return share
    return OTHER


def unmatched(stacks):
    """A sentence on samples without a pattern, and on shares without a sample; or ""."""
    found = shares(stacks)
    if found[OTHER] > MOST_OTHER * found.total():
        innermost = Counter()
        for stack, count in stacks.items():
            if share_of(stack) == OTHER:
                innermost[stack[-1]] += count
        often = ", ".join(frame for frame, _ in innermost.most_common(3))
        yield f"{found[OTHER] / found.total():.0%} of the samples match no pattern, most often {often}"
    for share in SHARES:
        if not found[share]:
            yield f"no sample matches the patterns of {share!r}"


if __name__ == "__main__":
    main()
