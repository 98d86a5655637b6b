"""The proxy, and the network between it and the services."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.faults.registry import PROXY, fault

if TYPE_CHECKING:
    from bench.processes import Processes


@fault("kill the proxy", PROXY)
def kill_the_proxy(system: Processes) -> str:
    """Kill HAProxy and start it again."""
    assert system.proxy is not None
    with system.load.paused("proxy", wait=False):
        hit = system.load.killed(group="proxy")
        system.proxy.process.kill()
        system.proxy.process.wait()
        time.sleep(0.2)
        system.proxy.start()
    return f"with {hit} requests in flight"


@fault("cut the network", PROXY)
def cut_the_network(system: Processes) -> str:
    """Reset all connections between HAProxy and one service, and each new one for three seconds."""
    relay = system.relays["asgi"]
    system.load.killed(group="proxy")  # requests in flight may be lost: a client can't retry after half an answer
    cut = relay.cut()
    time.sleep(3)
    relay.mend()
    time.sleep(1)
    return f"{cut} connections reset, and each new one for 3 s"


@fault("slow the network", PROXY)
def slow_the_network(system: Processes) -> str:
    """Pass on each piece between HAProxy and the services 0.1 s late, for two seconds."""
    return _network(system, "delay", 0.1, 0.0, "0.1 s more for each piece, for 2 s")


@fault("stall the network", PROXY)
def stall_the_network(system: Processes) -> str:
    """Pass on nothing between HAProxy and the services for two seconds."""
    return _network(system, "stalled", True, False, "nothing passed for 2 s")


def _network(system: Processes, name: str, during: object, after: object, told: str) -> str:
    before = sum(relay.carried for relay in system.relays.values())
    for relay in system.relays.values():
        setattr(relay, name, during)
    time.sleep(2)
    for relay in system.relays.values():
        setattr(relay, name, after)
    return f"{told}, on {max(before, 1)} connections"
