"""make soak: a million requests to one worker, each answer judged, and its memory (by wrk).

The requests are in every protocol, with one row or ten, some compressed, and some that must be refused. Each is first
sent twice and judged as in make chaos. wrk then compares every answer with that one, byte for byte, by its
X-Request-Id. The service has one core and wrk the other. The memory is the proportional set size of the whole process
group.

The exit status is 1 if an answer was wrong, lost, refused or unexplained, or if the memory grew.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.judge import VERTEX, Judge, Question, Wrong
from bench.load import right_answer
from bench.model import make_model
from bench.server import CLIENT, SERVER, need_wrk
from passfail.repository import read_manifest
from tests.support.processes import children, memory
from tests.support.service import service

# The limit of waiting is for a busy machine: there, the service would refuse compressed bodies.
SETTINGS = {"WEB_CONCURRENCY": "1", "AIP_PREDICT_ROUTE": VERTEX, "MAX_WAIT_MS": "60000"}
QUESTIONS, REFUSALS = 180, 20
MOST_MIB = 5.0  # from the first tenth to the last
OUTCOMES = ("right", "wrong", "refused", "lost", "unexplained")
LUA = """
local questions = {%s}
local requests, answers, at = {}, {}, 0
right, wrong, refused, unexplained, example = 0, 0, 0, 0, ""
for i, one in ipairs(questions) do
  one.headers["Host"] = "here" -- wrk sets its own later
  requests[i] = wrk.format("POST", one.path, one.headers, one.body)
  answers[one.headers["X-Request-Id"]] = one
end
request = function() at = at %% #requests + 1; return requests[at] end
response = function(status, headers, body)
  local asked = answers[headers["X-Request-Id"]]
  if not asked then unexplained = unexplained + 1
  elseif status == asked.status and body == asked.answer then right = right + 1
  elseif status == 503 then refused = refused + 1
  else wrong = wrong + 1; example = asked.kind .. ": " .. status .. " " .. body:sub(1, 200) end
end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
done = function(summary)
  local errors, found = summary.errors, threads[1]
  io.stderr:write(found:get("example"))
  io.write(string.format('{"right": %%d, "wrong": %%d, "refused": %%d, "unexplained": %%d, "lost": %%d}',
    found:get("right"), found:get("wrong"), found:get("refused"), found:get("unexplained"),
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def script(judge: Judge, port: int) -> str:
    """wrk's script: the requests, and the right answer to each. Raises Wrong."""
    draw = random.Random(1)
    asked = [judge.question(draw, sizes=(1, 1, 1, 10)) for _ in range(QUESTIONS)]
    asked += [judge.bad_question(draw) for _ in range(REFUSALS)]
    draw.shuffle(asked)
    return LUA % ",\n".join(_entry(one, *right_answer(judge, port, one)) for one in asked)


def _entry(asked: Question, status: int, answer: bytes) -> str:
    headers = ", ".join(f"[{_text(name)}] = {_text(value)}" for name, value in asked.headers.items())
    fields = {"kind": asked.kind, "path": asked.path, "body": asked.body, "answer": answer}
    told = ", ".join(f"{name} = {_text(value)}" for name, value in fields.items())
    return f"{{{told}, status = {status}, headers = {{{headers}}}}}"


def _text(value: str | bytes) -> str:
    """A string literal of Lua."""
    return '"' + "".join(f"\\{one:03d}" for one in (value.encode() if isinstance(value, str) else value)) + '"'


def load(address: str, lua: Path, seconds: int) -> Counter[str]:
    """Send requests for that many seconds, and count their outcomes."""
    command = ["taskset", "-c", str(CLIENT), "wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "30s", "-s", lua]
    out = subprocess.check_output([*command, address], text=True)
    return Counter(json.loads(out[out.rindex("{") :]))


def soak(address: str, pid: int, judge: Judge, folder: Path, requests: int) -> tuple[Counter[str], list[float]]:
    """Send that many requests; return their outcomes, and the MiB after each tenth."""
    lua = folder / "questions.lua"
    lua.write_text(script(judge, int(address.rpartition(":")[2])))
    print(f"| requests | MiB |\n|-|-|\n| 0 | {memory(pid, *children(pid)):.1f} |", flush=True)
    counts, found, seconds = Counter[str](), list[float](), 1
    while counts.total() < requests:
        until = counts.total() + requests / 10
        while counts.total() < until:
            some = load(address, lua, seconds)
            counts += some
            if not some["right"]:
                return counts, [*found, memory(pid, *children(pid))]
            seconds = max(1, min(30, int(requests / 10 / (some.total() / seconds))))
        found.append(memory(pid, *children(pid)))
        print(f"| {counts.total():,} | {found[-1]:.1f} |", flush=True)
    return counts, found


def faults(counts: Counter[str], found: Sequence[float]) -> list[str]:
    """The faults, a sentence each."""
    told = [f"{counts[one]:,} answers were {one}" for one in OUTCOMES if one != "right" and counts[one]]
    if found[-1] - found[0] > MOST_MIB:
        told.append(f"the memory grew by {found[-1] - found[0]:.1f} MiB, more than {MOST_MIB:.0f}")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--worker-class", default="asgi")
    arguments = parser.parse_args()
    need_wrk()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(make_model(sys.executable, folder))
        judge = Judge([read_manifest(models / "bench" / "1")])
        os.sched_setaffinity(0, {SERVER})  # the service inherits it
        settings = SETTINGS | {"WORKER_CLASS": arguments.worker_class}
        with service(models, module="bench.inside", **settings) as (address, process):
            try:
                counts, found = soak(address, process.pid, judge, Path(folder), arguments.requests)
            except Wrong as error:
                sys.exit(f"FAILED: {error}")
    told = ", ".join(f"{counts[one]:,} {one}" for one in OUTCOMES)
    print(f"\n{told}; {found[-1] - found[0]:+.1f} MiB from the first tenth to the last")
    sys.exit("\n".join(f"FAILED: {one}" for one in faults(counts, found)) or 0)


if __name__ == "__main__":
    main()
