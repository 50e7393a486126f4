"""Turns a found plugin into what it brings: imports it, calls its hooks one by one, checks the answers."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import stat
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from lightfast.host.discover import Candidate
from lightfast.sdk import (
    Bridge,
    Embedder,
    JobType,
    Launcher,
    Model,
    Operation,
    Pack,
    Provider,
    Simulator,
    hookspecs,
)
from lightfast.sdk.contract import PluginMistake, check_embedder_shape, check_models, check_name
from lightfast.sdk.contract_work import check_job_type, check_operation

DROPIN_PACKAGE = "lightfast_dropins"

HOOKS: dict[str, type[Any]] = {
    "lightfast_providers": Provider,
    "lightfast_bridges": Bridge,
    "lightfast_embedders": Embedder,
    "lightfast_operations": Operation,
    "lightfast_job_types": JobType,
    "lightfast_simulators": Simulator,
    "lightfast_packs": Pack,
    "lightfast_launchers": Launcher,
}
"""The hooks, and what each returns a sequence of."""


@dataclass(slots=True)
class Brought:
    """What one plugin brought; *module* is what is registered."""

    module: Any
    hooks: tuple[str, ...] = ()
    providers: list[tuple[Provider, Sequence[Model]]] = field(default_factory=list)
    bridges: list[Bridge] = field(default_factory=list)
    embedders: list[Embedder] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    job_types: list[JobType] = field(default_factory=list)
    simulators: list[Simulator] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    launchers: list[Launcher] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        """Return what it brings as `kind:name`."""
        return (
            *(f"provider:{provider.name}" for provider, _ in self.providers),
            *(f"bridge:{bridge.kind}" for bridge in self.bridges),
            *(f"embedder:{embedder.name}" for embedder in self.embedders),
            *(f"operation:{operation.name}" for operation in self.operations),
            *(f"job_type:{job_type.name}" for job_type in self.job_types),
            *(f"simulator:{simulator.name}" for simulator in self.simulators),
            *(f"pack:{pack.name}" for pack in self.packs),
            *(f"launcher:{launcher.name}" for launcher in self.launchers),
        )


def manager() -> pluggy.PluginManager:
    """Return a plugin manager that knows the hooks."""
    plugins = pluggy.PluginManager("lightfast")
    plugins.add_hookspecs(hookspecs)
    return plugins


def module_name(candidate: Candidate, generation: int) -> str:
    """Return the name a drop-in's module is loaded under: a fresh one for each version."""
    return f"{DROPIN_PACKAGE}.{candidate.name}_g{generation}"


