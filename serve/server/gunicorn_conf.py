"""How gunicorn runs the service. The application's own settings are in config.py."""

import contextlib
import gc
import logging.config
import math
import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path

from gunicorn.glogging import Logger

from serve.telemetry.logs import LOGGING
from serve.telemetry.shared_counters import SHARED, WORKERS


class EventLogger(Logger):
    """gunicorn's logger, and everybody else's in its workers, as Events.

    Not by gunicorn's own setting logconfig_dict: with that it makes up a line of its own for each request.
    """

    def setup(self, cfg):
        super().setup(cfg)
        logging.config.dictConfig(LOGGING)


def available_cpus(cgroup=Path("/sys/fs/cgroup")):
    """How many CPUs this process may use: the container's quota (cgroup v2 or v1), at most what the scheduler gives."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except OSError:
        try:
            quota, period = ((cgroup / "cpu" / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        except OSError:
            return cpus
    if quota == "max" or int(quota) <= 0:
        return cpus
    return max(1, min(cpus, math.ceil(int(quota) / int(period))))


def _setting(name, default, most=65535, least=1):
    text = os.environ.get(name) or str(default())
    if not (re.fullmatch("[0-9]{1,15}", text) and least <= int(text) <= most):
        print(f"passfail can't start: {name} must be a whole number from {least} to {most}", file=sys.stderr)
        sys.exit(3)
    return int(text)


def _choice(name, *values):
    text = os.environ.get(name) or values[0]
    if text not in values:
        print(f"passfail can't start: {name} must be {' or '.join(values)}", file=sys.stderr)
        sys.exit(3)
    return text


road = _choice("WORKER_CLASS", "asgi", "gthread")  # which one a request takes: serve/protocols/routes.py
worker_class = {"asgi": "serve.server.worker.Worker", "gthread": "serve.server.worker.Threads"}[road]
wsgi_app = "serve.server.asgi:from_gunicorn()" if road == "asgi" else "serve.server.flask_app:from_gunicorn()"
bind = [f"0.0.0.0:{_setting('PORT', lambda: _setting('AIP_HTTP_PORT', lambda: 8000))}"]
if os.environ.get("METRICS_PORT"):  # which port a request came to, serve/http/auth.py looks at
    bind.append(f"0.0.0.0:{_setting('METRICS_PORT', int)}")
    if bind[0] == bind[1]:
        print("passfail can't start: METRICS_PORT must be another port than PORT", file=sys.stderr)
        sys.exit(3)
workers = _setting("WEB_CONCURRENCY", lambda: min(available_cpus(), WORKERS // 2), WORKERS // 2)
if road == "asgi":
    asgi_loop = "uvloop"
    worker_connections = 1000  # of a worker; requests on more are refused (serve/server/connection.py)
else:
    threads = 4  # they share one single-threaded runtime session; a slow sender holds a thread, not the worker
# From SIGTERM on readiness says 503, and for so long new connections are still taken: a balancer's check must fit in.
drain_seconds = _setting("DRAIN_SECONDS", lambda: 3, 20, least=0)
graceful_timeout = 25  # orchestrators kill after 30 s
timeout = 30  # a worker whose loop stands still for so long is killed and replaced; so is a body that stops coming
logger_class = EventLogger
forwarder_headers = ""  # by default a client behind a proxy on this machine may say what the service's paths begin with
control_socket_disable = True  # on by default since 25.1, and fails on a read-only root


# A new worker has gunicorn's own handlers at first, which only put a signal down for a loop that isn't its; uvloop then
# forgets one that comes before it runs. SIGTERM to a worker that isn't loaded yet would leave gunicorn waiting for
# graceful_timeout. So it is held back from before the fork until the worker's loop can hear it.
STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def _import_what_workers_need():
    """Before the fork, so that they share its memory and a new one is soon there.

    Modules only: a session or a thread would not survive it.
    """
    for module in ("serve.server.asgi", asgi_loop) if road == "asgi" else ("serve.server.flask_app",):
        import_module(module)
    if (os.environ.get("RUNTIME") or "onnx") == "onnx":
        with contextlib.suppress(ImportError):  # the worker says what is missing
            import_module("passfail.runtimes.onnx")
    gc.collect()
    gc.freeze()


def _stop_once(server):
    """gunicorn 27.0.1 stops where a worker refuses to start, and then trips over the next one that does.

    That was a traceback, and status 1 for 3. From the moment it stops, how a worker ends is no reason to stop.
    """
    stop = server.stop

    def stop_once(graceful=True):
        server.WORKER_BOOT_ERROR = None
        stop(graceful)

    server.stop = stop_once


def _hear_stops():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def on_starting(server):
    _import_what_workers_need()
    _stop_once(server)
    os.register_at_fork(after_in_parent=_hear_stops)


def pre_fork(server, worker):
    worker.tally_row = SHARED.lend(worker)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def child_exit(server, worker):
    SHARED.give_back(worker)


def post_fork(server, worker):
    SHARED.take(worker.tally_row)


def post_worker_init(worker):
    if road == "asgi":
        worker.loop.call_soon(_hear_stops)
    else:
        _hear_stops()
