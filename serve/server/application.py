"""The service of one process, made from its settings."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING
from wsgiref.types import StartResponse, WSGIEnvironment

from passfail.errors import StartupError
from serve.http.auth import Auth
from serve.protocols.routes import Routes
from serve.registry import Service
from serve.settings import Config
from serve.telemetry.recorder import Recorder
from serve.telemetry.shared_counters import shared
from serve.telemetry.tracing import tracer

if TYPE_CHECKING:
    from serve.server.flask_app import Pages


class Application:
    """The WSGI application of one service.

    Attributes
    ----------
    routes : all routes.
    recorder : the telemetry.
    service : the models in service.
    auth : the check of API keys and ports.

    Raises
    ------
    StartupError : the model can't be trusted, or a setting is wrong.
    """

    def __init__(self, config: Config) -> None:
        self.routes = Routes(config)
        rules = sorted({route.rule for route in self.routes})
        self.recorder = Recorder(rules, shared(), config.access_log, tracer(config.otel))
        self.service = Service(config, self.recorder)
        self.auth = Auth(config, self.routes.is_probe)
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with self._lock:
            pages = self._pages
        return pages(environ, start_response)

    @cached_property
    def _pages(self) -> Pages:
        """The Flask application. Neither a probe nor a prediction needs it, and it takes some 9 MiB."""
        from serve.server.flask_app import Pages

        return Pages(self)


def from_gunicorn() -> Application:
    """Make the application in a gunicorn worker.

    If that fails, the first worker prints the StartupError, and status 3 stops the server.
    """
    try:
        app = Application(Config.from_env())
    except StartupError as error:
        if shared().first():
            print(f"passfail can't start: {error}", file=sys.stderr, flush=True)
        sys.exit(3)  # gunicorn's own code for "don't start me again"
    freeze()
    threading.Thread(target=app.service.follow, name="follow", daemon=True).start()
    served = lambda: app.service.served.model.manifest  # noqa: E731
    threading.Thread(target=app.recorder.drift.keep_counting, args=[served], name="drift", daemon=True).start()
    return app


def freeze() -> None:
    """Keep the loaded objects out of garbage collections, and give back unused memory.

    Batches are faster without them.
    """
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):  # only glibc has it: the certificate took some 2 MiB
        ctypes.CDLL(None).malloc_trim(0)
