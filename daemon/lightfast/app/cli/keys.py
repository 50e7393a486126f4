"""key: the keys of AI services, put where only you can read them, and never shown."""

from __future__ import annotations

import asyncio
import difflib
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, fail, hush, say, table

if TYPE_CHECKING:
    from lightfast.core.paths import Paths

key = typer.Typer(no_args_is_help=True, help="Set, list and remove the keys of AI services.")

Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="For example openai; see 'lightfast providers'.")]
InKeyring = Annotated[bool, typer.Option("--keyring", help="In the keyring of the desktop instead of a file.")]


@key.command("set")
def set_key(
    provider: Provider,
    keyring: InKeyring = False,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read it from the input instead of asking.")] = False,
) -> None:
    """Keep the key of a service: lightfast key set openai. It is used from then on, without a restart."""
    from lightfast.security.secrets.keeping import keep_in_file
    from lightfast.security.secrets.places import check_name, clean

    check_name(provider)
    text = clean(_typed(provider, stdin=stdin), "what was given")
    if keyring:
        from lightfast.security.secrets.keyring_door import KeyringDoor

        asyncio.run(KeyringDoor(patience=60.0).set(provider, text))
        where = f"keyring:{provider}"
    else:
        where = f"file:{keep_in_file(_paths().keys, provider, text)}"
    CURRENT.show({"provider": provider, "source": where}, lambda found: say(f"kept at {found['source']}"))
    known = _providers_of_daemon()
    if known and provider not in known:
        near = difflib.get_close_matches(provider, known, n=1)
        hint = f": did you mean {near[0]}?" if near else ": see 'lightfast providers'"
        fail(f"no plugin brings a provider {provider} now{hint}")


@key.command("remove")
@key.command("rm", hidden=True)
def remove_key(provider: Provider, keyring: InKeyring = False) -> None:
    """Remove the key of a service that 'lightfast key set' has kept."""
    from lightfast.core.errors import NotFound
    from lightfast.security.secrets.keeping import remove_file

    if keyring:
        from lightfast.security.secrets.keyring_door import KeyringDoor

        removed = asyncio.run(KeyringDoor(patience=60.0).remove(provider))
    else:
        removed = remove_file(_paths().keys, provider)
    if not removed:
        place = "in the keyring" if keyring else f"in {_paths().keys}"
        raise NotFound(f"there is no key of {provider} {place}: see 'lightfast key list'", reason="NO_KEY")
    CURRENT.show({"provider": provider, "removed": True}, lambda _: say(f"the key of {provider} is removed"))


@key.command("list")
@key.command("ls", hidden=True)
def list_keys(
    providers: Annotated[list[str] | None, typer.Argument(metavar="[PROVIDER]...", help="Only of these.")] = None,
) -> None:
    """List where the keys are, never the keys: those of a daemon that runs, those in files, those you name."""
    hush()
    rows = _of_daemon()
    seen = {row["provider"] for row in rows}
    rows += [row for row in asyncio.run(_looked_for(providers or [])) if row["provider"] not in seen]
    rows = [row for row in rows if not providers or row["provider"] in providers]
    CURRENT.show(
        {"keys": rows},
        lambda found: table(
            ("PROVIDER", "ACCOUNT", "FROM", "STATE"),
            ((row["provider"], row["account"], row["source"], row["state"]) for row in found["keys"]),
            "There is no key yet: lightfast key set PROVIDER",
        ),
    )


def _typed(provider: str, *, stdin: bool) -> str:
    if stdin:
        return sys.stdin.read(64 * 1024)
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask on: pipe the key in, and add --stdin")
    return getpass.getpass(f"The key of {provider}: ")


def _paths() -> Paths:
    from lightfast.core.paths import find

    return find(CURRENT.home)


def _providers_of_daemon() -> list[str]:
    """Return the names of the providers of a running daemon; none where no daemon runs."""
    from lightfast.core.errors import LightfastError

    try:
        with CURRENT.client() as client:
            found = client.call_json("GenerationService.ListProviders", {}, 5.0)
    except (LightfastError, OSError):
        return []
    return [item["name"] for item in found.get("providers", [])]


def _of_daemon() -> list[dict[str, Any]]:
    """Return the keys that a running daemon uses or lacks; none where no daemon runs."""
    from lightfast.core.errors import LightfastError

    try:
        with CURRENT.client() as client:
            found = client.call_json("GenerationService.ListSessions", {}, 5.0)
    except (LightfastError, OSError):
        return []
    return [
        {
            "provider": item["provider"],
            "account": item.get("account", ""),
            "source": item["key_source"],
            "state": item.get("state", "").removeprefix("SESSION_STATE_").lower(),
        }
        for item in found.get("sessions", [])
        if item.get("key_source")
    ]


async def _looked_for(named: list[str]) -> list[dict[str, Any]]:
    """Look into the usual places for the providers that were named, and those that have a file."""
    from lightfast.security.secrets.finder import KeyFinder

    folder = _paths().keys
    finder = KeyFinder(folder)
    rows: list[dict[str, Any]] = []
    try:
        for provider in sorted({*named, *_files(folder)}):
            found = await finder.find(provider, keyring=provider in named)
            rows += [
                {"provider": provider, "account": "", "source": each.source, "state": "kept"} for each in found.keys
            ]
            if not found.keys:
                rows += [
                    {"provider": provider, "account": "", "source": problem, "state": "refused"}
                    for problem in found.problems
                ]
    finally:
        await finder.close()
    return rows


def _files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]
