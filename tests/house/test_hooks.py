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
    "lightfast_embedders": (
        """
class Mine:
    name = "tried"
    dimensions = 2
    def embed(self, texts): return [[1.0, 0.0] for _ in texts]
    def close(self): pass

@hookimpl
def lightfast_embedders(config): return [Mine()]
""",
        "embedder:tried",
    ),
    "lightfast_operations": (
        """
class Mine(Operation):
    name = "tried.it"
    summary = "Do nothing."
    arguments = {"type": "object"}
    async def perform(self, call, bench): return Outcome()

@hookimpl
def lightfast_operations(config): return [Mine()]
""",
        "operation:tried.it",
    ),
    "lightfast_job_types": (
        """
class Mine(JobType):
    name = "tried"
    summary = "Do nothing."
    async def run(self, payload, bench): return None

@hookimpl
def lightfast_job_types(config): return [Mine()]
""",
        "job_type:tried",
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
            "lightfast_embedders": host.embedders,
            "lightfast_operations": host.operations,
            "lightfast_job_types": host.job_types,
            "lightfast_simulators": host.simulators,
            "lightfast_packs": host.packs,
            "lightfast_launchers": host.launchers,
        }
        assert [type(item).__name__ for item in asked[name]()] == ["Mine"]


WRONG = {
    "no-operation": ("lightfast_operations", "[3]", "lightfast_operations"),
    "name": ("lightfast_operations", 'made(Operation, name="Fade")', "the name of an operation is 'Fade'"),
    "arguments": ("lightfast_operations", 'made(Operation, name="a.b", arguments={"type": "array"})', "no JSON Schema"),
    "pool": ("lightfast_operations", 'made(Operation, name="a.b", pool="mine")', "the pool 'mine': use one of"),
    "effects": (
        "lightfast_operations",
        'made(Operation, name="a.b", possible_effects=("all",))',
        "frozenset of Effect",
    ),
    "timeout": ("lightfast_operations", 'made(Operation, name="a.b", timeout=0)', "the timeout 0: use seconds"),
    "no-job-type": ("lightfast_job_types", "[object()]", "lightfast_job_types"),
    "attempts": ("lightfast_job_types", 'made(JobType, name="a", max_attempts=0)', "the max_attempts 0"),
    "payload": ("lightfast_job_types", 'made(JobType, name="a", payload={})', "no JSON Schema"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_plugin_that_brings_a_wrong_one_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    hook, brought, reason = WRONG[case]
    source = f"""
async def nothing(self, *given): pass

def made(kind, **fields):
    usual = {{"summary": "Do nothing.", "arguments": {{"type": "object"}}, "perform": nothing, "run": nothing}}
    return [type("Mine", (kind,), {{**usual, **fields}})()]

@hookimpl
def {hook}(config): return {brought}
"""
    with installed(tmp_path, lfx_tried=HEAD + source) as found:
        host = PluginHost({}, found=found)
        host.load_all()
        (record,) = host.records()
        assert record.brings == ()
        assert reason in record.reason
