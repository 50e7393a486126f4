"""The maps that come with the bridge, as files to take and change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from lightfast.sdk import Pack, PluginError

PREFIX = "osc-"
"""The names of packs that are maps begin with it: `osc-resolume`."""
_TITLE = re.compile("^title: *(.+?) *$", re.MULTILINE)


class MapPack(Pack):
    """One map."""

    def __init__(self, name: str, text: str) -> None:
        self.name = PREFIX + name
        # Reading four maps takes more than all else that a daemon without a device does for this bridge.
        title = _TITLE.search(text)
        self.description = f"The OSC map of {title[1] if title else name}."
        self._text = text

    def write(self, folder: Path) -> tuple[Path, str]:
        """Write the map into *folder*; one that is there already may hold the user's changes and stays."""
        path = folder / f"{self.name.removeprefix(PREFIX)}.yaml"
        try:
            with path.open("x", encoding="utf-8") as opened:
                opened.write(self._text)
        except FileExistsError:
            raise PluginError(f"{path} is there already: move it away first, or change it as it is") from None
        return path, "Adjust `remote` and `reply` in it; a running daemon takes each change at once."


def shipped() -> dict[str, str]:
    """Return the texts of the maps that come with the bridge, by name."""
    folder = resources.files("lightfast_bridges.osc") / "maps"
    found = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(".yaml")}
    return {name.removesuffix(".yaml"): found[name].read_text(encoding="utf-8") for name in sorted(found)}


def packs() -> Sequence[Pack]:
    """Return them as packs."""
    return [MapPack(name, text) for name, text in shipped().items()]
