"""The versions in service: opened, followed in the repository, and replaced.

A replacement loses no request.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from passfail.arrays import Floats, Row
from passfail.codecs import Codecs
from passfail.codecs.answers import Answers
from passfail.errors import ConfigError, NonFiniteLogit, StartupError
from passfail.loading import open_models
from passfail.model import Model
from passfail.model import RowAnswer as RowAnswer
from passfail.repository import choices, model_name, versions
from passfail.signing import PublicKey
from passfail.spelling import whole
from serve.http.errors import UnknownModel
from serve.http.messages import Request
from serve.settings import Config
from serve.telemetry.recorder import Recorder
from serve.telemetry.shadow import Shadow

LOG = logging.getLogger(__name__)
KEPT = 3  # the highest versions that open, besides the one in service: a client may request each by number
LOOK_SECONDS = 1.0  # between two looks at the repository

Signature = tuple[tuple[str, int, int, int, int], ...]
Refused = dict[str, StartupError]
Opened = dict[tuple[Path, Signature], tuple[PublicKey | None, "Served"]]
INHERITED: Opened = {}  # what gunicorn's parent opened before it forked


@dataclass(frozen=True, eq=False)
class Served:
    """A model in service with its codecs, its shadow and the telemetry.

    A request takes it once, so that one model makes the whole response. Two are equal only if they are one object.

    Attributes
    ----------
    shadow : the comparison with a second runtime, or None.
    recorder : the telemetry, or None.
    """

    model: Model
    codecs: Codecs
    shadow: Shadow | None = None
    recorder: Recorder | None = None

    def predict(
        self,
        x: Floats,
        place: Callable[[int], str] = "$[{}]".format,
        request: Request | None = None,
        traffic: bool = True,
    ) -> Answers:
        """Answer rows, record them, and offer them to the shadow.

        Parameters
        ----------
        x : float64 (n, d), as `Model.predict` takes it.
        place : names a row, by its index, in an error.
        request : the shadow logs its digest if the runtimes differ.
        traffic : whether the rows count in the metrics and in the drift.

        Raises
        ------
        InvalidInstance : the logit of a row overflows float64.
        """
        try:
            found = self.model.answer(x)
        except NonFiniteLogit as error:
            raise error.at(place) from error
        if self.recorder is not None and traffic:
            self.recorder.predicted(self.model.manifest, x, found.logit, found.verdict, found.probability)
        if self.shadow is not None:
            self.shadow.offer(x, found.logit, found.probability, request)
        return found

    def answer_rows(self, rows: Sequence[Row]) -> tuple[list[RowAnswer | NonFiniteLogit], Callable[[], None]]:
        """Answer rows of different requests in one run of the model, each as if it were alone.

        Returns
        -------
        For each row its answer or its NonFiniteLogit; and a function that records the rows, to call after the
        responses. The shadow compares none of them.
        """
        try:
            x, found = self.model.predict_rows(rows)
        except NonFiniteLogit as error:
            left = [row for at, row in enumerate(rows) if at not in error.rows]
            answers, observe_left = self.answer_rows(left) if left else ([], lambda: None)
            for at in error.rows:
                answers.insert(at, NonFiniteLogit([0]))
            return answers, observe_left

        def observe() -> None:
            if self.recorder is not None:
                verdicts, logits, probabilities, *_ = zip(*found, strict=True)
                self.recorder.predicted(self.model.manifest, x, logits, verdicts, probabilities)

        return [*found], observe

    def close(self) -> None:
        """End the shadow's thread: the model is no longer in service."""
        if self.shadow is not None:
            self.shadow.close()


