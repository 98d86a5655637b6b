"""Health, the metrics, the drift and the manifest: endpoints for whoever runs the service."""

import msgspec

from serve.http.messages import Answer, Request, json_answer
from serve.registry import Service
from serve.telemetry.prometheus import CONTENT_TYPE, exposition
from serve.telemetry.recorder import Recorder


class Live(msgspec.Struct):
    """The process answers."""

    live: bool = True


class Ready(msgspec.Struct, omit_defaults=True):
    """Whether requests should come here, the model that answers them, and {version: why it was refused}.

    Where the workers do not serve the same version: {version, or "opening" while it opens one: how many workers}.
    """

    ready: bool
    model: str
    version: int
    refused: dict[str, str] = {}
    workers: dict[str, int] = {}


class ServerReady(msgspec.Struct):
    """Whether requests should come here, as the Open Inference Protocol has it."""

    ready: bool
    live: bool = True


def live(service: Service, request: Request) -> Answer:
    """GET /health/live and /v2/health/live."""
    return json_answer(Live())


def ready(service: Service, request: Request) -> Answer:
    """GET /health/ready. The model was opened, verified and replayed before the first request could come in."""
    manifest = service.served.model.manifest
    workers = telemetry(service).versions()
    differing = workers if len(workers) > 1 else {}
    return health(service, Ready(not service.leaving, manifest.name, manifest.version, service.refused, differing))


def server_ready(service: Service, request: Request) -> Answer:
    """GET /v2/health/ready."""
    return health(service, ServerReady(not service.leaving))


def health(service: Service, document: object) -> Answer:
    """The document, with status 503 once the process is about to stop."""
    return json_answer(document, 503 if service.leaving else 200)


def model(service: Service, request: Request) -> Answer:
    """GET /model: the manifest of the model in service, as exported."""
    return json_answer(service.served.model.manifest.encode())


def metrics(service: Service, request: Request) -> Answer:
    """GET /metrics, for Prometheus."""
    manifest, recorder = service.served.model.manifest, telemetry(service)
    totals, report = recorder.metrics.totals(), recorder.drift.report(manifest)
    text = exposition(totals, manifest, service.config.runtime, len(service.refused), report)
    return Answer(200, ((b"Content-Type", CONTENT_TYPE.encode()),), text.encode())


def drift(service: Service, request: Request) -> Answer:
    """GET /drift: how far the rows of the last hours are from the training rows."""
    return json_answer(telemetry(service).drift.report(service.served.model.manifest))


def telemetry(service: Service) -> Recorder:
    """The service's recorder. serve/replay.py's service has none, and answers no such request."""
    if service.recorder is None:
        raise RuntimeError("this service was started without telemetry")
    return service.recorder
