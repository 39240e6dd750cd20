"""Credentials by a profile of the files that S3 clients share."""

import configparser
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from minio.credentials.credentials import Credentials
from minio.credentials.providers import AssumeRoleProvider, Provider

from seedsweep.storage.s3.address import Address
from seedsweep.storage.s3.source import (
    SERVER,
    CredentialSource,
    FormPost,
    no_credentials,
    role,
    token_server,
)

_OTHER_WAYS = (
    "credential_source",
    "login_session",
    "sso_account_id",
    "sso_session",
    "web_identity_token_file",
)
"""Keys of a profile that ask for credentials which cannot be had here, whatever else it holds."""


def find_profile(address: Address) -> CredentialSource | None:
    """What the profile that AWS_PROFILE names, else `default`, gives; None if that gives nothing.

    Raises `ConfigError` if a profile that is named gives nothing, and if one says how to get
    credentials in a way that cannot be had here.
    """
    wanted = os.environ.get("AWS_PROFILE")
    name = wanted or "default"
    profile, where = _profile(address, name), _where(name)
    has_keys = "aws_access_key_id" in profile or "aws_secret_access_key" in profile
    other = [key for key in _OTHER_WAYS if key in profile]
    other += ["mfa_serial"] if profile.keys() >= {"role_arn", "mfa_serial"} else []
    other += ["credential_process"] if "credential_process" in profile and not has_keys else []
    if other:
        raise no_credentials(
            address,
            f"the {where} has them through {other[0]}",
            f"set what `aws configure export-credentials --profile {name} --format env` prints",
        )
    if arn := profile.get("role_arn"):
        words = f"the role {arn} by the {where}"
        remedy = "look at role_arn, source_profile and AWS_ENDPOINT_URL_STS"
        return role(address, words, remedy, partial(_assumed, address, name))
    if has_keys:
        return CredentialSource(
            f"the {where}",
            f"aws_access_key_id in the {where}",
            f"aws_secret_access_key in the {where}",
            partial(_keys, address, name),
            "file",
        )
    if wanted:
        raise no_credentials(
            address,
            f"AWS_PROFILE is {name}, and the {where} holds no keys",
            "correct AWS_PROFILE, or add aws_access_key_id and aws_secret_access_key there",
        )
    return None


def profile_files() -> list[Path]:
    """The files that may hold profiles: the later ones win."""
    home = Path(os.environ.get("HOME") or "~").expanduser() / ".aws"
    config = os.environ.get("AWS_CONFIG_FILE") or home / "config"
    shared = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials"
    return [Path(config).expanduser(), Path(shared).expanduser()]


def _where(name: str) -> str:
    config, shared = profile_files()
    return f"profile {name} of {shared} and {config}"


def _profile(address: Address, name: str) -> Mapping[str, str]:
    config, shared = profile_files()
    in_config = name if name == "default" else f"profile {name}"
    return {**_section(address, config, in_config), **_section(address, shared, name)}


def _section(address: Address, file: Path, section: str) -> Mapping[str, str]:
    # The client's own provider expands %, which may stand in a secret.
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text("utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        words, remedy = f"{file} cannot be read ({error.strerror})", "correct its rights"
        raise no_credentials(address, words, remedy) from None
    except (configparser.Error, UnicodeDecodeError):
        raise no_credentials(address, f"{file} is no file of profiles", "correct it") from None
    return dict(parser[section]) if section in parser else {}


def _keys(address: Address, name: str) -> Credentials:
    profile = _profile(address, name)
    try:
        return Credentials(
            profile.get("aws_access_key_id", ""),
            profile.get("aws_secret_access_key", ""),
            profile.get("aws_session_token"),
        )
    except ValueError:
        raise no_credentials(
            address,
            f"the {_where(name)} lacks a key",
            "give it aws_access_key_id and aws_secret_access_key",
        ) from None


def _assumed(address: Address, name: str) -> Provider:
    profile = _profile(address, name)
    source = profile.get("source_profile", name)
    keys = _keys(address, source)
    if keys.session_token or (source != name and "role_arn" in _profile(address, source)):
        raise no_credentials(
            address,
            f"the {_where(name)} has its role by {source}, which is one for a time itself",
            "name a source_profile that has keys of its own",
        )
    return AssumeRoleProvider(
        sts_endpoint=token_server(address),
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        region=address.region,
        role_arn=profile["role_arn"],
        role_session_name=profile.get("role_session_name", "seedsweep"),
        external_id=profile.get("external_id"),
        http_client=FormPost(1, SERVER),
    )
