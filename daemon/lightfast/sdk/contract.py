"""What of the contract can be seen without running anything: names, models, schemas, parameters, commands.

The daemon checks this when it loads a plugin; `lightfast.sdk.testing` checks it, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk.bridge import Bridge, Command, Parameter
from lightfast.sdk.embedder import Embedder
from lightfast.sdk.errors import PluginError
from lightfast.sdk.provider import CAPABILITIES, UNITS, Model, Provider
from lightfast_link.path import compile_pattern
from lightfast_link.value import KINDS

MEDIA = frozenset(("text", "image", "audio", "video"))
"""What a model may take."""
OUTPUTS = MEDIA | {"embedding"}
"""What a model may make."""
EFFECTS = frozenset(("read", "reversible", "destructive", "code"))
"""What a command may do."""
SETTING_TYPES = frozenset(("string", "integer", "number", "boolean", "array", "object"))
"""The types a setting may have."""

MOST_DIMENSIONS = 8192
"""The longest vector an embedder may make."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class PluginMistake(PluginError):
    """A plugin breaks the contract; the message says how to keep it."""


def check_name(name: Any, what: str) -> None:
    """Raise `PluginMistake` unless *name* can be a name in a path, a setting and on a command line."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginMistake(f"{what} is {name!r:.80}: use lower-case letters, digits, '-' and '_', at most 64")


def check_models(provider: Provider) -> tuple[Model, ...]:
    """Ask a provider for its models and return them; raise `PluginMistake` naming what is wrong."""
    check_name(getattr(provider, "name", None), "the name of a provider")
    models: Any = provider.models()  # from a plugin: may be anything
    if not isinstance(models, Sequence) or not all(isinstance(model, Model) for model in models):
        said = f"{models!r:.80} ({type(models).__name__})"
        raise PluginMistake(f"models() of provider {provider.name} returned {said}: return a list of Model")
    names = [model.name for model in models]
    for model in models:
        where = f"the model {provider.name}/{model.name}"
        _check_model_name(model.name, provider.name)
        if names.count(model.name) > 1:
            raise PluginMistake(f"{where} is there twice")
        _check_media(model, where)
        _check_settings(model.settings, where)
        _check_data(model, where)
    return tuple(models)


def check_given(provider: Provider, model: Any, name: str) -> None:
    """Check what `Provider.model` returned for *name*; raise `PluginMistake`."""
    if not isinstance(model, Model) or model.name != name:
        raise PluginMistake(
            f"model({name!r}) of provider {provider.name} returned {model!r:.80}: return a Model of that name, or None"
        )
    where = f"the model {provider.name}/{name}"
    _check_model_name(name, provider.name)
    _check_media(model, where)
    _check_settings(model.settings, where)
    _check_data(model, where)


def _check_model_name(name: Any, provider: str) -> None:
    if not isinstance(name, str) or not _MODEL_NAME.fullmatch(name):
        raise PluginMistake(
            f"the name of a model of provider {provider} is {name!r:.80}: use letters, digits and . _ : / @ + -, "
            "at most 200, a letter or a digit first"
        )


def _check_data(model: Model, where: str) -> None:
    for name in model.capabilities:
        if name not in CAPABILITIES:
            raise PluginMistake(f"{where} has the capability {name!r}: use of {', '.join(CAPABILITIES)}")
    for price in model.prices:
        if price.unit not in UNITS or not 0 <= price.usd < float("inf"):
            raise PluginMistake(
                f"{where} has a price of {price.usd!r} for one {price.unit!r}: use of {', '.join(UNITS)}"
            )
    for side in ("deprecation_date", "retirement_date"):
        date = getattr(model, side)
        if date and not _DATE.fullmatch(date):
            raise PluginMistake(f"{where} has the {side} {date!r}: write YYYY-MM-DD")


def _check_media(model: Model, where: str) -> None:
    kinds: Any
    for side, kinds in (("outputs", model.outputs), ("inputs", model.inputs)):
        known = OUTPUTS if side == "outputs" else MEDIA
        if isinstance(kinds, str) or not set(kinds) <= known:
            raise PluginMistake(f"{where} has the {side} {kinds!r}: use a tuple of {', '.join(sorted(known))}")
    if not model.outputs:
        raise PluginMistake(f"{where} makes nothing: give it outputs")


def _check_settings(settings: Any, where: str) -> None:
    properties = settings.get("properties", {}) if isinstance(settings, Mapping) else None
    if not isinstance(properties, Mapping):
        raise PluginMistake(f"{where} has settings that are no JSON Schema of type object")
    for name, rule in properties.items():
        if not isinstance(rule, Mapping):
            raise PluginMistake(f"{where} has the setting {name!r} without a schema: give it a type")
        kinds = rule.get("type", ())
        unknown = {kinds} - SETTING_TYPES if isinstance(kinds, str) else set(kinds) - SETTING_TYPES
        if unknown:
            known = ", ".join(sorted(SETTING_TYPES))
            raise PluginMistake(f"{where} has the setting {name!r} of type {min(unknown)!r}: use one of {known}")


def check_embedder_shape(embedder: Embedder) -> None:
    """Check the name and the dimensions of an embedder, without running it; raise `PluginMistake`."""
    check_name(getattr(embedder, "name", None), "the name of an embedder")
    dimensions: Any = getattr(embedder, "dimensions", None)  # from a plugin: may be anything
    if not isinstance(dimensions, int) or isinstance(dimensions, bool) or not 1 <= dimensions <= MOST_DIMENSIONS:
        raise PluginMistake(
            f"the embedder {embedder.name} has {dimensions!r:.80} dimensions: use a number from 1 to {MOST_DIMENSIONS}"
        )


def check_bridge_shape(bridge: Bridge) -> None:
    """Check the kind, the parameters and the commands of a bridge; raise `PluginMistake`."""
    check_name(getattr(bridge, "kind", None), "the kind of a bridge")
    for parameter in bridge.parameters():
        check_parameter(parameter, f"bridge {bridge.kind}")
    names: list[str] = []
    for command in bridge.commands():
        check_command(command, f"bridge {bridge.kind}")
        names.append(command.name)
    for name in names:
        if names.count(name) > 1:
            raise PluginMistake(f"bridge {bridge.kind} has the command {name!r} twice")


def check_parameter(parameter: Parameter, where: str) -> None:
    """Raise `PluginMistake` for a parameter that the context could not declare."""
    what = f"{where}: the parameter {parameter.pattern!r}"
    if not parameter.pattern or parameter.pattern.startswith("/"):
        raise PluginMistake(f"{what} must be relative to the mount: leave the first '/' out")
    try:
        compile_pattern("/mount/" + parameter.pattern)
    except ValueError as error:
        raise PluginMistake(f"{what} is no pattern: {error}") from None
    if parameter.kind and parameter.kind not in KINDS:
        raise PluginMistake(f"{what} has the kind {parameter.kind!r}: use one of {', '.join(KINDS)}, or none")
    if parameter.access not in ("rw", "r", "w"):
        raise PluginMistake(f"{what} has the access {parameter.access!r}: use rw, r or w")
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None and not low <= high:
        raise PluginMistake(f"{what} has the range {low} to {high}, in which nothing lies")
    if parameter.tolerance < 0:
        raise PluginMistake(f"{what} has a tolerance below 0")


def check_command(command: Command, where: str) -> None:
    """Raise `PluginMistake` for a command that could not be offered."""
    what = f"{where}: the command {command.name!r}"
    if not command.name or not command.name.replace("_", "").replace(".", "").replace("/", "").isalnum():
        raise PluginMistake(f"{what} needs a name of letters, digits, '_', '.' and '/'")
    if command.effect not in EFFECTS:
        raise PluginMistake(f"{what} has the effect {command.effect!r}: use one of {', '.join(sorted(EFFECTS))}")
    names = [argument.name for argument in command.arguments]
    for argument in command.arguments:
        if names.count(argument.name) > 1:
            raise PluginMistake(f"{what} has the argument {argument.name!r} twice")
        if argument.kind and argument.kind not in KINDS:
            raise PluginMistake(f"{what} has the argument {argument.name!r} of kind {argument.kind!r}")
