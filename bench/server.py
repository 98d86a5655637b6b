"""A server on one core and wrk on another, for make bench and make profile."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from bench.model import ROOT
from tests.support.processes import cpu_seconds, memory
from tests.support.service import free_port

CORES = sorted(os.sched_getaffinity(0))
# The server has core 0 and wrk core 1; on one core they share it.
SERVER, CLIENT = CORES[0], CORES[min(1, len(CORES) - 1)]


class Ask(NamedTuple):
    """A repeated request; `right` tests the body of an answer."""

    path: str
    body: bytes
    right: callable
    headers: dict = {"Content-Type": "application/json"}


class Server:
    """A running server.

    Attributes
    ----------
    address : host:port.
    start : the seconds from its start to its first right answer.

    Parameters
    ----------
    command : a function of the address.
    first : the Ask that it must answer.
    log : a file for its stdout.
    folder : where it runs.
    """

    def __init__(self, name, command, first, environ, cores=(SERVER,), log=None, folder=ROOT):
        port = free_port()
        self.name, self.at, self.address = name, ("127.0.0.1", port), f"http://127.0.0.1:{port}"
        said = command(f"127.0.0.1:{port}")
        # Keep compiled modules, as an installed service does: otherwise each start would compile them.
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        settings = kept | {key: str(value) for key, value in {"PORT": port, **environ}.items()}
        began = time.perf_counter()
        with open(log or os.devnull, "wb") as out:
            self.process = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, cores)), *said],
                cwd=folder,
                env=settings,
                stdout=out,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        while not self._answers(first):
            if self.process.poll() is not None or time.perf_counter() - began > 60:
                self.stop()
                raise SystemExit(f"{name} doesn't start: {' '.join(said)}")
            time.sleep(0.005)
        self.start = time.perf_counter() - began
        try:
            for _ in range(200):  # warm
                self.check(first)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def ask(self, ask):
        request = urllib.request.Request(self.address + ask.path, ask.body, ask.headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def check(self, ask):
        """End the bench if the answer is wrong."""
        if not ask.right(answer := self.ask(ask)):
            raise SystemExit(f"{self.name}: a wrong answer to {ask.path}: {answer[:200]}")

    def _answers(self, ask):
        try:
            self.check(ask)
        except OSError:
            return False
        except SystemExit:
            self.stop()
            raise
        return True

    def memory(self):
        """The proportional set size of all its processes, in MiB."""
        return memory(*self._group())

    def cpu(self):
        """The CPU time of all its processes so far, in seconds."""
        return cpu_seconds(*self._group())

    def workers(self):
        """The process ids of gunicorn's workers, which are all but the first process."""
        return sorted(set(self._group()) - {self.process.pid})

    def _group(self):
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getpgid(pid := int(folder.name)) == self.process.pid:
                    yield pid

    def stop(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


LUA = """
local file = io.open("{body}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
{headers}
done = function(summary, latency)
  local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('{{"requests": %d, "seconds": %f, "wrong": %d, "p50": %f, "p99": %f}}',
    summary.requests, summary.duration / 1e6, wrong, latency:percentile(50), latency:percentile(99)))
end
"""


def load(server, ask, connections, seconds):
    """Run wrk on keep-alive connections.

    An answer is compared with the right one before and after; wrk counts statuses other than 200.

    Returns
    -------
    {requests, rate: requests a second, p50 and p99: us, cpu: us a request, busy: cores}.
    """
    server.check(ask)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "body").write_bytes(ask.body)
        headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in ask.headers.items())
        Path(folder, "load.lua").write_text(LUA.format(body=f"{folder}/body", headers=headers))
        command = ["taskset", "-c", str(CLIENT), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s"]
        before = server.cpu()
        out = subprocess.check_output([*command, "-s", f"{folder}/load.lua", server.address + ask.path], text=True)
        cpu = server.cpu() - before
    found = json.loads(out[out.rindex("{") :])
    if found["wrong"]:
        raise SystemExit(f"{server.name}: {found['wrong']} requests of {found} failed")
    server.check(ask)
    if not found["requests"]:
        return load(server, ask, connections, 4 * seconds)
    rate = found["requests"] / found["seconds"]
    return found | {"rate": rate, "cpu": 1e6 * cpu / found["requests"], "busy": cpu / found["seconds"]}


def need_wrk():
    if not shutil.which("wrk"):
        raise SystemExit("bench needs wrk: apt-get install wrk (Debian), brew install wrk, or github.com/wg/wrk")
    os.sched_setaffinity(0, {CLIENT})  # the client stays off the server's core
