"""Each hook is documented with its exact signature, and tried here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.plugins import installed

from lightfast.host.loader import HOOKS
from lightfast.host.plugins import PluginHost
from lightfast.sdk import hookspecs

README = (Path(__file__).parents[2] / "plugins" / "README.md").read_text(encoding="utf-8")

SPECS: dict[str, Callable[..., object]] = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and hasattr(function, "lightfast_spec")
}

HEAD = "from pathlib import Path\nfrom lightfast.sdk import *\nfrom lightfast.sdk import hookimpl\n\n"

TRIED: dict[str, tuple[str, str]] = {
    "lightfast_providers": (
        """
class Mine(Provider):
    name = "tried"
    def models(self): return [Model("a", outputs=("text",))]
    async def generate(self, request, bench): yield TextDelta("x")

@hookimpl
def lightfast_providers(config): return [Mine()]
""",
        "provider:tried",
    ),
    "lightfast_bridges": (
        """
class Mine(Bridge):
    kind = "tried"
    async def run(self, host): pass

@hookimpl
def lightfast_bridges(config): return [Mine()]
""",
        "bridge:tried",
    ),
    "lightfast_simulators": (
        """
class Mine(Simulator):
    name = "tried"
    description = "a simulator"
    default_listen = ("127.0.0.1", 1)
    async def run(self, listen, reply_port, ready): pass

@hookimpl
def lightfast_simulators(): return [Mine()]
""",
        "simulator:tried",
    ),
    "lightfast_packs": (
        """
class Mine(Pack):
    name = "tried"
    description = "a pack"
    def write(self, folder): return folder / "x", "install it"

@hookimpl
def lightfast_packs(): return [Mine()]
""",
        "pack:tried",
    ),
    "lightfast_launchers": (
        """
class Mine(Launcher):
    name = "tried"
    def find(self): return None
    def start(self, home, *, document=None, log=None): raise MissingDependency("it", "nothing")

@hookimpl
def lightfast_launchers(): return [Mine()]
""",
        "launcher:tried",
    ),
}


def test_there_are_hooks_and_the_host_calls_each() -> None:
    assert SPECS
    assert sorted(SPECS) == sorted(HOOKS)


@pytest.mark.parametrize("name", SPECS)
def test_the_hook_is_documented_with_its_exact_signature(name: str) -> None:
    function = SPECS[name]
    summary = inspect.getdoc(function)
    assert summary, f"{name} has no docstring"
    signature = str(inspect.signature(function)).replace("'", "")
    assert f"### `{name}{signature}`\n\n{summary}\n" in README


@pytest.mark.parametrize("name", SPECS)
def test_the_hook_is_tried(name: str, tmp_path: Path) -> None:
    assert name in TRIED, f"write a plugin that implements {name} into this test"
    source, brings = TRIED[name]
    with installed(tmp_path, lfx_tried=HEAD + source) as found:
        host = PluginHost({}, found=found)
        host.load_all()
        (record,) = host.records()
        assert (record.hooks, record.brings, record.reason) == ((name,), (brings,), "")
        asked: dict[str, Callable[[], Sequence[object]]] = {
            "lightfast_providers": host.providers,
            "lightfast_bridges": host.bridges,
            "lightfast_simulators": host.simulators,
            "lightfast_packs": host.packs,
            "lightfast_launchers": host.launchers,
        }
        assert [type(item).__name__ for item in asked[name]()] == ["Mine"]
