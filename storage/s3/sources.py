"""Where the credentials of a store in S3 come from: the chain that S3 clients share."""

import os

from minio.credentials.credentials import Credentials
from minio.credentials.providers import EnvAWSProvider, EnvMinioProvider, IamAwsProvider

from seedsweep.storage.errors import ConfigError
from seedsweep.storage.s3.address import Address
from seedsweep.storage.s3.connection import Http, Patience
from seedsweep.storage.s3.profiles import find_profile, profile_files
from seedsweep.storage.s3.source import (
    SERVER,
    CredentialSource,
    FormPost,
    UnansweredError,
    no_credentials,
    role,
    token_server,
)

# On most machines nobody answers.
_METADATA = Patience(connect=1.0, read=1.0, again=0.5)

_METADATA_SERVER = "http://169.254.169.254"
_PAIRS = {
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"): EnvAWSProvider,
    ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"): EnvMinioProvider,
}


def find_source(address: Address) -> CredentialSource:
    """The first source that is set up here; raises `ConfigError` if it is set up by half."""
    return (
        _variables(address)
        or _web_identity(address)
        or find_profile(address)
        or _container(address)
        or _instance(address)
    )


def _variables(address: Address) -> CredentialSource | None:
    for (access_key, secret_key), provider in _PAIRS.items():
        fetch = provider().retrieve
        try:
            fetch()
        except ValueError:
            continue
        name = f"{access_key} and {secret_key}"
        return CredentialSource(name, access_key, secret_key, fetch, "variables")
    for pair in _PAIRS:
        given = [name for name in pair if os.environ.get(name)]
        if given:
            remedy = f"set {pair[0]} and {pair[1]}, or neither"
            raise no_credentials(address, f"only {given[0]} is set", remedy)
    return None


def _web_identity(address: Address) -> CredentialSource | None:
    file = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not file:
        return None
    arn = os.environ.get("AWS_ROLE_ARN")
    name = f"web identity ({f'the role {arn} by ' if arn else ''}the token in {file})"
    remedy = "look at AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ENDPOINT_URL_STS"
    server, http = token_server(address), FormPost(1, SERVER)
    return role(
        address, name, remedy, lambda: IamAwsProvider(custom_endpoint=server, http_client=http)
    )


def _container(address: Address) -> CredentialSource | None:
    names = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    given = [name for name in names if os.environ.get(name)]
    if not given:
        return None
    name = f"the container's role ({given[0]})"
    remedy = f"look at {given[0]}, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE and the container's role"
    http = Http(1, SERVER)
    return role(address, name, remedy, lambda: IamAwsProvider(http_client=http))


def _instance(address: Address) -> CredentialSource:
    config, shared = profile_files()
    searched = (
        "none are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, MINIO_ACCESS_KEY and "
        "MINIO_SECRET_KEY, AWS_WEB_IDENTITY_TOKEN_FILE, the profile default of "
        f"{shared} and {config}, or AWS_CONTAINER_CREDENTIALS_FULL_URI"
    )
    remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or one of the others"
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        words = f"{searched}, and AWS_EC2_METADATA_DISABLED is set"
        raise no_credentials(address, words, remedy)
    server = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/")
    server, http = server or _METADATA_SERVER, Http(1, _METADATA)
    name = f"the instance's role (from {server})"
    source = role(
        address,
        f"{searched}, and {name}",
        remedy,
        lambda: IamAwsProvider(custom_endpoint=server, http_client=http),
    )

    def fetch() -> Credentials:
        try:
            return source.fetch()
        except UnansweredError as error:
            raise ConfigError(str(error)) from None

    given = f"what {name} gives"
    return CredentialSource(name, given, given, fetch, "server")
