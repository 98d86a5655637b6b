"""Which versions are in service: opened, followed as the repository changes, and swapped without a lost request."""

import dataclasses
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from passfail.codecs import Codecs, codecs
from passfail.errors import ConfigError, InvalidInstance, NonFiniteLogit, Problem, RequestError, StartupError
from passfail.loading import open_models
from passfail.model import Floats, Model, Row
from passfail.repository import choices, model_name, versions
from serve.http.errors import UnknownModel
from serve.telemetry.recorder import Recorder
from serve.telemetry.shadow import Shadow

LOG = logging.getLogger(__name__)
KEPT = 3  # of the highest versions, so many can be asked for by number; and the one in service
LOOK_SECONDS = 1.0  # between two looks at the repository

RowAnswer = tuple[bool, float, float, bool | None]  # verdict, logit, probability, stable


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
            logit, probability = self.model.predict(x)
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
            zip(found.verdicts, found.logits, found.probabilities, found.stable, strict=True)
        )

        def observe() -> None:
            if self.recorder is not None:
                self.recorder.predicted(self.model.manifest, found.x, found.logits, found.verdicts, found.probabilities)

        return answers, observe


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _no_answer(error: NonFiniteLogit, place: Callable[[int], str]) -> InvalidInstance:
    problems = [Problem(place(row), "its logit is beyond what float64 can carry") for row in error.rows]
    return InvalidInstance("the model has no finite answer", problems)


class Service:
    """Opens the model that the settings name, and goes with the repository. Raises a StartupError where it can't.

    recorder: is told of every answer, if given.

    served: the Served that answers. kept: {version: Served}, those that can be asked for by number, `served` among
    them. refused: {version (text), or what else is wrong: why}. Each is replaced as a whole, never changed: any thread
    may read. leaving: whether the process is about to stop, and not ready any more.
    """

    def __init__(self, config, recorder=None):
        self.recorder = recorder
        self.leaving = False
        # Settled here: a second model that comes into the folder later must not make the name ambiguous.
        self.config = dataclasses.replace(config, model_name=model_name(config.models, config.model_name))
        self.served, self.kept, self.refused, self._seen = None, {}, {}, {}  # _seen: {version: (signature, error)}
        refused = {}
        for folder in self._choices():
            if self._serve(folder, refused):
                break
        else:
            raise next(iter(refused.values()))
        self._refuse(refused)

    def find(self, name, version=None):
        """The Served of that name and version (text; None: the one in service). Raises UnknownModel."""
        kept = self.kept
        if name == self.config.model_name:
            if version is None:
                return self.served
            if re.fullmatch("[0-9]{1,15}", version) and int(version) in kept:
                return kept[int(version)]
        raise UnknownModel("no such model or version is served here; POST /v2/repository/index lists what is")

    def follow(self):
        """Look at the repository for ever, in a thread of its own."""
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                self.look()
            except Exception:  # whatever it is, the model in service goes on
                LOG.exception("looking at the models failed")

    def look(self):
        """Serve what the repository asks for by now; what can't be trusted is refused, and the old one goes on."""
        refused = {}
        home = self.config.models / self.config.model_name
        try:
            for folder in self._choices():
                if self._serve(folder, refused):
                    break
        except ConfigError as error:
            refused["pinned" if versions(home) else "all"] = error
        held = versions(home)[-KEPT:]
        for number in held:
            self._open(home / str(number), refused)
        self._drop({number for number, one in self.kept.items() if number not in held and one is not self.served})
        self._refuse(refused)

    def _drop(self, numbers):
        """Serve these versions no longer; a request that has one of them goes on."""
        dropped = [self.kept[number] for number in numbers]
        self.kept = {number: one for number, one in self.kept.items() if number not in numbers}
        for one in dropped:
            _end(one)

    def _refuse(self, refused):
        for version in refused.keys() - self.refused.keys():
            LOG.error("refused: %s", refused[version])
        # Where the repository lies on this machine is nobody's business who asks for the health.
        self.refused = {version: str(why).replace(f"{self.config.models}/", "") for version, why in refused.items()}

    def _choices(self):
        return choices(self.config.models, self.config.model_name, self.config.model_version)

    def _opened(self, folder):
        """The Served of a version's folder, its runtimes started and certified. Raises StartupError."""
        config = self.config
        runtimes = [config.runtime] if config.shadow is None else [config.runtime, config.shadow]
        model, *second = open_models(folder, runtimes, config.signed_by)
        shadow = None
        if second:
            told = self.recorder.metrics.compared if self.recorder else None
            shadow = Shadow(second[0], config.shadow, config.shadow_rate, config.shadow_flips, told)
        return Served(model, codecs(model.manifest, config.max_rows), shadow, self.recorder)

    def _serve(self, folder, refused):
        """Answer with that folder's model from now on; whether it could be opened."""
        served = self._open(folder, refused)
        if served is not None and served is not self.served:
            self.served = served
            LOG.info("serving %s", folder)
        return served is not None

    def _open(self, folder, refused):
        """The Served of that folder, opened unless it is already; or None, and in `refused` why.

        Files that were touched since are verified anew; where they are no longer right, a model in service stays.
        """
        number, signature = int(folder.name), _signature(folder)
        seen, why = self._seen.get(number, (None, None))
        if signature != seen:
            why = None
            try:
                opened = self._opened(folder)
                old = self.kept.get(number)
                self.kept = self.kept | {number: opened}
                if old is not None:
                    _end(old)
            except StartupError as error:
                why = error
                if number in self.kept and self.kept[number] is not self.served:
                    self._drop({number})
            self._seen[number] = signature, why
        if why is not None:
            refused[folder.name] = why
        return self.kept.get(number)


def _end(served):
    """What goes on beside a model that is served no longer: its shadow's thread."""
    if served.shadow:
        served.shadow.close()


def _signature(folder):
    """What changes when a file of the folder does, without reading any."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found)
