"""gunicorn's configuration file: its settings, from serve/settings.py, and its hooks."""

import contextlib
import logging.config
import os
import signal
import socket
import threading
import time
from importlib import import_module
from typing import Any

from gunicorn.glogging import Logger

from serve.settings import read_or_exit
from serve.telemetry import logs
from serve.telemetry.shared_counters import shared


class EventLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger, and all others in its workers, as Events.

    gunicorn's setting logconfig_dict would make gunicorn write its own line for each request.
    """

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logging.config.dictConfig(logs.LOGGING)


def addresses(host: str | None, port: int, metrics_port: int | None) -> list[str]:
    """The addresses to listen on: the host's port, and the host's metrics port.

    Host None means all IPv4 and IPv6 addresses. `unix:PATH` has no ports, so the metrics listen on all addresses.
    """
    everywhere = _everywhere()
    hosts = everywhere if host is None else [f"[{host}]" if ":" in host else host]
    if host is not None and host.startswith("unix:"):
        return [host, *(f"{one}:{metrics_port}" for one in everywhere if metrics_port)]
    return [f"{one}:{number}" for number in (port, metrics_port) if number for one in hosts]


def _everywhere() -> list[str]:
    """The wildcard addresses: one for IPv4 and IPv6, two if the kernel separates them, or IPv4."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            apart = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            return ["0.0.0.0", "[::]"] if apart else ["[::]"]
    except OSError:
        return ["0.0.0.0"]


settings = read_or_exit()
worker_class = {"asgi": "serve.server.worker.Worker", "gthread": "serve.server.worker.Threads"}[settings.worker_class]
wsgi_app = "serve.server.application:from_gunicorn()"
bind = addresses(settings.host, settings.port, settings.metrics_port)
workers = settings.workers
if settings.worker_class == "asgi":
    worker_connections = settings.max_connections
else:
    threads = 4  # they share one single-threaded runtime session; a slow sender blocks a thread, not the worker
RETRY_SECONDS = 1  # between two tries of a replacement that can't open a model
LOADING_SECONDS = 300  # for a worker to load its models from slow storage, before it counts as hung
keepalive = settings.keepalive
graceful_timeout = 25  # orchestrators kill after 30 s
timeout = 30  # seconds after which gunicorn replaces a worker whose loop hangs; also the limit for a stalled body
logger_class = EventLogger
forwarder_headers = ""  # by default gunicorn lets a client behind a local proxy set SCRIPT_NAME
control_socket_disable = True  # gunicorn 25.1 turns it on by default; it fails on a read-only root


# A new worker first has the handlers of gunicorn's parent, and uvloop loses a signal that arrives before it runs. After
# SIGTERM to a worker that still loads, gunicorn would thus wait for graceful_timeout. The signals are therefore blocked
# from before the fork until the worker's loop handles them.
STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
NO_STATUS = -1  # no worker ends with it; gunicorn's status of a worker that a signal has ended is None


def _prepare_workers() -> None:
    """Import modules and open models before the fork, so that workers share their memory."""
    from serve.registry import open_before_fork
    from serve.server.application import freeze

    if settings.worker_class == "gthread":
        import_module("serve.server.flask_app")
    open_before_fork(settings)
    freeze()


def _stop_once(server: Any) -> None:
    """Make gunicorn stop once if several workers refuse to start.

    gunicorn 27.0.1 stops when a worker exits with WORKER_BOOT_ERROR. While it stops, a second such worker raises again:
    gunicorn then prints a traceback and exits with status 1 instead of 3.
    """
    stop = server.stop

    def stop_once(graceful: bool = True) -> None:
        server.WORKER_BOOT_ERROR = NO_STATUS
        stop(graceful)

    server.stop = stop_once


def _unblock_stops() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def on_starting(server: Any) -> None:
    for warning in settings.warnings:
        server.log.warning(warning)
    _prepare_workers()
    _stop_once(server)
    os.register_at_fork(after_in_parent=_unblock_stops)


def pre_fork(server: Any, worker: Any) -> None:
    shared().assign(worker)
    # gunicorn 27.0.1 compares a monotonic clock with the file's time, which is the time of day until the worker first
    # notifies: a worker that hangs at its start would never be killed.
    worker.tmp.notify()
    if _replaces(server, worker):
        server.WORKER_BOOT_ERROR = NO_STATUS  # the service runs: retry a replacement that can't open a model
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _report_while_it_loads(worker: Any) -> None:
    """Notify the parent that a worker is alive, until its loop does."""
    with contextlib.suppress(ValueError):  # the worker ends, and has closed its file
        for _ in range(LOADING_SECONDS):
            if worker.booted:
                return
            worker.notify()
            time.sleep(1)


def _replaces(server: Any, worker: Any) -> bool:
    """Whether a worker is not one of the first, so that a service ran before it."""
    return bool(worker.age > server.num_workers)


def worker_exit(server: Any, worker: Any) -> None:
    if not worker.booted and _replaces(server, worker):
        time.sleep(RETRY_SECONDS)  # gunicorn starts the next one at once


def child_exit(server: Any, worker: Any) -> None:
    shared().release(worker)


def post_fork(server: Any, worker: Any) -> None:
    shared().use(worker)
    threading.Thread(target=_report_while_it_loads, args=[worker], name="loading", daemon=True).start()
    logs.EVENTS.start()
    if settings.access_log:
        logs.ACCESS.start()


def post_worker_init(worker: Any) -> None:
    if settings.worker_class == "asgi":
        worker.loop.call_soon(_unblock_stops)
    else:
        _unblock_stops()
