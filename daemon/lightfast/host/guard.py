"""Calls into plugins: whatever they raise stays here, as a reason and a short traceback.

Only `KeyboardInterrupt` passes: it is the user's word, not the plugin's.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from lightfast.core.redaction import hide
from lightfast.sdk import MissingDependency, PluginError

T = TypeVar("T")

_FRAMEWORK = ("lightfast.host.", "importlib.", "pluggy.", "pluggy")
_FRAMEWORK_FILES = ("<frozen importlib",)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in a plugin: *reason* for a person, *trace* cut at our own frames.

    *missing* says that something has to be installed rather than repaired. Secrets are hidden in both:
    an error of a service likes to repeat the key it was asked with.
    """

    reason: str
    trace: str = ""
    missing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", hide(self.reason))
        object.__setattr__(self, "trace", hide(self.trace))


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The result of a guarded call: a value, or what was raised."""

    value: T | None = None
    error: BaseException | None = None


def guarded(function: Callable[..., T], *arguments: Any) -> Outcome[T]:
    """Call *function* and contain everything it raises, `SystemExit` included."""
    try:
        return Outcome(value=function(*arguments))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Outcome(error=error)


async def guarded_await(awaitable: Awaitable[T]) -> Outcome[T]:
    """Await, and contain everything that is raised but the cancellation of the task that waits.

    A plugin that raises `CancelledError` of its own has failed like any other. The end of an
    iterator comes back as the error `StopAsyncIteration`.
    """
    try:
        return Outcome(value=await awaitable)
    except KeyboardInterrupt:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return Outcome(error=error)
    except BaseException as error:
        return Outcome(error=error)


def failure_of(error: BaseException) -> Failure:
    """Describe *error*; the answer keeps no reference to the frames, so that a module can be collected."""
    trace = "".join(traceback.format_exception(type(error), error, cut(error.__traceback__)))
    if isinstance(error, MissingDependency):
        return Failure(str(error), trace, missing=True)
    if isinstance(error, PluginError):  # raised on purpose: its message is meant to be read
        return Failure(str(error), trace)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _module_missing(error.name, trace)
    if isinstance(error, SystemExit):
        return Failure(f"it called sys.exit({error.code!r}), which a plugin must not do", trace)
    said = str(error).strip()
    place = _place(error)
    return Failure(f"{type(error).__name__}{f': {said}' if said else ''}{place}", trace)


_PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml"}
"""Where a module is not named like what brings it."""


def _module_missing(name: str, trace: str) -> Failure:
    top = name.split(".", maxsplit=1)[0]
    if top.startswith("lightfast"):
        return Failure(
            f"it imports {name}, which this installation does not have: update the plugin, or Lightfast", trace
        )
    package = _PACKAGES.get(top, top)
    return Failure(f"the module {name} is not installed: run pip install {package}", trace, missing=True)


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):  # it names its own line
        return ""
    frames = traceback.extract_tb(cut(error.__traceback__))
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def cut(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the leading frames that are ours or the import system's."""
    while trace is not None and _is_framework(trace):
        trace = trace.tb_next
    return trace


def _is_framework(trace: TracebackType) -> bool:
    frame = trace.tb_frame
    return frame.f_globals.get("__name__", "").startswith(_FRAMEWORK) or frame.f_code.co_filename.startswith(
        _FRAMEWORK_FILES
    )
