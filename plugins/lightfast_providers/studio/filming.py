"""The rooms where films are made: camera moves, frames in between, a steady light, and the cutting table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from lightfast.sdk import Artifact, GenerationRequest, Model, Progress, ProviderError, Step, Workbench
from lightfast_providers.studio.common import GENERATOR, MOVES, file_name, number_rule, real, whole, whole_rule
from lightfast_providers.studio.cutting import CUT, cut
from lightfast_providers.studio.spooling import Spool, spooled

if TYPE_CHECKING:
    from lightfast_providers.studio.film import Film, Frame

_WORDS = {
    "zoom": "zoom_in",
    "closer": "zoom_in",
    "push": "zoom_in",
    "pull": "zoom_out",
    "reveal": "zoom_out",
    "pan": "pan_right",
    "left": "pan_left",
    "right": "pan_right",
    "tilt": "tilt_up",
    "up": "tilt_up",
    "down": "tilt_down",
    "orbit": "orbit",
    "circle": "orbit",
    "around": "orbit",
    "drift": "drift",
}


MOTION: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "move": {
            "type": "string",
            "enum": ["auto", *MOVES],
            "default": "auto",
            "description": "How the camera moves; auto goes by the prompt, else by chance.",
        },
        "duration": number_rule(0.2, 120, 4.0, "In seconds."),
        "fps": number_rule(1, 60, 25.0, "Frames a second."),
        "width": whole_rule(64, 3840, 1280, "In pixels."),
        "height": whole_rule(64, 2160, 720, "In pixels."),
        "crossfade": number_rule(0, 10, 1.0, "Between pictures, in seconds."),
    },
}
INTERPOLATE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "factor": whole_rule(2, 8, 2, "How many times as many frames."),
        "slow": {
            "type": "boolean",
            "default": False,
            "description": "The film lasts longer at the same frame rate (slow motion); else it has a higher rate.",
        },
    },
}
STEADY: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "radius": whole_rule(1, 30, 6, "Over how many frames each way the light is evened out."),
        "strength": number_rule(0, 1, 0.5, "How much of the past is kept where it has only moved: against shimmer."),
    },
}


def _model(name: str, inputs: tuple[str, ...], description: str, settings: Mapping[str, Any]) -> Model:
    return Model(
        name,
        outputs=("video",),
        inputs=inputs,
        description=description,
        settings=settings,
        procedural=True,
        capabilities=("edit", "preview", "seed") if "video" not in inputs else ("edit", "preview"),
        free=True,
        needs_sources=0 if name == "motion" else 1,
    )


MODELS = (
    _model(
        "motion",
        ("text", "image"),
        "Moves a camera over pictures (procedural, no learned model): zoom, pan, tilt, orbit, cross-fades between"
        " several. Without a picture it paints one from the prompt.",
        MOTION,
    ),
    _model(
        "interpolate",
        ("text", "video", "image"),
        "Makes the frames in between by optical flow (no learned model): smoother, or slow motion. Takes a film, or two"
        " pictures.",
        INTERPOLATE,
    ),
    _model(
        "steady",
        ("text", "video"),
        "Takes flicker out of a film (no learned model): evens out its light over time, and keeps what has only moved.",
        STEADY,
    ),
    _model(
        "cut",
        ("text", "video", "image", "audio"),
        "The cutting table (no learned model): trim, join, cross-fade, speed, overlay a picture, put a sound under it,"
        " fade, reverse.",
        CUT,
    ),
)


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Make a film in the room of its model."""
    steps = {"motion": _motion, "interpolate": _interpolate, "steady": _steady, "cut": cut}[request.model]
    async for step in steps(request, bench):
        yield step


