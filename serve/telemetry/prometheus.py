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


def exposition(totals: Totals, manifest: Manifest, runtime: str, refused: int, drift: Report) -> str:
    """Write the text of GET /metrics.

    Parameters
    ----------
    totals : the sums over all workers.
    manifest, runtime : the model in service.
    refused : the number of versions that this worker refuses to serve.
    drift : the body of GET /drift.
    """
    return "\n".join([*_traffic(totals), *_model(manifest, runtime, refused), *_parity(totals), *_drift(drift)]) + "\n"


def _traffic(totals: Totals) -> Iterator[str]:
    requests = [
        ({"endpoint": rule, "status": status}, count)
        for rule, counts in totals.requests.items()
        for status, count in counts.items()
    ]
    seconds = [({"endpoint": rule}, histogram) for rule, histogram in totals.seconds.items()]
    verdicts = zip(({"verdict": name} for name in ("negative", "positive")), totals.verdicts, strict=True)
    yield from _family("requests_total", "counter", "Requests answered, by endpoint and status.", requests)
    duration = "Request duration in seconds, from complete request to response."
    yield from _histogram("request_duration_seconds", duration, seconds)
    yield from _one("requests_in_flight", "gauge", "Requests in flight.", totals.in_flight)
    yield from _one("rows_total", "counter", "Rows answered.", totals.rows)
    yield from _family("verdicts_total", "counter", "Rows answered, by verdict.", verdicts)
    yield from _histogram("probability", "Probabilities answered.", [({}, totals.probability)])
    yield from _one("log_lines_dropped_total", "counter", "Lines of the log that were dropped.", totals.dropped_lines)


def _model(manifest: Manifest, runtime: str, refused: int) -> Iterator[str]:
    labels = {
        "model": manifest.name, "version": str(manifest.version), "digest": manifest.digest, "runtime": runtime,
    }  # fmt: skip
    yield from _family("model_info", "gauge", "The model that this worker serves.", [(labels, 1)])
    yield from _one("refused_versions", "gauge", "Versions that this worker refuses to serve.", refused)


def _parity(totals: Totals) -> Iterator[str]:
    flips = "Rows whose verdict differs on the shadow runtime."
    distance = "Largest distance of the two runtimes' probabilities, in units in the last place."
    yield from _one("parity_checked_rows_total", "counter", "Rows compared on the shadow runtime.", totals.checked_rows)
    yield from _one("parity_verdict_flips_total", "counter", flips, totals.flips)
    yield from _one("parity_ulp_max", "gauge", distance, totals.ulp_max)


def _drift(report: Report) -> Iterator[str]:
    score, features = report["score"], report["features"].items()
    index, limit = "Population stability index", "Limit above which that index means drift"
    psi = [({"feature": name}, one["psi"]) for name, one in features]
    limits = [({"feature": name}, one["psi_limit"]) for name, one in features]
    missing = [({"feature": name}, one["missing_share"]) for name, one in features]
    unseen = [({"feature": name}, one.get("unseen_share")) for name, one in features]
    yield from _one("drift_rows", "gauge", "Rows that the drift is measured on.", report["rows"])
    yield from _family("drift_psi", "gauge", f"{index} of each feature.", psi)
    yield from _family("drift_psi_limit", "gauge", f"{limit}, for each feature.", limits)
    yield from _family("drift_missing_share", "gauge", "Share of rows whose value is missing.", missing)
    yield from _family("drift_unseen_share", "gauge", "Share of rows refused for an unseen level.", unseen)
    yield from _one("drift_score_psi", "gauge", f"{index} of the score.", score["psi"])
    yield from _one("drift_score_psi_limit", "gauge", f"{limit}, for the score.", score["psi_limit"])


def _one(name: str, kind: str, about: str, value: float | None) -> Iterator[str]:
    return _family(name, kind, about, [({}, value)])


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float | None]]) -> Iterator[str]:
    """The lines of a metric; a sample without a value is left out."""
    yield f"# HELP passfail_{name} {about}"
    yield f"# TYPE passfail_{name} {kind}"
    for labels, value in samples:
        if value is not None:
            yield _sample(name, labels, value)


def _histogram(name: str, about: str, series: Iterable[tuple[Labels, Histogram]]) -> Iterator[str]:
    yield from _family(name, "histogram", about, [])
    for labels, (bounds, counts, total) in series:
        below = list(accumulate(counts))
        for bound, count in zip([*(f"{bound:g}" for bound in bounds), "+Inf"], below, strict=True):
            yield _sample(f"{name}_bucket", {**labels, "le": bound}, count)
        yield _sample(f"{name}_sum", labels, total)
        yield _sample(f"{name}_count", labels, below[-1])


def _sample(name: str, labels: Labels, value: float) -> str:
    written = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"passfail_{name}{{{written}}} {float(value)!r}" if written else f"passfail_{name} {float(value)!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
