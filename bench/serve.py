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
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench import peers
from bench.model import COLUMNS, ROOT, ROW, ROWS, make_model
from bench.server import CLIENT, SERVER, Ask, Server, free_port, load, need_wrk

GUNICORN = [sys.executable, "-m", "gunicorn", "--log-level", "error", "--no-control-socket", "-b"]
GTHREAD = ["-k", "gthread", "--threads", "4"]
BARE_GTHREAD, BARE = "gunicorn gthread, bare", "gunicorn asgi, bare"
FLASK, FASTAPI, MLSERVER = "Flask, naive, gthread", "FastAPI, async, uvicorn", "MLServer"
LIMIT, BEFORE = "constant bytes, in C", "passfail, --before"
OURS, OURS_GTHREAD, TORCHSCRIPT = "passfail", "passfail, WORKER_CLASS=gthread", "passfail, RUNTIME=torchscript"
ENVIRON = {OURS_GTHREAD: {"WORKER_CLASS": "gthread"}, TORCHSCRIPT: {"RUNTIME": "torchscript"}}

ONE8, ONE64, LOGGED = (f"1 row, req/s, {so}" for so in ("8 connections", "64 connections", "8 connections, logged"))
ONE_V2, ONE_ARRAY = (f"1 row, req/s, 8 connections, {path}" for path in ("V2", "/invocations"))
P50, P99, P99_1 = "p50 us, 1 connection", "p99 us, 8 connections", "p99 us, 1 connection"
OBJECTS, ARRAYS, TENSOR, BINARY = (
    f"1,000 rows, rows/s, {form}" for form in ("objects", "arrays", "V2 JSON", "V2 binary")
)
CSV, BESIDE = "CSV of 100,000 rows, rows/s", "p99 us, 8 connections, beside 100,000-row CSVs"
MEMORY, SETTLED, GROWTH = "memory, MiB", "memory after CSVs, MiB", "as many CSVs again, MiB more"
FURTHER, START = "a further worker, MiB", "start to first answer, s"
INSTALLED, IMAGE, TWO = "serving set installed, MB", "image over its base, MB", "two workers' capacity, of one"
ROWS_EACH = {OBJECTS: 1000, ARRAYS: 1000, TENSOR: 1000, BINARY: 1000, CSV: 100_000}


class Aim(NamedTuple):
    """The aim of one measure: at least `aim`, or with most=True at most `aim`.

    It applies to the measure `of` itself, or to its ratio to another server's measure (`to`), to another measure of the
    same server (`than`), or to that measure of that server. `plus` is subtracted from the measure before the ratio.
    """

    measure: str
    aim: float
    to: str | None = None
    than: str | None = None
    most: bool = False
    of: str = OURS
    plus: float = 0.0

    def found(self, servers, before=""):
        """The value in one round, {server: {measure: value}}; None if it was not measured.

        before : "cpu " computes it from the CPU time, as if each server had its core to itself.
        """
        own = servers.get(self.of, {}).get(before + self.measure)
        if self.to is None and self.than is None:
            return own if not before or not own else 1e6 / own * ROWS_EACH.get(self.measure, 1)
        other = servers.get(self.to or self.of, {}).get(before + (self.than or self.measure))
        if own is None or not other or (before and not own):  # 0: less CPU time than the kernel counts
            return None
        rows = ROWS_EACH.get(self.measure, 1) / ROWS_EACH.get(self.than or self.measure, 1)
        return other / own * rows if before else (own - self.plus) / other

    def met(self, value):
        return value <= self.aim if self.most else value >= self.aim

    def __str__(self):
        over = ": ".join(filter(None, (self.than, self.to)))
        less = f" less {self.plus}" if self.plus else ""
        return f"{self.measure}{less}{'' if self.of == OURS else f': {self.of}'}{over and f' / {over}'}"


