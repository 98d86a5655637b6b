"""The servers and the measures of make bench, by name, and the aims."""

from typing import NamedTuple

BARE_GTHREAD, BARE = "gunicorn gthread, bare", "gunicorn asgi, bare"
FLASK, FASTAPI, MLSERVER = "Flask, naive, gthread", "FastAPI, async, uvicorn", "MLServer"
LIMIT, SKETCH, BEFORE = "constant bytes, in C", "sketch without checks", "passfail, --before"
OURS, OURS_GTHREAD, TORCHSCRIPT = "passfail", "passfail, WORKER_CLASS=gthread", "passfail, RUNTIME=torchscript"

ONE8, ONE64, LOGGED = (f"1 row, req/s, {so}" for so in ("8 connections", "64 connections", "8 connections, logged"))
ONE_V2, ONE_ARRAY = (f"1 row, req/s, 8 connections, {path}" for path in ("V2", "/invocations"))
P50, P99, P99_1 = "p50 us, 1 connection", "p99 us, 8 connections", "p99 us, 1 connection"
OBJECTS, ARRAYS, TENSOR, BINARY = (
    f"1,000 rows, rows/s, {form}" for form in ("objects", "arrays", "V2 JSON", "V2 binary")
)
CSV, BESIDE = "CSV of 100,000 rows, rows/s", "p99 us, 8 connections, beside 100,000-row CSVs"
MEMORY, SETTLED, GROWTH = "memory, MiB", "memory after CSVs, MiB", "as many CSVs again, MiB more"
FURTHER, START = "a further worker, MiB", "start to first answer, s"
INSTALLED, IMAGE, TWO = "serving set installed, MB", "image over its base, MB", "two workers' capacity, of one"
ROWS_EACH = {OBJECTS: 1000, ARRAYS: 1000, TENSOR: 1000, BINARY: 1000, CSV: 100_000}


class Aim(NamedTuple):
    """The aim of one measure: at least `aim`, or with most=True at most `aim`.

    It applies to the measure `of` itself, or to its ratio to another server's measure (`to`), to another measure of the
    same server (`than`), or to that measure of that server. `plus` is subtracted from the measure before the ratio.
    """

    measure: str
    aim: float
    to: str | None = None
    than: str | None = None
    most: bool = False
    of: str = OURS
    plus: float = 0.0

    def found(self, servers, before=""):
        """The value in one round, {server: {measure: value}}; None if it was not measured.

        before : "cpu " computes it from the CPU time, as if each server had its core to itself.
        """
        own = servers.get(self.of, {}).get(before + self.measure)
        if self.to is None and self.than is None:
            return own if not before or not own else 1e6 / own * ROWS_EACH.get(self.measure, 1)
        other = servers.get(self.to or self.of, {}).get(before + (self.than or self.measure))
        if own is None or not other or (before and not own):  # 0: less CPU time than the kernel counts
            return None
        rows = ROWS_EACH.get(self.measure, 1) / ROWS_EACH.get(self.than or self.measure, 1)
        return other / own * rows if before else (own - self.plus) / other

    def met(self, value):
        return value <= self.aim if self.most else value >= self.aim

    def __str__(self):
        over = ": ".join(filter(None, (self.than, self.to)))
        less = f" less {self.plus}" if self.plus else ""
        return f"{self.measure}{less}{'' if self.of == OURS else f': {self.of}'}{over and f' / {over}'}"


AIMS = [
    Aim(ONE8, 2.2, to=BEFORE),
    Aim(ONE8, 2.4, to=BARE),
    Aim(ONE8, 10, to=FASTAPI),
    Aim(ONE8, 6, to=FLASK),
    Aim(ONE8, 0.35, to=LIMIT),
    Aim(ONE_V2, 0.9, than=ONE8),
    Aim(ONE_ARRAY, 0.9, than=ONE8),
    Aim(ONE64, 0.9, than=ONE8),
    Aim(LOGGED, 0.95, than=ONE8),
    Aim(P50, 1, to=BARE, most=True),
    Aim(P99_1, 1.2, to=BARE, most=True),
    Aim(P99, 2, to=BARE, most=True),
    Aim(ARRAYS, 8 / 4.4, than=OBJECTS),
    Aim(OBJECTS, 2.5, to=FLASK),
    Aim(TENSOR, 1.2, to=MLSERVER),
    Aim(BINARY, 8e6),
    Aim(BINARY, 8e6 / 34_000, to=BARE, than=ONE8),  # the same: there, bare gunicorn answered 34,000 requests/s
    Aim(CSV, 1e6),
    Aim(GROWTH, 1, most=True),
    Aim(MEMORY, 75, most=True),
    Aim(FURTHER, 15, most=True),
    Aim(START, 1.5, to=BARE, most=True, plus=0.15),
    Aim(INSTALLED, 150, most=True),
    Aim(IMAGE, 160, most=True),
    Aim(TWO, 1.9),
    Aim(ONE8, 0.7, to=OURS, of=TORCHSCRIPT),
]