class Service:
    """The models in service, which follow the changes of the repository.

    Parameters
    ----------
    recorder : the telemetry, or None.

    Attributes
    ----------
    served : the model that answers.
    kept : {version: model} that a client may request by number; `served` is one of them.
    refused : {version, or "pinned" or "all": the reason}.
    leaving : whether the process is about to stop; it is then not ready.

    `served`, `kept` and `refused` are replaced as a whole, never changed: any thread may read them.

    Raises
    ------
    StartupError : no version can be served.
    """

    served: Served

    def __init__(self, config: Config, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self.leaving = False
        # Fixed here: a second model that appears in the folder later must not make the name ambiguous.
        self.config = replace(config, model_name=model_name(config.models, config.model_name))
        self._home = config.models / str(self.config.model_name)
        self.kept: dict[int, Served] = {}
        self.refused: dict[str, str] = {}
        # The files of each version when it was last opened, and the error.
        self._seen: dict[int, tuple[Signature, StartupError | None]] = {}
        refused: Refused = {}
        if not self._serve_first(refused):
            raise next(iter(refused.values()))
        self.look()  # opens the versions that a client may request by number, before the first request

    def find(self, name: str, version: str | None = None) -> Served:
        """The model with that name and version (None: the one in service). Raises UnknownModel."""
        if name == self.config.model_name:
            found = self.served if version is None else self.kept.get(whole(version) or 0)
            if found is not None:
                return found
        raise UnknownModel("no such model or version is served here; POST /v2/repository/index lists the versions")

    def opened(self) -> Opened:
        """The models with the key that verified them, by folder and files."""
        key = self.config.signed_by
        seen = {number: self._seen[number] for number in self.kept}
        return {
            (self._home / str(number), signature): (key, self.kept[number])
            for number, (signature, error) in seen.items()
            if error is None  # else the files have changed since
        }

    def follow(self) -> None:
        """Look at the repository every LOOK_SECONDS until the process is about to stop."""
        while not self.leaving:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # whatever failed, the model in service goes on
                LOG.exception("reading the folder of models failed")

    def look(self) -> None:
        """Serve what the repository asks for now; refuse what can't be served, and keep the rest."""
        refused: Refused = {}
        held: list[int] = []
        try:
            held = versions(self._home, self.config.lowest_version)
            self._serve_first(refused)
        except ConfigError as error:
            refused["pinned" if held else "all"] = error
        if held:  # else the folder is missing: the models in memory stay
            newest: set[int] = set()
            for number in reversed(held):
                if len(newest) < KEPT and self._open(number, refused) is not None:
                    newest.add(number)
            self._drop({n for n, one in self.kept.items() if n not in newest and one is not self.served})
        self._report(refused)

    def _serve_first(self, refused: Refused) -> bool:
        """Serve the best version that opens; return whether one opens. Raises ConfigError."""
        config = self.config
        for folder in choices(config.models, config.model_name, config.model_version, config.lowest_version):
            served = self._open(int(folder.name), refused)
            if served is not None:
                if served is not getattr(self, "served", None):
                    if self.recorder:  # readiness must not say that all workers agree while this one changes
                        self.recorder.serving(None)
                    self.served = served
                    if self.recorder:
                        self.recorder.serving(int(folder.name))
                    LOG.info("serving %s", folder)
                return True
        return False

    def _open(self, number: int, refused: Refused) -> Served | None:
        """The model of a version; or None, with the reason in `refused`.

        A version is opened if it is not in service, or if its files have changed. If changed files are wrong, the model
        in service stays.
        """
        folder = self._home / str(number)
        signature = _signature(folder)
        seen, error = self._seen.get(number, (None, None))
        again = number not in self.kept if error is None else isinstance(error.__cause__, OSError)  # a read is retried
        if seen != signature or again:
            error = None
            try:
                self._keep(number, self._inherited(folder, signature) or self._load(folder))
            except StartupError as failed:
                error = failed
            except Exception as failed:  # whatever it is, the other versions go on
                LOG.exception("opening %s failed", folder)
                error = StartupError(f"{folder}: can't be opened: {failed!r}")
            self._seen[number] = signature, error
        if error is None:
            return self.kept[number]
        if number in self.kept and self.kept[number] is not self.served:
            self._drop({number})
        refused[str(number)] = error
        return self.kept.get(number)

    def _inherited(self, folder: Path, signature: Signature) -> Served | None:
        """The model that gunicorn's parent opened from these files with the same key, or None."""
        key, served = INHERITED.pop((folder, signature), (None, None))
        return replace(served, recorder=self.recorder) if served and key == self.config.signed_by else None

    def _load(self, folder: Path) -> Served:
        """Open a version's folder on all runtimes that the settings name. Raises StartupError."""
        config, shadow = self.config, None
        runtimes = [config.runtime] if config.shadow is None else [config.runtime, config.shadow]
        model, *second = open_models(folder, runtimes, config.signed_by)
        if second and config.shadow is not None:
            observer = self.recorder.metrics.compared if self.recorder else None
            shadow = Shadow(second[0], config.shadow, config.shadow_rate, config.shadow_flips, observer)
        return Served(model, Codecs(model.manifest, config.max_rows), shadow, self.recorder)

    def _keep(self, number: int, served: Served) -> None:
        old = self.kept.get(number)
        self.kept = self.kept | {number: served}
        if old is not None:
            old.close()

    def _drop(self, numbers: Set[int]) -> None:
        """Stop serving these versions; a request that has one of them completes."""
        dropped = [self.kept[number] for number in numbers]
        self.kept = {number: one for number, one in self.kept.items() if number not in numbers}
        for one in dropped:
            one.close()

    def _report(self, refused: Refused) -> None:
        """Replace `refused`, and log each reason that is new."""
        # Health needs no key, so its answer leaves out the folder's path on this machine.
        reasons = {version: str(error).replace(f"{self.config.models}/", "") for version, error in refused.items()}
        for version, reason in reasons.items():
            if self.refused.get(version) != reason:
                LOG.error("refused: %s", refused[version])
        self.refused = reasons


def open_before_fork(config: Config) -> None:
    """Open the models in gunicorn's parent: its workers inherit them, and share their memory.

    A session of ONNX Runtime with one thread has no thread that a fork would lose. PyTorch may have some: with a shadow
    the workers open the models, and share the modules.
    """
    if config.runtime == "onnx":
        with suppress(ImportError, StartupError):  # the workers report it
            import_module("passfail.runtimes.onnx")
            if config.shadow is None:
                INHERITED.update(Service(config).opened())


def _signature(folder: Path) -> Signature:
    """The size, times and inode of each file: they change with its content and permissions."""
    try:
        # A link that leads nowhere has times of its own.
        found = [(path.name, os.stat(path, follow_symlinks=path.exists())) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in found)
