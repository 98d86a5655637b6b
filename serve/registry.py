"""Which versions are in service: opened, followed as the repository changes, and swapped without a lost request."""

import dataclasses
import logging
import re
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from passfail.codecs import Codecs, codecs
from passfail.errors import ConfigError, InvalidInstance, NonFiniteLogit, Problem, RequestError, StartupError
from passfail.loading import open_models
from passfail.model import Floats, Model, Row
from passfail.repository import choices, model_name, versions
from serve.http.errors import UnknownModel
from serve.settings import Config
from serve.telemetry.recorder import Recorder
from serve.telemetry.shadow import Shadow

LOG = logging.getLogger(__name__)
KEPT = 3  # of the highest versions that open, so many can be asked for by number; and the one in service
LOOK_SECONDS = 1.0  # between two looks at the repository

Signature = tuple[tuple[str, int, int, int, int], ...]
Refused = dict[str, StartupError]
RowAnswer = tuple[bool, float, float, bool | None, tuple[str, ...]]  # verdict, logit, probability, stable, outside


@dataclass(frozen=True, eq=False)
class Served:
    """A model in service, with what reads and writes its rows, and what is told of its answers.

    A request takes it once, so that all of its response is one model's. Compared and hashed as the object that it is.

    Attributes
    ----------
    shadow : the second runtime that a share of the requests is compared on, or None.
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
        request_digest: str | None = None,
        traffic: bool = True,
    ) -> tuple[Floats, Floats]:
        """Answer rows, tell the telemetry, and offer them to the shadow.

        Parameters
        ----------
        x : float64 (n, d), as `Model.predict` takes it.
        place : names a row, by its index, in an error.
        request_digest : what the shadow logs where the runtimes differ.
        traffic : whether the rows count in the metrics and in the drift.

        Returns
        -------
        (logit, probability), float64 (n,) each.

        Raises
        ------
        InvalidInstance : the logit of some row is beyond float64.
        """
        try:
            logit, probability = self.model.score(x)
        except NonFiniteLogit as error:
            raise _no_answer(error, place) from error
        if self.recorder is not None and traffic:
            self.recorder.predicted(self.model.manifest, x, logit, self.model.verdict(logit), probability)
        if self.shadow is not None:
            self.shadow.offer(x, logit, probability, request_digest)
        return logit, probability

    def answer_rows(self, rows: Sequence[Row]) -> tuple[list[RowAnswer | RequestError], Callable[[], None]]:
        """Answer rows of different requests in one run of the model, each as if it were alone.

        Returns
        -------
        For each row its answer, or the InvalidInstance that it is; and a function that tells the telemetry of them,
        to be called when there is time. The shadow is offered none.
        """
        try:
            found = self.model.predict_rows(rows)
        except NonFiniteLogit as error:
            if len(rows) == 1:
                return [_no_answer(error, lambda _: "$")], lambda: None
            alone = [self.answer_rows([row]) for row in rows]
            return [answer for (answer,), _ in alone], lambda: _call_all([observe for _, observe in alone])
        answers: list[RowAnswer | RequestError] = list(
            zip(found.verdicts, found.logits, found.probabilities, found.stable, found.outside, strict=True)
        )

        def observe() -> None:
            if self.recorder is not None:
                self.recorder.predicted(self.model.manifest, found.x, found.logits, found.verdicts, found.probabilities)

        return answers, observe

    def close(self) -> None:
        """End what goes on beside a model that is served no longer: its shadow's thread."""
        if self.shadow is not None:
            self.shadow.close()


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _no_answer(error: NonFiniteLogit, place: Callable[[int], str]) -> InvalidInstance:
    problems = [Problem(place(row), "its logit is beyond what float64 can carry") for row in error.rows]
    return InvalidInstance("the model has no finite answer", problems)


