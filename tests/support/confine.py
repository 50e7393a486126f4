"""The system-call filter of a unit, put on a process of our own as systemd would: no PID 1 is needed.

`python confine.py UNIT PROGRAM ARGUMENT…` runs a program under it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE = 65


def why_not() -> str:
    """Return what is missing to confine a process, with the line that installs it."""
    if ctypes.util.find_library("seccomp") is None:
        return "libseccomp is missing: apt-get install libseccomp2"
    try:
        subprocess.run(["systemd-analyze", "--version"], capture_output=True, timeout=30, check=True)
    except OSError:
        return "systemd-analyze is missing: apt-get install systemd"
    return ""


def _group(name: str) -> set[str]:
    """Return the system calls of a group such as `@system-service`."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, timeout=30, check=True
    )
    words = [line.strip() for line in told.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(_group(word) if word.startswith("@") else {word} for word in words))


def allowed(unit: Path) -> set[str]:
    """Return the system calls that the `SystemCallFilter=` lines of *unit* leave."""
    found: set[str] = set()
    for line in re.findall(r"(?m)^SystemCallFilter=(.+)$", unit.read_text(encoding="utf-8")):
        names = [_group(word) if word.startswith("@") else {word} for word in line.removeprefix("~").split()]
        found = found - set().union(*names) if line.startswith("~") else found | set().union(*names)
    return found | _group("@default")


def filter_of(unit: Path) -> ctypes.c_void_p:
    """Return the filter, ready to be loaded; what it does not allow fails with EPERM."""
    library = _library()
    made = ctypes.c_void_p(library.seccomp_init(ERRNO | errno.EPERM))
    # systemd itself still has to execute the program.
    for name in allowed(unit) | {"execve"}:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            library.seccomp_rule_add_array(made, ALLOW, number, 0, None)
    return made


def put_on(made: ctypes.c_void_p) -> None:
    """Confine this process for good: the filter, no new privileges, and no memory both writable and executable."""
    process = ctypes.CDLL(None, use_errno=True)
    process.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    process.prctl(PR_SET_MDWE, 1, 0, 0, 0)  # kernels before 6.3 do not know it
    if _library().seccomp_load(made) != 0:
        raise OSError("the filter cannot be loaded")


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p,
    ]  # fmt: skip
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    return library


if __name__ == "__main__":
    put_on(filter_of(Path(sys.argv[1])))
    os.execv(sys.argv[2], sys.argv[2:])
