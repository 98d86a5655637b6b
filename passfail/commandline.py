"""The parser of every command line, with suggestions for misspelt words and with examples."""

import argparse
import codecs
import difflib
import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

CHOICE = re.compile(r".*invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)


def option(name: str, value: str) -> str:
    """An option with its value, quoted for a shell.

    A value that begins with a dash needs `=` before it: argparse takes it for an option otherwise.
    """
    return f"{name}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}"


class Parser(argparse.ArgumentParser):
    """A parser that suggests known options and commands for unknown ones.

    examples : commands with their arguments, for the help.
    """

    def __init__(self, prog: str | None = None, *, examples: Sequence[str] = (), **options: Any) -> None:
        options["epilog"] = "examples:" + "".join(f"\n  {one}" for one in examples) if examples else None
        super().__init__(prog, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but exit with status 2 on an option that is unknown."""
        found, unknown = super().parse_known_args(args, namespace)
        for option in unknown:
            if option.startswith("--"):
                name, known = option.partition("=")[0], re.findall(r"--[a-z][a-z0-9-]*", self.format_help())
                self.error(f"unknown option '{name}'{_meant(name, known)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with status 2; suggest a choice for an unknown command or value."""
        if choice := CHOICE.fullmatch(message):
            message += _meant(choice[1], re.findall(r"[^\s,']+", choice[2]))
        self.exit(2, f"{self.prog}: error: {message}\nOptions: {self.prog} --help\n")


def _meant(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def separator(text: str) -> str:
    """The separator of cells that an option names. Raises ArgumentTypeError."""
    mark = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(mark) != 1 or not mark.isascii() or mark in '"\r\n':
        raise argparse.ArgumentTypeError("takes one ASCII character, tab or space")
    return mark


def encoding(text: str) -> str:
    """The encoding that an option names. Raises ArgumentTypeError."""
    try:
        return codecs.lookup(text).name
    except LookupError as error:
        raise argparse.ArgumentTypeError("takes the name of an encoding, such as windows-1252") from error
