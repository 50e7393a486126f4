"""Generations and their operations, for both clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api import values
from lightfast.api.v1 import assets_pb2
from lightfast.api.v1 import generation_pb2 as pb
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

_CACHE_USES = {
    "": pb.CACHE_USE_UNSPECIFIED,
    "off": pb.CACHE_USE_OFF,
    "exact": pb.CACHE_USE_EXACT,
    "semantic": pb.CACHE_USE_SEMANTIC,
    "refresh": pb.CACHE_USE_REFRESH,
}


@dataclass(slots=True)
class Made:
    """What a generation has made, as it counts in the end: after the last fallback that began anew."""

    operation_id: str = ""
    text: str = ""
    assets: list[assets_pb2.Asset] = field(default_factory=list)
    usage: pb.Usage = field(default_factory=pb.Usage)
    fallbacks: list[pb.GenerateResponse.Fallback] = field(default_factory=list)

    def take(self, step: pb.GenerateResponse) -> None:
        """Take in one step."""
        self.operation_id = step.operation_id
        kind = step.WhichOneof("kind")
        if kind == "text_delta":
            self.text += step.text_delta
        elif kind == "asset":
            self.assets.append(step.asset)
        elif kind == "usage":
            self.usage = step.usage
        elif kind == "fallback":
            self.fallbacks.append(step.fallback)
            if step.fallback.restarted:
                self.text, self.assets = "", []


class GenerationCalls:
    """Methods of `AsyncClient`; *generation* is the stub."""

    generation: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def generate(
        self,
        output: str,
        prompt: str,
        *,
        model: str = "",
        seed: int | None = None,
        target_path: str = "",
        timeout: float = 300.0,
        group: str = "",
        settings: Mapping[str, Value] | None = None,
        sources: Sequence[str] = (),
        system: str = "",
        messages: Sequence[tuple[str, str]] = (),
        schema: str = "",
        max_output_tokens: int = 0,
        fallbacks: Sequence[str] = (),
        strict: bool = False,
        cache: str = "",
        project: str = "",
        run: str = "",
        max_cost_usd: float = 0.0,
        price_consent: bool = False,
        template: str = "",
        arguments: Mapping[str, Value] | None = None,
        window: Sequence[str] = (),
        window_tokens: int = 0,
        request_id: str = "",
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Generate, and yield every step as it comes.

        *messages* are role and text of what was said before; *cache* is empty (as the settings say), `off`, `exact`,
        `semantic` or `refresh`; *window* are patterns of the context that goes along. With a *request_id* the work
        goes on when this is closed, and asking again with the same one meets the answer. After a `fallback` that says
        *restarted*, what came before no longer counts.
        """
        if cache not in _CACHE_USES:
            raise ValueError(f"the cache is used {cache!r}: use one of {', '.join(filter(None, _CACHE_USES))}")
        request = pb.GenerateRequest(
            model=model,
            output=output,
            prompt=prompt,
            seed=seed,
            target_path=target_path,
            group_id=group,
            sources=sources,
            system=system,
            messages=[pb.Message(role=role, text=text) for role, text in messages],
            schema=schema,
            max_output_tokens=max_output_tokens,
            fallbacks=fallbacks,
            strict=strict,
            cache=_CACHE_USES[cache],
            project=project,
            run=run,
            max_cost_usd=max_cost_usd,
            price_consent=price_consent,
            template=template,
            request_id=request_id,
        )
        request.timeout.FromNanoseconds(round(timeout * 1e9))
        for name, value in (settings or {}).items():
            values.to_message(value, request.settings[name])
        for name, value in (arguments or {}).items():
            values.to_message(value, request.arguments[name])
        if window:
            request.window.patterns.extend(window)
            request.window.max_tokens = window_tokens
        start = partial(self.generation.Generate, request, metadata=self.metadata, timeout=timeout + 5)
        async with aclosing(self.messages(start)) as answers:
            async for message in answers:
                yield message

    async def make(self, output: str, prompt: str, **options: Any) -> Made:
        """Generate to the end, with the options of `generate`, and return what was made."""
        made = Made()
        async for step in self.generate(output, prompt, **options):
            made.take(step)
        return made

    async def operations(
        self, *, running_only: bool = False, project: str = "", limit: int = 100
    ) -> list[pb.Operation]:
        """Return at most *limit* operations, the newest first, without their texts."""
        found: list[pb.Operation] = []
        token = ""
        while len(found) < limit:
            request = pb.ListOperationsRequest(
                running_only=running_only, project=project, page_size=min(1000, limit - len(found)), page_token=token
            )
            response = await self.call(self.generation.ListOperations, request)
            found += response.operations
            token = response.next_page_token
            if not token:
                break
        return found

    async def operation(self, operation_id: str) -> pb.Operation:
        """Return an operation, with its text as far as it came."""
        request = pb.GetOperationRequest(operation_id=operation_id)
        return (await self.call(self.generation.GetOperation, request)).operation  # type: ignore[no-any-return]

    async def cancel_operation(self, operation_id: str) -> pb.Operation:
        """Cancel an operation; one that is over stays as it is."""
        request = pb.CancelOperationRequest(operation_id=operation_id)
        return (await self.call(self.generation.CancelOperation, request)).operation  # type: ignore[no-any-return]


class BlockingGenerationCalls:
    """Methods of `Client`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def generate(self, output: str, prompt: str, **options: Any) -> Iterator[pb.GenerateResponse]:
        """Generate, and yield every step as it comes."""
        return self._iterate(self.aio.generate(output, prompt, **options))

    def make(self, output: str, prompt: str, **options: Any) -> Made:
        """Generate to the end, and return what was made."""
        return self._run(self.aio.make(output, prompt, **options))

    def operations(self, **options: Any) -> list[pb.Operation]:
        """Return operations, the newest first."""
        return self._run(self.aio.operations(**options))

    def operation(self, operation_id: str) -> pb.Operation:
        """Return an operation."""
        return self._run(self.aio.operation(operation_id))

    def cancel_operation(self, operation_id: str) -> pb.Operation:
        """Cancel an operation."""
        return self._run(self.aio.cancel_operation(operation_id))
