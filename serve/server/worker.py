"""gunicorn's workers: one with an event loop and our connections, and gunicorn's gthread."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from email.utils import formatdate
from itertools import islice
from types import FrameType
from typing import Any

import uvloop
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gthread import ThreadWorker

from serve.server.connection import Connection
from serve.server.dispatch import Dispatcher

TICK_SECONDS = 0.25  # between two checks of time limits, of the parent, and of the clock for Date
# (Seconds in which a stopping worker accepts connections, seconds for requests to end) ...
QUICK = (0.0, 2.0)  # by SIGINT or SIGQUIT
ORPHANED = (1.0, 0.5)  # after the parent's end: within two seconds
TRIED = 64  # idle connections that a full worker tries to close for a new one


class Worker(BaseWorker):  # type: ignore[misc]  # gunicorn has no types
    """A gunicorn worker that runs an event loop (uvloop).

    After SIGTERM readiness is 503, and each response closes its connection. For DRAIN_SECONDS the worker still accepts
    new connections, so that a load balancer leaves before the worker refuses them.

    Attributes
    ----------
    connections : all open connections.
    idle : the connections without a request; the longest idle one is first.
    date : the Date field of a response.
    keepalive : seconds after which an idle connection is closed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.connections: set[Connection] = set()
        self.idle: dict[Connection, None] = {}
        self.date = ""
        self.keepalive: int = self.cfg.keepalive

    def init_process(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._signalled = asyncio.Event()
        super().init_process()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after SIGTERM, once all requests are answered."""
        self._stop()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop soon after SIGINT or SIGQUIT."""
        self._times = QUICK
        self._stop()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """End at once after SIGABRT, which the parent sends to a worker that hangs.

        gunicorn's own handler raises SystemExit, which the loop would catch.
        """
        self.cfg.worker_abort(self)
        os._exit(1)

    def _stop(self) -> None:
        self.alive = False
        self.wsgi.service.leaving = True
        self.loop.call_soon_threadsafe(self._signalled.set)

    def run(self) -> None:
        self.dispatcher = Dispatcher(self.wsgi, self.loop)
        self._times = (float(self.wsgi.service.config.drain_seconds), float(self.cfg.graceful_timeout))
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        servers = [await self._listen(one.sock) for one in self.sockets]
        self._tick()
        await self._signalled.wait()
        self._signalled.clear()
        await self._wait(self._times[0])
        for server in servers:
            server.close()
        for connection in list(self.connections):
            connection.leave()
        ends = self.loop.time() + self._times[1]
        while self.connections and self.loop.time() < ends:
            await asyncio.sleep(0.01)

    async def _listen(self, socket: Any) -> asyncio.AbstractServer:
        ssl = ssl_context(self.cfg) if self.cfg.is_ssl else None
        listen = self.loop.create_unix_server if isinstance(socket.getsockname(), str) else self.loop.create_server
        return await listen(lambda: Connection(self), sock=socket, backlog=self.cfg.backlog, ssl=ssl)

    async def _wait(self, seconds: float) -> None:
        """Wait that many seconds, or until a signal arrives."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signalled.wait()

    def _tick(self) -> None:
        self.notify()
        self.date = f"Date: {formatdate(usegmt=True)}\r\n"
        now = self.loop.time()
        for connection in [one for one in self.connections if one.deadline <= now]:
            connection.time_out()
        orphaned = self.ppid != os.getppid()
        if self.alive and (orphaned or self.nr >= self.max_requests):
            self._times = ORPHANED if orphaned else self._times
            self._stop()
        self.loop.call_later(TICK_SECONDS, self._tick)

    # The connections call these.

    def full(self) -> bool:
        """Whether there are more connections than MAX_CONNECTIONS."""
        return len(self.connections) > int(self.cfg.worker_connections)

    def make_room(self) -> bool:
        """Close the longest idle connection if a new one exceeds the limit; return whether it fits."""
        while len(self.connections) >= self.cfg.worker_connections:
            found = next((one for one in islice(self.idle, TRIED) if one.close_if_idle()), None)
            if found is None:
                return False
            self.forget(found)
        return True

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self.connections.discard(connection)
        self.idle.pop(connection, None)


class Threads(ThreadWorker):  # type: ignore[misc]
    """gunicorn's gthread worker, which reports that it is not ready before it stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.wsgi.service.leaving = True
        later = threading.Timer(self.wsgi.service.config.drain_seconds, super().handle_exit, (sig, frame))
        later.daemon = True  # SIGINT doesn't wait for it
        later.start()

    def is_parent_alive(self) -> bool:
        """Whether the parent lives; without it the worker keeps no connection."""
        found = bool(super().is_parent_alive())
        if not found:
            self.alive = False  # gunicorn 27.0.1 would keep connections open for graceful_timeout
            self.wsgi.service.leaving = True
        return found
