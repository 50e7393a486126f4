"""The providers at hand and their models, and the one a request means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from lightfast.core.errors import AlreadyExists, InvalidArgument, NotFound
from lightfast.gateway.calls import GenerateCall, ModelRecord, ProviderRecord
from lightfast.host.isolated import IsolatedProvider
from lightfast.host.records import PluginRecord, PluginState
from lightfast.sdk import Model, Provider

OUTPUTS = ("text", "image", "audio", "video")


class Catalog:
    """Providers by name, each with the plugin that brought it and its models by name.

    Where a request names no model, the provider that came first has the first word: installed plugins
    come before drop-ins.
    """

    def __init__(self) -> None:
        self._providers: dict[str, tuple[Provider, str, dict[str, Model]]] = {}
        self._places: dict[str, int] = {}

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

    def remove(self, provider: Provider) -> bool:
        """Let *provider* go; say whether it was here."""
        held = self._providers.get(provider.name)
        if held is None or held[0] is not provider:
            return False
        del self._providers[provider.name]
        return True

    def provider(self, name: str) -> Provider:
        """Return the provider of that name."""
        return self._providers[name][0]

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
            check_output(output)
        found = [
            ModelRecord(f"{name}/{model.name}", name, model)
            for name, (_, _, models) in self._providers.items()
            for model in models.values()
            if not output or output in model.outputs
        ]
        return sorted(found, key=lambda record: record.name)

    def match(self, call: GenerateCall) -> ModelRecord:
        """Return the model that *call* means; raise `NotFound` with the nearest name, or `InvalidArgument`."""
        if call.output:
            check_output(call.output)
        able = self.models(call.output)
        if not call.model:
            usable = [record for record in able if not trouble(self.provider(record.provider))]
            if usable:
                return min(usable, key=lambda record: self._places[record.provider])
            raise NotFound(
                f"no model here makes {call.output or 'anything'}: see the providers that are not available",
                reason="NO_MODEL",
            )
        for record in able:
            if record.name == call.model:
                return record
        names = [record.name for record in self.models()]
        if call.model in names:
            makes = ", ".join(next(r for r in self.models() if r.name == call.model).model.outputs)
            raise InvalidArgument(f"{call.model} makes {makes}, not {call.output}", field="output")
        near = difflib.get_close_matches(call.model, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names) or 'none at all'}"
        raise NotFound(f"there is no model {call.model!r}: {hint}", reason="MODEL_NOT_FOUND", field="model")


def trouble(provider: Provider) -> str:
    """Return why *provider* cannot be used now; empty when it can."""
    return provider.trouble if isinstance(provider, IsolatedProvider) else ""


def check_output(output: str) -> None:
    """Raise `InvalidArgument` for a kind of output that nothing makes."""
    if output not in OUTPUTS:
        near = difflib.get_close_matches(output, OUTPUTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(OUTPUTS)}"
        raise InvalidArgument(f"nothing makes {output!r:.60}: {hint}", field="output")
