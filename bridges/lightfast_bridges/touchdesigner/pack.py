"""Writes the folder from which TouchDesigner builds the component: a .tox is its alone to write."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lightfast.sdk import Pack
from lightfast_bridges.touchdesigner import inside

FOLDER = "lightfast-touchdesigner"


class TouchDesignerPack(Pack):
    """The builder, the modules and how to install them."""

    name = "touchdesigner"
    description = "The Lightfast component for TouchDesigner 2022 and later: a builder script and its modules"

    def write(self, folder: Path) -> tuple[Path, str]:
        """Write `lightfast-touchdesigner/` into *folder*, over an earlier one; a `lightfast.tox` in it stays."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / FOLDER
        with tempfile.TemporaryDirectory(dir=folder, prefix=".lightfast-") as scratch:
            made = Path(scratch) / FOLDER
            inside.write(made)
            kept = target / "lightfast.tox"
            if kept.is_file():
                shutil.copy2(kept, made / kept.name)
            if target.exists():
                target.rename(Path(scratch) / "before")
            made.rename(target)
        return target, (
            f"In TouchDesigner's textport: import sys; sys.path.insert(0, r'{target.absolute()}'); "
            "import build_lightfast_tox; build_lightfast_tox.build()  (README.md there says more)"
        )