AIMS = [
    Aim(ONE8, 2.2, to=BEFORE),
    Aim(ONE8, 2.4, to=BARE),
    Aim(ONE8, 10, to=FASTAPI),
    Aim(ONE8, 6, to=FLASK),
    Aim(ONE8, 0.35, to=LIMIT),
    Aim(ONE_V2, 0.9, than=ONE8),
    Aim(ONE_ARRAY, 0.9, than=ONE8),
    Aim(ONE64, 0.9, than=ONE8),
    Aim(LOGGED, 0.95, than=ONE8),
    Aim(P50, 1, to=BARE, most=True),
    Aim(P99_1, 1.2, to=BARE, most=True),
    Aim(P99, 2, to=BARE, most=True),
    Aim(ARRAYS, 8 / 4.4, than=OBJECTS),
    Aim(OBJECTS, 2.5, to=FLASK),
    Aim(TENSOR, 1.2, to=MLSERVER),
    Aim(BINARY, 8e6),
    Aim(BINARY, 8e6 / 34_000, to=BARE, than=ONE8),  # the same: there, bare gunicorn answered 34,000 requests/s
    Aim(CSV, 1e6),
    Aim(GROWTH, 1, most=True),
    Aim(MEMORY, 75, most=True),
    Aim(FURTHER, 15, most=True),
    Aim(START, 1.5, to=BARE, most=True, plus=0.15),
    Aim(INSTALLED, 150, most=True),
    Aim(IMAGE, 160, most=True),
    Aim(TWO, 1.9),
    Aim(ONE8, 0.7, to=OURS, of=TORCHSCRIPT),
]


def answered(rows):
    """(logit, probability) of the rows, by ONNX Runtime itself."""
    return peers.runtime()(rows)


def asks():
    """The requests {name: Ask}, each with the test of its answer, by ONNX Runtime itself."""
    rows = np.array([list(row.values()) for row in ROWS])
    lines = [[f"{row * prime % 1000 / 7:.6g}" for prime in (37, 41, 43, 47)] for row in range(100_000)]
    # In a process that then ends: the bench must not share pages of ONNX Runtime with the peers, whose memory it
    # measures.
    with ProcessPoolExecutor(1) as aside:
        one, thousand, table = aside.map(answered, [[list(ROW.values())], rows, np.array(lines, dtype=np.float64)])

    def told(found):
        """Whether the answers, dicts, agree with the expected values."""
        logits, probabilities = (values.tolist() for values in found)
        expected = [(z > 0, z, p) for z, p in zip(logits, probabilities, strict=True)]
        return lambda got: [(one["passed"], one["logit"], one["probability"]) for one in got] == expected

    right_one, right_thousand = told(one), told(thousand)

    def tensors(body):
        found = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return all(found[name] == values.tolist() for name, values in zip(NAMES, thousand, strict=True))

    def binary(body):
        return body.endswith(b"".join(values.astype("<f8").tobytes() for values in thousand))

    def cells(body):
        header, *answers = body.decode().splitlines()
        at = [header.split(",").index(name) for name in NAMES]
        got = np.array([[cells[column] for column in at] for cells in (line.split(",") for line in answers)], float)
        return np.array_equal(got.T, table)

    x = {"name": "x", "shape": [1000, 4], "datatype": "FP64"}
    tensor = {"inputs": [x | {"data": rows.ravel().tolist()}], "outputs": [{"name": name} for name in NAMES]}
    head = json.dumps({
        "inputs": [x | {"parameters": {"binary_data_size": rows.nbytes}}],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in NAMES],
    }).encode()  # fmt: skip
    kind = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    csv = "\n".join([",".join(COLUMNS), *map(",".join, lines)]).encode()
    infer, scoring = "/v2/models/bench/infer", "/invocations"
    single = {"inputs": [x | {"shape": [1, 4], "data": list(ROW.values())}]}
    arrays = json.dumps({"instances": rows.tolist()}).encode()

    def one_tensor(body):
        found = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return all(found[name] == values.tolist() for name, values in zip(NAMES, one, strict=True))

    return {
        ONE8: Ask("/predict", json.dumps(ROW).encode(), lambda body: right_one([json.loads(body)])),
        ONE_V2: Ask(infer, json.dumps(single).encode(), one_tensor),
        ONE_ARRAY: Ask(
            scoring,
            json.dumps({"instances": [list(ROW.values())]}).encode(),
            lambda body: right_one(json.loads(body)["predictions"]),
        ),
        ARRAYS: Ask(scoring, arrays, lambda body: right_thousand(json.loads(body)["predictions"])),
        OBJECTS: Ask("/predict", json.dumps(ROWS).encode(), lambda body: right_thousand(json.loads(body))),
        TENSOR: Ask(infer, json.dumps(tensor).encode(), tensors),
        BINARY: Ask(infer, head + rows.astype("<f8").tobytes(), binary, kind),
        CSV: Ask("/predict", csv, cells, {"Content-Type": "text/csv"}),
        BARE: Ask("/predict", json.dumps(ROW).encode(), lambda body: body == peers.ANSWER),
    }


