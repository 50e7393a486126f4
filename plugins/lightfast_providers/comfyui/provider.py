"""The provider ComfyUI."""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightfast.sdk import (
    Artifact,
    Condition,
    GenerationRequest,
    Job,
    Model,
    Preview,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    Usage,
    Workbench,
)
from lightfast_providers._common.media import ending, media_type
from lightfast_providers._common.rest import MOST_BYTES, Answer, Rest, by_status, said
from lightfast_providers.comfyui.events import Channel, Watch, failure, interrupted
from lightfast_providers.comfyui.workflows import FILES, SHIPPED, Shelf, Workflow, usual_folder

HERE = "http://127.0.0.1:8188"
INSTALL = "pip install 'lightfast[comfyui]'"
ACCEPTED = "/accepted"
"""Behind the id of a job once ComfyUI has it: what is not known there any more was lost then, not never sent."""
PREVIEW_BYTES = 256 * 1024
MOST_OUTPUTS = 64


class ComfyUI(Provider):
    """Runs the user's workflows on a ComfyUI server, by default the one of this machine."""

    name = "comfyui"
    description = "Workflows of ComfyUI, on this machine or another; each workflow file is a model."
    local = True

    def __init__(self, folder: str = "") -> None:
        """*folder* holds the user's workflow files; empty for `comfyui` in the configuration folder."""
        self._shelf = Shelf(SHIPPED, Path(folder).expanduser() if folder else usual_folder())
        self._rest = Rest("ComfyUI", INSTALL)
        self.silence = 2.0
        """So long nothing is heard before the state is asked for, in seconds."""
        self.most_bytes = MOST_BYTES

    def models(self) -> Sequence[Model]:
        """Return the workflows that are there."""
        return [workflow.model() for workflow in self._shelf.look()[0].values()]

    def model(self, name: str) -> Model | None:
        """Return a workflow whose file came after the last look."""
        found = self._shelf.look()[0].get(name)
        return found.model() if found else None

    async def discover(self, session: Session) -> Sequence[Model]:
        """Return the workflows, with the choices the server has for them, such as its checkpoints."""
        workflows = self._shelf.look()[0]
        try:
            known = await self._choices(session, workflows.values())
        except ProviderError:
            known = {}  # the files are there all the same; `probe` says what is wrong with the server
        return [workflow.model(known) for workflow in workflows.values()]

    async def probe(self, session: Session) -> Condition:
        """Ask for the state of the server."""
        told = (await self._get(session, "/system_stats")).table()
        system, devices = told.get("system") or {}, told.get("devices") or []
        names = ", ".join(str(each.get("name", "?")) for each in devices if isinstance(each, dict))
        good, bad = self._shelf.look()
        wrong = "".join(f"; {name}.json: {mistake}" for name, mistake in bad.items())
        version = system.get("comfyui_version", "?")
        return Condition(f"ComfyUI {version} on {names or 'no device'}, {len(good)} workflows{wrong}")

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Send the workflow under an id of our own, follow it, and fetch what it has made."""
        workflow = self._workflow(request.model)
        prompt_id, accepted = request.job.removesuffix(ACCEPTED), request.job.endswith(ACCEPTED)
        prompt_id = prompt_id or str(uuid.uuid4())
        channel = Channel(_base(request.session), prompt_id, request.session.key)
        watch = Watch(prompt_id, workflow)
        try:
            await channel.open()
            if not request.job:
                yield Job(prompt_id)
            if not accepted:
                if not request.job or await self._state(request.session, prompt_id) is None:
                    await self._submit(request, workflow, prompt_id)
                yield Job(prompt_id + ACCEPTED)
            history: Mapping[str, Any] | None = None
            while history is None:
                message = None if watch.over else await channel.heard(self.silence)
                if message is not None:
                    step = watch.take(message)
                    if isinstance(step, Preview):
                        step = await _small(step, bench)
                    if step is not None:
                        yield step
                    if not watch.over:
                        continue
                state = await self._state(request.session, prompt_id)
                if state is None:
                    raise _lost()
                if isinstance(state, Progress):
                    watch.over = False
                    yield state
                else:
                    history = state
        finally:
            await channel.close()
        count = 0
        async for artifact in self._results(request, workflow, history):
            count += 1
            yield artifact
        yield Usage(images=count if request.output == "image" else 0, requests=1, cost_usd=0.0)

    async def cancel(self, session: Session, job: str) -> None:
        """Take it out of the queue, or interrupt it. Older servers interrupt whatever runs, so look first."""
        prompt_id = job.removesuffix(ACCEPTED)
        await self._post(session, "/queue", json={"delete": [prompt_id]})
        queue = (await self._get(session, "/queue")).table()
        if any(_id(each) == prompt_id for each in queue.get("queue_running") or ()):
            await self._post(session, "/interrupt", json={"prompt_id": prompt_id})

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    # -- within

    def _workflow(self, name: str) -> Workflow:
        good, bad = self._shelf.look()
        if name in good:
            return good[name]
        if name in bad:
            raise ProviderError(f"the workflow {name}.json cannot be used: {bad[name]}", kind="invalid")
        raise ProviderError(f"there is no workflow {name}.json", kind="not_found")

    async def _get(self, session: Session, path: str, **more: Any) -> Answer:
        return await self._rest.send(
            "GET", _base(session) + path, headers=_headers(session), key=session.key, timeout=15.0, **more
        )

    async def _post(self, session: Session, path: str, **more: Any) -> Answer:
        more.setdefault("timeout", 15.0)
        return await self._rest.send("POST", _base(session) + path, headers=_headers(session), key=session.key, **more)

    async def _choices(self, session: Session, workflows: Any) -> dict[tuple[str, str], Sequence[str]]:
        wanted = {
            (flow.kind_of(each.node), each.field)
            for flow in workflows
            for each in flow.settings
            if each.kind == "string" and "enum" not in each.rule
        }
        known: dict[tuple[str, str], Sequence[str]] = {}
        for kind in sorted({kind for kind, _ in wanted}):
            about = (await self._get(session, f"/object_info/{kind}")).table().get(kind) or {}
            fields = {
                **(about.get("input") or {}).get("optional", {}),
                **(about.get("input") or {}).get("required", {}),
            }
            for field, rule in fields.items():
                choices = _combo(rule)
                if choices and (kind, field) in wanted:
                    known[kind, field] = choices
        return known

    async def _submit(self, request: GenerationRequest, workflow: Workflow, prompt_id: str) -> None:
        session = request.session
        values: dict[str, Any] = {"prompt": request.prompt, "seed": request.seed, **request.settings}
        values |= await self._uploaded(request, workflow)
        body = {"prompt": workflow.filled(values), "client_id": prompt_id, "prompt_id": prompt_id}
        try:
            answer = await self._post(
                session,
                "/prompt",
                json=body,
                timeout=max(request.timeout, 0.05),
                explain=lambda answer: _refusal(answer, workflow),
            )
            told = answer.table()
        except ProviderError as error:
            # The answer may be lost and the prompt be there: it has our id, so that can be seen.
            if error.kind not in ("unavailable", "malformed", "too_large"):
                raise
            try:
                state = await self._state(session, prompt_id)
            except ProviderError:
                raise error from None
            if state is None:
                raise
            return
        if told.get("prompt_id", prompt_id) != prompt_id:
            raise ProviderError(
                "ComfyUI gave the prompt another id than asked for: it is too old, update it to 0.3.45 or later",
                kind="failed",
                retryable=False,
            )

    async def _uploaded(self, request: GenerationRequest, workflow: Workflow) -> dict[str, str]:
        values: dict[str, str] = {}
        free = list(zip(request.sources, (*request.source_types, *[""] * len(request.sources)), strict=False))
        for each in workflow.files:
            at = next((number for number, (_, kind) in enumerate(free) if not kind or kind.startswith(each.kind)), None)
            if at is None:
                if "default" in each.rule:
                    continue
                raise ProviderError(
                    f"the workflow {workflow.name} needs {each.name}: a source of {each.kind}", kind="invalid"
                )
            content, kind = free.pop(at)
            kind = media_type(content, kind)
            name = f"{hashlib.sha256(content).hexdigest()[:32]}{ending(kind)}"
            answer = await self._post(
                request.session,
                "/upload/image",
                files={"image": (name, content, kind)},
                data={"overwrite": "true", "type": "input", "subfolder": "lightfast"},
                timeout=120.0,
            )
            told = answer.table()
            folder = told.get("subfolder", "")
            values[each.name] = f"{folder}/{told.get('name', name)}" if folder else str(told.get("name", name))
        return values

    async def _state(self, session: Session, prompt_id: str) -> Mapping[str, Any] | Progress | None:
        """Return its history once it is over, a progress while it waits or runs, `None` where nobody knows it.

        An empty history alone says nothing: it may wait, run, be lost, or never have been there.
        """
        for look in (True, False):  # it may end between the question for the history and that for the queue
            told = (await self._get(session, f"/history/{prompt_id}")).table()
            entry = told.get(prompt_id)
            if isinstance(entry, dict):
                return entry
            if not look:
                return None
            queue = (await self._get(session, "/queue")).table()
            running = [_id(each) for each in queue.get("queue_running") or ()]
            if prompt_id in running:
                return Progress(-1.0, "running")
            ids = running + [_id(each) for each in sorted(queue.get("queue_pending") or (), key=_number)]
            if prompt_id in ids:
                return Progress(0.0, f"waiting, {ids.index(prompt_id)} before it")
        return None

    async def _results(
        self, request: GenerationRequest, workflow: Workflow, history: Mapping[str, Any]
    ) -> AsyncIterator[Artifact]:
        status = history.get("status") or {}
        for event in status.get("messages") or ():
            if isinstance(event, list) and len(event) == 2 and event[0] == "execution_error":
                raise failure(event[1])
            if isinstance(event, list) and event and event[0] == "execution_interrupted":
                raise interrupted()
        if status.get("status_str") == "error":
            raise ProviderError("ComfyUI failed, and its history does not say at what", kind="failed")
        files = _files(history.get("outputs") or {})
        made = []
        for place in files[:MOST_OUTPUTS]:
            answer = await self._rest.send(
                "GET", f"{_base(request.session)}/view", headers=_headers(request.session), key=request.session.key,
                timeout=max(request.timeout, 1.0), most=self.most_bytes, params=place,
            )  # fmt: skip
            kind = media_type(answer.content, answer.headers.get("content-type", ""), place["filename"])
            made.append(kind)
            if kind.startswith(request.output + "/"):
                yield Artifact(kind, answer.content, place["filename"], {"workflow": workflow.name})
        if not any(kind.startswith(request.output + "/") for kind in made):
            found = ", ".join(sorted(set(made))) or "nothing"
            raise ProviderError(
                f"the workflow {workflow.name} was asked for {request.output} and made {found}", kind="failed",
                retryable=False,
            )  # fmt: skip


def _base(session: Session) -> str:
    return (session.base_url or HERE).rstrip("/")


def _headers(session: Session) -> dict[str, str]:
    return {"Authorization": f"Bearer {session.key.reveal()}"} if session.key else {}


def _id(entry: Any) -> str:
    """Return the id in an entry of the queue: [number, id, nodes, extra, outputs]."""
    return str(entry[1]) if isinstance(entry, list) and len(entry) > 1 else ""


def _number(entry: Any) -> float:
    return float(entry[0]) if isinstance(entry, list) and entry and isinstance(entry[0], int | float) else 0.0


def _combo(rule: Any) -> list[str]:
    """Return the choices of an input: [[…], {}] in older servers, ["COMBO", {"options": […]}] in newer ones."""
    if not isinstance(rule, list) or not rule:
        return []
    found: Any = rule[0]
    if found == "COMBO" and len(rule) > 1 and isinstance(rule[1], dict):
        found = rule[1].get("options")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _files(outputs: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the files in the outputs of a history: those that were saved, the others only if none was."""
    lists = [made for node in outputs.values() if isinstance(node, dict) for made in node.values()]
    found = [
        {
            "filename": each["filename"],
            "subfolder": str(each.get("subfolder", "")),
            "type": str(each.get("type", "output")),
        }
        for made in lists
        for each in (made if isinstance(made, list) else ())
        if isinstance(each, dict) and isinstance(each.get("filename"), str)
    ]
    return [each for each in found if each["type"] == "output"] or found


