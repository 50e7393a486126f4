"""What became of an attempt to load a plugin: what it brought, or why it failed, as the record says it."""

from __future__ import annotations

from lightfast.core.errors import LightfastError
from lightfast.host.discover import Candidate
from lightfast.host.guard import Failure, failure_of
from lightfast.host.holding import Held
from lightfast.host.isolated import IsolatedPlugin
from lightfast.host.loader import Brought
from lightfast.host.process import ChildFailed
from lightfast.sdk.contract import PluginMistake


async def bring_isolated(plugin: IsolatedPlugin) -> Brought:
    """Start an isolated plugin; raises `ChildFailed`, or `PluginMistake` where it brings no provider."""
    providers = await plugin.start()
    if not providers:
        raise PluginMistake("it is isolated, but brings no provider: only providers run in a process of their own")
    return Brought(None, hooks=("lightfast_providers",), providers=providers)


def failure_to_load(error: BaseException | None) -> Failure:
    """Describe why a plugin could not be loaded."""
    if isinstance(error, ChildFailed):
        return Failure(str(error), error.trace, error.missing)
    return failure_of(error or PluginMistake("it brought nothing"))


def refusal(error: BaseException) -> Failure:
    """Describe why what a plugin brought was not taken."""
    return Failure(error.message) if isinstance(error, LightfastError) else failure_of(error)


def version_of(candidate: Candidate, held: Held | None) -> str:
    """Return the version of the distribution, or of a drop-in what it says, else the digest of its content."""
    said = getattr(held.brought.module, "__version__", None) if held is not None and candidate.path else None
    return said if isinstance(said, str) else candidate.version
