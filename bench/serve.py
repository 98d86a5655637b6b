"""make bench: the service beside the servers people use, in one run, on the same model, in interleaved rounds.

The server has core 0 and wrk core 1 (on one core they share it, and the run says so). Every number is the median of
its rounds; a ratio is taken within each round first, and its spread is that of the rounds. Before and after each load
the server's answer is compared with what it must be, and wrk counts what is not 200.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import peers

ROOT = Path(__file__).parent.parent
CORES = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = CORES[0], CORES[min(1, len(CORES) - 1)]
GUNICORN = [sys.executable, "-m", "gunicorn", "--chdir", "bench", "--log-level", "error", "--no-control-socket", "-b"]
COLUMNS = ("a", "b", "c", "d")
ROW = {"a": 0.5, "b": -1.25, "c": 3.0, "d": 0.1234567890123}
ONE = json.dumps(ROW).encode()
THOUSAND = json.dumps([ROW | {"a": i / 7} for i in range(1000)]).encode()

# name -> its command for a port; PORT tells ours.
SERVERS = {
    "gunicorn gthread, bare": lambda at: [*GUNICORN, at, "-k", "gthread", "--threads", "4", "peers:bare_wsgi"],
    "gunicorn asgi, bare": lambda at: [*GUNICORN, at, "-k", "asgi", "--asgi-loop", "uvloop", "peers:bare_asgi"],
    "Flask, naive, gthread": lambda at: [*GUNICORN, at, "-k", "gthread", "--threads", "4", "peers:naive_flask()"],
    "FastAPI, async, uvicorn": lambda at: [
        *[sys.executable, "-m", "uvicorn", "--app-dir", "bench", "--factory", "--no-access-log"],
        *["--log-level", "error", "--host", "127.0.0.1", "--port", at.rpartition(":")[2], "peers:fast_api"],
    ],
    "passfail": lambda at: [Server.python, "-m", "serve"],
    "passfail, WORKER_CLASS=gthread": lambda at: [Server.python, "-m", "serve"],
}
OURS = "passfail"


class Server:
    """A server on core SERVER, ready: `address`, and `start`, the seconds from its start to its first right answer."""

    def __init__(self, name, models, workers=1, cores=(SERVER,), **environ):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.name, self.bare, self.address = name, "bare" in name, f"http://127.0.0.1:{port}"
        worker_class = {"WORKER_CLASS": "gthread"} if name.endswith("gthread") else {}
        settings = {"MODELS_DIR": models, "MODEL_NAME": "bench", "MODEL": f"{models}/bench/1", "PORT": port}
        settings |= {"WEB_CONCURRENCY": workers} | worker_class | environ
        command = SERVERS[name](f"127.0.0.1:{port}")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *command],
            cwd=ROOT,
            env=os.environ | {key: str(value) for key, value in settings.items()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not self.right():
            if self.process.poll() is not None or time.perf_counter() - began > 60:
                raise SystemExit(f"{name} doesn't start: {' '.join(command)}")
            time.sleep(0.005)
        self.start = time.perf_counter() - began

    def ask(self, body, content_type="application/json"):
        request = urllib.request.Request(f"{self.address}/predict", body, {"Content-Type": content_type})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def right(self):
        """Whether it answers, and what it must."""
        try:
            answer = json.loads(self.ask(ONE))
        except OSError:
            return False
        if self.bare:
            return answer == {"passed": True}
        found = (answer["passed"], answer["logit"], answer["probability"])
        if found != Server.expected:
            raise SystemExit(f"a wrong answer: {found}, not {Server.expected}")
        return True

    def memory(self):
        """MiB of proportional set size, of the whole process group."""
        sizes = [(folder / "smaps_rollup").read_text().split("Pss:")[1].split()[0] for folder in self._group()]
        return sum(map(int, sizes)) / 1024

    def cpu(self):
        """Seconds of processor time so far, of the whole process group."""
        ticks = 0
        for folder in self._group():
            ticks += sum(map(int, (folder / "stat").read_text().rpartition(") ")[2].split()[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _group(self):
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(int(folder.name)) == self.process.pid:
                    yield folder

    def stop(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


LUA = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", file:read("*a"), "{type}"
done = function(summary, latency)
  local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('{{"requests": %d, "seconds": %f, "wrong": %d, "p50": %f, "p99": %f}}',
    summary.requests, summary.duration / 1e6, wrong, latency:percentile(50), latency:percentile(99)))
end
"""


