"""The certificate that the parts of one server know each other by."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.local.ports import HOST
from seedsweep.storage.whole_file import write_whole

_BEFORE, _AFTER = timedelta(days=1), timedelta(days=3650)


def write_certificate(certificate: Path, key: Path) -> None:
    """Write a new certificate, which is its own authority, and its key, as PEM for its owner only.

    Who has the key is let in; who signed nothing with it is not.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "seedsweep")]), datetime.now(UTC)
    here = x509.IPAddress(ipaddress.ip_address(HOST))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + _AFTER)
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = private.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_whole(key, secret.decode(), private=True)
    write_whole(certificate, signed.public_bytes(encoding).decode(), private=True)
