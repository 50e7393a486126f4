"""Finds a Blender on this machine and starts it joined to a daemon, with the extension from its sources."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import lightfast_link
from lightfast_bridges.blender.surface import extension_folder

INSTALL = "apt-get install blender, or: pip install bpy==5.0.1 (Python 3.11)"
"""How to get one."""
PROBE_S = 60.0
"""The longest that an interpreter may take to say whether it has `bpy`."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One Blender: the application, or (*module*) an interpreter with the `bpy` module."""

    program: str
    module: bool = False


def find_application() -> Installation | None:
    """Return the application: LIGHTFAST_BLENDER, else `blender` on the path."""
    program = os.environ.get("LIGHTFAST_BLENDER") or shutil.which("blender")
    return Installation(program) if program else None


def find_module() -> Installation | None:
    """Return an interpreter with `bpy`: LIGHTFAST_BPY_PYTHON, else the running one."""
    program = os.environ.get("LIGHTFAST_BPY_PYTHON")
    if not program:
        return Installation(sys.executable, module=True) if importlib.util.find_spec("bpy") else None
    # In a process of its own: where system libraries are missing, the import ends in more than an error.
    probe = [program, "-c", "import bpy"]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Installation(program, module=True) if done.returncode == 0 else None


def find() -> Installation | None:
    """Return the application where there is one, else the module, else `None`."""
    return find_application() or find_module()


def command(
    installation: Installation,
    *,
    home: Path | str = "",
    name: str = "",
    blend: Path | str = "",
    instance_id: str = "",
    window: bool = False,
    paths: Sequence[Path | str] = (),
    options: Sequence[str] = (),
    arguments: Sequence[str] = (),
) -> list[str]:
    """Return the command line that starts *installation* joined to the daemon of the folder *home*.

    *blend* is a file to open, else the factory scene; *paths* go to the end of the module path (a folder
    with pyzmq, say); *options* are further ones of Blender itself, for the application only, *arguments*
    further ones of `lightfast_blender.start`.
    """
    arguments = list(arguments)
    for option, value in (("--home", home), ("--name", name), ("--instance-id", instance_id)):
        if value:
            arguments += [option, str(value)]
    if blend and installation.module:
        arguments += ["--blend", str(blend)]
    folders = [str(extension_folder().parent), str(Path(lightfast_link.__file__).parent.parent), *map(str, paths)]
    expression = (
        f"import sys; sys.path.extend({folders!r}); from lightfast_blender import start; start.main({arguments!r})"
    )
    if installation.module:
        return [installation.program, "-c", expression]
    line = [installation.program, *([] if window else ["-b"]), "--factory-startup", *options]
    if blend:
        line.append(str(blend))
    return [*line, "--python-exit-code", "1", "--python-expr", expression]


def start(
    installation: Installation,
    *,
    home: Path | str = "",
    name: str = "",
    blend: Path | str = "",
    instance_id: str = "",
    window: bool = False,
    paths: Sequence[Path | str] = (),
    options: Sequence[str] = (),
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    output: IO[bytes] | int | None = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start it; the process ends by itself on SIGTERM. *output* takes what it prints."""
    line = command(
        installation,
        home=home,
        name=name,
        blend=blend,
        instance_id=instance_id,
        window=window,
        paths=paths,
        options=options,
        arguments=arguments,
    )
    environment = {**os.environ, **(env or {})}
    return subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
