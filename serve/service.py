"""What every endpoint is given: the settings, and the model in service with its decoder and encoder."""

from typing import NamedTuple

from serve.errors import UnknownModel
from serve.payload import Payload
from serve.repository import Model, open_model


class Served(NamedTuple):
    """A model and what reads and writes its rows; a request takes it once, so that all of its answer is one model's."""

    model: Model
    payload: Payload


class Service:
    """Opens the model that the settings name. Raises a StartupError where it can't be trusted."""

    def __init__(self, config):
        self.config = config
        model = open_model(config)
        self.served = Served(model, Payload(model.manifest, config.max_rows))

    def find(self, name, version=None):
        """The Served of that name and version (text; None: the one in service). Raises UnknownModel."""
        manifest = self.served.model.manifest
        if name != manifest.name or version not in (None, str(manifest.version)):
            raise UnknownModel("no such model or version is served here; GET /v2/repository/index lists what is")
        return self.served
