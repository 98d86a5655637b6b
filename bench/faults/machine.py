"""The clock, the disks and the log's reader."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from bench import disks
from bench.faults.registry import DISKS, fault
from bench.inside import set_clock
from bench.services import ROOT
from tests.support.wait import until

if TYPE_CHECKING:
    from bench.processes import Processes


@fault("clock jumps")
def clock_jumps(system: Processes) -> str:
    """Set the services' clock ten years forward, then ten years back, then right."""
    seen = []
    for years in (10, -10, 0):
        wanted = time.time() + years * 365.25 * 86400
        set_clock(system.clock, years * 365.25 * 86400)
        until(lambda wanted=wanted: abs(_clock(system) - wanted) < 86400)
        seen.append(time.strftime("%Y", time.gmtime(_clock(system))))
    return f"the service's clock in the years {', '.join(seen)}"


def _clock(system: Processes) -> float:
    """The time in a response of the service, in seconds since 1970."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.services['asgi'].port}/health/live") as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()


@fault("disk full for models", DISKS)
def disk_full_for_models(system: Processes) -> str:
    """Export a version to a full disk: the export must say so and leave nothing behind."""
    with disks.full(system.folder / "models"):
        command = [sys.executable, "-m", "train", "export", "--data", "data/admissions.csv"]
        where = ["--checkpoints", str(system.checkpoints), "--models", str(system.folder / "models")]
        done = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True)
    told = done.stderr.strip().splitlines()
    if done.returncode == 0 or "Traceback" in done.stderr or not told:
        raise RuntimeError(f"the export ended with status {done.returncode}: {done.stderr[-300:]}")
    if found := [one.name for one in system.versions.home.iterdir() if not one.name.isdigit()]:
        raise RuntimeError(f"the export has left {found}")
    return f"export: {told[-1].rpartition(': ')[2]}"


@fault("disk full for logs", DISKS)
def disk_full_for_logs(system: Processes) -> str:
    """Fill the disk of the log: its lines are dropped and counted."""
    service = system.services["asgi"]
    before = service.metric("log_lines_dropped_total")
    with disks.full(system.folder / "logs"):
        until(lambda: service.metric("log_lines_dropped_total") > before)
    os.truncate(system.folder / "logs" / "log", 0)
    return f"{service.metric('log_lines_dropped_total') - before:.0f} lines of the log dropped"


@fault("stuck log reader")
def stuck_log_reader(system: Processes) -> str:
    """Let the reader of the log's pipe read nothing, until the pipe is full."""
    service = system.services["gthread"]
    service.stuck.set()
    try:
        until(service.log_is_full)
        time.sleep(1)
    finally:
        service.stuck.clear()
    return "its pipe was full, for 1 s"


@fault("disk full for TMPDIR", DISKS)
def disk_full_for_tmpdir(system: Processes) -> str:
    """Fill the disk of TMPDIR, and kill one worker of each service meanwhile."""
    with disks.full(system.folder / "tmp"):
        hit = sum(map(system.kill_worker, system.services.values()))
    return f"workers killed and replaced meanwhile, with {hit} requests in flight"


@fault("models become read-only", DISKS)
def models_become_read_only(system: Processes) -> str:
    """Remount the models folder read-only: a pin must fail with one line."""
    models = system.folder / "models"
    subprocess.run(["mount", "-o", "remount,ro", models], check=True)
    try:
        pin = [sys.executable, "-m", "passfail", "pin", str(system.versions.newest), "--model", system.versions.name]
        done = subprocess.run([*pin, "--models", models], cwd=ROOT, capture_output=True, text=True)
        time.sleep(1)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", models], check=True)
    if done.returncode != 2 or "Traceback" in done.stderr:
        raise RuntimeError(f"the pin ended with status {done.returncode}: {done.stderr[-300:]}")
    return f"pin: {done.stderr.strip().rpartition(': ')[2]}"
