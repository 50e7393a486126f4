"""The command line `lightfast`.

Exit codes: 0 done, 1 failed, 2 usage, 3 no daemon, 4 not found, 5 conflict, 6 denied, 7 deadline.
"""

from __future__ import annotations

import os
import sys

_SERVE = "serve"
_JSON = "--json"


def main() -> None:
    """Run the command line, and turn every error into a line and an exit code."""
    if _SERVE in sys.argv[1:3]:
        # The daemon starts in a third of the time without the command line's imports.
        from lightfast.app.main import main as serve

        position = sys.argv.index(_SERVE)
        sys.exit(serve(sys.argv[1:position] + sys.argv[position + 1 :]))
    try:
        sys.exit(_run())
    except KeyboardInterrupt:  # while it was still being loaded: later ones are caught below
        sys.exit(130)


def _run() -> int:
    import typer
    from typer.exceptions import TyperException

    from lightfast.app.cli.root import root
    from lightfast.app.cli.session import EXIT_FAILED, EXIT_USAGE, exit_code, fail
    from lightfast.core.errors import LightfastError

    try:
        result = typer.main.get_command(root)(_hoisted(sys.argv[1:]), standalone_mode=False)
        return result if isinstance(result, int) else 0
    except LightfastError as error:
        fail(f"lightfast: {error.message}")
        for entry in error.details:
            fail(f"  in the way: {getattr(entry, 'path', entry)} (revision {getattr(entry, 'revision', '?')})")
        return exit_code(error)
    except typer.Exit as end:
        return int(end.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return _seen_enough()
    except SystemExit as end:
        # Of a pipe that breaks while a command prints, Typer makes an exit of its own.
        if isinstance(end.__context__, BrokenPipeError):
            return _seen_enough()
        raise
    except UnicodeDecodeError as error:
        fail(f"lightfast: the input is not valid UTF-8 at byte {error.start}: convert it first")
        return EXIT_USAGE
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        fail(f"lightfast: {told}")
        return EXIT_FAILED
    except TyperException as error:
        show = getattr(error, "show", None)
        show() if show else fail(f"lightfast: {error}")
        return int(error.exit_code)


def _seen_enough() -> int:
    """End well: `lightfast watch | head`, and the reader has seen enough."""
    stdout = sys.__stdout__
    if stdout is not None:
        sys.stdout = stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return 0


def _hoisted(arguments: list[str]) -> list[str]:
    """Return the arguments with `--json` in front: it belongs before the command, and people write it behind."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if _JSON not in arguments[:end]:
        return arguments
    return [_JSON, *(word for word in arguments[:end] if word != _JSON), *arguments[end:]]


if __name__ == "__main__":
    main()
