"""The service as docker-compose's containers behind their proxy, and the faults there."""

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.judge import Judge
from bench.load import Load
from passfail.manifest import Manifest, decode
from tests.support import ROOT
from tests.support.service import free_port
from tests.support.wait import until

COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
NAME = "admissions"
CONTAINERS, CLIENTS = 3, 4
READY = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/health/ready').read().decode())"
NETEM = ["netem", "delay", "50ms", "20ms", "loss", "2%"]


def train(folder: Path) -> list[Path]:
    """Nothing: the containers train."""
    return []


@contextlib.contextmanager
def running(
    folder: Path, templates: Sequence[Path], seed: int
) -> Iterator[tuple[Load, Mapping[str, Callable[[], str]], Mapping[str, str]]]:
    """Start docker-compose and clients; yield the load, {fault: function}, {fault: obstacle}."""
    system = Containers(random.Random(seed))
    system.compose("down", "--volumes")
    try:
        system.compose("up", "--detach", "--build", "--scale", f"serve={CONTAINERS}")
        until(lambda: len(system.healthy()) == CONTAINERS and system.follow(1), 120)
        system.load.start("proxy", lambda: system.port, CLIENTS)
        yield system.load, system.faults, system.missing
        system.load.stop()
    finally:
        system.compose("down", "--volumes")


def docker(*arguments: str) -> str:
    return subprocess.check_output(["docker", *arguments], text=True, stderr=subprocess.STDOUT)


