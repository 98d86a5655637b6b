"""make chaos: docker-compose's three containers behind their proxy, asked all the time while one fault follows another.

Every answer is compared with the closed form of the version that it names, logits to the bit. Printed is a line for
each fault: requests sent, answered right, answered wrong (0, or the exit status is 1), refused properly, lost (no
answer on a new connection), and asked again (a kept one ended before the answer began: RFC 9112, 9.3.1).
"""

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from passfail.links import LINKS
from passfail.manifest import decode
from passfail.proof import reference
from passfail.proof.certificate import ulp

COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
ENVIRON = {"COMPOSE_PROJECT_NAME": "passfailchaos", "COMPOSE_PROFILES": "proxy", "MODEL_NAME": "hours", "PORT": "0",
           "WEB_CONCURRENCY": "2", "ACCESS_LOG": "off"}  # fmt: skip
COLUMNS = ("sent", "right", "wrong", "refused", "lost", "again")
BAD = [b"", b"{", b'{"hours": "x"}', b'{"hours": 1e999}', b'[{"hours": 1}, {"hour": 1}]', b"\xff\x00", b"[" * 5000]
RAW = [
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    bytes(range(256)),
]


def compose(*arguments, **environ):
    result = subprocess.run([*COMPOSE, *arguments], cwd=ROOT, env=os.environ | ENVIRON | environ,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    if result.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{result.stdout[-2000:]}")
    return result.stdout


def docker(*arguments):
    return subprocess.check_output(["docker", *arguments])


def containers():
    return [line for line in compose("ps", "--quiet", "serve").split() if len(line) == 64]


def healthy(container):
    return docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() == b"healthy"


class Judge:
    """Knows what each version must answer; `counts`: {column: how many} since they were last taken."""

    def __init__(self):
        self._manifests, self._lock, self.counts = {}, threading.Lock(), collections.Counter()

    def count(self, *columns):
        with self._lock:
            self.counts.update(columns)

    def take(self):
        with self._lock:
            taken, self.counts = self.counts, collections.Counter()
        return taken

    def right(self, hours, answers):
        """Whether the answers (dicts) are the closed form's, all of one version."""
        (version,) = {answer["version"] for answer in answers}
        manifest = self._manifest(version)
        z = reference.logit(manifest, np.array(hours)[:, None])
        p = 1 / (1 + np.exp(-z))
        return len(answers) == len(hours) and all(
            answer["logit"] == logit
            and ulp(answer["probability"], probability) <= LINKS[manifest.link].ulp
            and answer["passed"] is (logit > manifest.logit_threshold)
            for answer, logit, probability in zip(answers, z.tolist(), p.tolist(), strict=True)
        )

    def _manifest(self, version):
        with self._lock:
            if version not in self._manifests:
                text = docker("run", "--rm", "--volume", "passfailchaos_models:/m:ro", "--entrypoint", "cat",
                              "passfail-train", f"/m/hours/{version}/manifest.json")  # fmt: skip
                self._manifests[version] = decode(text)
            return self._manifests[version]


class Client(threading.Thread):
    """Asks random rows in several protocols on a kept connection, until `stop`; bad: rows that must be refused."""

    def __init__(self, judge, port, stop, bad=False):
        super().__init__(daemon=True)
        self._judge, self._stop_asking, self._bad, self._draw = judge, stop, bad, random.Random()
        self._connection, self._kept = http.client.HTTPConnection("127.0.0.1", port, timeout=60), False
        self.start()

    def run(self):
        while not self._stop_asking.is_set():
            hours = [self._draw.uniform(-10, 20) for _ in range(self._draw.choice([1, 1, 1, 10, 1000]))]
            path, body = self._question(hours)
            self._judge.count("sent")
            while (answer := self._ask(path, body)) == "again":
                self._judge.count("again")
            self._judge.count(answer if isinstance(answer, str) else self._judged(path, hours, *answer))
        self._connection.close()

    def _question(self, hours):
        if self._bad:
            return "/predict", self._draw.choice(BAD)
        rows = [{"hours": hour} for hour in hours]
        path = self._draw.choice(["/predict", "/invocations"])
        return path, json.dumps(rows if path == "/predict" else {"instances": rows}).encode()

    def _ask(self, path, body):
        """(status, headers, body), or what became of it."""
        try:
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            with self._connection.getresponse() as answer:
                found = answer.status, answer.headers, answer.read()
                self._kept = not answer.will_close
                return found
        except (OSError, http.client.HTTPException):
            kept, self._kept = self._kept, False
            self._connection.close()
            return "again" if kept else "lost"

    def _judged(self, path, hours, status, headers, body):
        try:
            found = json.loads(body)
        except ValueError:
            return "lost"  # the proxy's own page: nobody was there to answer
        if status == 200 and not self._bad:
            return "right" if self._judge.right(hours, found["predictions"] if "inv" in path else found) else "wrong"
        shaped = {"status", "detail"} <= found.keys() or {"error_code", "message"} == found.keys()
        proper = headers["Retry-After"] if status == 503 else self._bad and 400 <= status < 500
        return "refused" if shaped and proper else "wrong"


def in_volume(script):
    """Run a shell's script where the models are, /app/models."""
    compose("run", "--rm", "--no-deps", "train", script)


class Chaos:
    """The faults; each is a method that does it and returns once it is over."""

    def __init__(self, judge, port, draw):
        self._judge, self._port, self._draw = judge, port, draw

    def nothing(self):
        time.sleep(5)

    def kill_a_worker(self):
        for _ in range(3):
            first = "kill -9 $(cut -d' ' -f1 /proc/1/task/1/children)"
            docker("exec", self._draw.choice(containers()), "sh", "-c", first)
            time.sleep(1.5)

    def slow_senders(self):
        held = [socket.create_connection(("127.0.0.1", self._port)) for _ in range(200)]
        for connection in held:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                               b"Content-Length: 500000\r\n\r\n{")  # fmt: skip
        time.sleep(5)
        for connection in held:
            connection.close()

    def garbage(self):
        stop = threading.Event()
        clients = [Client(self._judge, self._port, stop, bad=True) for _ in range(2)]
        until = time.monotonic() + 5
        while time.monotonic() < until:
            with (
                contextlib.suppress(OSError),  # thrown out before all of it was sent
                socket.create_connection(("127.0.0.1", self._port)) as connection,
            ):
                connection.sendall(self._draw.choice(RAW))
            time.sleep(0.005)
        stop.set()
        for client in clients:
            client.join()

    def pause_a_container(self):
        victim = self._draw.choice(containers())
        docker("pause", victim)
        time.sleep(4)
        docker("unpause", victim)
        time.sleep(1)

    def kill_and_start_a_container(self):
        victim = self._draw.choice(containers())
        docker("kill", victim)
        time.sleep(1)
        docker("start", victim)
        time.sleep(2)

    def stop_and_start_a_container(self):
        victim = self._draw.choice(containers())
        docker("stop", "--time", "30", victim)
        docker("start", victim)
        time.sleep(2)

    def retrain_and_swap(self):
        compose("run", "--rm", "--no-deps", "train", ARGS=f"--seed {self._draw.randrange(1, 10**6)}")
        time.sleep(3)

    def publish_a_bad_export(self):
        in_volume("cd models/hours; n=$(ls | grep -E '^[0-9]+$' | sort -n | tail -1); cp -r $n .bad; "
                  "truncate -s 100 .bad/model.onnx; mv .bad $((n + 1)); sleep 3; rm -r $((n + 1))")  # fmt: skip

    def pin_and_roll_back(self):
        in_volume("python -m passfail pin 1 --model hours; sleep 3; python -m serve use highest --model hours; sleep 2")

    def replace_all_containers(self):
        subprocess.run([ROOT / "deploy" / "proxy" / "roll"], cwd=ROOT, env=os.environ | ENVIRON, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


FAULTS = [name for name in vars(Chaos) if not name.startswith("_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=180, help="faults are begun for so long")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS, help="these alone, in turn")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ENVIRON["PROXY_PORT"] = str(port)
    compose("down", "--volumes")
    try:
        compose("up", "--detach", "--build", "--scale", "serve=3")
        table = run(arguments, port)
    finally:
        compose("down", "--volumes")
    show(table)
    sys.exit(any(counts["wrong"] for _, _, counts in table))


def run(arguments, port):
    """[(fault, seconds, counts)]."""
    judge, stop, table = Judge(), threading.Event(), []
    chaos = Chaos(judge, port, random.Random(arguments.seed))
    wait(port)
    clients = [Client(judge, port, stop) for _ in range(arguments.clients)]
    began, number = time.monotonic(), 0
    while time.monotonic() - began < arguments.seconds:
        fault, started = arguments.faults[number % len(arguments.faults)], time.monotonic()
        getattr(chaos, fault)()
        table.append((fault, time.monotonic() - started, judge.take()))
        print(f"{fault}: {dict(table[-1][2])}", file=sys.stderr, flush=True)
        number += 1
    stop.set()
    for client in clients:
        client.join()
    table.append(("(at the end)", 0.0, judge.take()))
    return table


def wait(port):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200 and all(map(healthy, containers())):
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    raise SystemExit(f"not ready in a minute:\n{compose('logs', '--tail', '20')}")


def show(table):
    print("\n| fault | s | " + " | ".join(COLUMNS) + " |\n|" + "-|" * (len(COLUMNS) + 2))
    total = collections.Counter()
    for fault in dict.fromkeys(fault for fault, _, _ in table):
        found = [(seconds, counts) for name, seconds, counts in table if name == fault]
        counts = sum((counts for _, counts in found), collections.Counter())
        total += counts
        spent = sum(seconds for seconds, _ in found)
        print(f"| {fault.replace('_', ' ')} | {spent:.0f} | " + " | ".join(f"{counts[c]:,}" for c in COLUMNS) + " |")
    print("| all | | " + " | ".join(f"{total[c]:,}" for c in COLUMNS) + " |")


if __name__ == "__main__":
    main()