def _refusal(answer: Answer, workflow: Workflow) -> ProviderError | None:
    """Return the error of a prompt that was not accepted, with the nodes and inputs that are wrong."""
    if answer.status != 400:
        return None
    told = answer.told()
    nodes = told.get("node_errors") if isinstance(told, dict) else None
    wrong = []
    for node, about in nodes.items() if isinstance(nodes, dict) else ():
        for each in about.get("errors") or ():
            field = str((each.get("extra_info") or {}).get("input_name", ""))
            name = workflow.named(str(node), field)
            where = f"node {node} ({about.get('class_type', '?')})" + (f", input {field}" if field else "")
            where += f" (the setting {name})" if name else ""
            wrong.append(f"{where}: {each.get('message', '')} {each.get('details', '')}".strip())
    if not wrong:
        error = told.get("error") if isinstance(told, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        return by_status(answer, str(message or said(answer)), kind="invalid")
    return ProviderError(
        f"ComfyUI does not take the workflow {workflow.name}: {'; '.join(wrong)[:600]}", kind="invalid"
    )


def _lost() -> ProviderError:
    return ProviderError(
        "ComfyUI accepted it but knows it no more, neither in its queue nor in its history: it was restarted, or its "
        "history was cleared. Make it again",
        kind="failed",
        retryable=False,
    )


async def _small(preview: Preview, bench: Workbench) -> Preview | None:
    """Return the preview within its bound, smaller if need be; `None` where that does not work."""
    if preview.media_type.partition("/")[0] not in FILES or not preview.content:
        return None
    if len(preview.content) <= PREVIEW_BYTES:
        return preview
    content = await bench.run(_shrunk, preview.content)
    return Preview("image/jpeg", content) if content else None


def _shrunk(content: bytes) -> bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            for side, quality in ((512, 80), (384, 70), (256, 60)):
                image.thumbnail((side, side))
                found = io.BytesIO()
                image.convert("RGB").save(found, "JPEG", quality=quality)
                if found.tell() <= PREVIEW_BYTES:
                    return found.getvalue()
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        pass
    return b""
