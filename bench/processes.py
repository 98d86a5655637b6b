"""The service as processes of this machine, and its faults: two services on one repository, and a proxy before them.

`asgi` and `gthread` are services of two workers each, by their worker class. Some clients ask each of them, some ask
HAProxy, whose configuration is deploy/proxy/haproxy.cfg, and which reaches the services over relays (bench/relay.py).
"""

import contextlib
import fcntl
import http.client
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bench.inside import set_clock
from bench.judge import VERTEX, Judge
from bench.load import Load
from bench.relay import Relay
from passfail.manifest import Manifest
from passfail.repository import read_manifest
from tests.support.service import free_port
from tests.support.wait import until

ROOT = Path(__file__).parent.parent
NAME = "admissions"
OPEN_FILES = 256  # MAX_CONNECTIONS is then 128 a worker
HUNG_SECONDS = 10  # gunicorn's timeout, which is 30 by default
CLIENTS = {"asgi": 2, "gthread": 2, "proxy": 2}
PIPE_BYTES = 65536  # of Linux
KEPT = 3  # versions left on the disk
MASTER_ENDS = 4  # seconds for workers to end whose master was killed
RAW = [
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    bytes(range(256)),
]
SLOW = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500000\r\n\r\n{"
PATH = f"{os.environ['PATH']}:/usr/sbin"  # Debian's HAProxy
LIMIT = 16 * 1024 * 1024  # MAX_BODY_BYTES


def train(folder: Path) -> list[Path]:
    """Fit and export versions of one model whose parameters differ; their folders."""
    for penalty in ("0", "1", "10", "100"):
        about = ["--checkpoints", f"{folder}/checkpoints"]
        for command in (
            ["fit", "--data", "data/admissions.csv", "--categorical", "rank", "--l2", penalty, *about],
            ["export", "--data", "data/admissions.csv", "--models", f"{folder}/trained", *about],
        ):
            subprocess.run([sys.executable, "-m", "train", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return sorted((folder / "trained" / NAME).glob("[0-9]*"))


class Service:
    """A service on this machine: started, signalled and started again on the same port.

    Attributes
    ----------
    log : the file that its output goes to; None: a pipe, whose reader can be stuck.
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

    def unread(self) -> int:
        """The bytes of its log that its pipe holds."""
        assert self.process.stdout is not None
        size = fcntl.ioctl(self.process.stdout.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(size, sys.byteorder)

    def wait(self) -> None:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} stopped with status {self.process.returncode}")
            return self.ready().get("ready") is True and len(self.workers()) == 2

        until(ready)

    def ready(self) -> dict[str, object]:
        """What GET /health/ready answers."""
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
        """End it by SIGTERM; its exit status."""
        self.process.terminate()
        return self.process.wait(40)

    def kill(self) -> None:
        """End all of it."""
        for pid in [self.process.pid, *(self.workers() if self.process.poll() is None else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def clients_of(pid: int, port: int) -> set[int]:
    """The ports from which clients are connected to a process at its port."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            sockets.update(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2][9:], 16) for row in rows if row[9] in sockets and row[1].endswith(f":{port:04X}")}


class Proxy:
    """HAProxy with the configuration that deploy/ has, its servers replaced."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.port = free_port()
        text = (ROOT / "deploy" / "proxy" / "haproxy.cfg").read_text()
        text = re.sub(r"^resolvers .*?\n\n", "", text, flags=re.M | re.S).replace(
            "bind :8080", f"bind 127.0.0.1:{self.port}"
        )
        text = text.replace(" resolvers docker init-addr none", "")
        servers = [f"    server s{port} 127.0.0.1:{port}" for port in ports]
        self._file = folder / "haproxy.cfg"
        self._file.write_text(re.sub(r"^ *server-template .*$", "\n".join(servers), text, flags=re.M))
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        command = ["haproxy", "-db", "-f", str(self._file)]
        path = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
        self.process = subprocess.Popen(
            command, env=os.environ | path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        address = f"http://127.0.0.1:{self.port}/health/ready"
        until(lambda: urllib.request.urlopen(address, timeout=5).close() is None)


@contextlib.contextmanager
def running(
    folder: Path, templates: Sequence[Path], seed: int, only: Sequence[str] = tuple(CLIENTS), **settings: str
) -> Iterator[tuple[Load, Mapping[str, Callable[[], str]], Mapping[str, str]]]:
    """Start the services, the proxy and the clients: the load, {fault: function}, {fault: why it can't be tried here}.

    only : the groups of clients, "asgi", "gthread" and "proxy", and what they ask.
    """
    with contextlib.ExitStack() as stack:
        system = Processes(stack, folder, templates, random.Random(seed), only, settings)
        yield system.load, *system.faults()


class Processes:
    """The services, their proxy and their clients; each public method is a fault, and says what was seen of it."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        folder: Path,
        templates: Sequence[Path],
        draw: random.Random,
        only: Sequence[str],
        settings: Mapping[str, str],
    ) -> None:
        self._folder, self._templates, self._draw, self._numbers = folder, templates, draw, 0
        self._manifests = [read_manifest(template) for template in templates]
        self._name = self._manifests[0].name
        self._mounted = [stack.enter_context(_small_disk(folder / name, size)) for name, size in
                         (("models", "48m"), ("logs", "1m"), ("tmp", "1m"))]  # fmt: skip
        self._home = folder / "models" / self._name
        self._home.mkdir()
        self._load = self.load = Load(Judge(()), 1000 * draw.randrange(1000))
        for _ in range(2):
            self._publish()
        self._load.judge.serving = frozenset({self._numbers})
        self._clock = folder / "clock"
        self._clock.write_bytes(bytes(8))
        about = {"MODELS_DIR": str(folder / "models"), "MODEL_NAME": self._name, "HOST": "127.0.0.1",
                 "WEB_CONCURRENCY": "2", "ACCESS_LOG": "on", "AIP_PREDICT_ROUTE": VERTEX,
                 "TMPDIR": str(folder / "tmp"), "CHAOS_CLOCK": str(self._clock),
                 "GUNICORN_CMD_ARGS": f"--timeout {HUNG_SECONDS}", **settings}  # fmt: skip
        direct = [name for name in ("asgi", "gthread") if name in only or "proxy" in only]
        self._services = {
            name: Service(name, folder / "logs" / "log" if name == "asgi" else None, **about) for name in direct
        }
        for service in self._services.values():
            service.start()
            stack.callback(service.kill)
        self._relays: dict[str, Relay] = {}
        self._proxy: Proxy | None = None
        if "proxy" in only and shutil.which("haproxy", path=PATH):
            self._relays = {name: Relay(service.port) for name, service in self._services.items()}
            self._proxy = Proxy(folder, [relay.port for relay in self._relays.values()])
            self._proxy.start()
            stack.callback(lambda: self._proxy and self._proxy.process.kill())
        ports = {name: service.port for name, service in self._services.items() if name in only}
        ports |= {"proxy": self._proxy.port} if self._proxy else {}
        for name, port in ports.items():
            self._load.start(name, lambda port=port: port, CLIENTS[name])
        stack.callback(self._load.stop)

    def faults(self) -> tuple[dict[str, Callable[[], str]], dict[str, str]]:
        """({fault: function}, {fault: why it can't be tried here})."""
        why = {}
        if self._proxy is None:
            why = dict.fromkeys(("kill the proxy", "cut the network", "slow the network", "stall the network"),
                                "HAProxy is not installed")  # fmt: skip
        if not all(self._mounted):
            why |= dict.fromkeys(("disk full for models", "disk full for logs", "disk full for TMPDIR",
                                  "models become read-only"), "a file system can't be mounted here")  # fmt: skip
        names = [name for name in vars(Processes) if not name.startswith("_") and name != "faults"]
        found = {("disk full for TMPDIR" if name == "disk_full_for_tmpdir" else
                  "models become read-only" if name == "models_become_read_only" else name.replace("_", " ")):
                 getattr(self, name) for name in names}  # fmt: skip
        return {name: one for name, one in found.items() if name not in why}, why

    def nothing(self) -> str:
        time.sleep(2)
        return "2 s of load"

    # Processes that end or stand still.

    def kill_workers(self) -> str:
        hit = [self._kill_worker(service) for service in self._services.values()]
        return f"{len(hit)} workers killed, with {sum(hit)} requests in flight"

    def _kill_worker(self, service: Service) -> int:
        """Kill a worker, and wait for its successor; how many of the clients' requests it had."""
        victim = self._draw.choice(service.workers())
        os.kill(victim, signal.SIGSTOP)  # so that its connections are exactly those it dies with
        hit = self._load.killed(clients_of(victim, service.port))
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in service.workers())
        service.wait()
        return hit

    def hang_a_worker(self) -> str:
        """It stands still until gunicorn kills it."""
        service = self._draw.choice(list(self._services.values()))
        victim = self._draw.choice(service.workers())
        os.kill(victim, signal.SIGSTOP)
        began, hit = time.monotonic(), self._load.killed(clients_of(victim, service.port))
        until(lambda: victim not in service.workers())
        service.wait()
        return f"killed by gunicorn after {time.monotonic() - began:.0f} s, with {hit} requests in flight"

    def pause_workers(self) -> str:
        victims = [service.workers()[0] for service in self._services.values()]
        for victim in victims:
            os.kill(victim, signal.SIGSTOP)
        time.sleep(2)
        for victim in victims:
            os.kill(victim, signal.SIGCONT)
        if not all(map(alive, victims)):
            raise RuntimeError("a worker that was only paused is gone")
        return f"{len(victims)} workers stopped for 2 s"

    def kill_the_master(self) -> str:
        """Its workers answer what they have, and stop within two seconds."""
        service = self._services["asgi"]
        orphans = service.workers()
        service.process.kill()
        service.process.wait()
        time.sleep(0.3)
        with self._load.paused("asgi"):
            began = time.monotonic()
            until(lambda: not any(map(alive, orphans)), MASTER_ENDS)
            took = time.monotonic() - began + 0.3
            service.start()
        return f"{len(orphans)} workers ended {took:.1f} s after their master"

    def stop_and_start(self) -> str:
        """Clients go on asking for a second of DRAIN_SECONDS: new connections, too, are answered."""
        for service in self._services.values():
            service.process.terminate()
            time.sleep(1)
            with self._load.paused(service.name):
                if status := service.process.wait(40):
                    raise RuntimeError(f"{service.name} ended with status {status}")
                service.start()
        return f"{len(self._services)} services drained, status 0"

    def reload(self) -> str:
        """SIGHUP: gunicorn replaces its workers, one service after the other; no client waits."""
        for service in self._services.values():
            old = set(service.workers())
            service.process.send_signal(signal.SIGHUP)
            until(
                lambda service=service, old=old: (
                    len(set(service.workers()) - old) == 2 and not old & set(service.workers())
                )
            )
        return f"{2 * len(self._services)} workers replaced"

    # Clients.

    def slow_senders(self) -> str:
        service = self._services["asgi"]
        held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(60)]
        for connection in held:
            connection.sendall(SLOW)
        time.sleep(2)
        for connection in held:
            connection.close()
        return f"{len(held)} bodies that don't come"

    def more_connections_than_open_files(self) -> str:
        service, held = self._services["asgi"], []
        with self._load.idle_connections_may_end("asgi"):
            for _ in range(2 * OPEN_FILES):
                held.append(socket.create_connection(("127.0.0.1", service.port)))
            time.sleep(1)
            for connection in held:
                connection.close()
        return f"{len(held)} idle connections to 2 workers with {OPEN_FILES} open files each"

    def garbage(self) -> str:
        clients = []
        for name in self._services:
            clients += self._load.start(name, lambda name=name: self._services[name].port, 1, bad=True)
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + 2:
            for service in self._services.values():
                with (
                    contextlib.suppress(OSError),  # closed before all of it was sent
                    socket.create_connection(("127.0.0.1", service.port)) as connection,
                ):
                    connection.sendall(self._draw.choice(RAW))
                    sent += 1
            time.sleep(0.01)
        self._load.stop(clients)
        return f"{sent} broken requests, and bodies that must be refused"

    def memory_pressure(self) -> str:
        """The largest bodies that are allowed, one to each service."""
        row = b"[0.0,0,0]"
        body = b'{"instances": [%b]}' % b",".join([row] * (LIMIT // (len(row) + 1) - 3))
        found: list[int] = []

        def ask(port: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            found.append(connection.getresponse().status)
            connection.close()

        threads = [threading.Thread(target=ask, args=(one.port,)) for one in self._services.values()]
        before = {pid for service in self._services.values() for pid in service.workers()}
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if before != {pid for service in self._services.values() for pid in service.workers()}:
            raise RuntimeError("a worker has been replaced")
        if found != [413] * len(threads) and found != [422] * len(threads):
            raise RuntimeError(f"statuses {found}")
        return f"{len(threads)} bodies of {len(body) / 2**20:.0f} MiB, each refused"

    # Versions.

    def publish_30_versions_a_minute(self) -> str:
        for _ in range(4):
            began = time.monotonic()
            self._follow(self._publish())
            time.sleep(max(0.0, 2 - (time.monotonic() - began)))
        return f"4 versions in 8 s, each taken up by all workers; now version {self._numbers}"

    def publish_a_bad_version(self) -> str:
        folder = self._write(self._numbers + 1, self._manifests[0], self._templates[0])
        os.truncate(folder / "model.onnx", 100)
        number = self._numbers + 1
        folder.rename(self._home / str(number))
        for service in self._services.values():
            until(lambda service=service: str(number) in dict(service.ready().get("refused", {})), 10)  # type: ignore[call-overload]
        shutil.rmtree(self._home / str(number))
        for service in self._services.values():
            until(lambda service=service: "refused" not in service.ready(), 10)
        return "refused by all services"

    def pin_and_roll_back(self) -> str:
        newest, first = self._numbers, self._numbers - 1
        self._load.judge.serving |= {first}
        self._pin(first)
        self._load.judge.serving = frozenset({first})
        time.sleep(0.5)
        self._load.judge.serving |= {newest}
        self._pin("highest")
        self._load.judge.serving = frozenset({newest})
        return "back to the version before, and forward again"

    def models_away(self) -> str:
        away = self._home.rename(self._folder / "models" / ".away")
        time.sleep(2.5)
        away.rename(self._home)
        time.sleep(1.2)
        return "no models folder for 2.5 s"

    def _publish(self) -> int:
        """Publish the next version, whose parameters are not those of the one before; its number."""
        number = self._numbers + 1
        at = number % len(self._templates)
        manifest = msgspec.structs.replace(self._manifests[at], name=self._name, version=number)
        folder = self._write(number, manifest, self._templates[at])
        manifest = read_manifest_at(folder, number)
        self._load.judge.manifests[number] = manifest
        self._load.judge.serving |= {number}
        folder.rename(self._home / str(number))
        self._numbers = number
        for old in self._home.glob("[0-9]*"):
            if int(old.name) <= number - KEPT:
                shutil.rmtree(old)
        return number

    def _write(self, number: int, manifest: Manifest, template: Path) -> Path:
        folder = self._home / f".{number}"
        shutil.copytree(template, folder)
        manifest = msgspec.structs.replace(manifest, name=self._name, version=number)
        (folder / "manifest.json").write_bytes(manifest.encode())
        return folder

    def _follow(self, number: int) -> None:
        """Wait until all workers of all services serve a version; no other may answer from then on."""
        for service in self._services.values():
            until(lambda service=service: _serves(service.ready(), number), 10)
        self._load.judge.serving = frozenset({number})

    def _pin(self, version: object) -> None:
        for service in self._services.values():
            command = [sys.executable, "-m", "passfail", "pin", str(version), "--model", self._name]
            where = ["--models", str(self._folder / "models"), "--service", f"http://127.0.0.1:{service.port}"]
            done = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(done.stderr)

    # The machine.

    def clock_jumps(self) -> str:
        seen = []
        for years in (10, -10, 0):
            set_clock(self._clock, years * 365.25 * 86400)
            time.sleep(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{self._services['asgi'].port}/health/live") as answer:
                seen.append(answer.headers["Date"][12:16])
        if int(seen[0]) - int(seen[1]) not in (19, 20, 21):
            raise RuntimeError(f"the service's clock did not follow: {seen}")
        return f"the service's clock in the years {', '.join(seen)}"

    def disk_full_for_models(self) -> str:
        """An export on a full disk says so, and leaves nothing behind."""
        checkpoints = self._templates[0].parent.parent.parent / "checkpoints"
        with _full(self._folder / "models"):
            command = [sys.executable, "-m", "train", "export", "--data", "data/admissions.csv"]
            where = ["--checkpoints", str(checkpoints), "--models", str(self._folder / "models")]
            done = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True)
        told = done.stderr.strip().splitlines()
        if done.returncode == 0 or "Traceback" in done.stderr or not told:
            raise RuntimeError(f"the export ended with status {done.returncode}: {done.stderr[-300:]}")
        if found := [one.name for one in self._home.iterdir() if not one.name.isdigit()]:
            raise RuntimeError(f"the export has left {found}")
        return f"export: {told[-1].rpartition(': ')[2]}"

    def disk_full_for_logs(self) -> str:
        service = self._services["asgi"]
        before = service.metric("log_lines_dropped_total")
        with _full(self._folder / "logs"):
            until(lambda: service.metric("log_lines_dropped_total") > before, 20)
        os.truncate(self._folder / "logs" / "log", 0)
        return f"{service.metric('log_lines_dropped_total') - before:.0f} lines of the log dropped"

    def stuck_log_reader(self) -> str:
        service = self._services["gthread"]
        service.stuck.set()
        try:
            until(lambda: service.unread() > PIPE_BYTES - select.PIPE_BUF, 60)
            time.sleep(1)
        finally:
            service.stuck.clear()
        return "its pipe was full, for 1 s"

    def disk_full_for_tmpdir(self) -> str:
        with _full(self._folder / "tmp"):
            hit = sum(map(self._kill_worker, self._services.values()))
        return f"workers killed and replaced meanwhile, with {hit} requests in flight"

    def models_become_read_only(self) -> str:
        models = self._folder / "models"
        subprocess.run(["mount", "-o", "remount,ro", models], check=True)
        try:
            command = [sys.executable, "-m", "passfail", "pin", str(self._numbers), "--model", self._name]
            done = subprocess.run([*command, "--models", models], cwd=ROOT, capture_output=True, text=True)
            time.sleep(1)
        finally:
            subprocess.run(["mount", "-o", "remount,rw", models], check=True)
        if done.returncode != 2 or "Traceback" in done.stderr:
            raise RuntimeError(f"the pin ended with status {done.returncode}: {done.stderr[-300:]}")
        return f"pin: {done.stderr.strip().rpartition(': ')[2]}"

    # The network.

    def kill_the_proxy(self) -> str:
        assert self._proxy is not None
        with self._load.paused("proxy", wait=False):
            hit = self._load.killed(group="proxy")
            self._proxy.process.kill()
            self._proxy.process.wait()
            time.sleep(0.2)
            self._proxy.start()
        return f"with {hit} requests in flight"

    def cut_the_network(self) -> str:
        """Between the proxy and one service, which the proxy then leaves out."""
        relay = self._relays["asgi"]
        self._load.killed(group="proxy")  # what is in flight: half an answer can't be asked again
        cut = relay.cut()
        time.sleep(3)
        relay.mend()
        time.sleep(1)
        return f"{cut} connections reset, and each new one for 3 s"

    def slow_the_network(self) -> str:
        return self._network("delay", 0.1, 0.0, "0.1 s more for each piece, for 2 s")

    def stall_the_network(self) -> str:
        return self._network("stalled", True, False, "nothing passed for 2 s")

    def _network(self, name: str, during: object, after: object, told: str) -> str:
        before = sum(relay.carried for relay in self._relays.values())
        for relay in self._relays.values():
            setattr(relay, name, during)
        time.sleep(2)
        for relay in self._relays.values():
            setattr(relay, name, after)
        return f"{told}, on {max(before, 1)} connections"


def read_manifest_at(folder: Path, number: int) -> Manifest:
    """The manifest of a version whose folder has not its name yet."""
    from passfail.manifest import decode

    return decode((folder / "manifest.json").read_bytes())


def _serves(ready: Mapping[str, object], number: int) -> bool:
    return ready.get("version") == number and "workers" not in ready


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[bool]:
    """A folder with a file system of its own, and whether it could be mounted."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", str(folder)]
    mounted = not subprocess.run(command, stderr=subprocess.DEVNULL).returncode if shutil.which("mount") else False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Fill a small disk, to the last byte, and free it again."""
    filler = folder / ".filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        if os.statvfs(folder).f_bavail:
            raise RuntimeError(f"{folder} has still room")
        yield
    finally:
        filler.unlink(missing_ok=True)
