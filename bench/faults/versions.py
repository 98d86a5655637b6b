"""Versions that come, go, arrive slowly or can't be served."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from bench import disks
from bench.faults.registry import STORAGE, fault
from tests.support.wait import until

if TYPE_CHECKING:
    from bench.processes import Processes


@fault("publish 30 versions a minute")
def publish_30_versions_a_minute(system: Processes) -> str:
    """Publish a version every two seconds; all workers must take up each."""
    for _ in range(4):
        began = time.monotonic()
        system.follow(system.versions.publish())
        time.sleep(max(0.0, 2 - (time.monotonic() - began)))
    return f"4 versions in 8 s, each taken up by all workers; now version {system.versions.newest}"


@fault("publish a bad version")
def publish_a_bad_version(system: Processes) -> str:
    """Publish a version with a truncated model file: the services must refuse it."""
    number = system.versions.newest + 1
    folder = system.versions.write(number)
    os.truncate(folder / "model.onnx", 100)
    folder.rename(system.versions.home / str(number))
    for service in system.services.values():
        until(lambda service=service: str(number) in dict(service.ready().get("refused", {})))  # type: ignore[call-overload]
    shutil.rmtree(system.versions.home / str(number))
    for service in system.services.values():
        until(lambda service=service: "refused" not in service.ready())
    return "refused by all services"


@fault("a version arrives slowly")
def a_version_arrives_slowly(system: Processes) -> str:
    """Write a version slowly, its manifest first, as a copy from a bucket does."""
    number = system.versions.publish(pause=0.2)
    system.follow(number)
    return (
        f"version {number}, file by file in {system.versions.arrival:.1f} s, taken up by all workers once it was whole"
    )


@fault("slow object storage", STORAGE)
def slow_object_storage(system: Processes) -> str:
    """Mount a slow bucket as the models folder: workers start from it, and a version arrives."""
    models, home, began = system.folder / "models", system.versions.home, time.monotonic()
    with disks.object_storage(models, 0.05) as (behind, relay):
        system.versions.home = behind / system.versions.name
        try:
            hit = sum(map(system.kill_worker, system.services.values()))
            system.follow(system.versions.newest)
            started = time.monotonic() - began
            number = system.versions.publish()
            system.follow(number)
        finally:
            system.versions.home = home
        carried = relay.carried
    return (
        f"workers replaced in {started:.0f} s, with {hit} requests in flight; version {number} taken up; "
        f"{carried} connections to the store, each piece 0.05 s late"
    )


@fault("pin and roll back")
def pin_and_roll_back(system: Processes) -> str:
    """Pin the version before the newest with `passfail pin`, then the newest again."""
    newest, first = system.versions.newest, system.versions.newest - 1
    system.load.judge.serving |= {first}
    system.pin(first)
    system.load.judge.serving = frozenset({first})
    time.sleep(0.5)
    system.load.judge.serving |= {newest}
    system.pin("highest")
    system.load.judge.serving = frozenset({newest})
    return "back to the version before, and forward again"


@fault("models away")
def models_away(system: Processes) -> str:
    """Rename the model's folder, and rename it back after 2.5 seconds."""
    away = system.versions.home.rename(system.folder / "models" / ".away")
    time.sleep(2.5)
    away.rename(system.versions.home)
    time.sleep(1.2)
    return "no models folder for 2.5 s"
