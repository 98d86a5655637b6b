"""What is noted of each request as it is answered, on both roads: counts, drift, a line in the log, a span."""

from serve.http.receipt import traceparent
from serve.telemetry import logs, tracing
from serve.telemetry.drift import Drift
from serve.telemetry.metrics import Metrics


class Recorder:
    """rules: of the endpoints. tracer: OpenTelemetry's, or None. access_log: whether each request is a line there."""

    def __init__(self, rules, tally, access_log=False, tracer=None):
        self.metrics, self.drift = Metrics(rules, tally), Drift(tally)
        self._access_log, self._tracer = access_log, tracer
        self.begin = self.metrics.begin

    def predicted(self, manifest, x, logit, verdict, probability):
        """A model has answered rows x (n, d), NumPy's; the others (n,) each, all lists or all NumPy's."""
        self.metrics.predicted(verdict, probability)
        self.drift.note(manifest, x, logit)

    def end(self, began, method, path, rule, headers, answer, lines=None):
        """The request that `begin` began is answered. headers: the request's; rule: None where no endpoint took it.

        lines: where its line of the log is to be put, for `serve.telemetry.logs.write`; None: it is written at once.
        """
        seconds = self.metrics.end(began, rule, answer.status)
        if answer.error is not None:
            for problem in answer.error.problems:
                if problem.unseen is not None:
                    self.drift.note_unseen(problem.unseen)
        if self._access_log:
            line = logs.access(method, path, seconds, answer, traceparent(headers))
            logs.write([line]) if lines is None else lines.append(line)
        if self._tracer is not None:
            tracing.span(self._tracer, seconds, method, rule, answer.status, headers, answer)
