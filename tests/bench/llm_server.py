"""An AI service for the bench: answers at once what OpenAI's service answers, in the same bytes to everybody.

`python -m tests.bench.llm_server` prints `ready` and its port. A prompt that ends in `#N` is streamed in N pieces.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

_USAGE = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
_USED = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 34,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 46,
}
_CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5.4-mini"}
_TEXT = "It is a lamp, and it is lit. " * 4


def _pieces(body: dict[str, Any]) -> int:
    said = json.dumps(body.get("messages") or body.get("input") or "")
    tail = said.rpartition("#")[2].rstrip('"}] ')
    return int(tail) if tail.isdigit() else 1


async def chat(request: web.Request) -> web.StreamResponse:
    """Answer `/chat/completions`."""
    body = await request.json()
    if not body.get("stream"):
        message = {"role": "assistant", "content": _TEXT}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return web.json_response({**_CHAT, "choices": [choice], "usage": _USAGE})
    events = [_chunk({"role": "assistant", "content": ""})]
    events += [_chunk({"content": f"word {index} "}) for index in range(_pieces(body))]
    events.append(_chunk({}, "stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**_CHAT, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE})
    return await _streamed(request, [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"])


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {**_CHAT, "object": "chat.completion.chunk", "choices": [choice]}


async def responses(request: web.Request) -> web.StreamResponse:
    """Answer `/responses`."""
    body = await request.json()
    text = "".join(f"word {index} " for index in range(_pieces(body))) if body.get("stream") else _TEXT
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "gpt-5.4-mini",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": _USED,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
    }
    if not body.get("stream"):
        return web.json_response(whole)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    empty = {**item, "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *(
            {"type": "response.output_text.delta", **place, "delta": f"word {index} ", "logprobs": []}
            for index in range(_pieces(body))
        ),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    lines = [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
        for number, event in enumerate(events)
    ]
    return await _streamed(request, lines)


async def _streamed(request: web.Request, lines: list[str]) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    for start in range(0, len(lines), 8):  # several to a packet, as a fast service sends them
        await answer.write("".join(lines[start : start + 8]).encode())
    await answer.write_eof()
    return answer


async def models(request: web.Request) -> web.Response:
    """Answer `/models`."""
    del request
    listed = [{"id": "gpt-5.4-mini", "object": "model", "created": 1, "owned_by": "bench"}]
    return web.json_response({"object": "list", "data": listed})


async def serve() -> None:
    """Serve on a free port of this machine, and print it."""
    import asyncio

    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    application.router.add_post("/v1/responses", responses)
    application.router.add_get("/v1/models", models)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sockets = site._server.sockets  # type: ignore[union-attr]
    print("ready", sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import asyncio

    asyncio.run(serve())
