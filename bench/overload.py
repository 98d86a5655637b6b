"""make overload: what admission is worth. One worker on one core is offered ten times what it can answer.

The load is open: requests come at random moments (Poisson), whether or not those before them are answered. Capacity is
measured first, by two clients that wait for their answers; then the latency at a fifth of it, and at ten times. The
request is 100 rows to explain, which take long to answer and nothing to refuse; where refusing takes a good part of
answering (a single row) no server can refuse ten times its capacity, and the proxy has to. `late` is how late the bench
itself sent (p99): where that is much, it could not keep up, and the figures beside it are its own.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.service import service

CORES = sorted(os.sched_getaffinity(0))
BODY = json.dumps([{"hours": hour / 10} for hour in range(100)]).encode()
HEAD = (
    "POST /predict?explain=true HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
REQUEST = HEAD.format(len(BODY)).encode() + BODY


class Connections:
    """Kept connections; as many as are needed. The service closes those that nobody uses for 2 s."""

    def __init__(self, port):
        self._port, self._free = port, []

    async def ask(self):
        """The status."""
        while self._free:
            reader, writer, last = self._free.pop()
            if time.perf_counter() - last < 1:
                break
            writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        self._free.append((reader, writer, time.perf_counter()))
        return int(head[9:12])


async def capacity(port, seconds):
    """Requests answered a second."""
    connections, until, answered = Connections(port), time.perf_counter() + seconds, 0

    async def client():
        nonlocal answered
        while time.perf_counter() < until:
            status = await connections.ask()
            answered += status == 200

    await asyncio.gather(*(client() for _ in range(2)))
    return answered / seconds


async def offered(port, rate, seconds):
    """{status: [the latency of each, in ms]} of requests that come at that rate; "late": how late each was sent."""
    connections, draw, found = Connections(port), random.Random(1), collections.defaultdict(list)

    async def one(due):
        found["late"].append(1000 * (time.perf_counter() - due))
        try:
            status = await connections.ask()
        except (OSError, EOFError):
            status = "lost"
        found[status].append(1000 * (time.perf_counter() - due))

    due, tasks = time.perf_counter(), []
    until = due + seconds
    while due < until:
        due += draw.expovariate(rate)
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))  # from when it was due: a late client must not flatter
    await asyncio.gather(*tasks)
    return found


def p99(latencies):
    return statistics.quantiles(latencies, n=100)[98]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 128], help="MAX_IN_FLIGHT")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {CORES[0]})  # the service inherits it
    columns = (
        "MAX_IN_FLIGHT",
        "capacity, req/s",
        "offered",
        "answered",
        "refused",
        "lost",
        "p99 ms",
        "of unloaded",
        "late ms",
    )
    print(f"| {' | '.join(columns)} |\n|" + "-|" * len(columns))
    with tempfile.TemporaryDirectory() as folder:
        for command in (["fit"], ["export", "--models", f"{folder}/models"]):
            train = [sys.executable, "-m", "train", *command, "--checkpoints", f"{folder}/checkpoints"]
            subprocess.run(train, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        for limit in arguments.in_flight:
            os.sched_setaffinity(0, {CORES[0]})
            with service(Path(folder, "models"), WEB_CONCURRENCY="1", MAX_IN_FLIGHT=str(limit)) as (address, _):
                os.sched_setaffinity(0, {CORES[-1]})
                measure(limit, int(address.rpartition(":")[2]), arguments.seconds)


def measure(limit, port, seconds):
    rate = asyncio.run(capacity(port, seconds / 2))
    unloaded = None
    for share in (0.2, 10):
        found = asyncio.run(offered(port, share * rate, seconds))
        served = p99(found[200])
        unloaded = unloaded or served
        late = found.pop("late")
        sent = len(late)
        times = f"{served:.1f} | {served / unloaded:.2f} | {p99(late):.1f}"
        counts = f"{len(found[200])} | {len(found[503])} | {len(found['lost'])}"
        print(f"| {limit} | {rate:.0f} | {sent / seconds:.0f} | {counts} | {times} |", flush=True)


if __name__ == "__main__":
    main()
