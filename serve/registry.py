"""What every endpoint is given: the settings, and the models in service with their decoders and encoders."""

import dataclasses
import logging
import re
import time
from typing import NamedTuple

from passfail.codecs.json_rows import Payload
from passfail.errors import ConfigError, StartupError, UnknownModel
from passfail.loading import Model, open_model
from passfail.repository import choices, model_name, versions

LOG = logging.getLogger(__name__)
KEPT = 3  # of the highest versions, so many can be asked for by number; and the one in service
LOOK_SECONDS = 1.0  # between two looks at the repository


class Served(NamedTuple):
    """A model and what reads and writes its rows; a request takes it once, so that all of its answer is one model's."""

    model: Model
    payload: Payload


class Service:
    """Opens the model that the settings name, and goes with the repository. Raises a StartupError where it can't.

    watch (serve/telemetry/recorder.py): is told of every answer, if given.

    served: the Served that answers. kept: {version: Served}, those that can be asked for by number, `served` among
    them. refused: {version (text), or what else is wrong: why}. Each is replaced as a whole, never changed: any thread
    may read. leaving: whether the process is about to stop, and not ready any more.
    """

    def __init__(self, config, watch=None):
        self._watch = watch
        self.leaving = False
        # Settled here: a second model that comes into the folder later must not make the name ambiguous.
        self.config = dataclasses.replace(config, model_name=model_name(config))
        self.served, self.kept, self.refused, self._seen = None, {}, {}, {}  # _seen: {version: (signature, error)}
        refused = {}
        for folder in choices(self.config):
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
                if self._watch:
                    self._watch.drift.fold(self.served.model.manifest)
                self.look()
            except Exception:  # whatever it is, the model in service goes on
                LOG.exception("looking at the models failed")

    def look(self):
        """Serve what the repository asks for by now; what can't be trusted is refused, and the old one goes on."""
        refused = {}
        home = self.config.models / self.config.model_name
        try:
            for folder in choices(self.config):
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

    def _watched(self, model):
        if self._watch is None:
            return model
        if model.shadow:
            model.shadow.watch = self._watch.metrics.compared
        return dataclasses.replace(model, watch=self._watch.predicted)

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
                model = self._watched(open_model(self.config, folder))
                old = self.kept.get(number)
                self.kept = self.kept | {number: Served(model, Payload(model.manifest, self.config.max_rows))}
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
    if served.model.shadow:
        served.model.shadow.close()


def _signature(folder):
    """What changes when a file of the folder does, without reading any."""
    try:
        found = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found)
