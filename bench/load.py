"""Clients that send requests without end, and the outcome of each request, for make chaos."""

import contextlib
import http.client
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator

from bench.judge import Judge, Question, Wrong

# The outcomes of a request. `right`: the right answer, or the refusal of a body that must be refused. `killed`: lost in
# flight at a killed worker. All others must be 0.
OUTCOMES = ("right", "wrong", "refused", "lost", "killed")
RECOVERY_SECONDS = 30  # after a fault, for each client to get a right answer


class Flight:
    """A request in flight.

    Attributes
    ----------
    serving : the versions that might answer when it began.
    excused : whether its worker was killed meanwhile.
    """

    def __init__(self, client: "Client", serving: frozenset[int]) -> None:
        self.client, self.serving, self.began, self.excused = client, serving, time.monotonic(), False


class Load:
    """All clients, their requests, and the outcomes.

    Attributes
    ----------
    allowed : requests in flight at killed workers, since the counts were last taken.
    examples : the first few wrong answers, as sentences.
    enough : whether a fault has occurred already.
    """

    def __init__(self, judge: Judge, seed: int) -> None:
        self.judge, self._seed, self.lock = judge, seed, threading.Lock()
        self.clients: list[Client] = []
        self.flights: set[Flight] = set()
        self.counts, self.longest, self.allowed, self.again = Counter[str](), 0.0, 0, 0
        self.examples: list[str] = []
        self.enough = threading.Event()
        self.stopped = False

    def start(self, group: str, port: Callable[[], int], clients: int, bad: bool = False) -> list["Client"]:
        """Start clients of a group; `bad` ones send bodies that must be refused."""
        found = [Client(self, group, port, self._seed + len(self.clients) + i, bad) for i in range(clients)]
        self.clients += found
        for client in found:
            client.start()
        return found

    def stop(self, clients: list["Client"] | None = None) -> None:
        """Let clients (default: all) complete their requests and stop."""
        chosen = list(self.clients) if clients is None else clients
        for client in chosen:
            client.stopped = True
            client.go.set()
        for client in chosen:
            client.join()
            self.clients.remove(client)

    @contextlib.contextmanager
    def paused(self, *groups: str, wait: bool = True) -> Iterator[None]:
        """Pause the clients of some groups; `wait` until their requests are answered."""
        chosen = [client for client in self.clients if client.group in groups]
        with self.lock:
            for client in chosen:
                client.go.clear()
        while wait and any(flight.client in chosen for flight in list(self.flights)):
            time.sleep(0.005)
        try:
            yield
        finally:
            for client in chosen:
                client.fresh = True
                client.go.set()

    @contextlib.contextmanager
    def idle_connections_may_end(self, group: str) -> Iterator[None]:
        """Allow a group's idle connections to end; clients retry on new ones (RFC 9112, 9.3.1)."""
        chosen = [client for client in self.clients if client.group == group]
        for client in chosen:
            client.may_end = True
        try:
            yield
        finally:
            self.settle()
            for client in chosen:
                client.may_end = False

    def killed(self, ports: set[int] | None = None, group: str | None = None) -> int:
        """Note that the worker of connections from these ports, or of a group, is killed.

        Its requests in flight may be lost. A client retries a request if it finds the connection closed.
        """
        with self.lock:
            held = [client for client in self.clients if client.group == group or client.port in (ports or ())]
            hit = [flight for flight in self.flights if flight.client in held]
            for flight in hit:
                flight.excused = True
            for client in held:
                client.dead = client.port
            self.allowed += len(hit)
        return len(hit)

    def land(self, flight: Flight, outcome: str, why: str) -> None:
        took = time.monotonic() - flight.began
        with self.lock:
            self.flights.discard(flight)
            self.counts["sent"] += 1
            self.counts[outcome] += 1
            self.longest = max(self.longest, took)
            if outcome == "right":
                flight.client.last_right = flight.began
            elif outcome != "killed":
                self.enough.set()
                if len(self.examples) < 20:
                    self.examples.append(f"{outcome}, {flight.client.group}, after {took:.2f} s: {why}")

    def settle(self) -> str:
        """Wait for a right answer to a new request of each client; return a sentence on failure."""
        now = time.monotonic()
        while time.monotonic() < now + RECOVERY_SECONDS:
            late = [client for client in self.clients if client.last_right < now and not client.stopped]
            if not late:
                return ""
            time.sleep(0.01)
        return f"{', '.join(sorted({client.group for client in late}))}: no right answer in {RECOVERY_SECONDS} s"

    def take(self) -> tuple[Counter[str], int, int, float]:
        """Take the counts since the last call: (outcomes, allowed losses, retries, longest wait)."""
        with self.lock:
            found = self.counts, self.allowed, self.again, self.longest
            self.counts, self.allowed, self.again, self.longest = Counter(), 0, 0, 0.0
        return found


