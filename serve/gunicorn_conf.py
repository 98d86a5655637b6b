"""How gunicorn runs the service. The application's own settings are in config.py."""

import math
import os
import signal
import sys
from pathlib import Path

from serve.log import EventLogger
from serve.tally import SHARED, WORKERS


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


def _setting(name, default, most=65535):
    text = os.environ.get(name) or str(default())
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        print(f"passfail can't start: {name} must be a whole number from 1 to {most}", file=sys.stderr)
        sys.exit(3)
    return int(text)


def _choice(name, *values):
    text = os.environ.get(name) or values[0]
    if text not in values:
        print(f"passfail can't start: {name} must be {' or '.join(values)}", file=sys.stderr)
        sys.exit(3)
    return text


worker_class = _choice("WORKER_CLASS", "asgi", "gthread")  # which road a request takes: serve/routes.py
wsgi_app = "serve.asgi:from_gunicorn()" if worker_class == "asgi" else "serve.app:from_gunicorn()"
bind = f"0.0.0.0:{_setting('PORT', lambda: _setting('AIP_HTTP_PORT', lambda: 8000))}"
workers = _setting("WEB_CONCURRENCY", lambda: min(available_cpus(), WORKERS // 2), WORKERS // 2)
if worker_class == "asgi":
    asgi_loop = "uvloop"
    asgi_lifespan = "off"  # the model is loaded before the worker listens
else:
    threads = 4  # they share one single-threaded runtime session; a slow sender holds a thread, not the worker
graceful_timeout = 25  # orchestrators kill after 30 s
logger_class = EventLogger
control_socket_disable = True  # on by default since 25.1, and fails on a read-only root


# uvloop forgets a signal that comes before it runs: SIGTERM to a worker that is still loading its model would leave
# gunicorn waiting for graceful_timeout. So it is held back until the loop can hear it.
STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def pre_fork(server, worker):
    worker.tally_row = SHARED.lend(worker)


def child_exit(server, worker):
    SHARED.give_back(worker)


def post_fork(server, worker):
    SHARED.take(worker.tally_row)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def post_worker_init(worker):
    if worker_class == "asgi":
        worker.loop.call_soon(signal.pthread_sigmask, signal.SIG_UNBLOCK, STOPS)
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
