"""Starts Lightfast in a Blender that was given options on the command line.

    blender -b scene.blend --python-expr "…; from lightfast_blender import start; start.main(['--home', …])"

Without a window `main` serves until SIGTERM or SIGINT, then ends the process; with one it returns.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any, Callable, List

import bpy

from . import handlers, host, panel, settings

IDLE_WAIT = 0.25
"""Seconds between looks at the stop flag while nothing comes."""


def main(arguments: List[str]) -> None:
    """Join as the *arguments* say."""
    parser = argparse.ArgumentParser(prog="lightfast_blender", description="Join this Blender to Lightfast.")
    parser.add_argument("--home", default="", help="the daemon's folder (LIGHTFAST_HOME)")
    parser.add_argument("--name", default="", help="the mount: /NAME")
    parser.add_argument("--instance-id", default="", help="what tells this instance from others")
    parser.add_argument("--folder", default="", help="the only folder that commands may save to and open from")
    parser.add_argument("--host", default="", help="a daemon that endpoints.json does not name")
    parser.add_argument("--port", type=int, default=50156)
    parser.add_argument("--key-file", default="")
    parser.add_argument("--blend", default="", help="a file to open first (for the bpy module)")
    given = parser.parse_args(arguments)
    settings.give(
        settings.Settings(
            name=given.name, home=given.home, host=given.host, port=given.port, key_file=given.key_file,
            folder=given.folder, instance_id=given.instance_id,
        )
    )  # fmt: skip
    why = panel.refusal()
    if why:
        raise SystemExit(why)
    if given.blend:
        bpy.ops.wm.open_mainfile(filepath=given.blend, load_ui=False, use_scripts=False)
    if host.windowed():
        panel.register()
        return
    stopping: List[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, frame: stopping.append(signum))
    code = 1
    try:
        serve(lambda: bool(stopping))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Some versions of bpy hang or crash while the interpreter ends; everything is flushed.
        os._exit(code)


def serve(stop: Callable[[], Any]) -> None:
    """Join and pump on this thread until *stop* says so; then leave."""
    session = panel.join()
    told = ""
    try:
        while not stop():
            session.pump()
            if session.status != told:
                told = session.status
                print("lightfast: " + told, flush=True)
            if session.client is not None:
                session.client.wait(min(IDLE_WAIT, session.due()))
    finally:
        handlers.detach()
        session.leave()
