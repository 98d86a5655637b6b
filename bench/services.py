"""The programs of make chaos on this machine: a service, as a user starts it, and HAProxy."""

import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.support import ROOT
from tests.support.processes import children, sockets
from tests.support.service import free_port
from tests.support.wait import until

OPEN_FILES = 256  # MAX_CONNECTIONS is then 128 for each worker
PATH = f"{os.environ['PATH']}:/usr/sbin"  # Debian's HAProxy


class Service:
    """A service on this machine, which can be started, signalled and restarted on one port.

    Attributes
    ----------
    log : the file of its output; None: a pipe, whose reader can be stuck.
    """

    def __init__(self, worker_class: str, log: Path | None = None, **settings: str) -> None:
        self.name, self.port, self._log = worker_class, free_port(), log
        self._settings = {"WORKER_CLASS": worker_class, "PORT": str(self.port), **settings}
        self.stuck = threading.Event()
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        environ = {name: value for name, value in os.environ.items() if name != "CI"} | self._settings
        with contextlib.ExitStack() as stack:
            out = subprocess.PIPE if self._log is None else stack.enter_context(self._log.open("ab"))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.inside"], cwd=ROOT, env=environ, stdout=out, stderr=subprocess.STDOUT,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES)),
            )  # fmt: skip
        if self._log is None:
            threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        self.wait()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        with process.stdout as output:
            while output.read1(65536):
                while self.stuck.is_set():
                    time.sleep(0.02)

    def log_is_full(self) -> bool:
        """Whether the pipe of its log takes no more: each of its 16 pages may hold a few lines only."""
        end = os.open(f"/proc/{self.process.pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
        try:
            return not select.select([], [end], [], 0)[1]
        finally:
            os.close(end)

    def wait(self) -> None:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} stopped with status {self.process.returncode}")
            return self.ready().get("ready") is True and len(self.workers()) == 2

        until(ready)

    def ready(self) -> dict[str, object]:
        """The body of GET /health/ready."""
        found: dict[str, object] = json.loads(self.get("/health/ready"))
        return found

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        found = re.search(rf"^passfail_{name} (.*)$", self.get("/metrics"), re.M)
        return float(found[1]) if found else 0.0

    def workers(self) -> list[int]:
        return children(self.process.pid)

    def stop(self) -> int:
        """End it with SIGTERM; return its exit status."""
        self.process.terminate()
        return self.process.wait(40)

    def kill(self) -> None:
        """Kill its whole process group."""
        for pid in [self.process.pid, *(self.workers() if self.process.poll() is None else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def clients_of(pid: int, port: int) -> set[int]:
    """The local ports of the clients that are connected to a process at its port."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
    return {one.peer for one in sockets() if one.inode in inodes and one.port == port}


class Proxy:
    """HAProxy with the configuration in deploy/, but with other servers."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.port = free_port()
        text = (ROOT / "deploy" / "proxy" / "haproxy.cfg").read_text()
        text = re.sub(r"^resolvers .*?\n\n| resolvers docker init-addr none", "", text, flags=re.M | re.S)
        text = text.replace("bind :8080", f"bind 127.0.0.1:{self.port}")
        servers = [f"    server s{port} 127.0.0.1:{port}" for port in ports]
        self._file = folder / "haproxy.cfg"
        self._file.write_text(re.sub(r"^ *server-template .*$", "\n".join(servers), text, flags=re.M))
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = ["haproxy", "-db", "-f", str(self._file)]
        environ = os.environ | {"PATH": PATH}
        self.process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        address = f"http://127.0.0.1:{self.port}/health/ready"
        until(lambda: urllib.request.urlopen(address, timeout=5).close() is None)
