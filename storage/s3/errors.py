"""What requests to an S3 server raise → errors of our own, each with its remedy."""

import contextlib
import re
import ssl
from collections.abc import Iterator
from xml.etree import ElementTree

from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from seedsweep.storage.errors import ConfigError, SeedsweepError, StoreUnavailableError
from seedsweep.storage.s3.connection import AGAIN
from seedsweep.storage.s3.source import CredentialSource

_REFUSALS = {
    "NoSuchBucket": "there is no such bucket; create it, or run `seedsweep doctor --create-bucket`",
    "AccessDenied": "access is denied; let this access key read, write, list and delete there",
    "AuthorizationHeaderMalformed": "the region is wrong; correct region= in the URL",
    "PermanentRedirect": "the bucket is elsewhere; correct endpoint= and region= in the URL",
    "KeyTooLongError": "the key is too long; choose a shorter prefix",
}
_EXPIRED = "the session token is no longer valid; renew {0.name}"
_STRANGERS = {
    "InvalidAccessKeyId": "unknown access key; correct {0.access_key}",
    "SignatureDoesNotMatch": "wrong secret key; correct {0.secret_key}",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
}
"""What is wrong with the credentials. They may be replaced soon, unless variables hold them."""
_NO_SPACE = re.compile(
    r"no space|full|507|quota|InsufficientStorage|writable volume|free volume", re.I
)


class NotS3Error(Exception):
    """The answer was fine as HTTP, but no S3 server would give it."""


class Translator:
    """Translates whatever requests to one store raise; may be used by many threads.

    Once the store has answered, an error that would blame the URL or the environment counts as one
    that may pass.
    """

    def __init__(self, url: str, source: CredentialSource) -> None:
        self._url, self._source = url, source
        self._met = False

    @contextlib.contextmanager
    def translated(self, action: str, key: str) -> Iterator[None]:
        """Translate what is raised in the block, which tries to `action` the object `key`."""
        failed = f"The store {self._url} could not {action} {key or 'its keys'}"
        try:
            yield
        except S3Error as error:
            met, self._met = self._met, True
            raise self._refused(failed, error, met) from error
        except ServerError as error:
            raise _unavailable(failed, f"HTTP {error.status_code}") from error
        except (InvalidResponseError, ElementTree.ParseError, NotS3Error) as error:
            raise self._strange(failed, error) from error
        except HTTPError as error:
            raise self._unanswered(failed, error) from error
        self._met = True

    def _refused(self, failed: str, error: S3Error, met: bool) -> SeedsweepError:
        code = error.code or ""
        if code in _REFUSALS:
            return ConfigError(f"{failed}: {_REFUSALS[code]}.")
        if code in _STRANGERS:
            may_pass = met and self._source.kind != "variables"
            kind = StoreUnavailableError if may_pass else ConfigError
            return kind(f"{failed}: {_STRANGERS[code].format(self._source)}.")
        if code == "RequestTimeTooSkewed":
            return StoreUnavailableError(f"{failed} (the clocks differ); set this machine's clock.")
        return _unavailable(failed, f"{code}: {error.message}".rstrip(": ."))

    def _strange(self, failed: str, error: Exception) -> SeedsweepError:
        """Blame the endpoint, unless it was an S3 server before or a proxy's server fails."""
        status = re.search(r"Response code: (\d+)", str(error))
        if status and int(status[1]) in (507, *AGAIN):
            return _unavailable(failed, f"HTTP {status[1]}")
        if self._met:
            return _unavailable(failed, "the answer is not that of an S3 server")
        return ConfigError(f"{failed} (no S3 server answers there); correct endpoint= in the URL.")

    def _unanswered(self, failed: str, error: HTTPError) -> SeedsweepError:
        """Blame the environment if no certificate is trusted, unless the store was met."""
        reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        words = str(reason.args[-1] if reason.args else reason).rpartition(": ")[2].rstrip(".")
        if not _is_distrust(reason):
            return StoreUnavailableError(
                f"{failed} ({words}); start it, or correct endpoint= in the URL."
            )
        kind = StoreUnavailableError if self._met else ConfigError
        return kind(
            f"{failed} ({words}); set SSL_CERT_FILE to the certificate of its authority, or "
            "correct endpoint= in the URL."
        )


def _is_distrust(reason: Exception) -> bool:
    """Whether the server's certificate or our own SSL_CERT_FILE is at fault, not the connection."""
    error = reason.args[0] if isinstance(reason, SSLError) and reason.args else None
    if isinstance(error, ssl.SSLCertVerificationError | FileNotFoundError | PermissionError):
        return True
    return isinstance(error, ssl.SSLError) and error.library == "X509"


def _unavailable(failed: str, reason: str) -> StoreUnavailableError:
    remedy = "give it space" if _NO_SPACE.search(reason) else "look at its server"
    return StoreUnavailableError(f"{failed} ({reason}); {remedy}.")
