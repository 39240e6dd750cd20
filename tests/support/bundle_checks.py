"""Bundles of evidence as their recipients read and check them, and keys to sign them with."""

import json
import subprocess
import sys

from seedsweep.audit.evidence.verify_bundle import check_bundle
from tests.support.tools import need


def make_key(path, algorithm="ed25519", *options):
    command = [need("openssl"), "genpkey", "-algorithm", algorithm, *options, "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


def verify(folder, *arguments, env=None):
    """Run the bundle's own verifier, without site packages and in an empty environment."""
    command = [sys.executable, "-I", "-S", str(folder / "verify_bundle.py"), *map(str, arguments)]
    return subprocess.run(command, env=env or {}, capture_output=True, text=True, check=False)


def load(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def faults(folder, **options):
    return list(check_bundle(folder, **options))


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def alter(folder, name, change):
    value = load(folder, name)
    change(value)
    (folder / name).write_text(json.dumps(value))
