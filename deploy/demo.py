"""Starts the service, shows one prediction, and leaves it serving: what `make demo` runs last."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

from serve.settings import read_or_exit


def main():
    port = read_or_exit().port
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(f"port {port} is taken: choose another, make demo PORT={port + 1}")
    server = subprocess.Popen([sys.executable, "-m", "serve"])
    try:
        here = f"http://localhost:{port}"
        _wait(here, server)
        with urllib.request.urlopen(f"{here}/model") as answer:
            instance = json.load(answer)["examples"][4]["instance"]
        body = json.dumps(instance)
        request = urllib.request.Request(f"{here}/predict", body.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            print(f"\n$ curl -H 'Content-Type: application/json' -d '{body}' {here}/predict\n{answer.read().decode()}")
        print("\nserving; Ctrl-C stops", flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()


def _wait(here, server):
    """Until the service is ready; leaves with its exit status where it stops instead."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{here}/health/ready").close()
            return
        except OSError:  # refused or reset: not yet
            time.sleep(0.05)
    sys.exit(server.returncode)


if __name__ == "__main__":
    main()
