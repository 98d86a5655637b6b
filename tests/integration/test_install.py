"""torch comes from PyTorch's index if that answers, else from pip's own settings."""

import http.server
import subprocess
import sys
import threading

import pytest

from tests.support import ROOT
from tests.support.service import free_port


@pytest.fixture
def index():
    """The address of an index that has a page for torch, and no other."""

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def install(index, *pip):
    """The run of deploy/install_torch.py with `pip` in pip's place."""
    command = [sys.executable, ROOT / "deploy" / "install_torch.py", index, *(pip or ["echo", "installed"]), "torch"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("slash", ["", "/"], ids=["", "with a slash at its end"])
def test_an_index_that_answers_is_used_alone(index, slash):
    done = install(f"{index}/cpu{slash}")

    assert (done.returncode, done.stdout) == (0, f"installed torch --no-deps --index-url {index}/cpu{slash}\n")


@pytest.mark.parametrize("path", ["/nothing", None], ids=["has no page for torch", "is not there"])
def test_otherwise_one_line_says_so_and_pips_settings_decide(index, path):
    address = f"{index}{path}" if path else f"http://127.0.0.1:{free_port()}"

    said, installed = install(address).stdout.splitlines()

    assert said.startswith(f"{address} does not answer")
    assert installed == "installed torch"


def test_an_empty_index_means_pips_settings():
    assert install("").stdout == "installed torch\n"


def test_the_status_is_pips(index):
    assert install("", "false").returncode == 1
