"""The one door for plugins: everything a provider or a bridge may use.

A plugin is a module with functions marked `@hookimpl`. See `plugins/README.md`.
"""

from lightfast.sdk.bridge import (
    AppChannel,
    AppSession,
    Argument,
    Bridge,
    BridgeHost,
    Call,
    Change,
    Command,
    Hello,
    OscMessage,
    OscSender,
    OscServer,
    Parameter,
    Peer,
    Wish,
)
from lightfast.sdk.diagnosis import Finding
from lightfast.sdk.errors import BridgeError, MissingDependency, PluginError, ProviderError
from lightfast.sdk.hookspecs import hookimpl
from lightfast.sdk.launcher import Launcher
from lightfast.sdk.packs import Pack
from lightfast.sdk.provider import (
    Artifact,
    GenerationRequest,
    Model,
    Preview,
    Progress,
    Provider,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast.sdk.simulator import Simulator
from lightfast.sdk.timeline import Timeline
from lightfast_link.value import Asset, Value

__all__ = [
    "AppChannel",
    "AppSession",
    "Argument",
    "Artifact",
    "Asset",
    "Bridge",
    "BridgeError",
    "BridgeHost",
    "Call",
    "Change",
    "Command",
    "Finding",
    "GenerationRequest",
    "Hello",
    "Launcher",
    "MissingDependency",
    "Model",
    "OscMessage",
    "OscSender",
    "OscServer",
    "Pack",
    "Parameter",
    "Peer",
    "PluginError",
    "Preview",
    "Progress",
    "Provider",
    "ProviderError",
    "Simulator",
    "Step",
    "TextDelta",
    "Timeline",
    "Usage",
    "Value",
    "Wish",
    "Workbench",
    "hookimpl",
]