NAMES = ("logit", "probability")
CONSTANT = (BARE_GTHREAD, BARE, LIMIT)  # the servers that answer peers.ANSWER


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
            self.asked_before = asks()[ONE8]
        os.environ["MODEL"] = f"{models}/bench/1"
        self.asks = asks()

    def command(self, name):
        """A server's command, as in its documentation, as a function of the address."""
        return {
            BARE_GTHREAD: lambda at: [*GUNICORN, at, *GTHREAD, "bench.peers:bare_wsgi"],
            BARE: lambda at: [*GUNICORN, at, "-k", "asgi", "--asgi-loop", "uvloop", "bench.peers:bare_asgi"],
            FLASK: lambda at: [*GUNICORN, at, *GTHREAD, "bench.peers:naive_flask()"],
            FASTAPI: lambda at: [
                *[sys.executable, "-m", "uvicorn", "--factory", "--no-access-log", "--log-level", "error"],
                *["--host", "127.0.0.1", "--port", at.rpartition(":")[2], "bench.peers:fast_api"],
            ],
            LIMIT: lambda at: [self.limit, at.rpartition(":")[2]],
            BEFORE: lambda at: [f"{self.before[0]}/.venv/bin/python", "-m", "serve"],
            MLSERVER: lambda at: [
                *["env", f"MLSERVER_HTTP_PORT={at.rpartition(':')[2]}", "MLSERVER_HOST=127.0.0.1"],
                *[f"MLSERVER_GRPC_PORT={free_port()}", f"MLSERVER_METRICS_PORT={free_port()}"],
                # One process, because MLServer's parallel workers would compete for the core.
                *["MLSERVER_PARALLEL_WORKERS=0", "MLSERVER_DEBUG=false", self.mlserver, "start", "bench/mlserver"],
            ],
        }.get(name, lambda at: [self.python, "-m", "serve"])

    def one(self, name):
        """The Ask for one row."""
        return self.asked_before if name == BEFORE else self.asks[BARE if name in CONSTANT else ONE8]

    def server(self, name, log=None, cores=(SERVER,), **environ):
        settings = {"MODELS_DIR": self.models, "MODEL_NAME": "bench", "WEB_CONCURRENCY": 1, "DRAIN_SECONDS": 0}
        first = self.asks[TENSOR] if name == MLSERVER else self.one(name)
        folder, models = self.before if name == BEFORE else (ROOT, self.models)
        settings |= {"MODELS_DIR": models, **ENVIRON.get(name, {}), **environ}
        return Server(name, self.command(name), first, settings, cores, log, folder)

    def round(self):
        """Measure one round: {server: {measure: value}}."""
        found = {LIMIT: self.limit, BEFORE: self.before, MLSERVER: self.mlserver}
        names = [BARE_GTHREAD, BARE, FLASK, FASTAPI, OURS, OURS_GTHREAD, TORCHSCRIPT]
        names += [name for name in found if found[name]]
        return {name: self.measured(name) for name in names}

    def measured(self, name):
        print(f"  {name}", file=sys.stderr)
        with self.server(name) as server:
            found = {START: server.start}
            if name != MLSERVER:
                one = self.one(name)
                at8, at1 = load(server, one, 8, self.seconds), load(server, one, 1, self.seconds)
                note(found, ONE8, at8)
                found |= {P99: at8["p99"], P50: at1["p50"], P99_1: at1["p99"]}
            found[MEMORY] = server.memory()
            if name in (FLASK, FASTAPI, OURS, OURS_GTHREAD):
                note(found, OBJECTS, load(server, self.asks[OBJECTS], 8, self.seconds))
            if name in (MLSERVER, OURS):
                note(found, TENSOR, load(server, self.asks[TENSOR], 8, self.seconds))
            if name == OURS:
                self.only_ours(server, found)
        return found

    def only_ours(self, server, found):
        """Add the measures that no peer has to `found`."""
        table = self.asks[CSV]
        for measure in (ONE_V2, ONE_ARRAY, ARRAYS):
            note(found, measure, load(server, self.asks[measure], 8, self.seconds))
        note(found, ONE64, load(server, self.asks[ONE8], 64, self.seconds))
        note(found, BINARY, load(server, self.asks[BINARY], 8, self.seconds))
        note(found, CSV, load(server, table, 1, self.seconds))
        found[SETTLED] = server.memory()
        load(server, table, 1, self.seconds)
        found[GROWTH] = server.memory() - found[SETTLED]
        stream = threading.Thread(target=load, args=(server, table, 2, 2 * self.seconds))
        stream.start()
        found[BESIDE] = load(server, self.asks[ONE8], 8, self.seconds)["p99"]
        stream.join()
        self.logged(found)
        self.workers(found)

    def logged(self, found):
        """Measure with every request in the log, and check that the log has all of them."""
        with tempfile.NamedTemporaryFile() as log:
            with self.server(OURS, log.name, ACCESS_LOG="on") as server:
                got = load(server, self.asks[ONE8], 8, self.seconds)
                note(found, LOGGED, got)
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
            with self.server(OURS, cores=(SERVER, CLIENT), WEB_CONCURRENCY=workers) as server:
                each.append((load(server, self.asks[OBJECTS], 16, self.seconds)["cpu"], server.memory()))
        found[TWO] = 2 * each[0][0] / each[1][0]
        found[FURTHER] = each[1][1] - each[0][1]


