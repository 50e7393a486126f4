"""The tools. Each says in one sentence what it does; none runs code, none approves, none spends unasked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from lightfast.app.mcp.plain import cut, fitting, from_proto, small, value_of
from lightfast.client import AsyncClient
from lightfast.client import mutations as changing
from lightfast.core.errors import DeadlineExceeded, InvalidArgument, LightfastError, NotFound

MOST_ENTRIES = 200
"""The most entries of one answer."""
MOST_CHANGE = 500
"""The longest value of a change that a plan foresees, in characters."""
MOST_WAIT_S = 50.0
"""How long a tool follows a run, in seconds; clients of MCP give up after a minute."""
MOST_IMAGE = 1 << 20
"""The largest picture that is sent along, in bytes."""
_WAITING = {"RUN_STATE_AWAITING_APPROVAL", "RUN_STATE_NEEDS_YOU", "RUN_STATE_PAUSED"}
_OVER = {"RUN_STATE_SUCCEEDED", "RUN_STATE_FAILED", "RUN_STATE_CANCELLED", "RUN_STATE_ROLLED_BACK"}

Clients = Callable[[], AsyncClient]
"""Returns the client of whoever calls."""


class Tools:
    """What the tools do, over a client of the daemon."""

    def __init__(self, client: Clients) -> None:
        self._client = client

    async def context_get(self, pattern: str, limit: int = 50) -> dict[str, Any]:
        """Return entries of the shared context by path or pattern."""
        limit = max(1, min(limit, MOST_ENTRIES))
        async with _told():
            response = await self._client().call_json("ContextService.Get", {"pattern": pattern, "page_size": limit})
        entries = response.get("entries", ())
        shown = fitting([_entry(entry) for entry in entries])
        return {
            "entries": shown,
            "revision": int(response.get("revision", 0)),
            "more": bool(response.get("next_page_token")) or len(shown) < len(entries),
        }

    async def context_set(self, values: Mapping[str, Any], label: str = "") -> dict[str, Any]:
        """Set values by path in one transaction."""
        if not values:
            raise _refused(InvalidArgument('values is empty: send {"/path": value}'))
        async with _told():
            items = {path: value_of(value, path) for path, value in values.items()}
            applied = await self._client().set_many(items, label=label or "set by an MCP client")
        return {"revision": applied.revision, "paths": [entry.path for entry in applied.entries]}

    async def context_delete(self, path: str) -> dict[str, Any]:
        """Delete one entry."""
        async with _told():
            await self._client().get(path)  # a path that holds nothing is a mistake worth hearing of
            applied = await self._client().apply([changing.delete(path)], label="deleted by an MCP client")
        return {"revision": applied.revision}

    async def apps(self, mount: str = "") -> dict[str, Any]:
        """List the applications, or with *mount* the commands of one."""
        async with _told():
            if mount:
                response = await self._client().call_json("AppService.ListCommands", {"mount": mount})
                commands = response.get("commands", [])
                shown = fitting(commands)
                return {"commands": shown, **({"left_out": len(commands) - len(shown)} if shown != commands else {})}
            found = await self._client().call_json("AppService.ListApps", {})
        return {"apps": [_app(app) for app in found.get("apps", ())]}

    async def plan(self, intent: str) -> dict[str, Any]:
        """Turn an intent into a checked program; nothing is run."""
        async with _told():
            response = await self._client().call_json("EngineService.Plan", {"intent": intent}, MOST_WAIT_S)
        return _plan(response.get("plan", {}))

    async def dry_run(self, program: str) -> dict[str, Any]:
        """Check a program and say what it would change; nothing is run."""
        async with _told():
            fields = {"program": {"text": program}}
            response = await self._client().call_json("EngineService.Validate", fields, MOST_WAIT_S)
        return _plan(response.get("plan", {}))

    async def run(self, program: str, digest: str, wait_seconds: float = 20.0) -> dict[str, Any]:
        """Run a program that was planned; what cannot be taken back waits for a person."""
        fields = {"program": {"text": program}, "digest": digest, "no_optimize": True}
        wait_seconds = max(0.0, min(wait_seconds, MOST_WAIT_S))
        run: dict[str, Any] = {}
        async with _told():
            stream = self._client().stream_json("EngineService.Run", fields, MOST_WAIT_S + 5)
            with suppress(TimeoutError):  # it goes on by itself; `run_status` tells more
                # The first answer, that the run is durable, is always waited for.
                async with asyncio.timeout(None) as bound:
                    async for message in stream:
                        if plan := message.get("plan"):
                            if any(not problem.get("warning") for problem in plan.get("problems", ())):
                                return _plan(plan)
                            continue
                        run |= message.get("event", {}).get("run", {})
                        if run.get("state") in _WAITING | _OVER:
                            break
                        if run.get("run_id") and bound.when() is None:
                            bound.reschedule(asyncio.get_running_loop().time() + wait_seconds)
            if not run.get("run_id"):
                raise DeadlineExceeded("the daemon did not start the run in time: look at 'lightfast runs'")
        return await self.run_status(run["run_id"])

    async def run_status(self, run_id: str) -> dict[str, Any]:
        """Say how a run stands."""
        async with _told():
            response = await self._client().call_json("EngineService.GetRun", {"run_id": run_id})
        return _run(response["run"])

    async def generate(self, kind: str, prompt: str, model: str = "", settings: Mapping[str, Any] | None = None) -> Any:
        """Make a text, picture, film or sound; what costs money waits for a person."""
        arguments: dict[str, Any] = {"prompt": prompt}
        if model:
            arguments["model"] = model
        if settings:
            arguments["settings"] = dict(settings)
        if kind not in {"text", "image", "video", "audio"}:
            raise _refused(InvalidArgument(f"kind is {kind!r}: use text, image, video or audio"))
        made: dict[str, Any] = {"id": "made", "op": f"generate.{kind}"}
        from lightfast.engine.programs.references import escaped

        # What the client wrote is text and no reference, whatever stands in it.
        made["arguments"] = escaped(arguments)
        program = json.dumps({"instructions": [made], "returns": "${made}"})  # JSON is YAML, too
        checked = await self.dry_run(program)
        if checked["problems"]:
            return checked
        run = await self.run(program, checked["digest"], MOST_WAIT_S - 5)
        return await self._with_picture(run)

    async def _with_picture(self, run: dict[str, Any]) -> Any:
        result = run.get("result")
        asset = result.get("asset") if isinstance(result, Mapping) else None
        if not isinstance(asset, Mapping) or not str(asset.get("media_type", "")).startswith("image/"):
            return run
        if int(asset.get("size", 0)) > MOST_IMAGE:
            return run
        from mcp_types import ImageContent, TextContent

        async with _told():
            data = await self._client().read_asset(asset["sha256"])
        picture = base64.b64encode(data).decode("ascii")
        return [
            TextContent(type="text", text=str(run)),
            ImageContent(type="image", data=picture, mime_type=str(asset["media_type"])),
        ]

    async def remember(self, text: str, key: str = "", tags: list[str] | None = None) -> dict[str, Any]:
        """Remember a note, or with *key* a fact that later ones about the same key replace."""
        async with _told():
            response = await self._client().remember(text, key=key, fact=bool(key), tags=tags or (), source="mcp")
        return {"memory_id": response.memory.memory_id}

    async def recall(self, query: str, limit: int = 8) -> dict[str, Any]:
        """Recall what is known about something."""
        async with _told():
            hits = await self._client().recall(query, limit=max(1, min(limit, 50)))
        return {
            "memories": [
                {"text": cut(hit.memory.text), "key": hit.memory.key, "score": round(hit.score, 4)} for hit in hits
            ]
        }


@asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Turn what the daemon refuses into an error that the model reads: what was wrong, and what to do."""
    try:
        yield
    except LightfastError as error:
        raise _refused(error) from None


