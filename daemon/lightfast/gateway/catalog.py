"""The providers at hand and their models, and the one a request means."""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog

from lightfast.core.errors import AlreadyExists, InvalidArgument, NotFound
from lightfast.gateway.calls import GenerateCall, ModelRecord, ProviderRecord
from lightfast.host.guard import guarded
from lightfast.host.isolated import IsolatedProvider
from lightfast.host.records import PluginRecord, PluginState
from lightfast.sdk import Model, Provider
from lightfast.sdk.contract import PluginMistake, check_given

log = structlog.get_logger("lightfast.gateway")

OUTPUTS = ("text", "image", "audio", "video")
EMBEDDING = "embedding"
"""What a model makes that turns texts into vectors; it is asked for by `Embed`, not by `Generate`."""
SLIP = 0.8
"""A name that is so much like a listed one, from 0 to 1, is probably a slip of it."""
MOST_UNLISTED = 512
"""So many models that a provider has without listing them are remembered."""


class Catalog:
    """Providers by name, each with the plugin that brought it and its models by name.

    Where a request names no model, the provider that came first has the first word: installed plugins
    come before drop-ins.
    """

    def __init__(self) -> None:
        self._providers: dict[str, tuple[Provider, str, dict[str, Model]]] = {}
        self._places: dict[str, int] = {}
        self._unlisted: OrderedDict[str, ModelRecord] = OrderedDict()
        self._listed: dict[str, Sequence[ModelRecord]] = {}
        self.on_remove: list[Callable[[str], None]] = []
        """Told of the name of a provider that left."""

    def add(self, provider: Provider, plugin: str, models: Sequence[Model]) -> None:
        """Take a provider; raise `AlreadyExists` where another plugin has one of that name."""
        if provider.name in self._providers:
            owner = self._providers[provider.name][1]
            raise AlreadyExists(
                f"the provider {provider.name!r} of plugin {plugin} is already brought by plugin {owner}:"
                f" rename one, or set [plugins.{owner}] enabled = false",
                reason="PROVIDER_EXISTS",
            )
        self._places.setdefault(provider.name, len(self._places))  # and it keeps its place when it is loaded anew
        self._providers[provider.name] = (provider, plugin, {model.name: model for model in models})
        self._listed.clear()

    def remove(self, provider: Provider) -> bool:
        """Let *provider* go; say whether it was here."""
        held = self._providers.get(provider.name)
        if held is None or held[0] is not provider:
            return False
        del self._providers[provider.name]
        self._listed.clear()
        for name in [name for name, record in self._unlisted.items() if record.provider == provider.name]:
            del self._unlisted[name]
        for told in self.on_remove:
            told(provider.name)
        return True

    def replace(self, provider: Provider, models: Sequence[Model]) -> None:
        """Take what *provider* was found to have instead of what it listed; one that is gone stays gone."""
        held = self._providers.get(provider.name)
        if held is not None and held[0] is provider:
            self._providers[provider.name] = (provider, held[1], {model.name: model for model in models})
            self._listed.clear()

    def provider(self, name: str) -> Provider:
        """Return the provider of that name."""
        return self._providers[name][0]

    def has(self, provider: str) -> bool:
        """Say whether there is a provider of that name."""
        return provider in self._providers

    def place(self, provider: str) -> int:
        """Return which provider it was in the order of their coming."""
        return self._places.get(provider, len(self._places))

    def all(self) -> list[Provider]:
        """Return the providers."""
        return [provider for provider, _, _ in self._providers.values()]

    def records(self, plugins: Sequence[PluginRecord]) -> list[ProviderRecord]:
        """Return the providers by name, and those whose plugin could not be loaded with the reason."""
        found = {
            name: ProviderRecord(
                name, provider.description, not trouble(provider), trouble(provider), provider.local, plugin
            )
            for name, (provider, plugin, _) in self._providers.items()
        }
        for record in plugins:
            missing = record.state is not PluginState.READY and "lightfast_providers" in record.hooks
            if missing and record.name not in found:
                found[record.name] = ProviderRecord(
                    record.name, "", available=False, reason=record.reason, local=False, plugin=record.name
                )
        return [found[name] for name in sorted(found)]

    def models(self, output: str = "") -> list[ModelRecord]:
        """Return the models that make *output* (empty: all), ordered by name."""
        if output:
            check_output(output, EMBEDDING)
        return sorted(self.listed(output), key=lambda record: record.name)

    def listed(self, output: str = "") -> Sequence[ModelRecord]:
        """Return them by the places of their providers, and as each provider lists them."""
        held = self._listed.get(output)
        if held is None:
            held = self._listed[output] = self._list(output)
        return held

    def _list(self, output: str) -> Sequence[ModelRecord]:
        names = sorted(self._providers, key=self.place)
        return [
            ModelRecord(f"{name}/{model.name}", name, model)
            for name in names
            for model in self._providers[name][2].values()
            if not output or output in model.outputs
        ]

    def lists(self, name: str) -> bool:
        """Say whether the model `provider/model` is in the list of its provider."""
        provider, _, model = name.partition("/")
        held = self._providers.get(provider)
        return held is not None and model in held[2]

    def near(self, name: str) -> str:
        """Return the listed model of the same provider that *name*, which is not listed, is probably a slip of.

        Empty: it is listed, or like none. Another number, or a word more or less, is another model (a dated one, the
        next version, its small sister), and one with a colon is an account's own.
        """
        provider, _, model = name.partition("/")
        listed = self._providers[provider][2] if provider in self._providers else {}
        if model in listed or ":" in model:
            return ""
        alike = [each for each in listed if _build(each) == _build(model)]
        found = difflib.get_close_matches(model, alike, n=1, cutoff=SLIP)
        return f"{provider}/{found[0]}" if found else ""

    def find(self, name: str) -> ModelRecord | None:
        """Return the model `provider/model`, listed or not; `None`: there is none."""
        provider_name, _, model_name = name.partition("/")
        held = self._providers.get(provider_name)
        if held is None or not model_name:
            return None
        model = held[2].get(model_name)
        if model is not None:
            return ModelRecord(name, provider_name, model)
        known = self._unlisted.get(name)
        if known is not None:
            return known
        return self._ask(held[0], name, model_name)

    def _ask(self, provider: Provider, name: str, model_name: str) -> ModelRecord | None:
        outcome = guarded(provider.model, model_name)
        if outcome.error is not None:
            log.error("a provider failed over the name of a model", model=name, reason=repr(outcome.error))
        if outcome.value is None:
            return None
        try:
            check_given(provider, outcome.value, model_name)
        except PluginMistake as mistake:
            log.warning("a provider gave a model that breaks the contract", model=name, reason=str(mistake))
            return None
        record = self._unlisted[name] = ModelRecord(name, provider.name, outcome.value)
        if len(self._unlisted) > MOST_UNLISTED:
            self._unlisted.popitem(last=False)
        return record

    def match(self, call: GenerateCall) -> ModelRecord:
        """Return the model that *call* means; raise `NotFound` with the nearest name, or `InvalidArgument`."""
        if call.output:
            check_output(call.output)
        if not call.model:
            for record in self.listed(call.output):
                if not trouble(self.provider(record.provider)):
                    return record
            raise none_makes(call.output)
        record = self.named(call.model)
        if call.output:
            check_makes(record, call.output)
        return record

    def named(self, name: str, others: Sequence[str] = (), field: str = "model") -> ModelRecord:
        """Return the model of that name; raise `NotFound` with the nearest name, *others* (aliases) included."""
        record = self.find(name)
        if record is not None:
            return record
        names = [each.name for each in self.models()]
        near = difflib.get_close_matches(name, [*names, *others], n=1, cutoff=0.5)
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        hint = f"did you mean {near[0]!r}?" if near else f"there is {shown or 'none at all'}"
        raise NotFound(f"there is no model {name!r}: {hint}", reason="MODEL_NOT_FOUND", field=field)


def _build(name: str) -> tuple[list[str], int]:
    """Return the numbers in the name of a model, and how many words it has."""
    return re.findall(r"[0-9]+", name), len(re.findall(r"[^\W\d_]+", name))


def trouble(provider: Provider) -> str:
    """Return why *provider* cannot be used now; empty when it can."""
    return provider.trouble if isinstance(provider, IsolatedProvider) else ""


def none_makes(output: str) -> NotFound:
    """Return the error where nothing makes *output*."""
    return NotFound(
        f"no model here makes {output or 'anything'}: see the providers that are not available",
        reason="NO_MODEL",
    )


def check_makes(record: ModelRecord, output: str) -> None:
    """Raise `InvalidArgument` unless *record* makes *output*."""
    if output not in record.model.outputs:
        makes = ", ".join(record.model.outputs)
        raise InvalidArgument(f"{record.name} makes {makes}, not {output}", field="output")


def check_output(output: str, *also: str) -> None:
    """Raise `InvalidArgument` for a kind of output that nothing makes."""
    known = (*OUTPUTS, *also)
    if output not in known:
        near = difflib.get_close_matches(output, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
        raise InvalidArgument(f"nothing makes {output!r:.60}: {hint}", field="output")
