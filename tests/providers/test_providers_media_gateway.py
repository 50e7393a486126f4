"""Services with jobs behind the gateway: what breaks off is taken up, a stopped daemon's job is, and none is made twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.emulators.base import Emulator
from tests.emulators.comfyui import ComfyUI as EmulatedComfyUI
from tests.emulators.fal import Fal as EmulatedFal
from tests.emulators.replicate import Replicate as EmulatedReplicate
from tests.emulators.runway import Runway as EmulatedRunway
from tests.emulators.stability import Stability as EmulatedStability
from tests.support.actors import Accounts, Place
from tests.support.gateway import House, house

from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.gateway.operations import OperationState
from lightfast.gateway.ports import Load
from lightfast.gateway.router import Gateway
from lightfast.sdk import Provider, Secret, Session
from lightfast_providers.comfyui import ComfyUI
from lightfast_providers.fal import Fal
from lightfast_providers.replicate import Replicate
from lightfast_providers.runway import Runway
from lightfast_providers.stability import Stability


class Here(Accounts):
    """One account with the service that *emulator* is."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__("default")
        self.session = Session("default", Secret(emulator.key), emulator.base_url)

    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Place:
        place = await super().reserve(record, load, deadline=deadline, account=account)
        place.session = self.session
        return place

    async def any_session(self, provider: str, account: str = "") -> Session:
        return self.session


@dataclass(frozen=True)
class Service:
    emulator: Callable[[], Any]
    provider: Callable[[], Any]
    model: str
    output: str
    made: str
    result: str
    asked: str

    def start(self) -> Provider:
        found = self.provider("/nonexistent") if self.provider is ComfyUI else self.provider()
        for name, value in (("silence", 0.05), ("pauses", (0.005, 0.01))):
            if hasattr(found, name):
                setattr(found, name, value)
        return found


SERVICES = {
    "comfyui": Service(EmulatedComfyUI, ComfyUI, "comfyui/text_to_image", "image", "/prompt", "/view", "/history"),
    "fal": Service(EmulatedFal, Fal, "fal/fal-ai/flux-1/schnell", "image", "/schnell", "/files/", "/status"),
    "replicate": Service(
        EmulatedReplicate, Replicate, "replicate/black-forest-labs/flux-dev", "image", "flux-dev/predictions", "/files/", "/v1/pred"
    ),
    "runway": Service(EmulatedRunway, Runway, "runway/gen4.5", "video", "/v1/text_to_video", "/files/", "/tasks/"),
    "stability": Service(
        EmulatedStability, Stability, "stability/stable-audio-3", "audio", "/text-to-audio", "/results/", "/results/"
    ),
}  # fmt: skip


def call(service: Service) -> GenerateCall:
    name = service.model.partition("/")[0]
    settings: dict[str, Any] = {"input": {"style": {"of": ["ink", 1.5]}}} if name in ("fal", "replicate") else {}
    return GenerateCall(
        service.model, prompt="a red circle", output=service.output, settings=settings, seed=7, price_consent=True
    )


async def drained(rooms: House, service: Service) -> list[Any]:
    return [step async for step in rooms.gateway.generate(call(service), "client:test")]


@pytest.mark.parametrize("name", SERVICES)
async def test_a_result_that_breaks_off_is_fetched_again_and_not_made_again(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    async with house(tmp_path) as rooms, service.emulator() as emulator:
        rooms.gateway.sessions = Here(emulator)
        rooms.gateway.register(service.start(), name)
        emulator.next("disconnect-mid", on=service.result)
        await drained(rooms, service)
        assert len(emulator.calls(service.made, "POST")) == 1
        (listed,), _ = await rooms.gateway.list_operations()
        assert listed.state is OperationState.SUCCEEDED
        assert len(listed.assets) == 1


@pytest.mark.parametrize("name", SERVICES)
async def test_the_next_daemon_takes_the_job_up(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    async with house(tmp_path) as rooms, service.emulator() as emulator:
        rooms.gateway.sessions = Here(emulator)
        rooms.gateway.register(service.start(), name)
        emulator.hold()
        steps = rooms.gateway.generate(call(service), "client:test")
        operation_id = (await anext(steps)).operation_id
        follow = asyncio.ensure_future(_followed(steps))
        try:
            await emulator.until(lambda: emulator.calls(service.asked, "GET"), "a question about the job")
            await rooms.gateway.close()
        finally:
            follow.cancel()
            await asyncio.gather(follow, return_exceptions=True)
        emulator.release()
        gateway = Gateway(rooms.store, rooms.blobs, rooms.db, rooms.gateway.clock, rooms.tasks)
        gateway.patience = rooms.gateway.patience
        gateway.sessions = Here(emulator)
        try:
            await gateway.start()
            gateway.register(service.start(), name)
            async with asyncio.timeout(60):
                while (ended := await gateway.operation(operation_id)).state is OperationState.RUNNING:
                    await asyncio.sleep(0.01)
            assert ended.state is OperationState.SUCCEEDED, ended
            assert len(ended.assets) == 1
        finally:
            await gateway.close()
        assert len(emulator.calls(service.made, "POST")) == 1


async def _followed(steps: Any) -> None:
    async for _ in steps:
        pass