async def _motion(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    from lightfast_providers.studio import camera
    from lightfast_providers.studio.film import Cutter, picture_of

    settings = request.settings
    width, height, fps = whole(settings, "width"), whole(settings, "height"), real(settings, "fps")
    count = max(1, round(real(settings, "duration") * fps))
    yield Progress(0.0, "reading the pictures" if request.sources else "painting the picture")
    if request.sources:
        pictures = [await bench.run(picture_of, source) for source in request.sources]
    else:
        pictures = [await _painted(request, width, height, bench)]
    move = str(settings["move"])
    if move == "auto":
        # The last word counts: it says which way ("pan left", "zoom out").
        move = next((_WORDS[word] for word in reversed(request.prompt.lower().split()) if word in _WORDS), "auto")
    chance = Random(f"{request.seed}/camera")  # noqa: S311 — chance, not secrecy
    fade = round(real(settings, "crossfade") * fps)
    frames = camera.film(pictures, width // 2 * 2, height // 2 * 2, count, fade, move, chance)
    spool = Spool(frames, await bench.run(Cutter, width, height, fps))
    async for step in spooled(spool, count, bench, "filming"):
        yield step
    yield await finished(spool, request, bench, {"move": move, "pictures": len(pictures)})


async def _painted(request: GenerationRequest, width: int, height: int, bench: Workbench) -> Frame:
    """Return the picture that the prompt describes, larger than the film, so that the camera may come closer."""
    import numpy as np

    from lightfast_providers.studio.picture import Order, Painter

    scale = min(1.4, 2048 / max(width, height))
    size = (max(64, round(width * scale)), max(64, round(height * scale)))
    painter = await bench.run(Painter, Order(request.prompt, request.seed, *size, "auto", 0.15))
    for part in (painter.ground, painter.subjects, painter.finish):
        await bench.run(part)
    from lightfast_providers.studio.film import picture_of

    return np.asarray(picture_of(await bench.run(painter.png)), np.uint8)


async def _interpolate(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    from collections.abc import Iterator

    from lightfast_providers.studio.film import Cutter, Film, fitted, picture_of
    from lightfast_providers.studio.flow import Between

    factor, slow = whole(request.settings, "factor"), bool(request.settings["slow"])
    yield Progress(0.0, "reading")
    film: Film | None = None
    if len(request.sources) == 2 and all(kind.startswith("image/") for kind in request.source_types):
        one, two = [await bench.run(picture_of, source) for source in request.sources]
        originals: Iterator[Frame] = iter((one, fitted(two, one.shape[1], one.shape[0])))
        width, height, fps, count = one.shape[1], one.shape[0], 25.0, 2
    else:
        film = await bench.run(Film, one_film(request))
        originals, width, height = film.frames(), film.width, film.height
        fps, count = float(film.fps) * (1 if slow else factor), film.count
    cuts = [0]

    def between() -> Iterator[Frame]:
        before = next(originals)
        for frame in originals:
            yield before
            pair = Between(before, frame)
            cuts[0] += pair.is_cut
            for step in range(1, factor):
                yield pair.at(step / factor)
            before = frame
        yield before

    cutter = await bench.run(Cutter, width, height, fps)
    if film is not None and not slow and film.has_sound:
        sound = await bench.run(film.sound)
        if sound is not None:
            cutter.sound(sound)
    spool = Spool(between(), cutter)
    async for step in spooled(spool, (count - 1) * factor + 1, bench, "finding what lies between"):
        yield step
    yield await finished(spool, request, bench, {"factor": factor, "cuts": cuts[0]})


async def _steady(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    from lightfast_providers.studio import steady
    from lightfast_providers.studio.film import Cutter, Film

    film = await bench.run(Film, one_film(request))
    lights: list[Any] = []
    frames = film.frames()

    def look() -> bool:
        for _ in range(25):
            frame = next(frames, None)
            if frame is None:
                return False
            lights.append(steady.light(frame))
        return True

    while await bench.run(look):
        yield Progress(0.3 * min(1.0, len(lights) / film.count), f"measuring the light: frame {len(lights)}")
    if not lights:
        raise ProviderError("the film has no frames", kind="invalid")
    every = await bench.run(steady.gains, lights, whole(request.settings, "radius"))
    cutter = await bench.run(Cutter, film.width, film.height, film.fps)
    sound = await bench.run(film.sound)
    if sound is not None:
        cutter.sound(sound)
    after: list[Any] = []

    def seen() -> Any:
        for frame in steady.steadied(film.frames(), every, real(request.settings, "strength")):
            after.append(steady.light(frame))
            yield frame

    spool = Spool(seen(), cutter)
    async for step in spooled(spool, len(lights), bench, "evening out the light", start=0.3):
        yield step
    told = {"flicker_before": round(steady.flicker(lights), 6), "flicker_after": round(steady.flicker(after), 6)}
    yield await finished(spool, request, bench, told)


def one_film(request: GenerationRequest) -> bytes:
    """Return the one film to work on; raise `ProviderError` where there is none, or more."""
    if len(request.sources) != 1:
        raise ProviderError(
            f"{request.model} needs one film to work on, {len(request.sources)} sources were given", kind="invalid"
        )
    return request.sources[0]


async def finished(spool: Spool, request: GenerationRequest, bench: Workbench, told: Mapping[str, Any]) -> Artifact:
    """Return the film, with what there is to say about it."""
    cutter = spool.cutter
    content = await bench.run(cutter.close)
    size = {"width": cutter.width, "height": cutter.height, "frames": cutter.count, "fps": float(cutter.fps)}
    return Artifact("video/mp4", content, f"{file_name(request)}.mp4", {"generator": GENERATOR, **size, **told})
