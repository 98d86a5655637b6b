"""Clients that are slow, too many, or send nonsense."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bench.faults.registry import fault
from bench.services import OPEN_FILES

if TYPE_CHECKING:
    from bench.processes import Processes

RAW = [
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    bytes(range(256)),
]
SLOW = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500000\r\n\r\n{"
LIMIT = 16 * 1024 * 1024  # MAX_BODY_BYTES


@contextlib.contextmanager
def connections(system: Processes, count: int) -> Iterator[list[socket.socket]]:
    """Open connections to a service, and close them at the end."""
    address = ("127.0.0.1", system.services["asgi"].port)
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address)) for _ in range(count)]


@fault("slow senders")
def slow_senders(system: Processes) -> str:
    """Open 60 connections that begin a body of 500,000 bytes and send no more."""
    with connections(system, 60) as held:
        for connection in held:
            connection.sendall(SLOW)
        time.sleep(2)
    return f"{len(held)} bodies that don't come"


@fault("more connections than open files")
def more_connections_than_open_files(system: Processes) -> str:
    """Open more idle connections than the service may have open files."""
    with system.load.idle_connections_may_end("asgi"), connections(system, 2 * OPEN_FILES) as held:
        time.sleep(1)
    return f"{len(held)} idle connections to 2 workers with {OPEN_FILES} open files each"


@fault("garbage")
def garbage(system: Processes) -> str:
    """Send bytes that are no HTTP request, and bodies that the service must refuse."""
    clients = []
    for name in system.services:
        clients += system.load.start(name, lambda name=name: system.services[name].port, 1, bad=True)
    began, sent = time.monotonic(), 0
    while time.monotonic() < began + 2:
        for service in system.services.values():
            with (
                contextlib.suppress(OSError),  # the service closed it before the client had sent all
                socket.create_connection(("127.0.0.1", service.port)) as connection,
            ):
                connection.sendall(system.draw.choice(RAW))
                sent += 1
        time.sleep(0.01)
    system.load.stop(clients)
    return f"{sent} broken requests, and bodies that must be refused"


@fault("memory pressure")
def memory_pressure(system: Processes) -> str:
    """Send each service one body of the largest allowed size."""
    row = b"[0.0,0,0]"
    body = b'{"instances": [%b]}' % b",".join([row] * (LIMIT // (len(row) + 1) - 3))
    found: list[int] = []

    def ask(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        found.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=ask, args=(one.port,)) for one in system.services.values()]
    before = {pid for service in system.services.values() for pid in service.workers()}
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if before != {pid for service in system.services.values() for pid in service.workers()}:
        raise RuntimeError("a worker has been replaced")
    if found != [413] * len(threads) and found != [422] * len(threads):
        raise RuntimeError(f"statuses {found}")
    return f"{len(threads)} bodies of {len(body) / 2**20:.0f} MiB, each refused"
