"""Writes the abstractions that a patch joins by."""

from __future__ import annotations

import shutil
from pathlib import Path

import lightfast_bridges
from lightfast.sdk import Pack

FILES = ("lightfast.pd", "lightfast-param.pd", "lightfast-symbol.pd", "lightfast-bang.pd")


def abstractions_folder() -> Path:
    """Return the folder of the abstractions: data of an installed wheel, else beside us in a checkout."""
    here = Path(lightfast_bridges.__file__).parent
    for folder in (here / "data" / "puredata", here.parent / "puredata"):
        if (folder / FILES[0]).is_file():
            return folder
    raise FileNotFoundError(f"the abstractions for Pure Data are missing beside {here}: install lightfast again")


class PureDataPack(Pack):
    """The abstractions; they need no externals."""

    name = "puredata"
    description = "Abstractions for Pure Data 0.51 and later: any patch joins by adding objects"

    def write(self, folder: Path) -> tuple[Path, str]:
        """Write the abstractions into a folder `lightfast` of their own; the main file is `lightfast.pd`."""
        target = folder / "lightfast"
        target.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(abstractions_folder() / name, target / name)
        advice = (
            f"In Pd: File > Preferences > Path, add {target.resolve()}. Then put [lightfast NAME] into a patch, and "
            "[lightfast-param freq 20 2000 440], [lightfast-symbol word] or [lightfast-bang go] where they are wanted."
        )
        return target / FILES[0], advice
