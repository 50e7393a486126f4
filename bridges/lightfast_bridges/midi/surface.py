"""The paths of a MIDI device, and the bytes that they stand for.

Channels are 1 to 16, as on the devices; everything else counts from 0. A controller, a wheel and pressure are signals:
what they settle at is kept. A note is state, so that none is lost between two looks: its velocity, 0 when it is off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightfast.sdk import Argument, Command, Parameter, Value
from lightfast_bridges.midi.clock import TEMPO
from lightfast_bridges.midi.timecode import RATES

NOTE_OFF, NOTE_ON, POLY, CONTROL, PROGRAM, PRESSURE, PITCH = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
WHOLE = 127
FINE = 16_383
MAX_SEND = 4096
"""Bytes of one `send`; a driver for JACK holds 16384."""
SIXTY_FOUR, SOUND_OFF, RESET, NOTES_OFF = 64, 120, 121, 123
PLAYING = ("transport/playing", "clock/playing", "timecode/playing")
TEMPI = ("transport/tempo", "clock/tempo")
SECONDS = ("transport/position", "timecode/position")
BEATS = "clock/position"
RATE = "timecode/rate"


def parameters() -> tuple[Parameter, ...]:
    """Return what is known of every device."""
    return (
        _whole("ch/*/cc/*", "A controller.", signal=True),
        _whole("ch/*/cc14/*", "A controller of 14 bits, by the lower of its numbers: see pairs.", FINE, signal=True),
        _whole("ch/*/note/*", "The velocity of a note, 0 when it is off."),
        _whole("ch/*/poly/*", "The pressure on one key.", signal=True),
        _whole("ch/*/pitch", "The pitch wheel; 8192 is its middle.", FINE, signal=True),
        _whole("ch/*/pressure", "The pressure on all keys.", signal=True),
        _whole("ch/*/program", "The program, from 0."),
        *(Parameter(path, kind="bool", description="It plays.") for path in PLAYING),
        *(
            Parameter(
                path, kind="double", minimum=TEMPO[0], maximum=TEMPO[1], unit="time.bpm", tolerance=0.01,
                description="Beats per minute.",
            )
            for path in TEMPI
        ),
        *(
            Parameter(path, kind="double", minimum=0, unit="time.second", signal=True, description="The position.")
            for path in SECONDS
        ),
        Parameter(BEATS, kind="double", minimum=0, unit="time.beat", signal=True, description="The position."),
        Parameter(RATE, kind="string", choices=tuple(RATES), description="Frames per second of the timecode."),
        Parameter(
            "clock/jitter", kind="double", access="r", unit="time.ms", signal=True,
            description="Deviation of the ticks from a steady tempo: of those heard, or where we send, of ours.",
        ),
        Parameter("status/dropped", kind="int", access="r", description="Messages for which there was no room."),
        Parameter("status/input", kind="string", access="r", description="The port that is heard."),
        Parameter("status/output", kind="string", access="r", description="The port that is sent to."),
    )  # fmt: skip


def _whole(pattern: str, description: str, most: int = WHOLE, *, signal: bool = False) -> Parameter:
    unit = "" if not signal else "midi.14bit" if most == FINE else "midi.7bit"
    return Parameter(pattern, kind="int", minimum=0, maximum=most, unit=unit, signal=signal, description=description)


def commands() -> tuple[Command, ...]:
    """Return what every device can be told."""
    channel = Argument("channel", "int", False, "1 to 16; without it, all.")
    return (
        Command(
            "send",
            "Send bytes as they are.",
            (Argument("bytes", "string", True, "In hex, such as 90 3C 64."),),
            "destructive",
        ),
        Command("all_notes_off", "End the notes that sound, as if the keys were let go.", (channel,), idempotent=True),
        Command(
            "panic",
            "Silence: all sound off, pedals up, controllers reset, and each held note ended.",
            (channel,),
            idempotent=True,
        ),
    )


def heard(message: bytes) -> tuple[str, Value] | None:
    """Return the path and the value that a channel message stands for."""
    if len(message) < 2 or not 0x80 <= message[0] < 0xF0:
        return None
    kind, channel = message[0] & 0xF0, f"ch/{(message[0] & 15) + 1}"
    first = message[1]
    if kind == PROGRAM:
        return f"{channel}/program", first
    if kind == PRESSURE:
        return f"{channel}/pressure", first
    if len(message) < 3:
        return None
    second = message[2]
    if kind == PITCH:
        return f"{channel}/pitch", first | second << 7
    if kind == NOTE_OFF:
        return f"{channel}/note/{first}", 0
    name = {NOTE_ON: "note", POLY: "poly", CONTROL: "cc"}[kind]
    return f"{channel}/{name}/{first}", second


def message_of(path: str, value: Value | None, pairs: Sequence[int]) -> tuple[bytes, ...]:
    """Return the messages that set *path*; raise `ValueError` that says why there are none."""
    parts = path.split("/")
    channel = _number(parts[1], 1, 16) if len(parts) >= 3 and parts[0] == "ch" else None
    if channel is None:
        raise ValueError(f"MIDI has nothing at {path}: channels are ch/1 to ch/16")
    channel -= 1
    most = FINE if parts[2] in {"pitch", "cc14"} else WHOLE
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or not 0 <= value <= most:
        raise ValueError(f"{path} takes a whole number from 0 to {most}, not {value!r:.40}")
    number = int(value)
    if len(parts) == 3 and parts[2] in {"pitch", "pressure", "program"}:
        if parts[2] == "pitch":
            return (bytes((PITCH | channel, number & 127, number >> 7)),)
        return (bytes(((PRESSURE if parts[2] == "pressure" else PROGRAM) | channel, number)),)
    which = _number(parts[3], 0, WHOLE) if len(parts) == 4 else None
    if which is None:
        raise ValueError(f"MIDI has nothing at {path}: there is cc, cc14, note, poly, pitch, pressure, program")
    if parts[2] == "cc14":
        if which not in pairs:
            raise ValueError(f"controller {which} has 7 bits: name it in the setting pairs")
        return bytes((CONTROL | channel, which, number >> 7)), bytes((CONTROL | channel, which + 32, number & 127))
    if parts[2] == "note":
        return (bytes(((NOTE_ON if number else NOTE_OFF) | channel, which, number or 64)),)
    kind = {"cc": CONTROL, "poly": POLY}.get(parts[2])
    if kind is None:
        raise ValueError(f"MIDI has nothing at {path}: there is cc, cc14, note, poly, pitch, pressure, program")
    return (bytes((kind | channel, which, number)),)


def raw(text: Value | None) -> list[bytes]:
    """Return the messages in a text of hex digits; raise `ValueError` for what is not whole MIDI."""
    if not isinstance(text, str):
        raise ValueError("bytes must be a text of hex digits, such as 90 3C 64")  # noqa: TRY004
    try:
        data = bytes.fromhex(text.replace(",", " "))
    except ValueError:
        raise ValueError(f"{text!r:.40} is not hex: write bytes as 90 3C 64") from None
    if not 0 < len(data) <= MAX_SEND:
        raise ValueError(f"bytes holds {len(data)} bytes; it takes 1 to {MAX_SEND}")
    found, at = [], 0
    while at < len(data):
        size = _size(data, at)
        message = data[at : at + size]
        body = message[1:-1] if message[0] == 0xF0 else message[1:]
        if len(message) < size or any(byte > 127 for byte in body):
            raise ValueError(f"the message that begins with {message[0]:02X} is not whole: {message.hex(' ')}")
        found.append(message)
        at += size
    return found


def silence(held: Mapping[str, Value], channel: Value | None, *, panic: bool) -> list[bytes]:
    """Return the messages that end what sounds, *held* being what is known to; raise `ValueError`."""
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int) or not 1 <= channel <= 16):
        raise ValueError(f"channel is {channel!r}: it takes 1 to 16")
    out = []
    for number in range(16) if channel is None else (int(channel) - 1,):
        prefix = f"ch/{number + 1}/note/"
        notes = [path for path, velocity in held.items() if path.startswith(prefix) and velocity]
        if panic:
            controllers: tuple[int, ...] = (SIXTY_FOUR, SOUND_OFF, RESET, NOTES_OFF)
            out += [bytes((NOTE_OFF | number, int(path.removeprefix(prefix)), 64)) for path in notes]
        else:
            controllers = (NOTES_OFF,)
        out += [bytes((CONTROL | number, controller, 0)) for controller in controllers]
    return out


def _size(data: bytes, at: int) -> int:
    status = data[at]
    if status < 0x80:
        raise ValueError(f"{status:02X} at byte {at} is no status: each message begins with one, 80 or more")
    if status == 0xF0:
        end = data.find(0xF7, at)
        if end < 0:
            raise ValueError("a message that begins with F0 must end with F7")
        return end + 1 - at
    if status in {0xF4, 0xF5, 0xF7, 0xF9, 0xFD}:
        raise ValueError(f"{status:02X} at byte {at} begins no message of MIDI")
    if status >= 0xF0:
        return {0xF1: 2, 0xF2: 3, 0xF3: 2}.get(status, 1)
    return 2 if status & 0xF0 in {PROGRAM, PRESSURE} else 3


def _number(text: str, low: int, high: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and low <= int(text) <= high else None