def load(server, body, connections, seconds, content_type="application/json", core=CLIENT):
    """{requests a second: rate, p50 and p99 in microseconds}, from wrk on keep-alive connections."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "body").write_bytes(body)
        Path(folder, "load.lua").write_text(LUA.format(body=f"{folder}/body", type=content_type))
        command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        out = subprocess.check_output([*command, "-s", f"{folder}/load.lua", f"{server.address}/predict"], text=True)
    found = json.loads(out[out.rindex("{") :])
    if found["wrong"] or not server.right():
        raise SystemExit(f"{server.name}: a wrong answer, or {found} not 200")
    return {"rate": found["requests"] / found["seconds"], "p50": found["p50"], "p99": found["p99"]}


def one_round(models, name, seconds):
    """{measure: value} of one server in one round."""
    server = Server(name, models)
    try:
        load(server, ONE, 8, 1)  # warm
        at8, at1 = load(server, ONE, 8, seconds), load(server, ONE, 1, seconds)
        found = {
            "1 row, req/s, 8 connections": at8["rate"],
            "p99 us, 8 connections": at8["p99"],
            "p50 us, 1 connection": at1["p50"],
            "p99 us, 1 connection": at1["p99"],
            "memory, MiB": server.memory(),
            "start to first answer, s": server.start,
        }
        if not server.bare:
            found["1,000 rows, rows/s"] = 1000 * load(server, THOUSAND, 8, seconds)["rate"]
        if name == OURS:
            found |= only_ours(models, server, found["memory, MiB"], seconds)
        return found
    finally:
        server.stop()


def only_ours(models, server, fresh, seconds):
    """The measures that no peer has. fresh: MiB of one worker before any batch."""
    rows = [",".join(f"{row * prime % 1000 / 7:.6g}" for prime in (37, 41, 43, 47)) for row in range(100_000)]
    table = "\n".join([",".join(COLUMNS), *rows]).encode()
    large = [server.ask(table, "text/csv") for _ in range(2)]
    if large[0].count(b"\n") != 100_001 or large[0] != large[1]:
        raise SystemExit("the CSV's answer is not whole")
    settled = server.memory()
    found = {
        "1 row, req/s, 64 connections": load(server, ONE, 64, seconds)["rate"],
        "CSV of 100,000 rows, rows/s": 100_000 * load(server, table, 1, max(2, seconds), "text/csv")["rate"],
    }
    found["memory after batches, MiB"] = server.memory()
    found["growth from batch to batch, MiB"] = server.memory() - settled
    stream = threading.Thread(target=load, args=(server, table, 2, 2 * seconds, "text/csv"))
    stream.start()
    found["p99 us beside 100,000-row batches"] = load(server, ONE, 8, seconds)["p99"]
    stream.join()
    both = (SERVER, CLIENT)
    per_request = []
    for workers in (1, 2):
        several = Server(OURS, models, workers=workers, cores=both)
        try:
            load(several, ONE, 8, 1)
            if workers == 2:
                found["a further worker, MiB"] = several.memory() - fresh
            before = several.cpu()
            rate = load(several, ONE, 16, seconds)["rate"]
            per_request.append((several.cpu() - before) / (rate * seconds))
        finally:
            several.stop()
    found["two workers' capacity, of one"] = 2 * per_request[0] / per_request[1]
    return found


def torchscript(models, seconds):
    server = Server(OURS, models, RUNTIME="torchscript")
    try:
        load(server, ONE, 8, 1)
        return {
            "1 row, req/s, 8 connections": load(server, ONE, 8, seconds)["rate"],
            "memory, MiB": server.memory(),
            "start to first answer, s": server.start,
        }
    finally:
        server.stop()


def middle(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


# ratio -> (measure, ours, theirs, the aim, whether more is better)
RATIOS = [
    ("1 row, req/s, 8 connections", OURS, "FastAPI, async, uvicorn", 2.5),
    ("1 row, req/s, 8 connections", OURS, "Flask, naive, gthread", 6),
    ("1 row, req/s, 8 connections", OURS, "gunicorn asgi, bare", 0.7),
    ("p50 us, 1 connection", OURS, "gunicorn asgi, bare", 1.35),
    ("p99 us, 8 connections", OURS, "gunicorn asgi, bare", 2),
    ("1,000 rows, rows/s", OURS, "Flask, naive, gthread", 2.5),
    ("1 row, req/s, 8 connections", "passfail, torchscript", OURS, 0.7),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--python", required=True, help="the interpreter that the service is installed for")
    parser.add_argument("--json", default="bench/serve.json")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("bench needs wrk: apt-get install wrk (Debian), brew install wrk, or github.com/wg/wrk")
    with tempfile.TemporaryDirectory() as folder:
        make_model(arguments.python, folder)
        run(arguments, f"{folder}/models")


def make_model(python, folder):
    """Train and export the model that all servers answer from: four columns, 400 rows, any sort of truth."""
    draw = random.Random(6)
    rows = [[draw.gauss(0, 1) for _ in COLUMNS] for _ in range(400)]
    lines = [",".join(map(repr, [*row, int(sum(row) + draw.gauss(0, 1) > 0)])) for row in rows]
    Path(folder, "bench.csv").write_text("\n".join([",".join([*COLUMNS, "passed"]), *lines]))
    train = [python, "-m", "train"]
    checkpoints = ["--name", "bench", "--checkpoints", f"{folder}/checkpoints"]
    for command in (["fit", "--data", f"{folder}/bench.csv"], ["export", "--models", f"{folder}/models"]):
        subprocess.run([*train, *command, *checkpoints], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def run(arguments, models):
    Server.python = arguments.python
    os.environ["MODEL"] = f"{models}/bench/1"
    logit, probability = peers.runtime()([[ROW[name] for name in COLUMNS]])
    Server.expected = (bool(logit[0] > 0), float(logit[0]), float(probability[0]))

    rounds = []
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        rounds.append({name: one_round(models, name, arguments.seconds) for name in SERVERS})
        rounds[-1]["passfail, torchscript"] = torchscript(models, arguments.seconds)
    servers = {
        name: {measure: middle([one[name][measure] for one in rounds]) for measure in rounds[0][name]}
        for name in rounds[0]
    }
    ratios = [
        {"measure": measure, "of": ours, "to": theirs, "aim": aim}
        | middle([one[ours][measure] / one[theirs][measure] for one in rounds])
        for measure, ours, theirs, aim in RATIOS
    ]
    Path(arguments.json).write_text(json.dumps({"servers": servers, "ratios": ratios}, indent=1) + "\n")
    show(servers, ratios)


def show(servers, ratios):
    shared = list(servers["Flask, naive, gthread"])
    print("\n| served by | " + " | ".join(shared) + " |\n|" + "-|" * (len(shared) + 1))
    for name, found in servers.items():
        print(
            f"| {name} | " + " | ".join(number(found[key]["median"]) if key in found else "-" for key in shared) + " |"
        )
    print("\n| passfail alone | median | lowest to highest |\n|-|-|-|")
    for measure, found in servers[OURS].items():
        if measure not in shared:
            print(f"| {measure} | {number(found['median'])} | {number(found['low'])} to {number(found['high'])} |")
    print("\n| ratio | median | lowest to highest | aim |\n|-|-|-|-|")
    for one in ratios:
        sign = "at most" if " us" in one["measure"] else "at least"
        spread = f"{one['low']:.2f} to {one['high']:.2f}"
        print(f"| {one['measure']}: {one['of']} / {one['to']} | {one['median']:.2f} | {spread} | {sign} {one['aim']} |")
    if SERVER == CLIENT:
        print("\none core: the server and wrk shared it, so the numbers are lower than they would be")


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
