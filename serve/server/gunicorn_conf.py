"""gunicorn's configuration file: its settings, made from ours (serve/settings.py), and its hooks."""

import contextlib
import gc
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
from serve.telemetry.shared_counters import SHARED


class EventLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger, and everybody else's in its workers, as Events.

    Not by gunicorn's own setting logconfig_dict: with that it makes up a line of its own for each request.
    """

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logging.config.dictConfig(logs.LOGGING)


def addresses(host: str | None, port: int, metrics_port: int | None) -> list[str]:
    """The addresses to listen on: the host's, and another port of it for the metrics.

    None is all IPv4 and IPv6 addresses; `unix:PATH` has no ports, and leaves the metrics to all addresses.
    """
    everywhere = _everywhere()
    hosts = everywhere if host is None else [f"[{host}]" if ":" in host else host]
    if host is not None and host.startswith("unix:"):
        return [host, *(f"{one}:{metrics_port}" for one in everywhere if metrics_port)]
    return [f"{one}:{number}" for number in (port, metrics_port) if number for one in hosts]


def _everywhere() -> list[str]:
    """The addresses that stand for all: one for IPv4 and IPv6, two where the kernel parts them, or IPv4 alone."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            apart = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            return ["0.0.0.0", "[::]"] if apart else ["[::]"]
    except OSError:
        return ["0.0.0.0"]


settings = read_or_exit()
worker_class = {"asgi": "serve.server.worker.Worker", "gthread": "serve.server.worker.Threads"}[settings.worker_class]
wsgi_app = "serve.server.flask_app:from_gunicorn()"
bind = addresses(settings.host, settings.port, settings.metrics_port)
workers = settings.workers
if settings.worker_class == "asgi":
    worker_connections = settings.max_connections
else:
    threads = 4  # they share one single-threaded runtime session; a slow sender holds a thread, not the worker
LOADING_SECONDS = 300  # for a worker that loads its models, from storage that answers slowly, until it counts as hung
keepalive = settings.keepalive
graceful_timeout = 25  # orchestrators kill after 30 s
timeout = 30  # a worker whose loop stands still for so long is killed and replaced; so is a body that stops coming
logger_class = EventLogger
forwarder_headers = ""  # by default a client behind a proxy on this machine may say what the service's paths begin with
control_socket_disable = True  # on by default since 25.1, and fails on a read-only root


# A new worker has gunicorn's own handlers at first, which only put a signal down for a loop that isn't its; uvloop then
# forgets one that comes before it runs. SIGTERM to a worker that isn't loaded yet would leave gunicorn waiting for
# graceful_timeout. So it is held back from before the fork until the worker's loop can hear it.
STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def _import_what_workers_need() -> None:
    """Before the fork, so that they share its memory and a new one is soon there.

    Modules only: a session or a thread would not survive it.
    """
    import_module("serve.server.flask_app")
    if settings.runtime == "onnx":
        with contextlib.suppress(ImportError):  # the worker says what is missing
            import_module("passfail.runtimes.onnx")
    gc.collect()
    gc.freeze()


def _stop_once(server: Any) -> None:
    """gunicorn 27.0.1 stops where a worker refuses to start, and then trips over the next one that does.

    That was a traceback, and status 1 for 3. From the moment it stops, how a worker ends is no reason to stop.
    """
    stop = server.stop

    def stop_once(graceful: bool = True) -> None:
        server.WORKER_BOOT_ERROR = None
        stop(graceful)

    server.stop = stop_once


def _hear_stops() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def on_starting(server: Any) -> None:
    for warning in settings.warnings:
        server.log.warning(warning)
    _import_what_workers_need()
    _stop_once(server)
    os.register_at_fork(after_in_parent=_hear_stops)


def pre_fork(server: Any, worker: Any) -> None:
    worker.counters_row = SHARED.assign(worker)
    # gunicorn 27.0.1 compares its own clock with the file's, which has the time of day until the worker first writes to
    # it: a worker that hangs while it starts would never be killed.
    worker.tmp.notify()
    if worker.age > server.num_workers:  # the service has begun: a replacement that can't open a model is tried again
        server.WORKER_BOOT_ERROR = None
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _report_while_it_loads(worker: Any) -> None:
    """Tell the parent that a worker is alive until its loop does."""
    with contextlib.suppress(ValueError):  # the worker ends, and its file is closed
        for _ in range(LOADING_SECONDS):
            if worker.booted:
                return
            worker.notify()
            time.sleep(1)


def child_exit(server: Any, worker: Any) -> None:
    SHARED.release(worker)


def post_fork(server: Any, worker: Any) -> None:
    SHARED.use(worker.counters_row)
    threading.Thread(target=_report_while_it_loads, args=[worker], name="loading", daemon=True).start()
    logs.EVENTS.start()
    if settings.access_log:
        logs.ACCESS.start()


def post_worker_init(worker: Any) -> None:
    if settings.worker_class == "asgi":
        worker.loop.call_soon(_hear_stops)
    else:
        _hear_stops()
