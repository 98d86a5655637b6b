"""Processes that end or hang."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from bench.faults.registry import fault
from bench.inside import HANG
from bench.services import Service, clients_of
from tests.support.processes import alive
from tests.support.wait import until

if TYPE_CHECKING:
    from bench.processes import Processes

MASTER_ENDS = 10  # seconds for the workers of a killed master to end


@fault("nothing")
def nothing(system: Processes) -> str:
    """Cause no fault: two seconds of load, to compare with."""
    time.sleep(2)
    return "2 s of load"


@fault("kill workers")
def kill_workers(system: Processes) -> str:
    """Kill one worker of each service with SIGKILL; gunicorn starts another."""
    hit = [system.kill_worker(service) for service in system.services.values()]
    return f"{len(hit)} workers killed, with {sum(hit)} requests in flight"


@fault("hang a worker")
def hang_a_worker(system: Processes) -> str:
    """Stop one worker with SIGSTOP, until gunicorn notices and kills it."""
    service = system.draw.choice(list(system.services.values()))
    victim = system.draw.choice(service.workers())
    os.kill(victim, signal.SIGSTOP)
    return _killed_by_gunicorn(system, service, victim, time.monotonic())


@fault("hang a worker in C")
def hang_a_worker_in_c(system: Processes) -> str:
    """Let one worker compute in C, where it handles no signal, until gunicorn kills it."""
    service = system.draw.choice(list(system.services.values()))
    victim = system.draw.choice(service.workers())
    os.kill(victim, HANG)
    began = time.monotonic()
    until(lambda: system.hung.exists())
    told = _killed_by_gunicorn(system, service, victim, began)
    system.hung.unlink()
    return told


def _killed_by_gunicorn(system: Processes, service: Service, victim: int, began: float) -> str:
    hit = system.load.killed(clients_of(victim, service.port))
    until(lambda: victim not in service.workers())
    service.wait()
    return f"killed by gunicorn after {time.monotonic() - began:.0f} s, with {hit} requests in flight"


@fault("pause workers")
def pause_workers(system: Processes) -> str:
    """Stop one worker of each service with SIGSTOP, and continue it after two seconds."""
    victims = [service.workers()[0] for service in system.services.values()]
    for victim in victims:
        os.kill(victim, signal.SIGSTOP)
    time.sleep(2)
    for victim in victims:
        os.kill(victim, signal.SIGCONT)
    if not all(map(alive, victims)):
        raise RuntimeError("a worker that was only paused is gone")
    return f"{len(victims)} workers stopped for 2 s"


@fault("kill the master")
def kill_the_master(system: Processes) -> str:
    """Kill gunicorn's parent: its workers must answer their requests and end soon after."""
    service = system.services["asgi"]
    orphans = service.workers()
    service.process.kill()
    service.process.wait()
    time.sleep(0.3)
    with system.load.paused("asgi"):
        began = time.monotonic()
        until(lambda: not any(map(alive, orphans)), MASTER_ENDS)
        took = time.monotonic() - began + 0.3
        service.start()
    return f"{len(orphans)} workers ended {took:.1f} s after their master"


@fault("stop and start")
def stop_and_start(system: Processes) -> str:
    """Stop each service with SIGTERM while clients still send, and start it again."""
    for service in system.services.values():
        service.process.terminate()
        time.sleep(1)
        with system.load.paused(service.name):
            if status := service.process.wait(40):
                raise RuntimeError(f"{service.name} ended with status {status}")
            service.start()
    return f"{len(system.services)} services drained, status 0"


@fault("reload")
def reload(system: Processes) -> str:
    """Send SIGHUP to each service: gunicorn replaces all its workers."""
    for service in system.services.values():
        old = set(service.workers())
        service.process.send_signal(signal.SIGHUP)
        until(
            lambda service=service, old=old: len(set(service.workers()) - old) == 2 and not old & set(service.workers())
        )
    return f"{2 * len(system.services)} workers replaced"
