"""Where a store in S3 is: what its URL and the environment say."""

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.prefix import CONTROL, read_prefix, write_prefix

_FORM = "s3://BUCKET/PREFIX?endpoint=URL&region=REGION"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket, a prefix in it that does not end in `/`, and the server; `endpoint` None is AWS."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str

    @property
    def url(self) -> str:
        """The store's whole URL, the region included; it holds no credentials."""
        query = {"endpoint": self.endpoint} if self.endpoint else {}
        options = urlencode({**query, "region": self.region}, safe=":/[]")
        return f"s3://{self.bucket}/{write_prefix(self.prefix)}".rstrip("/") + f"?{options}"

    @property
    def server(self) -> str:
        """The URL of the server, which is AWS's if no endpoint is named."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"


def parse_address(url: str) -> Address:
    """Take a store's URL apart; if it names no region, the environment does.

    Raises `ConfigError` for a URL that does not do, and shows nothing that could be a credential.
    """
    try:
        if CONTROL.search(url):
            raise ValueError(url)  # urlsplit would leave some of them out
        parts = urlsplit(url)
        bucket = parts.netloc.rpartition("@")[2]
        shown = f"s3://{bucket}{parts.path}"
        query = parse_qsl(parts.query, keep_blank_values=True)
        endpoint = urlsplit(dict(query).get("endpoint", ""))
        named = endpoint.port is None or endpoint.port > 0
    except ValueError as error:
        raise ConfigError(f"The store URL cannot be read; write {_FORM}.") from error
    if "@" in parts.netloc or endpoint.username is not None:
        raise url_error(shown, "holds credentials, which belong in the environment")
    if parts.fragment or {name for name, _ in query} - {"endpoint", "region"}:
        raise url_error(shown, "has options other than endpoint and region")
    if len(dict(query)) < len(query) or not all(value for _, value in query):
        raise url_error(shown, "names an option twice or without a value")
    if not _BUCKET.fullmatch(bucket):
        form = " of 3 to 63 lower-case letters, digits, dots and dashes" if bucket else ""
        raise url_error(shown, f"names no bucket{form}")
    if "://" not in dict(query).get("endpoint", "://"):
        raise url_error(shown, "has an endpoint that is not a URL: it lacks http:// or https://")
    if dict(query).get("endpoint") and not (
        named
        and endpoint.scheme in ("http", "https")
        and endpoint.hostname
        and not (endpoint.path.strip("/") or endpoint.query or endpoint.fragment)
    ):
        raise url_error(shown, "has an endpoint that is not http://HOST:PORT or https://HOST:PORT")
    try:
        prefix = read_prefix(parts.path)
    except ValueError as error:
        raise url_error(shown, "has a prefix that is not a key") from error
    return Address(bucket, prefix, *_place(shown, dict(query)))


def url_error(shown: str, why: str) -> ConfigError:
    """The error that says what is wrong with a store's URL, and how one is written."""
    return ConfigError(f"The store URL {shown} {why}; write {_FORM}.")


def _place(shown: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The endpoint, or None for AWS, and the region."""
    endpoint = options.get("endpoint")
    wanted = options.get("region") or os.environ.get("AWS_REGION")
    region = wanted or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else "")
    if not region:
        raise url_error(shown, "names neither an endpoint nor, for AWS, a region")
    return endpoint and endpoint.rstrip("/"), region
