"""python -m bench.inside: the service with an adjustable clock, or with an injected fault.

CHAOS_HUNG is the file that a worker makes before it hangs, after the signal HANG.
CHAOS_CLOCK is a file of one float64: the seconds by which the service's clock (not the monotonic one) is ahead.
CHAOS_MUTANT is the name of a fault: one of MUTANTS, which make chaos must find, or growing_memory.
"""

import mmap
import os
import random
import runpy
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HANG = signal.SIGRTMIN + 5  # gunicorn and Python do not use it


def set_clock(path: Path, seconds: float) -> None:
    """Set the clock of the services that were started with this file."""
    with path.open("r+b") as file:
        file.write(struct.pack("d", seconds))


def _fake_clock(path: str) -> None:
    with open(path, "rb") as file:
        shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + struct.unpack("d", shared[:8])[0]
    time.time_ns = lambda: real_ns() + int(1e9 * struct.unpack("d", shared[:8])[0])


def _hang_in_c(path: str) -> None:
    def hang(*_: object) -> None:
        Path(path).touch()
        sum(range(10**15))  # one call of C, which keeps the lock and handles no signal

    signal.signal(HANG, hang)


def _seldom(share: float) -> bool:
    return random.random() < share


def flipped_verdict() -> None:
    """Flip one verdict in a thousand."""
    from passfail.model import Model

    verdict, rows, began = Model.verdict, Model.predict_rows, dict[int, float]()

    def flipped(self: Any, logit: Any) -> Any:
        import numpy as np

        # The start's own proof is left alone: it would find the fault.
        settled = time.monotonic() - began.setdefault(id(self), time.monotonic()) > 1
        return verdict(self, logit) ^ (settled & (np.random.random(np.shape(logit)) < 0.001))

    def flipped_rows(self: Any, some: Any) -> Any:
        x, answers = rows(self, some)
        return x, [(verdict ^ _seldom(0.001), *rest) for verdict, *rest in answers]

    Model.verdict, Model.predict_rows = flipped, flipped_rows  # type: ignore[method-assign]


def other_version() -> None:
    """Let another version compute one run in a hundred, under the requested version's name."""
    import passfail.loading

    opened: list[Any] = []
    load = passfail.loading.load_runtime

    def remembered(name: str, data: bytes) -> Any:
        mine = load(name, data)
        opened.append(mine)
        started = time.monotonic()

        def run(x: Any) -> Any:
            # The start's own proof is left alone: it would find the fault.
            chosen = random.choice(opened) if time.monotonic() - started > 1 and _seldom(0.01) else mine
            return chosen(x)

        return run

    passfail.loading.load_runtime = remembered


def stale_version() -> None:
    """Report a pin as followed, but let the previous version answer one request in a hundred."""
    from serve.registry import Service

    state: dict[str, Any] = {}

    def read(self: Any) -> Any:
        if "new" not in state:
            raise AttributeError("served")
        return state["old"] if state["old"] is not None and _seldom(0.01) else state["new"]

    def write(self: Any, served: Any) -> None:
        state["old"], state["new"] = state.get("new"), served

    Service.served = property(read, write)  # type: ignore[assignment,misc]


def other_connection() -> None:
    """Send one answer in two hundred to another connection than the request's."""
    from serve.server.connection import Connection

    send, last = Connection.send, []

    def swapped(self: Any, answer: Any) -> None:
        last.append(answer)
        send(self, last[0] if len(last) > 1 and _seldom(0.005) else answer)
        del last[:-1]

    Connection.send = swapped  # type: ignore[method-assign]


def dropped_request() -> None:
    """Close the connection of one request in two hundred without an answer."""
    from serve.server.connection import Connection

    send = Connection.send

    def dropped(self: Any, answer: Any) -> None:
        if answer.rows and _seldom(0.005):
            self.transport.abort()
        else:
            send(self, answer)

    Connection.send = dropped  # type: ignore[method-assign]


def growing_memory() -> None:
    """Keep ten kilobytes for each answer; make soak, not make chaos, must find it."""
    from serve.server.connection import Connection

    send, kept = Connection.send, list[bytes]()

    def keeping(self: Any, answer: Any) -> None:
        kept.append(b"x" * 10_000)
        send(self, answer)

    Connection.send = keeping  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    one.__name__: one for one in (flipped_verdict, other_version, stale_version, other_connection, dropped_request)
}

if __name__ == "__main__":
    if path := os.environ.get("CHAOS_CLOCK"):
        _fake_clock(path)
    if path := os.environ.get("CHAOS_HUNG"):
        _hang_in_c(path)
    if name := os.environ.get("CHAOS_MUTANT"):
        (MUTANTS | {"growing_memory": growing_memory})[name]()
    runpy.run_module("serve", run_name="__main__", alter_sys=True)
