"""Signatures of bundles, by the command openssl and an ed25519 key that the user has."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from seedsweep.audit.evidence.verify_bundle import fingerprint
from seedsweep.storage.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a private key that stays where it is; `public` is its public half, as PEM."""

    key: Path
    public: bytes
    fingerprint: str

    def sign(self, file: Path) -> bytes:
        """The signature of the file's bytes; raises `ConfigError` where there is none."""
        return _openssl(self.key, "pkeyutl", "-sign", "-rawin", "-in", str(file))


def open_signer(key: Path) -> Signer:
    """The signer with this private key, a PEM.

    Raises `ConfigError` where it cannot be read, is no ed25519 key, or openssl is not here.
    """
    public = _openssl(key, "pkey", "-pubout")
    try:
        return Signer(key, public, fingerprint(public))
    except ValueError as error:
        raise ConfigError(
            f"The key {key} cannot sign a bundle ({error}); make one by "
            "`openssl genpkey -algorithm ed25519 -out KEY.pem`."
        ) from error


def _openssl(key: Path, command: str, *arguments: str) -> bytes:
    program = shutil.which("openssl")
    if program is None:
        raise ConfigError("Bundles are signed by the command openssl; install it, or leave --sign.")
    flag = "-inkey" if command == "pkeyutl" else "-in"
    finished = subprocess.run(
        [program, command, flag, str(key), *arguments], capture_output=True, check=False
    )
    if finished.returncode:
        said = " ".join(finished.stderr.decode(errors="replace").split())
        raise ConfigError(
            f"The key {key} cannot sign ({said}); give the PEM file of an ed25519 key."
        )
    return finished.stdout
