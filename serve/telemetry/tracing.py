"""OpenTelemetry, where its environment variables ask for it: a span for each request, below the caller's."""

import time

from passfail.errors import ConfigError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def tracer(environ):
    """What `span` writes to, or None where no endpoint is set. Raises ConfigError where the extra is not installed.

    All else that OpenTelemetry's variables say (service name, sampler, headers, batches) its SDK reads itself.
    """
    if not any(environ.get(name) for name in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"{ENDPOINTS[0]} is set, but OpenTelemetry is not installed: pip install '.[otel]'"
        ) from error
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "passfail"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("passfail")


def span(tracer, seconds, method, rule, status, headers, answer):
    """Write the span of a request that has just been answered, which took so many seconds.

    status: "other" where its client had gone before there was one.

    Names are OpenTelemetry's semantic conventions for HTTP servers; no path and no query, which may hold values.
    """
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    end = time.time_ns()
    attributes = {"http.request.method": method, "passfail.rows": answer.rows}
    if status != "other":
        attributes["http.response.status_code"] = status
    if rule:
        attributes["http.route"] = rule
    if answer.version is not None:
        attributes["passfail.version"] = answer.version
    found = tracer.start_span(
        f"{method} {rule or ''}".strip(),
        context=TraceContextTextMapPropagator().extract(
            {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        ),
        kind=SpanKind.SERVER,
        start_time=end - int(seconds * 1e9),
        attributes=attributes,
    )
    if attributes.get("http.response.status_code", 0) >= 500:
        found.set_status(Status(StatusCode.ERROR))
    found.end(end)
