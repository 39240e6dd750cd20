"""Signatures of bundles, by an ed25519 key that the user has."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from seedsweep.audit.evidence.verify_bundle import fingerprint
from seedsweep.storage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a private key, which it never shows; `public` is its public half, as PEM."""

    _key: Ed25519PrivateKey
    public: bytes
    fingerprint: str

    def sign(self, file: Path) -> bytes:
        """The signature of the file's bytes: 64 of them, the same each time."""
        return self._key.sign(file.read_bytes())


def open_signer(key: Path) -> Signer:
    """The signer with this private key, a PEM without a passphrase.

    Raises `ConfigError` if it cannot be read, or is no ed25519 key.
    """
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        raise _unfit(key, error.strerror or str(error)) from error
    except TypeError as error:
        raise _unfit(key, "it has a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unfit(key, "it is no private key in PEM form") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _unfit(key, "it is of another kind")
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Signer(private, public, fingerprint(public))


def _unfit(key: Path, why: str) -> ConfigError:
    return ConfigError(
        f"The key {key} cannot sign a bundle ({why}); make one by "
        "`openssl genpkey -algorithm ed25519 -out KEY.pem`."
    )
