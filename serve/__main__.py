"""python -m serve: run the service under gunicorn, or replay a recorded request."""

import errno
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

USAGE = """\
usage: python -m serve                 start the service; docs/reference/settings.md lists its settings
       python -m serve replay --help   repeat a recorded request"""


def _cannot_start(why: object) -> NoReturn:
    print(f"passfail can't start: {why}", file=sys.stderr)
    sys.exit(3)


def _check_free(address: str, port_name: str) -> None:
    """Exit with one line if the address can't be bound: gunicorn would retry for 5 seconds."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:"):
        if fault := _socket_fault(address.removeprefix("unix:")):
            _cannot_start(f"HOST {address}: {fault}: choose another")
        return
    with socket.socket(socket.AF_INET6 if host.startswith("[") else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            of_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
            _cannot_start(f"{f'{port_name} {port}' if of_port else f'HOST {host}'}: {error.strerror}: choose another")


def _socket_fault(path: str) -> str | None:
    """The reason why no UNIX socket can be made at a path, or None."""
    if not os.access(os.path.dirname(path) or ".", os.W_OK | os.X_OK):
        return "the folder can't be written to"
    if os.path.lexists(path) and not Path(path).is_socket():
        return "another file is there"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # gunicorn replaces a socket that nobody listens on
        except OSError as error:  # the path is too long, for example
            return error.strerror or str(error)
    return "another process listens there"


if __name__ == "__main__":
    # Until gunicorn handles SIGINT: during an import, Ctrl-C would print a traceback or get lost.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

    if sys.argv[1:2] == ["replay"]:
        from serve.replay import main

        sys.exit(main(sys.argv[2:]))
    if sys.argv[1:]:
        helped = sys.argv[1:] in (["-h"], ["--help"])
        print(USAGE, file=sys.stdout if helped else sys.stderr)
        sys.exit(0 if helped else 2)
    # Until gunicorn handles SIGTERM: as process 1 of a container, a service that opens its models would ignore it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # NumPy reads this at its import, below. Its threads would take as much processor time as the worker's own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    # Report a wrong setting here, in one line: gunicorn reads some of the same variables and prints a traceback.
    from serve.server import gunicorn_conf  # isort: split
    from passfail.errors import StartupError
    from passfail.repository import choices
    from serve.protocols.routes import Routes

    settings = gunicorn_conf.settings
    try:
        Routes(settings)
        choices(settings.models, settings.model_name, settings.model_version, settings.lowest_version)
    except StartupError as error:
        _cannot_start(error)
    for address in gunicorn_conf.bind:
        _check_free(address, "METRICS_PORT" if address.endswith(f":{settings.metrics_port}") else "PORT")

    from gunicorn import __main__ as gunicorn
    from gunicorn.app.wsgiapp import run

    # On USR2 gunicorn runs this script again. Its folder holds gunicorn's `http`, which must not shadow Python's.
    sys.argv = [gunicorn.__file__, "-c", f"python:{gunicorn_conf.__name__}"]
    os.environ["PYTHONSAFEPATH"] = "1"
    run()
