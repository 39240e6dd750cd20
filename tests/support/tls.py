"""Certificates for tests: an authority of our own, and what it signs."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files of a certificate and of its private key."""

    file: Path
    key: Path

    def server_context(self, client_authority=None):
        """What a server speaks TLS with; with an authority it wants certificates of clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        if client_authority:
            context.load_verify_locations(client_authority.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_authority(folder, name="authority"):
    """Make an authority that nobody knows."""
    return _make(folder, name, "-addext", "keyUsage=critical,keyCertSign,cRLSign")


def sign(authority, name, subject="IP:127.0.0.1"):
    """Make a certificate that the authority signed, beside the authority's own files."""
    signer = ("-CA", str(authority.file), "-CAkey", str(authority.key))
    extensions = (f"subjectAltName={subject}", "basicConstraints=critical,CA:FALSE")
    added = [word for extension in extensions for word in ("-addext", extension)]
    return _make(authority.file.parent, name, *signer, *added)


def install_authority(authority, folder):
    """Put it where OpenSSL looks for the system's authorities if SSL_CERT_DIR names the folder."""
    command = ("openssl", "x509", "-subject_hash", "-noout", "-in", str(authority.file))
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (folder / f"{name}.0").symlink_to(authority.file)


def _make(folder, name, *options):
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", *options),
            *("-keyout", str(made.key), "-out", str(made.file)),
        ],
        check=True,
        capture_output=True,
    )
    return made
