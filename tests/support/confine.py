"""Run a command under what a systemd unit forbids, where there is no systemd to do it.

    python confine.py UNIT_SETTINGS.json COMMAND ...

The settings are those of `[Service]`, as lists. Enforced are SystemCallFilter, NoNewPrivileges,
MemoryDenyWriteExecute, an empty CapabilityBoundingSet and UMask.
"""

import contextlib
import ctypes
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 24, 38, 65
ALLOW, DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
LAST_CAPABILITY = 40


def main():
    settings, command = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:]
    os.umask(int(settings["UMask"][-1], 8))
    if settings["CapabilityBoundingSet"] == [""] and os.geteuid() == 0:
        for capability in range(LAST_CAPABILITY + 1):
            prctl(PR_CAPBSET_DROP, capability)
    if settings["NoNewPrivileges"] == ["yes"]:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if settings.get("MemoryDenyWriteExecute") == ["yes"]:
        # Kernels before 6.3 do not know it.
        with contextlib.suppress(OSError):
            prctl(PR_SET_MDWE, 1)
    load_filter(allowed_calls(settings["SystemCallFilter"]))
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


def prctl(option, argument):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def allowed_calls(lines):
    """The names that `SystemCallFilter=` lines allow; the first is an allow-list."""
    sets = call_sets()
    allowed = set()
    for line in lines:
        names = expand(line.removeprefix("~").split(), sets)
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed | expand(["@default"], sets)


def call_sets():
    """systemd's named sets of system calls: name → members, sets among them."""
    printed = subprocess.run(
        ["systemd-analyze", "syscall-filter"],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sets, members = {}, []
    for line in printed.splitlines():
        word = line.strip()
        if line.startswith("@"):
            members = sets[word] = []
        elif word and not word.startswith("#"):
            members.append(word)
    return sets


def expand(names, sets):
    found = set()
    for name in names:
        found |= expand(sets[name], sets) if name.startswith("@") else {name}
    return found


def load_filter(names):
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(DENY)))
    for name in names:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            seccomp.seccomp_rule_add(rules, ctypes.c_uint32(ALLOW), number, 0)
    if seccomp.seccomp_load(rules):
        raise OSError("The filter could not be loaded.")


if __name__ == "__main__":
    main()