def _refused(error: LightfastError) -> Exception:
    from mcp.server.mcpserver.exceptions import ToolError

    hint = " (look with context_get)" if isinstance(error, NotFound) else ""
    return ToolError(f"{error.reason}: {error.message}{hint}")


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    found = {"path": entry["path"], "value": small(from_proto(entry.get("value")))}
    if status := entry.get("status", ""):
        found["status"] = status.removeprefix("ENTRY_STATUS_")
    if "reported" in entry and entry.get("reported") != entry.get("value"):
        found["reported"] = small(from_proto(entry["reported"]))
    return found


def _app(app: Mapping[str, Any]) -> dict[str, Any]:
    names = ("mount", "kind", "state", "state_reason", "app_version")
    return {name: app[name] for name in names if app.get(name)}


def _plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "digest": plan.get("digest", ""),
        "program": cut(plan.get("yaml", "")),
        "problems": [f"{each.get('reason')}: {each.get('message')}" for each in plan.get("problems", ())],
        "changes": [
            {"path": each.get("path"), "before": small(from_proto(each.get("before")), MOST_CHANGE),
             "after": small(from_proto(each.get("after")), MOST_CHANGE), "note": each.get("note", "")}
            for each in plan.get("changes", ())[:MOST_ENTRIES]
        ],
        "effects": [each.removeprefix("EFFECT_").lower() for each in plan.get("effects", ())],
        "needs_approval": plan.get("needs_approval", False),
        "approval_reasons": plan.get("approval_reasons", []),
        "max_cost_usd": plan.get("max_cost_usd", 0.0),
        "message": plan.get("message", ""),
    }  # fmt: skip


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "run_id": run["run_id"],
        "state": run.get("state", "").removeprefix("RUN_STATE_"),
        "reason": run.get("reason", ""),
        "steps": [
            {"id": step["step_id"], "state": step.get("state", "").removeprefix("STEP_STATE_"),
             **({"error": step["error"]} if step.get("error") else {})}
            for step in run.get("steps", ())[:MOST_ENTRIES]
        ],
    }  # fmt: skip
    if "result" in run:
        found["result"] = small(from_proto(run["result"]))
    if found["state"] == "AWAITING_APPROVAL":
        found["approval_reasons"] = run.get("approval_reasons", [])
        found["what_to_do"] = f"A person approves it with: lightfast approve {run['run_id']}. No tool here can."
    return found
