"""OpenTelemetry: a span for each request, as a child of the caller's span.

It is on if OpenTelemetry's environment variables name an endpoint.
"""

import atexit
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from passfail.errors import ConfigError
from serve.http.messages import CLIENT_GONE, Answer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

    from serve.telemetry.recorder import Asked

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXIT = 2.0  # seconds that the end of the process waits for the collector; further spans are lost


def tracer(environ: Mapping[str, str]) -> "Tracer | None":
    """Make the tracer that `span` writes to; None if no endpoint is set.

    OpenTelemetry's SDK reads its other variables itself: service name, sampler, headers, batches.

    Raises
    ------
    ConfigError : an endpoint is set, but the extra `otel` is not installed.
    """
    if not any(environ.get(name) for name in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(f"{ENDPOINTS[0]} is set, but OpenTelemetry is missing: pip install '.[otel]'") from error
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "passfail"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _send_the_rest_at_exit(provider)
    return provider.get_tracer("passfail")


def _send_the_rest_at_exit(provider: "TracerProvider") -> None:
    """Shut the provider down at exit, within EXIT seconds.

    The SDK would wait for a stuck collector without a limit. The thread starts now, because Python 3.12 starts none
    at exit.
    """
    ending = threading.Event()

    def shut_down() -> None:
        ending.wait()
        provider.shutdown()

    def end() -> None:
        ending.set()
        thread.join(EXIT)

    thread = threading.Thread(target=shut_down, name="spans", daemon=True)
    thread.start()
    atexit.register(end)


def span(tracer: "Tracer", seconds: float, asked: "Asked", answer: Answer) -> None:
    """Write the span of a request that has just been answered, after so many seconds.

    The names are OpenTelemetry's semantic conventions for HTTP servers. Path and query may hold values and stay out.
    """
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    end = time.time_ns()
    attributes: dict[str, str | int] = {"http.request.method": asked.method, "passfail.rows": answer.rows}
    if answer.status != CLIENT_GONE:
        attributes["http.response.status_code"] = answer.status
    if asked.rule:
        attributes["http.route"] = asked.rule
    if answer.version is not None:
        attributes["passfail.version"] = answer.version
    carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in asked.headers.items()}
    found = tracer.start_span(
        f"{asked.method} {asked.rule or ''}".strip(),
        context=TraceContextTextMapPropagator().extract(carrier),
        kind=SpanKind.SERVER,
        start_time=end - int(seconds * 1e9),
        attributes=attributes,
    )
    if answer.status >= 500:
        found.set_status(Status(StatusCode.ERROR))
    found.end(end)
