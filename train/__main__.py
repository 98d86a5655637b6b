"""The trainer's command line: python -m train COMMAND; train/arguments.py has the commands."""

import os
import re
import shlex
import signal
import sys

if __name__ == "__main__":
    # The imports take seconds, and PyTorch's is in `main`; Ctrl-C in them must not print a traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

from collections.abc import Mapping, Sequence
from importlib import import_module

from passfail.errors import PassfailError
from train.arguments import LECTURE_DATA, PYTHON, parse, reading_of
from train.errors import DataError, LostError, TrainError
from train.table.reading import check_exists

INTERRUPTED = "interrupted: nothing further was written"
MOST_TRIES = 5  # of commands that could get past the faults of a table


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command, and return the exit status.

    0: success; 2: an error, on standard error; 130: Ctrl-C; 141: the reader of the output (head) has gone.
    """
    args = parse(arguments)
    args.environ, args.rank = environ, int(environ.get("RANK", "0"))
    try:
        if hasattr(args, "dates"):  # the command reads a table
            check_exists(args.data or LECTURE_DATA)
        from train import distributed  # imports PyTorch; the errors above don't wait for it

        command = import_module(f"train.commands.{args.command}")
        if __name__ == "__main__":
            signal.signal(signal.SIGINT, signal.default_int_handler)
        with distributed.joined(launched="TORCHELASTIC_RUN_ID" in environ):
            command.run(args)
        print(end="", flush=True)
    except (TrainError, PassfailError) as error:
        if args.rank == 0 or isinstance(error, LostError):
            print(f"error: {error}", file=sys.stderr)
            tried = hasattr(args, "dates") and "TORCHELASTIC_RUN_ID" not in environ
            if tried and isinstance(error, DataError) and error.options is not None:
                print(getting_past(error, sys.argv[1:] if arguments is None else arguments), file=sys.stderr, end="")
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports the error again at exit
        return 141
    except (KeyboardInterrupt, Exception) as error:
        if (interrupt := _interrupt(error)) is None:
            raise
        print(str(interrupt) or INTERRUPTED, file=sys.stderr)
        return 130
    return 0


def getting_past(error: DataError, words: Sequence[str]) -> str:
    """A sentence with the command that gets past a table's faults; "" if none is known.

    It reads the table to try the command: an option, such as another target, may bring other faults to light.
    """
    from train.table.table import read_table

    for _ in range(MOST_TRIES):
        if error.options is None:
            break
        for name, meant in error.instead.items():
            named = re.compile(rf"(?<![^,=]){re.escape(name)}(?![^,=])")
            words = [named.sub(meant.replace("\\", r"\\"), word) for word in words]
        words = [*words, *shlex.split(error.options)]
        args = parse(words)
        try:
            read_table(args.data or LECTURE_DATA, reading_of(args))
        except DataError as other:
            error = other
        except KeyboardInterrupt:  # the error is said already
            break
        else:
            return f"this command gets past it:\n{PYTHON} {shlex.join(words)}\n"
    return ""


def _interrupt(error: BaseException | None) -> BaseException | None:
    """The Ctrl-C that caused an error, or None; torch's exporter converts it into its own error."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


if __name__ == "__main__":
    sys.exit(main())
