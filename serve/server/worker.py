"""gunicorn's two workers, and what they lack: a connection of ours, and a readiness that says goodbye."""

import asyncio
import os
import threading

from gunicorn.workers.gasgi import ASGIWorker
from gunicorn.workers.gthread import ThreadWorker

from serve.server.connection import Protocol
from serve.server.gunicorn_conf import settings


class Worker(ASGIWorker):
    """gunicorn's ASGI worker. From SIGTERM on readiness says 503 and each answer closes its connection; for
    DRAIN_SECONDS more it takes new ones, so that whoever asks for readiness leaves before the door shuts."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.connections = set()
        self._told = asyncio.Event()

    def handle_exit_signal(self):
        self.asgi.leave()
        super().handle_exit_signal()
        self._told.set()

    def handle_quit_signal(self):
        super().handle_quit_signal()
        self._told.set()

    async def _serve(self):
        for socket in self.sockets:
            self.servers.append(await self.loop.create_server(lambda: Protocol(self), sock=socket.sock))
        while self.alive and self.ppid == os.getppid():
            self.notify()
            await self._wait(1.0)
        self._told.clear()
        await self._wait(0 if self._quick_shutdown else settings.drain_seconds)
        for server in self.servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        await self._shutdown()

    async def _wait(self, seconds):
        """So long, or until a signal comes."""
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            pass


class Threads(ThreadWorker):
    """gunicorn's gthread worker, which takes its leave in the same way."""

    def handle_exit(self, sig, frame):
        self.wsgi.service.leaving = True
        later = threading.Timer(settings.drain_seconds, super().handle_exit, (sig, frame))
        later.daemon = True  # SIGINT doesn't wait for it
        later.start()
