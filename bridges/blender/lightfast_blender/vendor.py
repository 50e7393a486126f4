"""Finds `lightfast_link`: packed beside this file, else on the path of a source checkout."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def load() -> None:
    """Make `import lightfast_link` work without touching `sys.path`."""
    if "lightfast_link" in sys.modules:
        return
    packed = Path(__file__).parent / "vendor_lib" / "lightfast_link"
    if not packed.is_dir():
        if importlib.util.find_spec("lightfast_link") is None:
            raise ImportError(
                "lightfast_link is missing: install the zip that `lightfast pack blender` writes, "
                "or put the folder 'bridges' of the source on PYTHONPATH"
            )
        return
    spec = importlib.util.spec_from_file_location(
        "lightfast_link", packed / "__init__.py", submodule_search_locations=[str(packed)]
    )
    if spec is None or spec.loader is None:
        raise ImportError("cannot load %s" % packed)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lightfast_link"] = module
    spec.loader.exec_module(module)
