"""The shadow: repeats a share of the requests on the second runtime, and compares.

It runs in a thread of its own, after the response.
"""

import hashlib
import json
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from passfail.arrays import Floats
from passfail.columns import instance
from passfail.model import Model
from passfail.proof.certificate import ulp
from serve.http.messages import Request
from serve.http.receipt import digest

LOG = logging.getLogger(__name__)
WAITING = 64  # requests that wait for their comparison; further ones are not compared
ROWS = 1000  # of one request, so that the queue's memory is bounded
REPORTED = 100  # flips of one process: a wrong runtime must not fill the log and the disk

Observer = Callable[[int, int, int], None]  # takes the rows, their largest distance in ulp, and the flips


class Shadow:
    """Compares answers with a second runtime's, in a thread from the first request on.

    Parameters
    ----------
    model : the same export on a second runtime, called `name`.
    rate : the share of the requests that are compared, in (0, 1].
    flips : the folder for rows whose verdict differs, or None.
    observer : called after every comparison, or None.
    """

    def __init__(
        self, model: Model, name: str, rate: float, flips: Path | None = None, observer: Observer | None = None
    ) -> None:
        self._flipped = 0
        self._model, self._name, self._rate, self._flips, self._observer = model, name, rate, flips, observer
        self._room = threading.Semaphore(WAITING)
        self._threads = ThreadPoolExecutor(1, "shadow")  # it starts its thread at the first request

    def offer(self, x: Floats, logit: Floats, probability: Floats, request: Request | None = None) -> None:
        """Queue a request's rows x (n, d) and answers (n,) for comparison, or drop them; never wait."""
        if random.random() >= self._rate or not self._room.acquire(blocking=False):
            return
        x, logit, probability = (some[:ROWS].copy() for some in (x, logit, probability))
        asked = None if request is None else digest(request)
        with suppress(RuntimeError):  # it is closed, and a request still holds the model
            self._threads.submit(self._compare, x, logit, probability, asked).add_done_callback(self._compared)

    def close(self) -> None:
        """End the thread once the queued requests are compared: the model is no longer served."""
        self._threads.shutdown(wait=False)

    def _compared(self, done: Future[None]) -> None:
        self._room.release()
        if error := done.exception():
            LOG.error("the shadow runtime %s failed", self._name, exc_info=error)

    def _compare(self, x: Floats, logit: Floats, probability: Floats, request_digest: str | None) -> None:
        second, likelihood = self._model.runtime(x)
        flipped = np.flatnonzero(self._model.verdict(logit) != self._model.verdict(second))
        if self._observer:
            self._observer(len(x), ulp(probability, likelihood), len(flipped))
        reported = min(self._flipped, REPORTED)
        self._flipped += len(flipped)
        for row in flipped[: REPORTED - reported].tolist():
            self._report(x[row], row, float(logit[row]), float(second[row]), request_digest)

    def _report(self, x: Floats, row: int, logit: float, second: float, request_digest: str | None) -> None:
        model = self._model.manifest
        named = model.name, model.version, model.digest, request_digest, row
        text = "verdict flip: %s version %d (%s), request %s, row %d: logit %r, but %r on %s; %s"
        LOG.error(text, *named, logit, second, self._name, self._save(x))

    def _save(self, x: Floats) -> str:
        """Save the row as a request for `python -m serve replay`; the log must hold no value."""
        if self._flips is None:
            return "SHADOW_FLIPS is not set, so the row is not saved"
        manifest = self._model.manifest
        body = json.dumps(instance(manifest.features, x.tolist())).encode()
        path = self._flips / f"{manifest.name}-{manifest.version}-{hashlib.sha256(body).hexdigest()[:16]}.json"
        try:
            path.write_bytes(body)
        except OSError as error:
            return f"the row can't be saved: {error.strerror}"
        return f"the row is saved in {path}"