def import_plugin(candidate: Candidate, generation: int) -> Any:
    """Import the module of an entry point, or load a drop-in by its path; raises whatever it raises."""
    if candidate.path is None:
        return _import_entry_point(candidate, generation)
    _check_owner(candidate.path)
    name = module_name(candidate, generation)
    spec = importlib.util.spec_from_file_location(name, candidate.path)
    if spec is None or spec.loader is None:
        raise PluginMistake(f"{candidate.path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    _package()
    sys.modules[name] = module  # dataclasses and pickles look their own module up
    try:
        # Not by exec_module: its byte-code cache goes by whole seconds and would hide a quick edit.
        code = compile(candidate.path.read_bytes(), str(candidate.path), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 — to run it is what a plugin is for
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _check_owner(path: Path) -> None:
    """Refuse a file that another user of the machine could change: it runs with our rights."""
    if os.name != "posix":
        return
    for place in (path, path.parent):
        found = place.stat()
        if found.st_mode & stat.S_IWOTH:
            raise PluginMistake(f"any user can write {place}, and it would run as you: run chmod o-w {place}")
        if found.st_uid not in (0, os.geteuid()):
            raise PluginMistake(f"{place} belongs to another user, and it would run as you: run chown on it")


def _import_entry_point(candidate: Candidate, generation: int) -> Any:
    target, _, attribute = candidate.module.partition(":")
    old = _set_aside(target) if generation > 1 else {}
    try:
        found: Any = importlib.import_module(target)
    except BaseException as error:
        sys.modules.update(old)  # the version that runs must find its own modules again
        if not isinstance(error, ModuleNotFoundError):
            raise
        if error.name is not None and (target == error.name or target.startswith(error.name + ".")):
            raise PluginMistake(
                f"the entry point {candidate.name} names {target}, which is not there: reinstall or remove the"
                " distribution that brings it"
            ) from None
        raise
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    return found


def _set_aside(target: str) -> dict[str, types.ModuleType]:
    """Take *target* and all below it out of `sys.modules`, so that the next import reads the files anew."""
    importlib.invalidate_caches()
    names = [name for name in sys.modules if name == target or name.startswith(target + ".")]
    return {name: sys.modules.pop(name) for name in names}


def _package() -> None:
    if DROPIN_PACKAGE not in sys.modules:
        package = types.ModuleType(DROPIN_PACKAGE, "Holds the modules of the drop-in folder.")
        package.__path__ = []
        sys.modules[DROPIN_PACKAGE] = package


def forget_module(candidate: Candidate, generation: int) -> None:
    """Take a drop-in's module out of `sys.modules`, so that it can be collected."""
    if candidate.path is not None:
        sys.modules.pop(module_name(candidate, generation), None)


def call_hooks(plugins: pluggy.PluginManager, module: Any, config: Mapping[str, Any]) -> Brought:
    """Call the hooks that *module* implements, one by one, and check what they return.

    Each is called by itself, so that it is known which plugin brought what, and one plugin's trouble
    never keeps another's hook from being called. Raises `PluginMistake`, and whatever a hook raises.
    """
    brought = Brought(module, hooks=tuple(_implemented(plugins, module)))
    for hook in brought.hooks:
        caller: pluggy.HookCaller = getattr(plugins.hook, hook)
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not module:
                continue
            offered = {"config": config}
            result = implementation.function(*(offered[name] for name in implementation.argnames))
            _sort(brought, hook, result)
    return brought


def _implemented(plugins: pluggy.PluginManager, module: Any) -> list[str]:
    callers = plugins.get_hookcallers(module) or []
    names = [caller.name for caller in callers]
    for name in names:
        if name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(HOOKS)}"
            raise PluginMistake(f"it implements {name}, which is no hook: {hint}")
    if not names:
        raise PluginMistake("it implements no hook: mark a function lightfast_providers with @hookimpl")
    return names


def _sort(brought: Brought, hook: str, result: Any) -> None:
    wanted = HOOKS[hook]
    if inspect.iscoroutine(result):
        result.close()
        raise PluginMistake(f"{hook} is async: write it with def, and do what takes time where it is asked for")
    if not isinstance(result, Sequence) or isinstance(result, str | bytes):
        raise PluginMistake(f"{hook} returned {_said(result)}: return a list of {wanted.__name__}")
    for item in result:
        if not isinstance(item, wanted):
            raise PluginMistake(f"{hook} returned a list with {_said(item)} in it: each must be a {wanted.__name__}")
        match item:
            case Provider():
                brought.providers.append((item, check_models(item)))
            case Bridge():
                check_name(item.kind, f"the kind of a bridge of {hook}")
                brought.bridges.append(item)
            case Simulator():
                check_name(item.name, f"the name of a simulator of {hook}")
                brought.simulators.append(item)
            case Pack():
                check_name(item.name, f"the name of a pack of {hook}")
                brought.packs.append(item)
            case Launcher():
                check_name(item.name, f"the name of a launcher of {hook}")
                brought.launchers.append(item)
            case Embedder():
                check_embedder_shape(item)
                brought.embedders.append(item)
            case Operation():
                check_operation(item)
                brought.operations.append(item)
            case JobType():
                check_job_type(item)
                brought.job_types.append(item)


def _said(value: Any) -> str:
    return f"{value!r:.80} ({type(value).__name__})"
