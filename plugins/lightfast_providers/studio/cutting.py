"""The cutting table: parts of films, one after the other, with what lies over and under them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightfast.sdk import GenerationRequest, Progress, ProviderError, Step, Workbench
from lightfast_providers.studio.common import number_rule, real
from lightfast_providers.studio.spooling import Spool, spooled

if TYPE_CHECKING:
    from lightfast_providers.studio.film import Film, Frame
    from lightfast_providers.studio.hearing import Channels


CUT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "start": number_rule(0, 3600, 0.0, "Where each film begins, in seconds."),
        "end": number_rule(0, 3600, 0.0, "Where each film ends, in seconds; 0: at its end."),
        "crossfade": number_rule(0, 30, 0.0, "Between films, in seconds; 0: hard cuts."),
        "speed": number_rule(0.1, 10, 1.0, "How many times as fast; the pitch of the sound stays."),
        "reverse": {"type": "boolean", "default": False, "description": "Backwards; the sound, too."},
        "fade_in": number_rule(0, 30, 0.0, "From black, in seconds."),
        "fade_out": number_rule(0, 30, 0.0, "To black, in seconds."),
        "overlay_x": number_rule(-1, 1, 0.9, "Where a picture that is laid over it is: -1 left, 1 right."),
        "overlay_y": number_rule(-1, 1, 0.9, "-1 top, 1 bottom."),
        "overlay_scale": number_rule(0.01, 1, 0.25, "Its width, as a part of the film's."),
        "overlay_opacity": number_rule(0, 1, 1.0, "0: not to be seen."),
        "keep_sound": {"type": "boolean", "default": True, "description": "Whether the films' own sound stays."},
        "sound_db": number_rule(-60, 12, 0.0, "How loud a sound that is put under it is, in dB."),
    },
}


@dataclass
class Table:
    """What lies on the table, by its media."""

    films: list[Film] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    sounds: list[Channels] = field(default_factory=list)


async def cut(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Cut the sources together: films in their order, then what lies over and under them."""
    from lightfast_providers.studio.film import Cutter
    from lightfast_providers.studio.filming import finished

    settings = request.settings
    yield Progress(0.0, "reading")
    table = await bench.run(_lay, request.sources, request.source_types)
    if not table.films:
        raise ProviderError("there is no film among the sources", kind="invalid")
    first = table.films[0]
    parts = [_Part(film, settings) for film in table.films]
    fade = round(real(settings, "crossfade") * float(first.fps))
    fade = min(fade, *(part.length(first) // 2 for part in parts)) if len(parts) > 1 else 0
    total = sum(part.length(first) for part in parts) - fade * (len(parts) - 1)
    cutter = await bench.run(Cutter, first.width, first.height, first.fps)
    yield Progress(0.05, "mixing the sound")
    sound = await bench.run(_mixed, table, parts, settings, fade / float(first.fps), total / float(first.fps))
    if sound is not None:
        cutter.sound(sound)
    frames = _dressed(_joined(parts, first, cutter.width, cutter.height, fade), total, table, settings, first)
    spool = Spool(frames, cutter)
    async for step in spooled(spool, total, bench, "cutting"):
        yield step
    yield await finished(spool, request, bench, {"films": len(parts), "crossfade_frames": fade})


def _lay(sources: tuple[bytes, ...], kinds: tuple[str, ...]) -> Table:
    from lightfast_providers.studio.adjust import read as read_picture
    from lightfast_providers.studio.film import Film
    from lightfast_providers.studio.hearing import read

    table = Table()
    for source, kind in zip(sources, kinds, strict=True):
        if kind.startswith("video/"):
            table.films.append(Film(source))
        elif kind.startswith("audio/"):
            table.sounds.append(read(source))
        elif kind.startswith("image/"):
            table.pictures.append(read_picture(source))
        else:
            raise ProviderError(f"a source of type {kind!r} is neither film, picture nor sound", kind="invalid")
    return table


class _Part:
    """One film, from the frame where it begins to the one before which it ends."""

    def __init__(self, film: Film, settings: Mapping[str, Any]) -> None:
        self.film = film
        fps = float(film.fps)
        self.first = round(real(settings, "start") * fps)
        end = real(settings, "end")
        self.last = min(film.count, round(end * fps)) if end else film.count
        self.speed, self.reverse = real(settings, "speed"), bool(settings["reverse"])
        if self.first >= self.last:
            raise ProviderError(
                f"from {real(settings, 'start'):g} s to {end or film.seconds:g} s there is nothing in a film of"
                f" {film.seconds:g} s",
                kind="invalid",
            )

    def length(self, beside: Film) -> int:
        """Return how many frames it has at the rate of the film *beside*."""
        return max(1, round((self.last - self.first) / self.speed * float(beside.fps / self.film.fps)))

    def frames(self, beside: Film) -> Iterator[Frame]:
        """Yield its frames at that rate."""
        count = self.length(beside)
        step = (self.last - self.first) / count
        if self.reverse:
            yield from self._backwards(count, step)
            return
        given = 0
        for index, frame in enumerate(self.film.frames()):
            while given < count and self.first + int((given + 0.5) * step) == index:
                yield frame
                given += 1
            if given == count:
                return

    def _backwards(self, count: int, step: float) -> Iterator[Frame]:
        """Yield it from its end: kept as JPEG of the highest quality, as films are too large for the memory."""
        from lightfast_providers.studio.film import vision

        cv2 = vision()
        kept: list[Any] = []
        for index, frame in enumerate(self.film.frames()):
            if index >= self.last:
                break
            if index >= self.first:
                kept.append(cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1])
        for given in range(count):
            at = min(len(kept) - 1, int((given + 0.5) * step))
            yield cv2.imdecode(kept[len(kept) - 1 - at], cv2.IMREAD_COLOR)[..., ::-1]


def _joined(parts: list[_Part], first: Film, width: int, height: int, fade: int) -> Iterator[Frame]:
    import numpy as np

    from lightfast_providers.studio.film import fitted

    tail: list[Frame] = []
    for number, part in enumerate(parts):
        count, last = part.length(first), number == len(parts) - 1
        coming: list[Frame] = []
        for index, frame in enumerate(part.frames(first)):
            shown = frame if frame.shape[:2] == (height, width) else fitted(frame, width, height)
            if index < len(tail):
                share = (index + 1) / (len(tail) + 1)
                shown = np.clip(tail[index] * (1 - share) + shown * share + 0.5, 0, 255).astype(np.uint8)
            if not last and index >= count - fade:
                coming.append(shown)
            else:
                yield shown
        tail = coming


def _dressed(
    frames: Iterator[Frame], total: int, table: Table, settings: Mapping[str, Any], first: Film
) -> Iterator[Frame]:
    """Yield *frames* with pictures laid over them, faded from black and to black."""
    import numpy as np

    fps = float(first.fps)
    rise, fall = real(settings, "fade_in") * fps, real(settings, "fade_out") * fps
    layers = [_layer(picture, settings, first) for picture in table.pictures]
    for index, frame in enumerate(frames):
        out: Any = frame
        for color, alpha, left, top in layers:
            out = out.copy()
            rows, columns = color.shape[:2]
            under = out[top : top + rows, left : left + columns].astype(np.float32)
            out[top : top + rows, left : left + columns] = np.clip(under + (color - under) * alpha + 0.5, 0, 255)
        level = min(1.0, (index + 1) / (rise + 1) if rise else 1.0, (total - index) / (fall + 1) if fall else 1.0)
        yield out if level >= 1 else (out * level).astype(np.uint8)


def _layer(picture: Any, settings: Mapping[str, Any], first: Film) -> tuple[Any, Any, int, int]:

    from lightfast_providers.studio.film import vision

    cv2 = vision()
    width = max(1, round(first.width // 2 * 2 * real(settings, "overlay_scale")))
    height = min(first.height // 2 * 2, max(1, round(picture.shape[0] * width / picture.shape[1])))
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    left = round((first.width // 2 * 2 - width) * (real(settings, "overlay_x") + 1) / 2)
    top = round((first.height // 2 * 2 - height) * (real(settings, "overlay_y") + 1) / 2)
    return scaled[..., :3] * 255, scaled[..., 3:] * real(settings, "overlay_opacity"), left, top


def _mixed(
    table: Table, parts: list[_Part], settings: Mapping[str, Any], fade: float, seconds: float
) -> Channels | None:
    """Return the sound of the whole: the films' own, joined as they are, and what is put under them."""
    import numpy as np

    from lightfast_providers.studio import effects
    from lightfast_providers.studio.sound import RATE

    own = bool(settings["keep_sound"]) and any(part.film.has_sound for part in parts)
    if not own and not table.sounds:
        return None
    out = np.zeros((2, round(seconds * RATE)), np.float32)
    at = 0.0
    for part in parts if own else ():
        fps = float(part.film.fps)
        length = (part.last - part.first) / fps / part.speed
        sound = part.film.sound()
        if sound is not None:
            piece = sound[:, round(part.first / fps * RATE) : round(part.last / fps * RATE)]
            if part.speed != 1:
                piece = effects.run(piece, effects.lasting(1 / part.speed))
            piece = piece[:, ::-1].copy() if part.reverse else piece.copy()
            edge = max(1, round(max(fade, 0.005) * RATE))  # without a fade a few samples, against clicks
            ramp = np.minimum(1.0, np.arange(piece.shape[1]) / edge).astype(np.float32)
            piece *= ramp * ramp[::-1]
            _add(out, piece, at)
        at += length - fade
    for sound in table.sounds:
        _add(out, sound * np.float32(10 ** (real(settings, "sound_db") / 20)), 0.0)
    top = float(np.abs(out).max()) if out.size else 0.0
    return out / np.float32(top) if top > 1 else out


def _add(out: Channels, piece: Channels, at: float) -> None:
    from lightfast_providers.studio.sound import RATE

    start = max(0, round(at * RATE))
    part = piece[:, : max(0, out.shape[1] - start)]
    out[:, start : start + part.shape[1]] += part
