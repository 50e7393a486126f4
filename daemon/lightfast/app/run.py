"""From flags to a running loop: finds the folders, reads the settings, starts the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lightfast.core import log as logging  # first: it keeps what a daemon does not need from being loaded

# isort: split
import structlog

from lightfast.app.settings import Settings, mistakes
from lightfast.core.config import ConfigError, render_default
from lightfast.core.config_load import Loaded, load
from lightfast.core.errors import LightfastError
from lightfast.core.heap import share_arenas
from lightfast.core.paths import Paths, find

EXIT_FAILED = 1
EXIT_SETTINGS = 2

log = structlog.get_logger("lightfast.daemon")


def run(*, home: str | None = None, config: Path | None = None, flags: Sequence[str] = ()) -> int:
    """Run the daemon until it is told to stop; return its exit code."""
    style = ""
    # The service manager ends a hanging daemon with SIGABRT: this says where its loop hung. That thread alone:
    # reading the frames of threads that still run can crash before the one that matters is written.
    faulthandler.enable(all_threads=False)
    gc.disable()  # a start makes much and drops little; the composition enables it when it is done
    try:
        paths = find(home)
        os.umask(0o027 if paths.shared else 0o077)  # what it makes is nobody else's business
        ensure_config(paths)

        def read() -> Loaded[Settings]:
            # Looked for each time: below /etc it may have been made only after the start.
            file = config or (paths.config_file if paths.config_file.exists() else None)
            return load_settings(file, flags)

        loaded = read()
        chosen = loaded.settings.log
        style = logging.configure(chosen.level, chosen.style)
        share_arenas()  # before there are threads
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            from lightfast.app.daemon import serve
            from lightfast.app.ending import LAST_S, end_within

            try:
                return runner.run(serve(loaded, paths, read))
            finally:
                end_within(LAST_S, EXIT_FAILED)  # the runner waits for all threads of the executor, however long
    except ConfigError as error:
        _complain(str(error), style)
        return EXIT_SETTINGS
    except LightfastError as error:
        _complain(error.message, style)
        return EXIT_FAILED


def load_settings(file: Path | None, flags: Sequence[str] = ()) -> Loaded[Settings]:
    """Read the settings from all sources; raises `ConfigError` with every mistake in them."""
    found = load(Settings, file=file, flags=flags)
    if wrong := mistakes(found.settings):
        raise ConfigError(wrong)
    return found


def ensure_config(paths: Paths) -> None:
    """Write a settings file with every default, commented out, where there is none.

    Where the folder cannot be written, as below `/etc`, there is none still.
    """
    file = paths.config_file
    if file.exists():
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(render_default(Settings), encoding="utf-8")


def _complain(message: str, style: str) -> None:
    """Say on standard error why the daemon does not run; the journal gets it as an entry."""
    if style == "journal":
        log.error("the daemon cannot run", why=message)
    else:
        print(f"lightfastd: {message}", file=sys.stderr)  # noqa: T201


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it can be had."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
