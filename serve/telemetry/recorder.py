"""The record of each answered request: counts, drift, access log, span."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from passfail.arrays import Bools, Floats
from passfail.manifest import Manifest
from serve.http.messages import Answer
from serve.telemetry import logs, tracing
from serve.telemetry.drift import Drift
from serve.telemetry.metrics import Metrics
from serve.telemetry.shared_counters import OPENING, SERVED, SharedCounters

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class Asked(msgspec.Struct, frozen=True):
    """The recorded part of a request's head.

    Attributes
    ----------
    path : without the query.
    rule : the route's rule, or None if there is no route.
    headers : names in lower case -> values; the values of a repeated name are joined by commas, as WSGI joins them.
    """

    method: str
    path: str
    rule: str | None
    headers: Mapping[bytes, bytes]


# A request that is answered: what `Recorder.begin` returned (then its duration in seconds), its head, its answer.
Ended = tuple[float, Asked, Answer]


class Recorder:
    """Records requests as they are answered.

    Parameters
    ----------
    rules : the rules of the endpoints, in the same order in every worker.
    access_log : whether each request is a line of the log.
    tracer : OpenTelemetry's, or None.
    """

    def __init__(
        self,
        rules: Iterable[str],
        counters: SharedCounters,
        access_log: bool = False,
        tracer: "Tracer | None" = None,
    ) -> None:
        self.metrics, self.drift = Metrics(rules, counters), Drift(counters)
        self._counters, self._access_log, self._tracer = counters, access_log, tracer
        self.begin = self.metrics.begin

    def serving(self, version: int | None) -> None:
        """Record the version that this worker serves; None: it is about to serve another one."""
        self._counters.mine[SERVED] = OPENING if version is None else version

    def versions(self) -> dict[str, int]:
        """The versions that the workers serve: {version, or "opening": number of workers}."""
        served = (row[SERVED] for row in self._counters.rows() if row[SERVED])
        return Counter("opening" if version == OPENING else str(int(version)) for version in served)

    def predicted(
        self,
        manifest: Manifest,
        x: Floats,
        logit: Floats | Sequence[float],
        verdict: Bools | Sequence[bool],
        probability: Floats | Sequence[float],
    ) -> None:
        """Record answered rows: x (n, d), the others (n,), all arrays or, if few, all sequences."""
        self.metrics.predicted(verdict, probability)
        self.drift.note(manifest, x, logit)

    def end(self, ended: Sequence[Ended]) -> None:
        """Record requests that are answered."""
        durations = self.metrics.end([(began, asked.rule, answer.status) for began, asked, answer in ended])
        errors = [answer.error for _, _, answer in ended if answer.error is not None]
        for problem in chain.from_iterable(error.problems for error in errors):
            if problem.unseen:
                self.drift.note_unseen(problem.column)
        if self._access_log or self._tracer is not None:
            timed = zip(durations, ended, strict=True)
            self._describe([(seconds, asked, answer) for seconds, (_, asked, answer) in timed])

    def _describe(self, timed: Sequence[Ended]) -> None:
        """Log requests and write their spans, as far as the settings ask for them."""
        if self._access_log:
            logs.ACCESS.write(logs.access(timed))
        if self._tracer is not None:
            for one in timed:
                tracing.span(self._tracer, *one)