def right_answer(judge: Judge, port: int, asked: Question) -> tuple[int, bytes]:
    """Send a request twice; return status and body if both answers are right and equal.

    Raises Wrong.
    """
    found = []
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", asked.path, asked.body, dict(asked.headers))
            answer = connection.getresponse()
            found.append((answer.status, answer.read()))
        judge.check(asked, answer.status, answer.headers, found[-1][1], judge.serving)
    if found[0] != found[1]:
        raise Wrong(f"{asked.kind}: asked again, the answer differs")
    return found[0]


class Client(threading.Thread):
    """Sends requests on a kept connection until it is stopped.

    Attributes
    ----------
    go : set while it may begin a request.
    fresh : whether its next request needs a new connection.
    port, dead : the local port of its connection, and that of a connection whose worker was killed.
    may_end : whether its connection may end while it is idle.
    last_right : the start of the last request with a right answer.
    """

    def __init__(self, load: Load, group: str, port: Callable[[], int], seed: int, bad: bool) -> None:
        super().__init__(daemon=True, name=f"{group} {seed}")
        self.group, self._load, self._to, self._draw, self._bad = group, load, port, random.Random(seed), bad
        self.go, self.fresh, self.stopped, self.last_right = threading.Event(), False, False, 0.0
        self.port: int | None = None
        self.dead: int | None = None
        self.may_end = False
        self._connection: http.client.HTTPConnection | None = None
        self.go.set()

    def run(self) -> None:
        while not self.stopped:
            self.go.wait()
            judge = self._load.judge
            asked = judge.bad_question(self._draw) if self._bad else judge.question(self._draw)
            flight = self._begin()
            if flight is not None:
                try:
                    outcome, why = self._ask(asked, flight)
                except Exception:  # the end of a client would be an unnoticed fault
                    outcome, why = "wrong", traceback.format_exc()
                self._load.land(flight, outcome, f"{asked.kind}, {why}")
        self._close()

    def _begin(self) -> Flight | None:
        with self._load.lock:
            if not self.go.is_set() or self.stopped:
                return None
            flight = Flight(self, self._load.judge.serving)
            self._load.flights.add(flight)
            return flight

    def _ask(self, asked: Question, flight: Flight) -> tuple[str, str]:
        """Send a request; return its outcome and the reason."""
        if self.fresh:
            self._close()
            self.fresh = False
        kept = self._connection is not None
        try:
            status, headers, body = self._answer(asked)
        except (OSError, http.client.HTTPException) as error:
            dead = kept and self.port is not None and (self.port == self.dead or self.may_end)
            self._close()
            if flight.excused:
                return "killed", ""
            if dead:  # it was idle: its client retries (RFC 9112, 9.3.1)
                self._load.again += 1
                return self._ask(asked, flight)
            return "lost", f"{'kept' if kept else 'new'} connection: {error!r}"
        if status == 503 and "Retry-After" in headers and not self._bad:
            return "refused", body[:100].decode("utf-8", "replace")
        try:
            self._load.judge.check(asked, status, headers, body, flight.serving | self._load.judge.serving)
        except Wrong as error:
            # The proxy's own page, because no server answered.
            return ("lost" if status in (502, 503, 504) else "wrong"), str(error)
        return "right", ""

    def _answer(self, asked: Question) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self._connection
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._to(), timeout=60)
            connection.connect()
            with self._load.lock:
                self._connection, self.port = connection, connection.sock.getsockname()[1]
        connection.request("POST", asked.path, asked.body, dict(asked.headers))
        with connection.getresponse() as answer:
            found = answer.status, answer.headers, answer.read()
            if answer.will_close:
                self._close()
        return found

    def _close(self) -> None:
        with self._load.lock:
            connection, self._connection, self.port = self._connection, None, None
        if connection is not None:
            connection.close()