class Service:
    """The models in service: opened, and followed as the repository changes.

    Parameters
    ----------
    recorder : the telemetry, or None.

    Attributes
    ----------
    served : the model that answers.
    kept : {version: model} of all that can be asked for by number, `served` among them.
    refused : {version, or "pinned" or "all": why}.
    leaving : whether the process is about to stop, and not ready any more.

    `served`, `kept` and `refused` are replaced as a whole, never changed: any thread may read them.

    Raises
    ------
    StartupError : no version can be served.
    """

    served: Served

    def __init__(self, config: Config, recorder: Recorder | None = None) -> None:
        self.recorder = recorder
        self.leaving = False
        # Settled here: a second model that comes into the folder later must not make the name ambiguous.
        self.config = dataclasses.replace(config, model_name=model_name(config.models, config.model_name))
        self._home = config.models / str(self.config.model_name)
        self.kept: dict[int, Served] = {}
        self.refused: dict[str, str] = {}
        self._opened: dict[int, Signature] = {}  # of the files of each version in `kept`
        self._failed: dict[int, tuple[Signature, StartupError]] = {}
        refused: Refused = {}
        if not self._serve_first(refused):
            raise next(iter(refused.values()))
        self.look()  # so that what can be asked for by number is there with the first request

    def find(self, name: str, version: str | None = None) -> Served:
        """The model of that name and version (None: the version in service). Raises UnknownModel."""
        kept = self.kept
        if name == self.config.model_name:
            if version is None:
                return self.served
            if re.fullmatch("[0-9]{1,15}", version) and int(version) in kept:
                return kept[int(version)]
        raise UnknownModel("no such model or version is served here; POST /v2/repository/index lists what is")

    def follow(self) -> None:
        """Look at the repository until the process is about to stop, in a thread of its own."""
        while not self.leaving:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # whatever it is, the model in service goes on
                LOG.exception("looking at the models failed")

    def look(self) -> None:
        """Serve what the repository asks for now; what can't be served is refused, and the old version goes on."""
        refused: Refused = {}
        held = versions(self._home, self.config.lowest_version)
        try:
            self._serve_first(refused)
        except ConfigError as error:
            refused["pinned" if held else "all"] = error
        if held:  # else the folder is away: what is in memory stays
            newest: set[int] = set()
            for number in reversed(held):
                if len(newest) < KEPT and self._open(number, refused) is not None:
                    newest.add(number)
            self._drop({n for n, one in self.kept.items() if n not in newest and one is not self.served})
        self._report(refused)

    def _serve_first(self, refused: Refused) -> bool:
        """Answer with the best version that opens; whether there is one. Raises ConfigError."""
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
        """The model of a version; or None, and in `refused` why.

        A version is opened where it is not in service, or its files have changed. Where changed files are wrong, the
        model that answers stays.
        """
        folder = self._home / str(number)
        signature = _signature(folder)
        if number in self.kept and self._opened[number] == signature:
            return self.kept[number]
        seen, error = self._failed.get(number, (None, None))
        if error is None or seen != signature or isinstance(error.__cause__, OSError):  # reading is tried again
            try:
                self._keep(number, self._load(folder), signature)
                return self.kept[number]
            except StartupError as failed:
                error = failed
                self._failed[number] = signature, error
        if number in self.kept and self.kept[number] is not self.served:
            self._drop({number})
        refused[str(number)] = error
        return self.kept.get(number)

    def _load(self, folder: Path) -> Served:
        """Open a version's folder on all runtimes that the settings name. Raises StartupError."""
        config, shadow = self.config, None
        runtimes = [config.runtime] if config.shadow is None else [config.runtime, config.shadow]
        model, *second = open_models(folder, runtimes, config.signed_by)
        if second and config.shadow is not None:
            observer = self.recorder.metrics.compared if self.recorder else None
            shadow = Shadow(second[0], config.shadow, config.shadow_rate, config.shadow_flips, observer)
        return Served(model, codecs(model.manifest, config.max_rows), shadow, self.recorder)

    def _keep(self, number: int, served: Served, signature: Signature) -> None:
        old = self.kept.get(number)
        self.kept = self.kept | {number: served}
        self._opened[number] = signature
        self._failed.pop(number, None)
        if old is not None:
            old.close()

    def _drop(self, numbers: Set[int]) -> None:
        """Serve these versions no longer; a request that has one of them goes on."""
        dropped = [self.kept[number] for number in numbers]
        self.kept = {number: one for number, one in self.kept.items() if number not in numbers}
        for one in dropped:
            one.close()

    def _report(self, refused: Refused) -> None:
        """Replace `refused`, and log each reason that is new."""
        # The folder's place on this machine concerns nobody who asks for the health.
        reasons = {version: str(error).replace(f"{self.config.models}/", "") for version, error in refused.items()}
        for version, reason in reasons.items():
            if self.refused.get(version) != reason:
                LOG.error("refused: %s", refused[version])
        self.refused = reasons


def _signature(folder: Path) -> Signature:
    """What changes when a file of the folder does, its permissions too; no file is read."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for name, stat in found)
