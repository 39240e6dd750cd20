"""TLS to the broker: the server's certificate and name are checked, whoever connects."""

import socket
import ssl

import redis

from seedsweep.storage.errors import ConfigError


def make_context(
    authorities: str, certificate: str | None, private_key: str | None
) -> ssl.SSLContext:
    """Make the context that checks a server's certificate and name, and shows `certificate` if one
    is given.

    All are paths of PEM files; `private_key` None: it lies in the certificate's. Only what
    `authorities` holds is trusted. Raises `ConfigError` if one cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise ConfigError(
            f"The broker's authorities cannot be read from {authorities} ({_words(error)}); set "
            "SSL_CERT_FILE to a PEM file of certificates."
        ) from error
    if certificate or private_key:
        try:
            # An encrypted key would otherwise have a service ask its terminal.
            context.load_cert_chain(certificate or "", private_key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The certificate to show the broker cannot be read from {certificate} and its "
                f"key {private_key or ''} ({_words(error)}); correct ssl_certfile and "
                "ssl_keyfile in SEEDSWEEP_BROKER_URL, both PEM files, the key not encrypted."
            ) from error
    return context


class SilentError(redis.TimeoutError):
    """The server did not answer in TLS."""


class TlsConnection(redis.SSLConnection):
    """A connection that trusts `ssl_ca_certs` alone; redis's own adds the system's authorities.

    The files are read anew for each connection, as certificates are renewed while services run.
    """

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        try:
            context = make_context(self.ca_certs, self.certfile, self.keyfile)
        except ConfigError as error:
            # Read once, it is being replaced just now: that passes.
            raise redis.ConnectionError(str(error)) from error
        # A handshake is a part of connecting: who is silent in it may speak no TLS at all.
        sock.settimeout(self.socket_connect_timeout)
        try:
            wrapped = context.wrap_socket(sock, server_hostname=self.host)
        except TimeoutError as error:
            raise SilentError("no answer in TLS") from error
        wrapped.settimeout(self.socket_timeout)
        return wrapped


def tls_fault(error: BaseException) -> tuple[str, str] | None:
    """Why TLS with the broker came to nothing, and the remedy; None if that is not the fault."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, redis.InvalidResponse):
            return (
                "what answers is no Redis",
                "correct SEEDSWEEP_BROKER_URL, or write rediss:// if TLS is spoken there",
            )
        if isinstance(cause, SilentError):
            return str(cause), "start it, or write redis:// if it speaks no TLS"
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            return _fault(cause)
        cause = cause.__cause__ or cause.__context__
    return None


def _fault(error: ssl.SSLError) -> tuple[str, str]:
    words = _words(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in words:
            return words, "name it in SEEDSWEEP_BROKER_URL as its certificate does"
        return (
            f"its certificate is not trusted: {words}",
            "set SSL_CERT_FILE to the certificate of its authority",
        )
    if "ALERT" in (error.reason or ""):
        return (
            f"it refuses us: {words}",
            "give ssl_certfile= and ssl_keyfile= in SEEDSWEEP_BROKER_URL if it wants a certificate",
        )
    return f"it speaks no TLS: {words}", "write redis://, or the port where it speaks TLS"


def _words(error: Exception) -> str:
    """What went wrong, without OpenSSL's line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return str(getattr(error, "strerror", None) or error)
