"""Models, tokens and prompt templates, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api import values
from lightfast.api.v1 import generation_pb2 as pb
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")
_TIMEOUT = 40.0
"""In seconds: local services may have to be asked for their models, and the first template starts a process."""


class PromptCalls:
    """Methods of `AsyncClient`; *generation* is a stub."""

    generation: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    async def models(self, output: str = "") -> list[pb.Model]:
        """Return the models that make *output* (empty: all), with prices, limits, aliases and how they stand."""
        request = pb.ListModelsRequest(output=output)
        return list((await self.call(self.generation.ListModels, request, _TIMEOUT)).models)

    async def providers(self) -> list[pb.Provider]:
        """Return the providers, those that cannot be used with the reason."""
        return list((await self.call(self.generation.ListProviders, pb.ListProvidersRequest(), _TIMEOUT)).providers)

    async def count_tokens(
        self,
        prompt: str = "",
        *,
        model: str = "",
        system: str = "",
        messages: Sequence[tuple[str, str]] = (),
        template: str = "",
        arguments: Mapping[str, Value] | None = None,
    ) -> pb.CountTokensResponse:
        """Return how many tokens a request takes, and who counted; *messages* are role and text."""
        request = pb.CountTokensRequest()
        request.request.CopyFrom(
            pb.GenerateRequest(
                model=model,
                prompt=prompt,
                system=system,
                messages=[pb.Message(role=role, text=text) for role, text in messages],
                template=template,
            )
        )
        for name, value in (arguments or {}).items():
            values.to_message(value, request.request.arguments[name])
        return await self.call(self.generation.CountTokens, request, _TIMEOUT)  # type: ignore[no-any-return]

    async def save_prompt(
        self, name: str, text: str, *, system: str = "", description: str = "", model: str = ""
    ) -> pb.Prompt:
        """Save a template; it gets a new version where something changed."""
        prompt = pb.Prompt(name=name, text=text, system=system, description=description, model=model)
        request = pb.SavePromptRequest(prompt=prompt, request_id=uuid.uuid4().hex)
        return (await self.call(self.generation.SavePrompt, request, _TIMEOUT)).prompt  # type: ignore[no-any-return]

    async def prompt(self, name: str) -> pb.Prompt:
        """Return the template `name`, its newest version, or `name@version`."""
        return (await self.call(self.generation.GetPrompt, pb.GetPromptRequest(name=name))).prompt  # type: ignore[no-any-return]

    async def render_prompt(
        self, name: str, arguments: Mapping[str, Value] | None = None, *, compact: bool = False
    ) -> pb.GetPromptResponse:
        """Return what a template makes of *arguments*, with its tokens and what *compact* saved of them."""
        request = pb.GetPromptRequest(name=name, render=True, compact=compact)
        for key, value in (arguments or {}).items():
            values.to_message(value, request.arguments[key])
        return await self.call(self.generation.GetPrompt, request, _TIMEOUT)  # type: ignore[no-any-return]

    async def prompts(self, name: str = "") -> list[pb.Prompt]:
        """Return the newest version of each template, or all versions of one."""
        return list((await self.call(self.generation.ListPrompts, pb.ListPromptsRequest(name=name))).prompts)

    async def delete_prompt(self, name: str) -> int:
        """Delete a template with all its versions; return how many there were."""
        request = pb.DeletePromptRequest(name=name, request_id=uuid.uuid4().hex)
        return (await self.call(self.generation.DeletePrompt, request)).versions  # type: ignore[no-any-return]


class BlockingPromptCalls:
    """The same methods, blocking; see `PromptCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def models(self, output: str = "") -> list[pb.Model]:
        """Return the models that make *output* (empty: all)."""
        return self._run(self.aio.models(output))

    def providers(self) -> list[pb.Provider]:
        """Return the providers, those that cannot be used with the reason."""
        return self._run(self.aio.providers())

    def count_tokens(self, prompt: str = "", **options: Any) -> pb.CountTokensResponse:
        """Return how many tokens a request takes, and who counted."""
        return self._run(self.aio.count_tokens(prompt, **options))

    def save_prompt(self, name: str, text: str, **options: Any) -> pb.Prompt:
        """Save a template; it gets a new version where something changed."""
        return self._run(self.aio.save_prompt(name, text, **options))

    def prompt(self, name: str) -> pb.Prompt:
        """Return the template `name`, its newest version, or `name@version`."""
        return self._run(self.aio.prompt(name))

    def render_prompt(
        self, name: str, arguments: Mapping[str, Value] | None = None, *, compact: bool = False
    ) -> pb.GetPromptResponse:
        """Return what a template makes of *arguments*."""
        return self._run(self.aio.render_prompt(name, arguments, compact=compact))

    def prompts(self, name: str = "") -> list[pb.Prompt]:
        """Return the newest version of each template, or all versions of one."""
        return self._run(self.aio.prompts(name))

    def delete_prompt(self, name: str) -> int:
        """Delete a template with all its versions."""
        return self._run(self.aio.delete_prompt(name))
