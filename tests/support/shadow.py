"""The comparisons of a shadow, counted for a test."""

from serve.telemetry.shadow import Shadow


class Compared:
    """Counts the rows that a shadow compares, their largest distance, and the flipped verdicts."""

    def __init__(self, shadow: Shadow) -> None:
        self.rows = self.ulp = self.flips = 0
        self._shadow, shadow._observer = shadow, self._add

    def _add(self, rows: int, ulp: int, flips: int) -> None:
        self.rows, self.ulp, self.flips = self.rows + rows, max(self.ulp, ulp), self.flips + flips

    def wait(self) -> None:
        """Wait until all queued requests are compared."""
        self._shadow._threads.submit(int).result()
