"""The service as processes of this machine: two services on one repository behind a proxy.

`asgi` and `gthread` are services of two workers each, named by their worker class. Some clients send requests to each
of them, some to HAProxy (deploy/proxy/haproxy.cfg), which reaches the services through relays (bench/relay.py).
bench/faults/ has the faults.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench import disks
from bench.faults import DISKS, FAULTS, NEEDS, PROXY, STORAGE
from bench.judge import VERTEX, Judge
from bench.load import Load
from bench.relay import Relay
from bench.services import PATH, ROOT, Proxy, Service, clients_of
from bench.versions import Versions
from tests.support.wait import until

HUNG_SECONDS = 10  # gunicorn's timeout, 30 by default
# `passfail pin`, with more patience: a busy machine takes longer than its five seconds.
PIN = [sys.executable, "-c", "import sys; from passfail import __main__ as cli; cli.FOLLOW_SECONDS = 60; "
       "sys.exit(cli.main())", "pin"]  # fmt: skip
CLIENTS = {"asgi": 2, "gthread": 2, "proxy": 2}


@contextlib.contextmanager
def running(
    folder: Path, templates: Sequence[Path], seed: int, only: Sequence[str] = tuple(CLIENTS), **settings: str
) -> Iterator[tuple[Load, Mapping[str, Callable[[], str]], Mapping[str, str]]]:
    """Start services, proxy and clients; yield the load, {fault: function}, {fault: obstacle}.

    only : the groups of clients, "asgi", "gthread" and "proxy", and their servers.
    """
    with contextlib.ExitStack() as stack:
        system = Processes(stack, folder, templates, random.Random(seed), only, settings)
        why = system.missing()
        absent = {name: why[need] for name, need in NEEDS.items() if need in why}
        yield system.load, {name: partial(one, system) for name, one in FAULTS.items() if name not in absent}, absent


class Processes:
    """The services, their proxy and their clients.

    Attributes
    ----------
    folder : holds the file systems `models`, `logs` and `tmp`, and the file of the services' clock.
    services, relays : {worker class: ...}
    proxy : None if HAProxy is not installed, or if no client uses it.
    hung : a file that a worker makes before it hangs in C.
    checkpoints : the trainer's checkpoints of the templates.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        folder: Path,
        templates: Sequence[Path],
        draw: random.Random,
        only: Sequence[str],
        settings: Mapping[str, str],
    ) -> None:
        self.folder, self.draw, self.checkpoints = folder, draw, templates[0].parent.parent.parent / "checkpoints"
        self._mounted = [stack.enter_context(disks.small(folder / name, size)) for name, size in
                         (("models", "48m"), ("logs", "1m"), ("tmp", "1m"))]  # fmt: skip
        self.load = Load(Judge(()), 1000 * draw.randrange(1000))
        self.versions = Versions(folder / "models", templates, self.load.judge)
        for _ in range(2):
            self.versions.publish()
        self.load.judge.serving = frozenset({self.versions.newest})
        self.clock = folder / "clock"
        self.clock.write_bytes(bytes(8))
        self.hung = folder / "hung"
        # A service on a busy machine would refuse compressed bodies: MAX_WAIT_MS.
        about = {"MODELS_DIR": str(folder / "models"), "MODEL_NAME": self.versions.name, "HOST": "127.0.0.1",
                 "WEB_CONCURRENCY": "2", "ACCESS_LOG": "on", "AIP_PREDICT_ROUTE": VERTEX,
                 "TMPDIR": str(folder / "tmp"), "CHAOS_CLOCK": str(self.clock), "CHAOS_HUNG": str(self.hung),
                 "GUNICORN_CMD_ARGS": f"--timeout {HUNG_SECONDS}",
                 "MAX_WAIT_MS": "60000", **settings}  # fmt: skip
        direct = [name for name in ("asgi", "gthread") if name in only or "proxy" in only]
        self.services = {
            name: Service(name, folder / "logs" / "log" if name == "asgi" else None, **about) for name in direct
        }
        for service in self.services.values():
            service.start()
            stack.callback(service.kill)
        self.relays: dict[str, Relay] = {}
        self.proxy: Proxy | None = None
        if "proxy" in only and shutil.which("haproxy", path=PATH):
            self.relays = {name: Relay(service.port) for name, service in self.services.items()}
            self.proxy = Proxy(folder, [relay.port for relay in self.relays.values()])
            self.proxy.start()
            stack.callback(lambda: self.proxy and self.proxy.process.kill())
        ports = {name: service.port for name, service in self.services.items() if name in only}
        ports |= {"proxy": self.proxy.port} if self.proxy else {}
        for name, port in ports.items():
            self.load.start(name, lambda port=port: port, CLIENTS[name])
        stack.callback(self.load.stop)

    def missing(self) -> dict[str, str]:
        """The missing needs of faults, {need: the reason}."""
        found = {
            PROXY: "" if self.proxy else "HAProxy is not installed",
            DISKS: "" if all(self._mounted) else "a file system can't be mounted here",
            STORAGE: disks.no_object_storage(),
        }
        return {need: why for need, why in found.items() if why}

    def kill_worker(self, service: Service) -> int:
        """Kill a worker, and wait for its successor; return its number of requests in flight."""
        victim = self.draw.choice(service.workers())
        os.kill(victim, signal.SIGSTOP)  # so that it opens no further connections before its death
        hit = self.load.killed(clients_of(victim, service.port))
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in service.workers())
        service.wait()
        return hit

    def follow(self, number: int, seconds: float = 60) -> None:
        """Wait until all workers of all services serve a version; from then on no other may answer."""
        for service in self.services.values():
            until(lambda service=service: _serves(service.ready(), number), seconds)
        self.load.judge.serving = frozenset({number})

    def pin(self, version: object) -> None:
        """Pin with the command, which waits for each service."""
        for service in self.services.values():
            command = [*PIN, str(version), "--model", self.versions.name]
            where = ["--models", str(self.folder / "models"), "--service", f"http://127.0.0.1:{service.port}"]
            done = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)


def _serves(ready: Mapping[str, object], number: int) -> bool:
    return ready.get("version") == number and "workers" not in ready
