"""`python -m lightfast`: the command line; `python -m lightfast serve` is the daemon."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the daemon at once for `serve`: the command line need not be loaded for it."""
    if sys.argv[1:2] == ["serve"]:
        from lightfast.app.main import main as serve

        return serve(sys.argv[2:])
    from lightfast.app.cli.main import main as command

    command()
    return 0


if __name__ == "__main__":
    sys.exit(main())
