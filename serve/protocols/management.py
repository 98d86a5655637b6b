"""Endpoints for operators: health, the metrics, the drift and the manifest."""

import msgspec

from serve.http.messages import Answer, Request, header_line, json_answer
from serve.registry import Service
from serve.telemetry.prometheus import CONTENT_TYPE, exposition
from serve.telemetry.recorder import Recorder


class Live(msgspec.Struct):
    """The process answers."""

    live: bool = True


class Ready(msgspec.Struct, omit_defaults=True):
    """The readiness of the process, and the model in service.

    `refused` gives the reason for each refused version. While the workers serve different versions, `workers` counts
    them for each version, and for "opening".
    """

    ready: bool
    model: str
    version: int
    refused: dict[str, str] = {}
    workers: dict[str, int] = {}


class ServerReady(msgspec.Struct):
    """The readiness of the server, as the Open Inference Protocol defines it."""

    ready: bool
    live: bool = True


def live(service: Service, request: Request) -> Answer:
    """GET /health/live and /v2/health/live."""
    return json_answer(Live())


def ready(service: Service, request: Request) -> Answer:
    """GET /health/ready: 200, or 503 once the process is about to stop.

    The service opens, verifies and replays a model before it accepts the first request.
    """
    manifest = service.served.model.manifest
    workers = telemetry(service).versions()
    differing = workers if len(workers) > 1 else {}
    return health(service, Ready(not service.leaving, manifest.name, manifest.version, service.refused, differing))


def server_ready(service: Service, request: Request) -> Answer:
    """GET /v2/health/ready."""
    return health(service, ServerReady(not service.leaving))


def health(service: Service, document: object) -> Answer:
    """The document with status 200, or 503 once the process is about to stop."""
    return json_answer(document, 503 if service.leaving else 200)


def model(service: Service, request: Request) -> Answer:
    """GET /model: the manifest of the model in service, as exported."""
    return json_answer(service.served.model.manifest.encode())


def metrics(service: Service, request: Request) -> Answer:
    """GET /metrics, for Prometheus."""
    manifest, recorder = service.served.model.manifest, telemetry(service)
    totals, report = recorder.metrics.totals(), recorder.drift.report(manifest)
    text = exposition(totals, manifest, service.config.runtime, len(service.refused), report)
    return Answer(200, header_line("Content-Type", CONTENT_TYPE), text.encode())


def drift(service: Service, request: Request) -> Answer:
    """GET /drift: the distance between the rows of the last hours and the training rows."""
    return json_answer(telemetry(service).drift.report(service.served.model.manifest))


def telemetry(service: Service) -> Recorder:
    """The service's recorder; only the service of serve/replay.py has none."""
    if service.recorder is None:
        raise RuntimeError("this service was started without telemetry")
    return service.recorder
