"""What is noted of each request as it is answered, on both roads: counts, drift, a line in the log, a span."""

from serve import log, tracing
from serve.drift import Drift
from serve.metrics import Metrics
from serve.receipt import traceparent


class Watch:
    """rules: of the endpoints. tracer: OpenTelemetry's, or None. access_log: whether each request is a line there."""

    def __init__(self, rules, tally, access_log=False, tracer=None):
        self.metrics, self.drift = Metrics(rules, tally), Drift(tally)
        self._access_log, self._tracer = access_log, tracer
        self.begin = self.metrics.begin

    def predicted(self, model, x, logit, probability):
        """The model has answered rows x (n, d)."""
        self.metrics.predicted(model.verdict(logit), probability)
        self.drift.note(model.manifest, x, logit)

    def end(self, began, method, path, rule, headers, answer):
        """The request that `begin` began is answered. headers: the request's; rule: None where no endpoint took it."""
        seconds = self.metrics.end(began, rule, answer.status)
        if answer.error is not None:
            for problem in answer.error.problems:
                if problem.unseen is not None:
                    self.drift.note_unseen(problem.unseen)
        if self._access_log:
            log.access(
                method=method, path=path[:200], status=answer.status, milliseconds=round(1000 * seconds, 3),
                rows=answer.rows, model=answer.model, version=answer.version,
                request_id=dict(answer.headers).get("X-Request-Id"), traceparent=traceparent(headers),
            )  # fmt: skip
        if self._tracer is not None:
            tracing.span(self._tracer, seconds, method, rule, answer.status, headers, answer)
