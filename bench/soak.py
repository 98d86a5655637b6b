"""make soak: a million requests to one worker, and its memory after each tenth of them (needs wrk).

A mixture: single rows, ten rows, CSV, tensors, an explanation, and what is refused. The service has one core and wrk
the other; memory is the proportional set size of the whole process group.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.service import service

CORES = sorted(os.sched_getaffinity(0))
ROW = {"hours": 2.5}
TENSOR = {"inputs": [{"name": "hours", "shape": [1], "datatype": "FP64", "data": [2.5]}]}
JSON, CSV = "application/json", "text/csv"
# How often, path, type, body.
MIX = [
    (12, "/predict", JSON, json.dumps(ROW)),
    (3, "/predict", JSON, json.dumps([ROW] * 10)),
    (2, "/predict", CSV, "hours\n2.5\n7\n"),
    (2, "/v2/models/hours/infer", JSON, json.dumps(TENSOR)),
    (1, "/predict?explain=true", JSON, json.dumps(ROW)),
    (1, "/predict", JSON, '{"hours": "x"}'),
    (1, "/predict", JSON, "{"),
]
LUA = """
local requests, at = {}, 0
for _, one in ipairs({%s}) do
  for _ = 1, one[1] do requests[#requests + 1] = wrk.format("POST", one[2], {["Content-Type"] = one[3]}, one[4]) end
end
request = function() at = at %% #requests + 1; return requests[at] end
done = function(summary)
  local errors = summary.errors
  io.write(string.format('{"requests": %%d, "status": %%d, "lost": %%d}', summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def memory(process):
    """MiB of a process and its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in [process.pid, *children]]
    return sum(int(text.split("Pss:")[1].split()[0]) for text in rollups) / 1024


def load(address, script, seconds):
    command = ["taskset", "-c", str(CORES[-1]), "wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "30s", "-s", script]
    out = subprocess.check_output([*command, address], text=True)
    return json.loads(out[out.rindex("{") :])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--worker-class", default="asgi")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for command in (["fit"], ["export", "--models", f"{folder}/models"]):
            train = [sys.executable, "-m", "train", *command, "--checkpoints", f"{folder}/checkpoints"]
            subprocess.run(train, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        script = Path(folder, "mix.lua")
        script.write_text(LUA % ", ".join("{" + ", ".join(map(json.dumps, one)) + "}" for one in MIX))
        os.sched_setaffinity(0, {CORES[0]})  # the service inherits it
        settings = {"WEB_CONCURRENCY": "1", "WORKER_CLASS": arguments.worker_class}
        with service(Path(folder, "models"), **settings) as (address, process):
            soak(address, process, str(script), arguments.requests)


def soak(address, process, script, requests):
    print(f"| requests | MiB |\n|-|-|\n| 0 | {memory(process):.1f} |", flush=True)
    done, refused, lost, found, seconds = 0, 0, 0, [], 1
    while done < requests:
        tenth = 0
        while tenth < requests / 10 and done < requests:
            counts = load(address, script, seconds)
            tenth, done = tenth + counts["requests"], done + counts["requests"]
            refused, lost = refused + counts["status"], lost + counts["lost"]
            seconds = max(1, min(30, int(requests / 10 / (counts["requests"] / seconds))))
        found.append(memory(process))
        print(f"| {done:,} | {found[-1]:.1f} |", flush=True)
    share = sum(often for often, *_, body in MIX if body in ("{", '{"hours": "x"}')) / sum(often for often, *_ in MIX)
    print(f"\n{done:,} requests, {refused:,} of them refused ({share:.1%} were to be), {lost} lost; "
          f"{found[-1] - found[0]:+.1f} MiB from the first tenth to the last")  # fmt: skip


if __name__ == "__main__":
    main()
