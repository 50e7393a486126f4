"""Vectors of texts, and batches, for both clients."""

from __future__ import annotations

import json
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api import values
from lightfast.api.v1 import generation_pb2 as pb

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class BatchCalls:
    """Methods of `AsyncClient`."""

    generation: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str = "",
        dimensions: int = 0,
        project: str = "",
        timeout: float = 60.0,
        price_consent: bool = False,
    ) -> pb.EmbedResponse:
        """Turn texts into vectors: `response.vectors[i].values`, and `response.usage` with what it cost."""
        request = pb.EmbedRequest(
            model=model, texts=texts, dimensions=dimensions, project=project, price_consent=price_consent
        )
        request.timeout.FromNanoseconds(round(timeout * 1e9))
        return await self.call(self.generation.Embed, request, timeout + 5)  # type: ignore[no-any-return]

    async def submit_batch(
        self,
        requests: Sequence[str | Mapping[str, Any]],
        *,
        model: str,
        project: str = "",
        price_consent: bool = False,
        request_id: str | None = None,
    ) -> pb.Operation:
        """Hand many requests over as one operation that lasts.

        Each is a prompt, or a mapping of `prompt`, `system`, `messages` (of `role` and `text`), `schema` (a JSON
        Schema), `settings`, `max_output_tokens` and `seed`.
        """
        request = pb.SubmitBatchRequest(
            model=model,
            requests=[_request(each) for each in requests],
            project=project,
            price_consent=price_consent,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        return (await self.call(self.generation.SubmitBatch, request, 60.0)).operation  # type: ignore[no-any-return]

    async def batch(self, operation_id: str) -> pb.Operation:
        """Return a batch as it stands, with the answers so far in the order of its requests."""
        request = pb.GetOperationRequest(operation_id=operation_id)
        return (await self.call(self.generation.GetOperation, request)).operation  # type: ignore[no-any-return]

    async def cancel_batch(self, operation_id: str) -> pb.Operation:
        """Cancel a batch, at its service, too."""
        request = pb.CancelOperationRequest(operation_id=operation_id)
        return (await self.call(self.generation.CancelOperation, request, 30.0)).operation  # type: ignore[no-any-return]


class BlockingBatchCalls:
    """The same methods, blocking; see `BatchCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def embed(self, texts: Sequence[str], **options: Any) -> pb.EmbedResponse:
        """Turn texts into vectors."""
        return self._run(self.aio.embed(texts, **options))

    def submit_batch(self, requests: Sequence[str | Mapping[str, Any]], **options: Any) -> pb.Operation:
        """Hand many requests over as one operation that lasts."""
        return self._run(self.aio.submit_batch(requests, **options))

    def batch(self, operation_id: str) -> pb.Operation:
        """Return a batch as it stands."""
        return self._run(self.aio.batch(operation_id))

    def cancel_batch(self, operation_id: str) -> pb.Operation:
        """Cancel a batch."""
        return self._run(self.aio.cancel_batch(operation_id))


def _request(given: str | Mapping[str, Any]) -> pb.GenerateRequest:
    if isinstance(given, str):
        return pb.GenerateRequest(prompt=given)
    known = {"prompt", "system", "messages", "schema", "settings", "max_output_tokens", "seed"}
    if unknown := set(given) - known:
        raise ValueError(f"a request of a batch has no {', '.join(sorted(unknown))}: it has {', '.join(sorted(known))}")
    schema = given.get("schema", "")
    request = pb.GenerateRequest(
        prompt=given.get("prompt", ""),
        system=given.get("system", ""),
        messages=[pb.Message(role=each["role"], text=each["text"]) for each in given.get("messages", ())],
        schema=schema if isinstance(schema, str) else json.dumps(schema),
        max_output_tokens=given.get("max_output_tokens", 0),
        seed=given.get("seed"),
    )
    for name, value in given.get("settings", {}).items():
        values.to_message(value, request.settings[name])
    return request
