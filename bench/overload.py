"""make overload: the effect of admission on one worker at ten times its capacity.

The load is open: requests arrive at random times (Poisson), whether or not earlier ones are answered. Two clients that
wait for their answers first measure the capacity. Then the bench measures the latency at a fifth of it, and at ten
times. The request is 100 rows to explain, which are slow to answer and fast to refuse. A single row is not: refusing it
costs a good part of answering it, so no server can refuse ten times its capacity, and the proxy must. `late` is the p99
of the bench's own delay in sending. If it is large, the bench could not keep up, and its figures are not the server's.

The answer is first judged as in make chaos; each answer must then have the same bytes. The exit status is 1 in each of
these cases. An answer has other bytes. A request was lost, or refused without 503 and Retry-After. One request in four
was refused at a fifth of the capacity. At ten times, less than half of the capacity was answered. The p99 was more than
three times the unloaded one; `late` is allowed in addition.
"""

import argparse
import asyncio
import collections
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.judge import Judge, Question
from bench.load import right_answer
from bench.model import make_model
from bench.server import CLIENT, SERVER
from passfail.repository import read_manifest
from tests.support.service import service

LEAST_ANSWERED = 0.5  # of the capacity, at ten times the capacity
MOST_REFUSED = 0.25  # of the requests at a fifth of the capacity: with MAX_IN_FLIGHT 2, three may arrive at once
MOST_RATIO = 3.0  # of the p99 at ten times the capacity to the unloaded p99


class Loaded(NamedTuple):
    """The outcome of one rate of requests.

    Attributes
    ----------
    limit : MAX_IN_FLIGHT.
    capacity, offered : requests a second.
    counts : {"right", "wrong", "refused", "lost": requests}.
    p99, unloaded : the latency of answered requests, and at a fifth of the capacity, in ms.
    late : p99 of the bench's delay in sending, in ms.
    """

    limit: int
    capacity: float
    offered: float
    counts: Mapping[str, int]
    p99: float
    unloaded: float
    late: float
    seconds: float


class Connections:
    """A pool of kept connections, which grows as needed."""

    def __init__(self, port: int, asked: Question, right: bytes) -> None:
        head = {**asked.headers, "Host": "here", "Content-Length": str(len(asked.body))}
        lines = [f"POST {asked.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode() + asked.body
        self._port, self._right = port, right
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._open: list[asyncio.StreamWriter] = []

    async def ask(self) -> str:
        """Send a request, and return its outcome."""
        try:
            reader, writer = self._free.pop() if self._free else await self._opened()
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except (OSError, EOFError):
            return "lost"
        self._free.append((reader, writer))
        if head[9:12] == b"503" and b"\r\nretry-after: " in head.lower():
            return "refused"
        return "right" if head[9:12] == b"200" and body == self._right else "wrong"

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._open.append(writer)
        return reader, writer

    async def close(self) -> None:
        for writer in self._open:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._open), return_exceptions=True)


async def capacity(connections: Connections, seconds: float) -> float:
    """Requests answered a second."""
    until, found = time.perf_counter() + seconds, collections.Counter[str]()

    async def client() -> None:
        while time.perf_counter() < until:
            found[await connections.ask()] += 1

    await asyncio.gather(*(client() for _ in range(2)))
    return found["right"] / seconds


async def offered(connections: Connections, rate: float, seconds: float) -> dict[str, list[float]]:
    """Send requests at that rate: {outcome: latencies in ms}; "late" has the delays in sending."""
    draw, found = random.Random(1), collections.defaultdict[str, list[float]](list)

    async def one(due: float) -> None:
        found["late"].append(1000 * (time.perf_counter() - due))
        found[await connections.ask()].append(1000 * (time.perf_counter() - due))

    due, tasks = time.perf_counter(), []
    until = due + seconds
    while due < until:
        due += draw.expovariate(rate)
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due)))  # timed from its due time
    await asyncio.gather(*tasks)
    return found


def p99(latencies: Sequence[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98] if len(latencies) > 1 else float("inf")


async def measure(limit: int, connections: Connections, seconds: float) -> list[Loaded]:
    """Measure at a fifth of the capacity, and at ten times."""
    rate, loads = await capacity(connections, seconds / 2), list[Loaded]()
    for share in (0.2, 10):
        found = await offered(connections, share * rate, seconds)
        late, waited = found.pop("late"), p99(found["right"])
        counts = {outcome: len(found[outcome]) for outcome in ("right", "wrong", "refused", "lost")}
        unloaded = loads[0].p99 if loads else waited
        loads.append(Loaded(limit, rate, len(late) / seconds, counts, waited, unloaded, p99(late), seconds))
    return loads


def faults(one: Loaded) -> list[str]:
    """The faults, a sentence each."""
    told = [f"{one.counts[outcome]:,} answers were {outcome}" for outcome in ("wrong", "lost") if one.counts[outcome]]
    if one.offered > one.capacity:
        answered = one.counts["right"] / one.seconds
        if answered < LEAST_ANSWERED * one.capacity:
            told.append(f"{answered:.0f} a second were answered, less than half of the capacity of {one.capacity:.0f}")
        if not one.counts["refused"]:
            told.append("no request was refused, although more came than can be answered")
        most = MOST_RATIO * one.unloaded + one.late
        if one.p99 > most:
            told.append(f"p99 was {one.p99:.0f} ms, more than {MOST_RATIO:.0f} times the unloaded one: {most:.0f} ms")
    elif one.counts["refused"] > MOST_REFUSED * sum(one.counts.values()):
        told.append(f"{one.counts['refused']:,} requests were refused at a fifth of the capacity")
    return [f"MAX_IN_FLIGHT={one.limit}, {one.offered:.0f} req/s: {line}" for line in told]


COLUMNS = "MAX_IN_FLIGHT | capacity, req/s | offered | right | wrong | refused | lost | p99 ms | of unloaded | late ms"


def row(one: Loaded) -> str:
    counts = " | ".join(str(one.counts[outcome]) for outcome in ("right", "wrong", "refused", "lost"))
    times = f"{one.p99:.1f} | {one.p99 / one.unloaded:.2f} | {one.late:.1f}"
    return f"| {one.limit} | {one.capacity:.0f} | {one.offered:.0f} | {counts} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[2, 128], help="MAX_IN_FLIGHT")
    arguments = parser.parse_args()
    told = []
    with tempfile.TemporaryDirectory() as folder:
        models = Path(make_model(sys.executable, folder))
        judge = Judge([read_manifest(models / "bench" / "1")])
        asked = judge.question(random.Random(1), "predict, rows", (100,), plain=True)
        asked = asked._replace(path="/predict?explain=true")
        print(f"| {COLUMNS} |\n|" + "-|" * (COLUMNS.count("|") + 1))
        for limit in arguments.in_flight:
            os.sched_setaffinity(0, {SERVER})  # the service inherits it
            settings = {"WEB_CONCURRENCY": "1", "MAX_IN_FLIGHT": str(limit)}
            with service(models, module="bench.inside", **settings) as (address, _):
                os.sched_setaffinity(0, {CLIENT})
                port = int(address.rpartition(":")[2])
                connections = Connections(port, asked, right_answer(judge, port, asked)[1])
                for one in asyncio.run(measure(limit, connections, arguments.seconds)):
                    print(row(one), flush=True)
                    told += faults(one)
    sys.exit("\n".join(f"FAILED: {one}" for one in told) or 0)


if __name__ == "__main__":
    main()
