"""The last step of `make demo`: start the service, show one prediction and the addresses."""

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from serve.settings import read_or_exit


def main() -> None:
    port = read_or_exit().port
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"port {port} is in use: choose another one, such as make demo PORT={port + 1}")
    for number in (signal.SIGTERM, signal.SIGHUP):  # by default they would end this process but not the service
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    server = subprocess.Popen([sys.executable, "-m", "serve"])
    try:
        address = f"http://localhost:{port}"
        wait_until_ready(address, server)
        show(address)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the service is ready; exit with its status if it stops first."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/health/ready").close()
            return
        except OSError:  # refused or reset: not yet
            time.sleep(0.05)
    sys.exit(server.returncode)


def show(address: str) -> None:
    """Print the addresses, and one request, within the training range, with its response."""
    with urllib.request.urlopen(f"{address}/model") as response:
        body = json.dumps(json.load(response)["examples"][2]["instance"])
    request = urllib.request.Request(f"{address}/predict", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answer = response.read().decode()
    curl = f"curl -H 'Content-Type: application/json' -d {shlex.quote(body)} {address}/predict"
    shown = f"\n$ {curl}\n{answer}\n\npage  {address}/\ndocs  {address}/docs\n\nThe service runs until Ctrl-C.\n"
    print(shown, end="", flush=True)  # in one piece: the service's log goes to the same terminal


if __name__ == "__main__":
    main()
