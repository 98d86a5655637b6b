"""make chaos: cause faults one after another under load, and judge each answer.

Two systems get the faults: the service as processes of this machine (bench/processes.py), and docker-compose's
containers behind their proxy (bench/containers.py), if a Docker engine runs. Clients send requests all the time, in
every protocol, single rows and batches, some compressed. Each answer is compared with the closed form of the version
that it names. The versions' parameters differ, and the named version must have been in service.

The exit status is 1 in each of these cases. An answer was wrong. A request was refused, or it was lost without being in
flight at a killed worker. A fault was not reached. A client got no right answer within 30 s after a fault.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.load import Load


class Fault(NamedTuple):
    """The effect of one fault, its number of tries, and the outcomes of the requests meanwhile.

    Attributes
    ----------
    reached : the observed effect; if the fault was not reached, `missed` gives the reason.
    counts : {outcome: requests}.
    allowed : requests that it may have lost, because they were in flight at a killed worker.
    """

    name: str
    seconds: float
    reached: str
    missed: str
    counts: Counter[str]
    allowed: int
    again: int
    longest: float

    @property
    def failed(self) -> bool:
        counts = self.counts
        bad = counts["wrong"] or counts["refused"] or counts["lost"] or counts["killed"] > self.allowed
        return bool(bad or self.missed or not counts["right"])


Faults = Mapping[str, Callable[[], str]]


def run(load: Load, faults: Faults, seconds: float, stop_early: bool = False) -> list[Fault]:
    """Cause each fault at least once, and repeat all of them until the seconds are over.

    A fault is a function that causes it, returns the observed effect, and raises if the fault was not reached.

    stop_early : stop once a fault has failed.
    """
    table: list[Fault] = []
    began = time.monotonic()
    if late := load.settle():
        raise SystemExit(f"chaos can't begin: {late}: {'; '.join(load.examples)}")
    while time.monotonic() < began + seconds or len(table) < len(faults):
        for name, fault in faults.items():
            if len(table) >= len(faults) and time.monotonic() > began + seconds:
                break
            started, reached, missed = time.monotonic(), "", ""
            try:
                reached = fault()
            except (Exception, SystemExit) as error:
                missed = f"{type(error).__name__}: {str(error)[:300]}"
            missed = missed or load.settle()
            table.append(Fault(name, time.monotonic() - started, reached, missed, *load.take()))
            told = f"{name}: {reached or missed}; {dict(table[-1].counts)}"
            print(f"{'FAILED ' * table[-1].failed}{told}", file=sys.stderr, flush=True)
            if stop_early and table[-1].failed:
                return table
    return table


COLUMNS = ("sent", "right", "wrong", "refused", "lost", "in flight when killed", "allowed", "longest, s")


def lines(table: Sequence[Fault]) -> Iterable[str]:
    """The table: one row for each fault, over all its tries."""
    yield "| fault | times | s | " + " | ".join(COLUMNS) + " | reached |"
    yield "|" + "-|" * (len(COLUMNS) + 4)
    for name in [*dict.fromkeys(one.name for one in table), ""]:
        found = [one for one in table if not name or one.name == name]
        counts = sum((one.counts for one in found), Counter[str]())
        cells = [f"{counts[outcome]:,}" for outcome in ("sent", "right", "wrong", "refused", "lost", "killed")]
        cells += [f"{sum(one.allowed for one in found):,}", f"{max(one.longest for one in found):.1f}"]
        missed = next((one.missed for one in found if one.missed), "") if name else ""
        reached = f"NOT REACHED: {missed}" if missed else found[-1].reached if name else ""
        seconds = f"{sum(one.seconds for one in found):.0f}"
        yield f"| {' | '.join([name or 'all', str(len(found)), seconds, *cells, reached])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=180, help="how long faults go on; each comes at least once")
    parser.add_argument("--system", choices=["processes", "containers"], nargs="+", help="default: what can run here")
    parser.add_argument("--faults", nargs="+", help="these alone, by the names in the table")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # end all that was started and mounted
    chosen = arguments.system or ["processes", *(["containers"] if engine() else [])]
    table: list[Fault] = []
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        for system in chosen:
            if system == "processes":
                from bench.processes import running
                from bench.versions import train
            else:
                from bench.containers import running, train
            templates = train(Path(folder, system))
            with running(Path(folder, system), templates, arguments.seed) as (load, faults, missing):
                absent |= missing
                picked = {name: one for name, one in faults.items() if name in (arguments.faults or faults)}
                table += run(load, picked, arguments.seconds / len(chosen)) if picked else []
            for example in load.examples:
                print(example, file=sys.stderr)
    print("\n".join(lines(table)))
    if not engine() and not arguments.system:
        absent["the faults of containers"] = "no Docker engine answers here"
    for name, why in absent.items():
        print(f"\nNot tried: {name}: {why}.")
    sys.exit(any(one.failed for one in table) or not table)


def engine() -> bool:
    """Whether a Docker engine answers, with Compose installed."""
    return (
        bool(shutil.which("docker-compose") or shutil.which("docker"))
        and not subprocess.run(["docker", "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    )


if __name__ == "__main__":
    main()
