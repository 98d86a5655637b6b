"""Installs PyTorch from its own index, or from pip's settings.

python deploy/install_torch.py INDEX PIP INSTALL... torch==VERSION

INDEX has the CPU builds, which need only the locked packages. If it does not answer within seconds, or is empty, pip's
settings decide: PyPI's wheel for Linux is larger and needs further packages.
"""

import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress

SECONDS = 4.0


def answers(index: str, seconds: float = SECONDS) -> bool:
    """Whether the index has a page for torch; the look-up of its host counts in `seconds`, too."""
    found = []

    def ask() -> None:
        with suppress(OSError), urllib.request.urlopen(f"{index.rstrip('/')}/torch/", timeout=seconds):
            found.append(index)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return bool(found)


def main(index: str, *install: str) -> int:
    """Run the command `install`, whose last word is the requirement; return its exit status."""
    if index and answers(index):
        return subprocess.call([*install, "--no-deps", "--index-url", index])
    if index:
        print(
            f"{index} does not answer: pip installs torch from its own settings (on Linux a larger wheel)", flush=True
        )
    return subprocess.call(install)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