def note(found, measure, got):
    """Note a load's result: rate (in rows, for a batch), CPU time, and the share of the core."""
    found[measure] = got["rate"] * ROWS_EACH.get(measure, 1)
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
    once = {INSTALLED: installed(args.python), IMAGE: image() if args.image else None}
    for one in rounds:
        one[OURS] |= {measure: value for measure, value in once.items() if value is not None}
    report = summary(rounds) | {"one core": SERVER == CLIENT}
    Path(args.json).write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(lines(report)))


def summary(rounds):
    """Summarise rounds of {server: {measure: value}}: medians, spreads, and the aims."""
    servers = {
        name: {measure: spread([one[name][measure] for one in rounds]) for measure in rounds[0][name]}
        for name in rounds[0]
    }
    aims = []
    for aim in AIMS:
        told = {"aim": str(aim), "wanted": aim.aim, "most": aim.most}
        values = [aim.found(one) for one in rounds]
        if None not in values:
            told |= spread(values)
            told["met"] = aim.met(told["median"])
            if None not in (by_cpu := [aim.found(one, "cpu ") for one in rounds]):
                told["cpu"] = statistics.median(by_cpu)
        aims.append(told)
    return {"servers": servers, "aims": aims}


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def lines(report):
    """A summary as Markdown, line by line."""
    servers = report["servers"]
    shared = [ONE8, P50, P99_1, P99, OBJECTS, TENSOR, MEMORY, START]
    yield "\nIn brackets: the server's CPU us a request.\n"
    yield from head("served by", *shared)
    for name, found in servers.items():
        yield row(name, *(cell(found, measure) for measure in shared))
    ours = servers[OURS]
    yield ""
    yield from head("passfail alone", "median", "lowest to highest", "CPU us a request")
    for measure, value in ours.items():
        if measure not in shared and not measure.startswith(("cpu ", "busy ")):
            cpu = ours.get(f"cpu {measure}")
            yield row(measure, number(value["median"]), between(value), number(cpu["median"]) if cpu else "")
    yield ""
    yield from head("wanted", "aim", "found", "lowest to highest", "by CPU", "")
    for told in report["aims"]:
        aim = f"at {'most' if told['most'] else 'least'} {number(told['wanted'])}"
        if "median" not in told:
            yield row(told["aim"], aim, "not measured", "", "", "")
            continue
        by_cpu = number(told["cpu"]) if "cpu" in told else ""
        yield row(told["aim"], aim, number(told["median"]), between(told), by_cpu, "met" if told["met"] else "NOT MET")
    yield ""
    yield from head("one core serves", "a second", "CPU us a request", "of the core busy", "cores for 1,000 requests/s")
    for measure in (ONE8, ONE_V2, ONE_ARRAY, LOGGED, OBJECTS, ARRAYS, TENSOR, BINARY, CSV):
        cpu, busy = ours[f"cpu {measure}"]["median"], ours[f"busy {measure}"]["median"]
        yield row(measure, number(ours[measure]["median"]), number(cpu), f"{busy:.0%}", number(cpu / 1000))
    if (busy := ours[f"busy {ONE8}"]["median"]) < 0.9:
        yield f"\nthe server had {busy:.0%} of its core, others the rest: believe what is told by CPU, not the rates"
    if report["one core"]:
        yield "\none core: the server and wrk shared it, so the numbers are lower than they would be"


def head(*names):
    return row(*names), "|" + "-|" * len(names)


def row(*cells):
    return f"| {' | '.join(cells)} |"


def cell(found, measure):
    if measure not in found:
        return "-"
    cpu = found.get(f"cpu {measure}")
    return number(found[measure]["median"]) + (f" ({number(cpu['median'])})" if cpu else "")


def between(found):
    return f"{number(found['low'])} to {number(found['high'])}"


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
