"""`lightfastd`: reads the flags, and only then loads the daemon."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightfast import __version__


def parser() -> argparse.ArgumentParser:
    """Return the flags of `lightfastd` and `lightfast serve`."""
    found = argparse.ArgumentParser(
        prog="lightfastd",
        description="The daemon that gives every creative application on the desk one shared memory.",
    )
    found.add_argument("--home", metavar="DIR", help="keep settings, state and sockets below DIR")
    found.add_argument("--config", metavar="FILE", type=Path, help="read the settings from FILE")
    found.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        dest="flags",
        action="append",
        default=[],
        help="change one setting; may be given more than once",
    )
    found.add_argument("--log-level", metavar="LEVEL", help="short for --set log.level=LEVEL")
    found.add_argument("--print-config", action="store_true", help="print the default settings file, and end")
    found.add_argument("--version", action="version", version=f"lightfastd {__version__}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until it is told to stop; return 0 when it drained, 1 when it failed, 2 on misuse."""
    found = parser().parse_args(arguments)
    if found.print_config:
        from lightfast.app.settings import Settings
        from lightfast.core.config import render_default

        sys.stdout.write(render_default(Settings))
        return 0
    flags = list(found.flags)
    if found.log_level:
        flags.append(f"log.level={found.log_level}")
    from lightfast.app.run import run

    return run(home=found.home, config=found.config, flags=flags)


if __name__ == "__main__":
    sys.exit(main())
