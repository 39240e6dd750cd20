"""Where things are: the environment, prefix `SEEDSWEEP_`."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.errors import ConfigError

DEFAULT_STORE = "file:./seedsweep-data"


class Environment(BaseSettings):
    """What `SEEDSWEEP_STORE_URL` and `SEEDSWEEP_BROKER_URL` say; the broker's URL is a secret."""

    model_config = SettingsConfigDict(env_prefix="SEEDSWEEP_", frozen=True)

    store_url: str = DEFAULT_STORE
    broker_url: SecretStr | None = None

    def need_broker(self) -> str:
        """The broker's URL; raises `ConfigError` where none is set."""
        if self.broker_url is None:
            raise ConfigError("No broker is known; set SEEDSWEEP_BROKER_URL=redis://HOST:6379/0.")
        return self.broker_url.get_secret_value()
