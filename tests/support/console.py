"""The console blocks of the documents: run, and compared or written again.

A fence ```console has lines `$ command`, each followed by its output. In an output `...` stands for any text of a line,
and a line that is only `...` for any number of lines. A fence ```console title="second terminal" starts a process that
goes on while the rest of the page runs, or until another one is started there.

`python -m tests.support.console PAGE...` runs each page and writes into it what its commands print now.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import ROOT
from tests.support.service import free_port
from tests.support.wait import until

FENCE = re.compile(r"^```console(?P<title> title=[^\n]*)?\n(?P<text>.*?)^```$", re.M | re.S)
# The parts of a checkout that a command may read, as links, so that a command writes into the copy only.
LINKED = (".venv", "Makefile", "data", "deploy", "docs", "passfail", "pyproject.toml", "requirements", "serve", "tests",
          "train")  # fmt: skip
# The lines that the trainer prints now and then while it reads or fits.
PROGRESS = re.compile(r"^(.*: [\d,]+ rows read|this step has read .*|held-out fold \d+: .*)\n", re.M)
# The variables that a `make` that runs the tests sets, and that a person's shell doesn't have.
OF_MAKE = ("ARGS", "CI", "DATA", "MAKEFLAGS", "MAKELEVEL", "MODEL_NAME", "NAME", "PORT", "RUNTIME", "TARGET", "VERSION")

# make must install nothing: the environment that runs the tests has all of it.
MAKE = '#!/bin/sh\nexec {make} -o .venv/train -o .venv/test "$@"\n'


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes
    ----------
    background : it goes on running, and has no output to compare.
    start, end : where its output stands in the page's text.
    """

    line: str
    output: str
    background: bool
    start: int
    end: int


def commands(page: str) -> Iterator[Command]:
    """The commands of a page's console blocks, in order."""
    for block in FENCE.finditer(page):
        text, at = block["text"], block.start("text")
        found = list(re.finditer(r"^\$ ((?:.*\\\n)*.*)\n", text, re.M))
        ends = [match.start() for match in found[1:]] + [len(text)]
        for match, end in zip(found, ends, strict=True):
            output = text[match.end() : end]
            yield Command(match[1], output, block["title"] is not None, at + match.end(), at + end)


def agrees(expected: str, found: str) -> bool:
    """Whether an output is as the page has it, up to what the page marks with `...`."""
    pattern = "".join(
        "(?:.*\n)*?" if line == "...\n" else ".*".join(map(re.escape, line.split("...")))
        for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, found) is not None


@dataclass
class Terminal:
    """A checkout, the port that stands for the pages' 8000, and the background process."""

    folder: Path
    port: int = field(default_factory=free_port)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, command: Command) -> str:
        """Run a command; return what it prints.

        One in the background is started and waited for until it is ready.
        """
        line = command.line.replace("8000", str(self.port))
        kept = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
        environment = {**kept, "PATH": f"{self.folder / '.bin'}:{kept['PATH']}", "PORT": str(self.port), "LC_ALL": "C"}
        environment["CURL_HOME"] = str(self.folder / ".bin")
        if command.background:
            self.stop()
            self.running.append(
                subprocess.Popen(
                    ["bash", "-c", line], cwd=self.folder, env=environment, start_new_session=True,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            )  # fmt: skip
            self._wait()
            return command.output
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=300,
        )  # fmt: skip
        output = PROGRESS.sub("", done.stdout).replace(str(self.port), "8000")
        return output if output.endswith("\n") or not output else f"{output}\n"

    def stop(self) -> None:
        """End what runs in the background."""
        for process in self.running:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=120)
        self.running.clear()

    def _wait(self) -> None:
        def ready() -> bool:
            if self.running[-1].poll() is not None:
                raise AssertionError(f"it ended with status {self.running[-1].returncode}")
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=120).close() is None

        until(ready, 120)


@contextmanager
def terminal(folder: Path, models: Path | None = None) -> Iterator[Terminal]:
    """A Terminal in an empty folder; models: a repository whose copy it has."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / ".bin").mkdir()
    make = folder / ".bin" / "make"
    make.write_text(MAKE.format(make=shutil.which("make")))
    make.chmod(0o755)
    (folder / ".bin" / ".curlrc").write_text("silent\nshow-error\n")  # no progress: a terminal isn't the output here
    if models is not None:
        shutil.copytree(models, folder / "models")
    found = Terminal(folder)
    try:
        yield found
    finally:
        found.stop()


def refreshed(page: str, shell: Terminal) -> str:
    """The page's text with the present outputs; an output that agrees stays as it is."""
    parts, at = [], 0
    for command in commands(page):
        output = shell.run(command)
        kept = command.output if agrees(command.output, output) else output
        parts += [page[at : command.start], kept]
        at = command.end
    return "".join([*parts, page[at:]])


def serving(name: str) -> Command:
    """The command that serves a model in the background."""
    return Command(f"MODEL_NAME={shlex.quote(name)} .venv/bin/python -m serve", "", True, 0, 0)


def main(pages: list[str]) -> None:
    """Write each page again.

    All but the tutorial ask a service of the lecture's model, made by the command line.
    """
    from train.__main__ import main as train

    with tempfile.TemporaryDirectory() as made:
        models, checkpoints = Path(made, "models"), ["--checkpoints", str(Path(made, "checkpoints"))]
        train(["fit", *checkpoints])
        train(["export", "--models", str(models), *checkpoints])
        for name in pages:
            alone = Path(name).name == "tutorial.md"
            with tempfile.TemporaryDirectory() as folder, terminal(Path(folder), None if alone else models) as shell:
                if not alone:
                    shell.run(serving("hours"))
                Path(name).write_text(refreshed(Path(name).read_text(), shell))


if __name__ == "__main__":
    main(sys.argv[1:])
