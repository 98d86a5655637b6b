"""make bench: the service compared with common servers, on the same model, in one run.

The server has core 0 and wrk core 1 (on one core they share it, and the run reports that). The rounds are interleaved.
Each number is the median of its rounds; a ratio is computed within each round, and its spread is that of the rounds.
Each rate has the CPU time of a request beside it, which a busy machine changes less; "by CPU" is the ratio by that
time. The server's answer is compared with the right one before and after each load, and wrk counts statuses other than
200.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from bench import measures as m
from bench.asks import asks
from bench.model import ROOT, make_model
from bench.server import CLIENT, SERVER, Server, load, need_wrk
from bench.summary import lines, summary
from tests.support.service import free_port

GUNICORN = [sys.executable, "-m", "gunicorn", "--log-level", "error", "--no-control-socket", "-b"]
GTHREAD = ["-k", "gthread", "--threads", "4"]
ENVIRON = {m.OURS_GTHREAD: {"WORKER_CLASS": "gthread"}, m.TORCHSCRIPT: {"RUNTIME": "torchscript"}}
CONSTANT = (m.BARE_GTHREAD, m.BARE, m.LIMIT)  # the servers that answer peers.ANSWER


class Bench:
    """One run of the bench.

    python : the interpreter for which the service is installed.
    mlserver : MLServer's command, or None.
    limit : the program that bench/limit.c became, or None.
    before : another checkout of this project with its own .venv, and its models' folder; or None.
    """

    def __init__(self, models, python, mlserver, seconds, limit=None, before=None):
        self.models, self.python, self.mlserver, self.seconds = models, python, mlserver, seconds
        self.limit, self.before = limit, before
        if before:
            os.environ["MODEL"] = f"{before[1]}/bench/1"
            self.asked_before = asks()[m.ONE8]
        os.environ["MODEL"] = f"{models}/bench/1"
        self.asks = asks()

    def command(self, name):
        """A server's command, as in its documentation, as a function of the address."""
        return {
            m.BARE_GTHREAD: lambda at: [*GUNICORN, at, *GTHREAD, "bench.peers:bare_wsgi"],
            m.BARE: lambda at: [*GUNICORN, at, "-k", "asgi", "--asgi-loop", "uvloop", "bench.peers:bare_asgi"],
            m.FLASK: lambda at: [*GUNICORN, at, *GTHREAD, "bench.peers:naive_flask()"],
            m.FASTAPI: lambda at: [
                *[sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--log-level", "error"],
                *["--host", "127.0.0.1", "--port", at.rpartition(":")[2], "bench.peers:fast_api"],
            ],
            m.SKETCH: lambda at: [self.python, "-m", "bench.sketch", at.rpartition(":")[2]],
            m.LIMIT: lambda at: [self.limit, at.rpartition(":")[2]],
            m.BEFORE: lambda at: [f"{self.before[0]}/.venv/bin/python", "-m", "serve"],
            m.MLSERVER: lambda at: [
                *["env", f"MLSERVER_HTTP_PORT={at.rpartition(':')[2]}", "MLSERVER_HOST=127.0.0.1"],
                *[f"MLSERVER_GRPC_PORT={free_port()}", f"MLSERVER_METRICS_PORT={free_port()}"],
                # One process, because MLServer's parallel workers would compete for the core.
                *["MLSERVER_PARALLEL_WORKERS=0", "MLSERVER_DEBUG=false", self.mlserver, "start", "bench/mlserver"],
            ],
        }.get(name, lambda at: [self.python, "-m", "serve"])

    def one(self, name):
        """The Ask for one row."""
        return self.asked_before if name == m.BEFORE else self.asks[m.BARE if name in CONSTANT else m.ONE8]

    def server(self, name, log=None, cores=(SERVER,), **environ):
        settings = {"MODELS_DIR": self.models, "MODEL_NAME": "bench", "WEB_CONCURRENCY": 1, "DRAIN_SECONDS": 0}
        first = self.asks[m.TENSOR] if name == m.MLSERVER else self.one(name)
        folder, models = self.before if name == m.BEFORE else (ROOT, self.models)
        settings |= {"MODELS_DIR": models, **ENVIRON.get(name, {}), **environ}
        return Server(name, self.command(name), first, settings, cores, log, folder)

    def round(self):
        """Measure one round: {server: {measure: value}}."""
        found = {m.LIMIT: self.limit, m.BEFORE: self.before, m.MLSERVER: self.mlserver}
        names = [m.BARE_GTHREAD, m.BARE, m.FLASK, m.FASTAPI, m.SKETCH, m.OURS, m.OURS_GTHREAD, m.TORCHSCRIPT]
        names += [name for name in found if found[name]]
        return {name: self.measured(name) for name in names}

    def measured(self, name):
        print(f"  {name}", file=sys.stderr)
        with self.server(name) as server:
            found = {m.START: server.start}
            if name != m.MLSERVER:
                one = self.one(name)
                at8, at1 = load(server, one, 8, self.seconds), load(server, one, 1, self.seconds)
                note(found, m.ONE8, at8)
                found |= {m.P99: at8["p99"], m.P50: at1["p50"], m.P99_1: at1["p99"]}
            found[m.MEMORY] = server.memory()
            if name in (m.FLASK, m.FASTAPI, m.OURS, m.OURS_GTHREAD):
                note(found, m.OBJECTS, load(server, self.asks[m.OBJECTS], 8, self.seconds))
            if name in (m.MLSERVER, m.OURS):
                note(found, m.TENSOR, load(server, self.asks[m.TENSOR], 8, self.seconds))
            if name == m.OURS:
                self.only_ours(server, found)
        return found

    def only_ours(self, server, found):
        """Add the measures that no peer has to `found`."""
        table = self.asks[m.CSV]
        for measure in (m.ONE_V2, m.ONE_ARRAY, m.ARRAYS):
            note(found, measure, load(server, self.asks[measure], 8, self.seconds))
        note(found, m.ONE64, load(server, self.asks[m.ONE8], 64, self.seconds))
        note(found, m.BINARY, load(server, self.asks[m.BINARY], 8, self.seconds))
        note(found, m.CSV, load(server, table, 1, self.seconds))
        found[m.SETTLED] = server.memory()
        load(server, table, 1, self.seconds)
        found[m.GROWTH] = server.memory() - found[m.SETTLED]
        stream = threading.Thread(target=load, args=(server, table, 2, 2 * self.seconds))
        stream.start()
        found[m.BESIDE] = load(server, self.asks[m.ONE8], 8, self.seconds)["p99"]
        stream.join()
        self.logged(found)
        self.workers(found)

    def logged(self, found):
        """Measure with every request in the log, and check that the log has all of them."""
        with tempfile.NamedTemporaryFile() as log:
            with self.server(m.OURS, log.name, ACCESS_LOG="on") as server:
                got = load(server, self.asks[m.ONE8], 8, self.seconds)
                note(found, m.LOGGED, got)
            lines = Path(log.name).read_bytes().count(b"\n")
            if lines < got["requests"]:
                raise SystemExit(f"{got['requests']} requests are {lines} lines in the log")

    def workers(self, found):
        """Measure the cost and the gain of a second worker.

        wrk needs a part of the same two cores, so the rates of one and two workers can't be compared. The CPU time of a
        request can: if it stays, two workers on two cores of their own serve twice as much as one. The requests have
        1,000 rows, which cost wrk little. With single rows, wrk would take half a core from the workers. Fewer rows
        would then share an iteration of the event loop, which makes each more expensive.
        """
        each = []
        for workers in (1, 2):
            with self.server(m.OURS, cores=(SERVER, CLIENT), WEB_CONCURRENCY=workers) as server:
                each.append((load(server, self.asks[m.OBJECTS], 16, self.seconds)["cpu"], server.memory()))
        found[m.TWO] = 2 * each[0][0] / each[1][0]
        found[m.FURTHER] = each[1][1] - each[0][1]


def note(found, measure, got):
    """Note a load's result: rate (in rows, for a batch), CPU time, and the share of the core."""
    found[measure] = got["rate"] * m.ROWS_EACH.get(measure, 1)
    found[f"cpu {measure}"], found[f"busy {measure}"] = got["cpu"], got["busy"]


def compiled(folder):
    """Compile bench/limit.c into the folder; return the program, or None without a C compiler."""
    if not (compiler := shutil.which("cc")):
        return None
    subprocess.run([compiler, "-O2", "-o", f"{folder}/limit", ROOT / "bench/limit.c"], check=True)
    return f"{folder}/limit"


def installed(python):
    """MB of the installed packages in requirements/serve.txt, in the interpreter's environment."""
    names = [line.split("==")[0] for line in (ROOT / "requirements/serve.txt").read_text().splitlines() if "==" in line]
    return int(subprocess.check_output([python, "-c", INSTALLED_SIZE, *names], text=True)) / 1e6


INSTALLED_SIZE = """
import os, sys
from importlib import metadata
found = {d.name.lower().replace("_", "-"): d for d in metadata.distributions()}
files = {os.path.realpath(f.locate()) for name in sys.argv[1:] if name in found for f in found[name].files}
print(sum(-(-os.path.getsize(file) // 4096) * 4096 for file in files if os.path.exists(file)))
"""


def image():
    """MB of the serving image above its base, by Docker; None if no engine runs."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return None
    print("building the image", file=sys.stderr)
    build = ["docker", "build", "--quiet", "--target", "serve", "."]
    built = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1]
    sizes = ["docker", "image", "inspect", "--format", "{{.Size}}", built, "python:3.11-slim"]
    ours, base = map(int, subprocess.check_output(sizes, text=True).split())
    return (ours - base) / 1e6


def main():
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4, help="of each load")
    options.add_argument("--python", required=True, help="the interpreter that the service is installed for")
    options.add_argument("--mlserver", help="the command of MLServer, to be measured too")
    options.add_argument("--before", help="another checkout of this project, with its .venv, to measure too")
    options.add_argument("--image", action="store_true", help="build the image, where a Docker engine runs")
    options.add_argument("--json", default="bench/serve.json")
    args = options.parse_args()
    need_wrk()
    with tempfile.TemporaryDirectory() as folder:
        before, models, limit = args.before, make_model(args.python, folder), compiled(folder)
        if before:
            before = before, make_model(f"{before}/.venv/bin/python", f"{folder}/before", before)
        bench = Bench(models, args.python, args.mlserver, args.seconds, limit, before)
        rounds = []
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
            rounds.append(bench.round())
    once = {m.INSTALLED: installed(args.python), m.IMAGE: image() if args.image else None}
    for one in rounds:
        one[m.OURS] |= {measure: value for measure, value in once.items() if value is not None}
    report = summary(rounds) | {"one core": SERVER == CLIENT}
    Path(args.json).write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(lines(report)))


if __name__ == "__main__":
    main()
