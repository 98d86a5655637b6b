"""What every endpoint is given: the settings, the model in service, and its decoder and encoder."""

from serve.payload import Payload
from serve.repository import open_model


class Service:
    """Opens the model that the settings name. Raises a StartupError where it can't be trusted."""

    def __init__(self, config):
        self.config = config
        self.model = open_model(config)
        self.payload = Payload(self.model.manifest, config.max_rows)