class Containers:
    """The containers, and their faults."""

    def __init__(self, draw: random.Random) -> None:
        self._draw, self.port, self.load = draw, free_port(), Load(Judge(()), draw.randrange(10**6))
        self.load.judge.find = self._manifest
        self._environ = {
            "COMPOSE_FILE": "docker-compose.yml:bench/chaos.yml", "COMPOSE_PROJECT_NAME": "passfailchaos",
            "COMPOSE_PROFILES": "proxy", "PROXY_PORT": str(self.port), "PORT": "0", "ACCESS_LOG": "off",
            "MODEL_NAME": NAME, "DATA": "admissions.csv", "ARGS": "--categorical rank", "CPUS": "2",
        }  # fmt: skip
        self.faults = {name: partial(cause, self) for name, cause in FAULTS.items()}
        self.missing: dict[str, str] = {}
        if not all(map(shutil.which, ("tc", "nsenter"))):
            self.missing["a lossy network to a container"] = "tc or nsenter is not installed"
        elif subprocess.run(["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", *NETEM],
                            capture_output=True).returncode:  # fmt: skip
            self.missing["a lossy network to a container"] = "this kernel has no netem"
        for name in self.missing:
            del self.faults[name]

    def compose(self, *arguments: str, **environ: str) -> str:
        result = subprocess.run([*COMPOSE, *arguments], cwd=ROOT, env=os.environ | self._environ | environ,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        if result.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{result.stdout[-2000:]}")
        return result.stdout

    def _containers(self, service: str = "serve") -> list[str]:
        return re.findall("^[0-9a-f]{64}$", self.compose("ps", "--quiet", service), re.M)

    def healthy(self) -> list[str]:
        """The containers whose health check has passed."""
        found = self._containers()
        states = docker("inspect", "--format", "{{.State.Health.Status}}", *found).split()
        return [one for one, state in zip(found, states, strict=True) if state == "healthy"]

    def follow(self, version: int) -> bool:
        """Wait until every container serves a version; from then on no other may answer."""
        found = self._containers()
        until(lambda: all(self._serves(container, version) for container in found), 30, 0.2)
        self.load.judge.serving = frozenset({version})
        return True

    def _serves(self, container: str, version: int) -> bool:
        ready = json.loads(docker("exec", container, "python", "-c", READY))
        if version not in self.load.judge.manifests:
            self.load.judge.manifests[version] = self._manifest(version)
        return ready["version"] == version and "workers" not in ready

    def _manifest(self, version: int) -> Manifest:
        path = f"/app/models/{NAME}/{version}/manifest.json"
        return decode(docker("exec", self._containers()[0], "cat", path).encode())

    def _victim(self) -> str:
        return self._draw.choice(self._containers())

    def _kill_workers(self) -> str:
        """Kill the workers of three containers, one after another, with SIGKILL."""
        for _ in range(3):
            docker("exec", self._victim(), "sh", "-c", "kill -9 $(cut -d' ' -f1 /proc/1/task/1/children)")
            time.sleep(1)
        return "3 workers killed"

    def _out_and_back(self, out: Sequence[str], seconds: float, back: str) -> float:
        """Take a container away for so many seconds; return how long the first command took."""
        victim, began = self._victim(), time.monotonic()
        docker(*out, victim)
        took = time.monotonic() - began
        time.sleep(seconds)
        docker(back, victim)
        until(lambda: len(self.healthy()) == CONTAINERS, 60, 0.2)
        time.sleep(1)  # for the proxy to notice it
        return took

    def _pause(self) -> str:
        """Pause a container for four seconds."""
        self._out_and_back(["pause"], 4, "unpause")
        return "paused for 4 s"

    def _kill_and_start(self) -> str:
        """Kill a container, and start it again after a second."""
        self._out_and_back(["kill"], 1, "start")
        return "killed, and started after 1 s"

    def _stop_and_start(self) -> str:
        """Stop a container with SIGTERM, and start it again."""
        return f"drained in {self._out_and_back(['stop', '--time', '30'], 0, 'start'):.1f} s"

    def _memory(self) -> str:
        """Limit a container to 6 MiB more than it uses, for four seconds."""
        victim = self._victim()
        limit = docker("inspect", "--format", "{{.HostConfig.Memory}}", victim).strip()
        used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", victim).partition("MiB")[0]
        tight = f"{int(float(used)) + 6}m"
        docker("update", "--memory", tight, "--memory-swap", tight, victim)
        time.sleep(4)
        docker("update", "--memory", limit, "--memory-swap", limit, victim)
        if docker("inspect", "--format", "{{.State.OOMKilled}}", victim).strip() != "false":
            raise RuntimeError("a process was killed for its memory")
        return f"limited to 6 MiB more than it used ({used.strip()} MiB), for 4 s"

    def _lossy(self) -> str:
        """Delay each packet of a container by 30 to 70 ms and lose 2 % of them, for four seconds."""
        pid = docker("inspect", "--format", "{{.State.Pid}}", self._victim()).strip()
        inside = ["nsenter", "--target", pid, "--net", "tc", "qdisc"]
        subprocess.run([*inside, "add", "dev", "eth0", "root", *NETEM], check=True)
        time.sleep(4)
        subprocess.run([*inside, "del", "dev", "eth0", "root"], check=True)
        return " ".join(NETEM)

    def _kill_the_proxy(self) -> str:
        """Kill the proxy's container and start it again."""
        (proxy,) = self._containers("proxy")
        with self.load.paused("proxy", wait=False):
            hit = self.load.killed(group="proxy")
            docker("kill", proxy)
            docker("start", proxy)
            time.sleep(3)
        return f"with {hit} requests in flight"

    def _retrain(self) -> str:
        """Train and export another version into the volume; all containers must take it up."""
        version = max(self.load.judge.manifests) + 1
        self.load.judge.serving |= {version}
        penalty = str(self._draw.choice([0.5, 2, 5, 20, 50]) * version)
        self.compose("run", "--rm", "--no-deps", "train", ARGS=f"--categorical rank --l2 {penalty}")
        self.follow(version)
        return f"version {version}, --l2 {penalty}, taken up by all"

    def _pin(self) -> str:
        """Pin the version before the newest in the volume, then the newest again."""
        newest = max(self.load.judge.manifests)
        if newest == 1:
            self._retrain()
            newest = 2
        for version, name in ((newest - 1, str(newest - 1)), (newest, "highest")):
            self.load.judge.serving |= {version}
            self.compose("run", "--rm", "--no-deps", "train", f"python -m passfail pin {name} --model {NAME}")
            self.follow(version)
        return "back to the version before, and forward again"

    def _roll(self) -> str:
        """Replace all containers with `deploy/proxy/roll`."""
        before = set(self._containers())
        subprocess.run([ROOT / "deploy" / "proxy" / "roll"], cwd=ROOT, env=os.environ | self._environ, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        if len(set(self._containers()) - before) != CONTAINERS:
            raise RuntimeError("not every container was replaced")
        return f"{CONTAINERS} containers replaced"


FAULTS: dict[str, Callable[[Containers], str]] = {
    "kill workers in containers": Containers._kill_workers,
    "pause a container": Containers._pause,
    "kill and start a container": Containers._kill_and_start,
    "stop and start a container": Containers._stop_and_start,
    "memory pressure on a container": Containers._memory,
    "a lossy network to a container": Containers._lossy,
    "kill the proxy's container": Containers._kill_the_proxy,
    "retrain": Containers._retrain,
    "pin and roll back in the volume": Containers._pin,
    "replace all containers": Containers._roll,
}
