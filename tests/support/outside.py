"""The programs of make conform that ask an engine outside of this process."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from passfail.errors import PassfailError
from passfail.runtimes import Runtime
from train.arguments import model_name, parse
from train.commands.conform import replay
from train.errors import TrainError
from train.export import parity


def conform(
    engine: str, serving: Callable[[Path], AbstractContextManager[Runtime]] | None, arguments: list[str]
) -> int:
    """Replay a published version's examples in an engine; return the exit status.

    serving : the engine with the model of a version's folder; None: it is not installed.
    """
    args = parse(["conform", *arguments])
    if serving is None:
        print(f"{engine}: not installed (make conform installs it)")
        return 0
    try:
        folder, manifest, _ = parity.published(args.models, model_name(args), args.version)
        with serving(folder) as run:
            print(replay(manifest, engine, run))
    except (TrainError, PassfailError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
