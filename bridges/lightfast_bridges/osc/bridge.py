"""The bridge of maps: one device for each file of the folder, each replaced when its file changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Finding
from lightfast.sdk.oscmap import MapError, OscMap, read_file
from lightfast.sdk.settings import Table
from lightfast_bridges.osc.device import Device
from lightfast_bridges.osc.folder import MAX_MAPS, FolderWatch, maps_in

log = structlog.get_logger("lightfast.bridges.osc")


class OscBridge(Bridge):
    """Joins whatever the maps in the folder describe."""

    kind = "osc"
    title = "OSC devices, by map"

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Read the maps of the folder in the settings, where one is named."""
        folder = config.get("folder")
        if not isinstance(folder, str):
            return ()
        found: list[Finding] = []
        for path in maps_in(Path(folder).expanduser())[:MAX_MAPS]:
            try:
                read = await asyncio.to_thread(read_file, path)
            except (MapError, OSError) as error:
                found.append(Finding("error", str(path), str(error), f"run `lightfast osc check {path}`"))
            else:
                found.append(Finding("ok", str(path), f"{read.title}: {len(read.parameters)} parameters"))
        return found

    async def run(self, host: BridgeHost) -> None:
        """Join devices until cancelled."""
        try:
            folder = folder_of(host)
        except BridgeError as error:  # it will not mend itself: another setting starts the bridge anew
            host.absent(str(error))
            await asyncio.Event().wait()
            return
        rack = Rack(host, folder)
        watch = FolderWatch(folder)
        try:
            await asyncio.to_thread(watch.start)
            await rack.load([path.name for path in maps_in(folder)])
            while True:
                await rack.load(sorted(await watch.changed()))
        except OSError as error:
            raise BridgeError(f"the folder of maps {folder} cannot be used: {error.strerror or error}") from None
        finally:
            watch.close()
            await rack.close()


def folder_of(host: BridgeHost) -> Path:
    """Return the folder of maps; raise `BridgeError` for a setting that is none."""
    Table("osc", host.config, ("folder", "name"))
    chosen = host.config.get("folder", host.folder)
    if not isinstance(chosen, str) or not chosen:
        raise BridgeError(f"osc.folder is {chosen!r}: write the path of the folder that holds the maps")
    return Path(chosen).expanduser().absolute()


class Rack:
    """The devices by the names of their files."""

    def __init__(self, host: BridgeHost, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._devices: dict[str, tuple[Device, asyncio.Task[None]]] = {}

    async def load(self, names: Sequence[str]) -> None:
        """Read the files called *names* anew; one that is broken leaves the version before at work."""
        for name in names:
            path = self._folder / name
            if not path.is_file():
                await self._remove(name, "its map was taken away")
                continue
            try:
                found = await asyncio.to_thread(read_file, path)
            except (MapError, OSError) as error:
                self._broken(name, str(error))
                continue
            await self._place(name, found)
        if not self._devices:
            self._host.absent(
                f"there is no usable map in {self._folder}: `lightfast osc use NAME` puts one there "
                "(`lightfast osc maps` lists them), `lightfast osc learn` writes one from traffic"
            )

    def _broken(self, name: str, reason: str) -> None:
        log.warning("a map is broken", file=name, reason=reason)
        held = self._devices.get(name)
        if held is not None:
            held[0].degraded(f"the new version of its map is broken, the one before goes on: {reason}")
        else:
            self._host.absent(reason, Path(name).stem)

    async def _place(self, name: str, found: OscMap) -> None:
        held = self._devices.get(name)
        if held is not None and held[0].map == found:
            held[0].degraded("")
            return
        twin = next((other for other, (device, _) in self._devices.items() if _clash(other, device, name, found)), "")
        if twin:
            self._broken(
                name, f"{name}: {twin} is a map of the same kind, or with the same reply port: give each its own"
            )
            return
        if held is None and len(self._devices) >= MAX_MAPS:
            self._broken(name, f"{name}: {MAX_MAPS} maps are in use, which is the most")
            return
        await self._remove(name, "its map was changed")
        device = Device(self._host, found)
        self._devices[name] = (device, asyncio.ensure_future(device.run()))
        log.info("a map is in use", file=name, kind=found.kind, parameters=len(found.parameters))

    async def _remove(self, name: str, reason: str) -> None:
        held = self._devices.pop(name, None)
        if held is None:
            return
        device, task = held
        device.leave(reason)
        task.cancel()
        await asyncio.wait({task}, timeout=2.0)

    async def close(self) -> None:
        """Let go of all devices."""
        for name in list(self._devices):
            await self._remove(name, "the bridge is stopping")


def _clash(other: str, device: Device, name: str, found: OscMap) -> bool:
    """Say whether two maps want the same mount, or the same local port."""
    if other == name:
        return False
    return device.map.kind == found.kind or bool(found.reply and device.map.reply == found.reply)
