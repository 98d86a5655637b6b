"""The live shadow: a share of the traffic answered on the other runtime too, off the request's path, and compared."""

import hashlib
import json
import logging
import queue
import random
import threading

import numpy as np

from passfail.proof.certificate import ulp

LOG = logging.getLogger(__name__)
WAITING = 64  # requests in the queue; further ones are not compared
ROWS = 1000  # of one request: the queue's memory is bounded, too
REPORTED = 100  # flips of one process: a runtime gone wrong must not fill the log and the disk


class Shadow:
    """Compares answers with a second runtime's, in one daemon thread, which starts with the first.

    This process's figures so far: checked_rows; ulp_max, the largest distance of two probabilities in units in the last
    place (below 1e-300 all count as equal); verdict_flips; dropped, requests that the queue had no room for.
    """

    def __init__(self, model, name, rate, flips=None, told=None):
        """model: the same export on a second runtime, called `name`. rate: the share of requests, above 0, at most 1.

        flips: a folder for the rows whose verdict differs, or None. told(rows, ulp, flips): is told of every
        comparison (serve/telemetry/metrics.py), or None.
        """
        self.checked_rows = self.ulp_max = self.verdict_flips = self.dropped = 0
        self._model, self._name, self._rate, self._flips, self._told = model, name, rate, flips, told
        self._queue = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._thread = None

    def offer(self, x, logit, probability, request_digest=None):
        """Take a request's rows x (n, d) and answers (n,) each to be compared, or let them go; never waits."""
        if random.random() >= self._rate:
            return
        if self._thread is None:
            self._start()
        try:
            self._queue.put_nowait((x[:ROWS].copy(), logit[:ROWS].copy(), probability[:ROWS].copy(), request_digest))
        except queue.Full:
            with self._lock:
                self.dropped += 1

    def wait(self):
        """Until all that was taken is compared."""
        self._queue.join()

    def close(self):
        """Its model is no longer served: compare what was taken, and end the thread."""
        self._rate = 0  # a request that still has the model offers nothing, which would begin another
        if self._thread is not None:
            self._queue.put(None)

    def _start(self):
        # Not in __init__: a thread does not live on in a worker that is forked after it.
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._compare_all, name="shadow", daemon=True)
                self._thread.start()

    def _compare_all(self):
        while (taken := self._queue.get()) is not None:
            try:
                self._compare(*taken)
            except Exception:  # the requests were answered; the shadow must live on
                LOG.exception("the shadow runtime %s failed", self._name)
            finally:
                self._queue.task_done()

    def _compare(self, x, logit, probability, request_digest):
        second, likelihood = self._model.runtime(x)
        flipped = np.flatnonzero(self._model.verdict(logit) != self._model.verdict(second))
        self.checked_rows += len(x)
        distance = ulp(probability, likelihood)
        self.ulp_max = max(self.ulp_max, distance)
        if self._told:
            self._told(len(x), distance, len(flipped))
        reported = min(self.verdict_flips, REPORTED)
        self.verdict_flips += len(flipped)
        for row in flipped[: REPORTED - reported].tolist():
            self._report(x[row], row, logit[row], second[row], request_digest)

    def _report(self, x, row, logit, second, request_digest):
        manifest = self._model.manifest
        LOG.error(
            "verdict flip: %s version %d (%s), request %s, row %d: logit %r, on %s %r; %s",
            manifest.name, manifest.version, manifest.digest, request_digest, row, logit.item(), self._name,
            second.item(), self._keep(x),
        )  # fmt: skip

    def _keep(self, x):
        """Write the row as a request that `python -m serve replay` takes: no value of a feature goes into the log."""
        if self._flips is None:
            return "its row is not kept (SHADOW_FLIPS)"
        manifest = self._model.manifest
        body = json.dumps(manifest.instance(x.tolist())).encode()
        path = self._flips / f"{manifest.name}-{manifest.version}-{hashlib.sha256(body).hexdigest()[:16]}.json"
        try:
            path.write_bytes(body)
        except OSError as error:
            return f"its row can't be written: {error.strerror}"
        return f"its row is {path}"
