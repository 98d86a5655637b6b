"""Each module of the product is imported in a fresh process, which must stay as it was."""

import json
import subprocess
import sys

import pytest

from tests.support import ROOT

# Four modules need engines that only `make test-engines` installs. gunicorn_conf.py is a configuration file, which
# gunicorn reads once.
ENGINES = ("passfail/dask.py", "passfail/ray.py", "passfail/sklearn.py", "passfail/spark.py")
LEFT_OUT = (*ENGINES, "serve/server/gunicorn_conf.py")
IMPORTS = """
import json, os, signal, sys, threading
from importlib import import_module

written = []
def hook(event, arguments):
    wrote = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if wrote or event in ("subprocess.Popen", "os.fork", "socket.bind", "socket.connect", "os.mkdir", "os.remove"):
        written.append(f"{event} {arguments[0]}")
sys.addaudithook(hook)

def state():
    files = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if fd != "3")
    handlers = [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return {"files": files, "threads": threading.active_count(), "signals": handlers, "path": sys.path[:]}

changed = {}
for name in sys.argv[1].split():
    before = state()
    import_module(name)
    after = state()
    if different := [key for key in before if before[key] != after[key]]:
        changed[name] = different
print(json.dumps([changed, written]))
"""


@pytest.mark.parametrize("room", ["passfail", "serve", "train"])
def test_importing_a_module_opens_nothing_and_starts_nothing(room: str) -> None:
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / room).rglob("*.py"))]
    names = [".".join(path.with_suffix("").parts) for path in paths if str(path) not in LEFT_OUT]
    command = [sys.executable, "-B", "-c", IMPORTS, " ".join(names).replace(".__init__", "")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == [{}, []]
