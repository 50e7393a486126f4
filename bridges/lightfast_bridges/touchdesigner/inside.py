"""The half that lives inside TouchDesigner, as the daemon's half sees it: where its files are, and what it offers."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import lightfast_bridges
import lightfast_link
from lightfast.sdk import Argument, Command, Parameter, Undo

PACKAGE = "lightfast_td"
_SKIP = shutil.ignore_patterns("__pycache__", "*.pyc", ".keep")


def folder() -> Path:
    """Return the folder of that half: data of an installed wheel, else beside us in a checkout."""
    here = Path(lightfast_bridges.__file__).parent
    for place in (
        here / "data" / "lightfast_touchdesigner",
        here.parent / "touchdesigner" / "lightfast_touchdesigner",
    ):
        if (place / "build_lightfast_tox.py").is_file():
            return place
    raise FileNotFoundError(f"the TouchDesigner component is missing beside {here}: install lightfast again")


def write(target: Path) -> None:
    """Write all that the builder needs into the folder *target*, the link included."""
    shutil.copytree(folder(), target, ignore=_SKIP, dirs_exist_ok=True)
    shutil.copytree(Path(lightfast_link.__file__).parent, target / "lightfast_link", ignore=_SKIP, dirs_exist_ok=True)


@functools.cache
def file_module(name: str) -> Any:
    """Return one of the single files of that half (`loader`, `build_lightfast_tox`) as a module."""
    spec = importlib.util.spec_from_file_location(f"lightfast_touchdesigner_{name}", folder() / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name} from {folder()}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def part(name: str) -> Any:
    """Return the module *name* of the package that runs inside TouchDesigner, loaded as it is there."""
    texts = {}
    for prefix, place in (("", folder() / PACKAGE), ("lightfast_link", Path(lightfast_link.__file__).parent)):
        for file in sorted(place.glob("*.py")):
            inner = "" if file.name == "__init__.py" else file.stem
            texts[".".join(each for each in (prefix, inner) if each)] = (file.read_text(encoding="utf-8"), str(file))
    package = file_module("loader").load(texts)
    return importlib.import_module(f"{package.__name__}.{name}" if name else package.__name__)


@functools.cache
def version() -> str:
    """Return the version of the component that this distribution packs."""
    return str(part("").VERSION)


@functools.cache
def parameters() -> tuple[Parameter, ...]:
    """Return what the component says of paths whatever the project is."""
    surface = part("surface")
    entries = [*surface.PARAMETERS, *surface.OURS]
    return tuple(Parameter(**{**entry, "choices": tuple(entry.get("choices", ()))}) for entry in entries)


@functools.cache
def commands() -> tuple[Command, ...]:
    """Return the commands; `exec` is offered only by a component that allows it."""
    return tuple(
        Command(
            entry["name"],
            entry["description"],
            tuple(Argument(**argument) for argument in entry["arguments"]),
            entry["effect"],
            undo=Undo(**entry["undo"]) if "undo" in entry else None,
        )
        for entry in part("surface").commands(allow_code=False)
    )
