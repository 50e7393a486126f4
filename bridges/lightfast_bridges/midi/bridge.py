"""The bridge to MIDI devices: finds the ports of each, joins it, and joins it again when it is back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Command, Finding, Parameter, Timeline, Value
from lightfast.sdk.running import apart
from lightfast_bridges.midi.ports import Ports
from lightfast_bridges.midi.remote import RemotePorts
from lightfast_bridges.midi.session import EndedError, MidiSession
from lightfast_bridges.midi.settings import Settings, match, settings_of
from lightfast_bridges.midi.surface import commands, parameters
from lightfast_bridges.midi.threads import in_thread

log = structlog.get_logger("lightfast.bridges.midi")

LOOK_S = 1.0
"""Seconds between two looks at the ports."""
LONG_S = 5.0
IDLE_S = 3600.0
"""Where no device is configured, there is nothing to look for: `diagnose` lists the ports anew."""
HOW = 'name the device in lightfast.toml, such as [plugins.midi] instances = [{name = "apc", input = "APC*"}]'
OpenPorts = Callable[[str], Ports]


class MidiBridge(Bridge):
    """Joins one device per instance; see `settings.Settings` for the settings."""

    kind = "midi"
    title = "MIDI"
    timeline = Timeline(playing="transport/playing", position="transport/position", tempo="transport/tempo")

    def __init__(self, config: Mapping[str, Any] | None = None, ports: OpenPorts = RemotePorts) -> None:
        """*config* is the plugin's table; *ports* opens a driver by its name in the settings."""
        self._config = dict(config or {})
        self._ports = ports

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every device."""
        return parameters()

    def commands(self) -> Sequence[Command]:
        """Return what every device can be told."""
        return commands()

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say which ports there are, and whether they are those of the settings."""
        try:
            settings = settings_of(_single({**self._config, **config}))
            ports = await in_thread("the driver for MIDI", self._ports, settings.api)
        except BridgeError as error:
            return [Finding("error", "MIDI", str(error), "set it right in lightfast.toml, under plugins.midi")]
        try:
            names = await in_thread("the list of ports", ports.names)
        except BridgeError as error:
            return [Finding("error", "MIDI", str(error), "look whether the driver runs")]
        finally:
            await in_thread("the driver for MIDI", ports.close)
        found = [Finding("ok", "MIDI", _listed(names))]
        if not settings.input and not settings.output:
            return [*found, Finding("note", "plugins.midi", "no device is configured", HOW)]
        for side, pattern, there in (("input", settings.input, names[0]), ("output", settings.output, names[1])):
            if not pattern or settings.virtual:
                continue
            port = match(pattern, there)
            if port is not None:
                found.append(Finding("ok", f"MIDI {side}", f"{pattern} is {port}"))
            else:
                remedy = "plug it in, switch it on, or write the name as it is listed"
                found.append(Finding("error", f"MIDI {side}", f"there is none like {pattern}", remedy))
        return found

    async def _listing(self, settings: Settings) -> str:
        """Return which ports there are, or why that cannot be said; the driver is let go of again."""
        try:
            ports = await in_thread("the driver for MIDI", self._ports, settings.api)
            try:
                return _listed(await in_thread("the list of ports", ports.names))
            finally:
                await in_thread("the driver for MIDI", ports.close)
        except BridgeError as error:
            return str(error)

    async def run(self, host: BridgeHost) -> None:
        """Join one device until cancelled."""
        settings = settings_of(_single({**self._config, **host.config}))
        if not settings.input and not settings.output:
            host.absent(f"no device is configured: {HOW}; {await self._listing(settings)}")
            while True:
                await host.sleep(IDLE_S)
        ports = await in_thread("the driver for MIDI", self._ports, settings.api)
        try:
            await _keep_joining(host, ports, settings)
        finally:
            await in_thread("the driver for MIDI", ports.close)


async def _keep_joining(host: BridgeHost, ports: Ports, settings: Settings) -> None:
    held: dict[str, Value] = {}
    told, looks = "", 0
    while True:
        names = await in_thread("the list of ports", ports.names)
        chosen = choose(settings, names)
        if isinstance(chosen, str):
            if chosen != told:
                host.absent(chosen)
            told, looks = chosen, looks + 1
        else:
            try:
                await apart(MidiSession(host, ports, settings, held).run(*chosen))
            except EndedError as ended:
                log.info("a MIDI device is gone", name=settings.name, reason=str(ended))
                told, looks = str(ended), 0
            except BridgeError as error:
                if str(error) != told:
                    host.absent(f"{chosen[0] or chosen[1]}: {error}")
                told, looks = str(error), looks + 1
        await host.sleep(LOOK_S if looks < 30 else LONG_S)


def choose(settings: Settings, names: tuple[list[str], list[str]]) -> tuple[str, str] | str:
    """Return the ports of the device, empty where it has none on that side, or why they cannot be had."""
    if settings.virtual:
        return settings.input, settings.output
    found = []
    for side, pattern, there in (("input", settings.input, names[0]), ("output", settings.output, names[1])):
        port = match(pattern, there) if pattern else ""
        if port is None:
            listed = ", ".join(there) or "none"
            return f"there is no MIDI {side} like {pattern}: plug the device in and switch it on; there is {listed}"
        found.append(port)
    return found[0], found[1]


def _single(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "instances"}


def _listed(names: tuple[list[str], list[str]]) -> str:
    inputs, outputs = (", ".join(side) or "none" for side in names)
    return f"inputs: {inputs}; outputs: {outputs}"
