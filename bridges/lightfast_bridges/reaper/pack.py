"""Writes what goes into REAPER: the pattern file, the script and how to install them."""

from __future__ import annotations

import shutil
from pathlib import Path

import lightfast_bridges
from lightfast.sdk import Pack

PATTERNS = "Lightfast.ReaperOSC"
SCRIPT = "lightfast_guids.lua"
FILES = (PATTERNS, SCRIPT, "README.md")


def files_folder() -> Path:
    """Return the folder of the files: data of an installed wheel, else beside us in a checkout."""
    here = Path(lightfast_bridges.__file__).parent
    for folder in (here / "data" / "reaper", here.parent / "reaper"):
        if (folder / PATTERNS).is_file():
            return folder
    raise FileNotFoundError(f"the files for REAPER are missing beside {here}: install lightfast again")


class ReaperPack(Pack):
    """The pattern file and the script; both are text."""

    name = "reaper"
    description = "Pattern file for REAPER's OSC, and a script for tracks that keep their identity"

    def write(self, folder: Path) -> tuple[Path, str]:
        """Write the files into a folder `reaper` of their own; the main file is the pattern file."""
        target = folder / "reaper"
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(files_folder() / name, target / name)
        advice = (
            f"In REAPER: Options > Show REAPER resource path; copy {PATTERNS} into its folder OSC. Then Preferences > "
            "Control/OSC/web > Add > OSC: pattern config Lightfast, mode 'Configure device IP+local port', device IP "
            f"127.0.0.1 port 50158, local listen port 8000. For {SCRIPT} see {target / 'README.md'}."
        )
        return target / PATTERNS, advice
