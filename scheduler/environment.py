"""Where things are: the environment, prefix `SEEDSWEEP_`."""

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from seedsweep.storage.errors import ConfigError

DEFAULT_STORE = "file:./seedsweep-data"


class Environment(BaseSettings):
    """What the environment says of store, broker and Ray; the broker's URL is a secret.

    The credentials of an S3 store are found where it is opened, as all S3 clients do
    (`storage/s3/sources.py`); SEEDSWEEP_CACHE_DIR is read in `workers/host_cache.py`,
    SEEDSWEEP_ALLOW_PYTHON in `workers/pipelines/function_pipeline.py`.
    """

    model_config = SettingsConfigDict(env_prefix="SEEDSWEEP_", env_ignore_empty=True, frozen=True)

    store_url: str = DEFAULT_STORE
    broker_url: SecretStr | None = None
    ray_address: str | None = None

    def need_broker(self) -> str:
        """The broker's URL; raises `ConfigError` if none is set, or it cannot be one, as a Redis
        Cluster cannot; one that does not answer yet may be."""
        if self.broker_url is None:
            raise ConfigError("No broker is known; set SEEDSWEEP_BROKER_URL=redis://HOST:6379/0.")
        from seedsweep.storage.broker.facts import refuse_unfit

        url = self.broker_url.get_secret_value()
        refuse_unfit(url)
        return url
