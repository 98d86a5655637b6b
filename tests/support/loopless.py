"""A worker and a client's end of a connection, without a socket.

Each side reads at once what the other has sent, and time passes when a test says so.
"""

import asyncio
import os
import re
from types import SimpleNamespace

from serve.server.connection import Connection
from serve.server.dispatch import Dispatcher

ENDS = os.pipe()  # no bytes wait there: `send` brings them all
SILENT = SimpleNamespace(fileno=lambda: ENDS[0])


class Worker:
    """The part of a worker that a connection needs; to be made in a running loop."""

    def __init__(self, app, **settings):
        loop = asyncio.get_running_loop()
        self.passed = 0.0  # seconds
        self.loop = SimpleNamespace(
            time=lambda: self.passed, run_in_executor=loop.run_in_executor, call_soon=loop.call_soon
        )
        self.dispatcher = Dispatcher(app, loop)
        self.connections, self.idle = set(), {}
        self.alive, self.date, self.nr, self.keepalive = True, "", 0, 75
        self.cfg = SimpleNamespace(worker_connections=1000, **settings)

    def wait(self, seconds):
        """Let time pass, and act on the limits that have expired."""
        self.passed += seconds
        for connection in [one for one in self.connections if one.deadline <= self.passed]:
            connection.time_out()

    def make_room(self):
        return True

    def full(self):
        return False

    def forget(self, connection):
        self.connections.discard(connection)
        self.idle.pop(connection, None)


class Client(asyncio.Transport):
    """The transport of a connection, whose client reads all that is written."""

    def __init__(self, worker):
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 1), "socket": SILENT})
        self.received, self.closed, self.reading = b"", False, True
        self.connection = Connection(worker)
        self.connection.connection_made(self)

    def send(self, data):
        self.connection.data_received(data)

    def leave(self):
        self.connection.connection_lost(ConnectionResetError())

    async def statuses(self, count):
        """The statuses of so many more responses, once they are there."""
        async with asyncio.timeout(120):
            while len(found := re.findall(rb"HTTP/1\.1 (\d\d\d) (?!Continue)", self.received)) < count:
                await asyncio.sleep(0)
        await asyncio.sleep(0)  # what is recorded comes after
        await asyncio.sleep(0)
        self.read, self.received = self.received, b""
        return [int(status) for status in found]

    def body(self):
        """The body of the last response."""
        return self.read.rpartition(b"\r\n\r\n")[2]

    # asyncio's transport.

    def write(self, data):
        self.received += data

    def close(self):
        self.closed = True

    abort = close

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.closed = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True
