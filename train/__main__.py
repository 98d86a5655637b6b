"""The trainer's command line: python -m train COMMAND; train/arguments.py has the commands."""

import os
import signal
import sys

if __name__ == "__main__":
    # The imports below take seconds; Ctrl-C in them must not print a traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

from collections.abc import Mapping, Sequence
from importlib import import_module

from train import distributed
from train.arguments import parse
from train.errors import LostError, TrainError

INTERRUPTED = "interrupted: nothing was written"


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command, and return the exit status.

    0: success; 2: an error, in one line on standard error; 130: Ctrl-C; 141: the reader of the output (head) has gone.
    """
    args = parse(arguments)
    args.environ, args.rank = environ, int(environ.get("RANK", "0"))
    try:
        with distributed.joined(launched="TORCHELASTIC_RUN_ID" in environ):
            import_module(f"train.commands.{args.command}").run(args)
        print(end="", flush=True)
    except TrainError as error:
        if args.rank == 0 or isinstance(error, LostError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupted:
        print(str(interrupted) or INTERRUPTED, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports the error again at exit
        return 141
    except Exception as error:
        if not _caused_by_interrupt(error):
            raise
        print(INTERRUPTED, file=sys.stderr)
        return 130
    return 0


def _caused_by_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error; torch's exporter converts it into its own error."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
