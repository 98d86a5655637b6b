"""GET /metrics: the counts as Prometheus's text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/. The names follow Prometheus's guidelines: base units, and
`_total` for counters.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from passfail.manifest import Manifest
from serve.telemetry.drift import Report
from serve.telemetry.metrics import Histogram, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Samples = Iterable[tuple[Labels, float | Histogram | None]]  # None: the sample is left out


def exposition(totals: Totals, manifest: Manifest, runtime: str, refused: int, drift: Report) -> str:
    """Write the text of GET /metrics.

    Parameters
    ----------
    totals : the sums over all workers.
    manifest, runtime : the model in service.
    refused : the number of versions that this worker refuses to serve.
    drift : the body of GET /drift.
    """
    lines = (line for family in _families(totals, manifest, runtime, refused, drift) for line in _family(*family))
    return "\n".join(lines) + "\n"


def _families(
    totals: Totals, manifest: Manifest, runtime: str, refused: int, drift: Report
) -> Iterator[tuple[str, str, str, Samples]]:
    """The metrics: (name, kind, help, samples)."""

    def one(value: float | Histogram | None) -> Samples:
        return [({}, value)]

    def each(key: str) -> Samples:
        return [({"feature": name}, column.get(key)) for name, column in drift["features"].items()]  # type: ignore[misc]

    requests = [
        ({"endpoint": rule, "status": status}, count)
        for rule, counts in totals.requests.items()
        for status, count in counts.items()
    ]
    seconds = [({"endpoint": rule}, histogram) for rule, histogram in totals.seconds.items()]
    verdicts = zip(({"verdict": name} for name in ("negative", "positive")), totals.verdicts, strict=True)
    yield "requests_total", "counter", "Requests answered, by endpoint and status.", requests
    duration = "Request duration in seconds, from complete request to response."
    yield "request_duration_seconds", "histogram", duration, seconds
    yield "requests_in_flight", "gauge", "Requests in flight.", one(totals.in_flight)
    yield "rows_total", "counter", "Rows answered.", one(totals.rows)
    yield "verdicts_total", "counter", "Rows answered, by verdict.", verdicts
    yield "probability", "histogram", "Probabilities answered.", one(totals.probability)
    yield "log_lines_dropped_total", "counter", "Lines of the log that were dropped.", one(totals.dropped_lines)
    served = {"model": manifest.name, "version": str(manifest.version), "digest": manifest.digest, "runtime": runtime}
    yield "model_info", "gauge", "The model that this worker serves.", [(served, 1)]
    yield "refused_versions", "gauge", "Versions that this worker refuses to serve.", one(refused)
    yield "parity_checked_rows_total", "counter", "Rows compared on the shadow runtime.", one(totals.checked_rows)
    flips = "Rows whose verdict differs on the shadow runtime."
    yield "parity_verdict_flips_total", "counter", flips, one(totals.flips)
    distance = "Largest difference between the two runtimes' probabilities, in units in the last place."
    yield "parity_ulp_max", "gauge", distance, one(totals.ulp_max)
    index, limit = "Population stability index", "Limit of the population stability index, above which there is drift"
    yield "drift_rows", "gauge", "Recent rows that the drift indexes are computed from.", one(drift["rows"])
    yield "drift_psi", "gauge", f"{index} of each feature.", each("psi")
    yield "drift_psi_limit", "gauge", f"{limit}, for each feature.", each("psi_limit")
    yield "drift_missing_share", "gauge", "Share of rows whose value is missing.", each("missing_share")
    yield "drift_unseen_share", "gauge", "Share of rows refused for an unseen level.", each("unseen_share")
    yield "drift_score_psi", "gauge", f"{index} of the score.", one(drift["score"]["psi"])
    yield "drift_score_psi_limit", "gauge", f"{limit}, for the score.", one(drift["score"]["psi_limit"])


def _family(name: str, kind: str, about: str, samples: Samples) -> Iterator[str]:
    """The lines of a metric."""
    yield f"# HELP passfail_{name} {about}"
    yield f"# TYPE passfail_{name} {kind}"
    for labels, value in samples:
        if isinstance(value, Histogram):
            below = list(accumulate(value.counts))
            for bound, count in zip([*(f"{bound:g}" for bound in value.bounds), "+Inf"], below, strict=True):
                yield _sample(f"{name}_bucket", {**labels, "le": bound}, count)
            yield _sample(f"{name}_sum", labels, value.sum)
            yield _sample(f"{name}_count", labels, below[-1])
        elif value is not None:
            yield _sample(name, labels, value)


def _sample(name: str, labels: Labels, value: float) -> str:
    escapes = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
    written = ",".join(f'{label}="{text.translate(escapes)}"' for label, text in labels.items())
    return f"passfail_{name}{{{written}}} {float(value)!r}" if written else f"passfail_{name} {float(value)!r}"
