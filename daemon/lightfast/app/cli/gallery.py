"""The act of the demo that makes things: a picture, its film with music, and texts on a budget."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from lightfast.app.cli.acting import step
from lightfast.app.cli.session import say
from lightfast.app.cli.stage import Stage, wait_for
from lightfast.core.errors import Exhausted, FailedPrecondition, LightfastError

if TYPE_CHECKING:
    from lightfast.client import Client
    from lightfast.client.generations import Made

CENT = 0.01
AT_ONCE = 24
UNDERSTUDIES = '''"""Two simulated text models for the demo: one breaks off in mid-sentence, the other goes on."""

import asyncio

from lightfast.sdk import Finish, Model, Price, Provider, ProviderError, TextDelta, Usage, hookimpl

SENTENCE = "The fog comes in from the sea, the cube turns once, and then the light goes out."
PRICES = (Price("input_token", 10e-6, "the demo", "2026-01-01"), Price("output_token", 20e-6, "the demo", "2026-01-01"))


class Understudies(Provider):
    name = "understudies"
    description = "Simulates two text models, for the demo."
    local = False

    def models(self):
        fields = {"prices": PRICES, "max_output_tokens": 40, "context_tokens": 4000}
        return [Model("diva", ("text",), **fields), Model("second", ("text",), capabilities=("continue",), **fields)]

    async def generate(self, request, bench):
        rest = SENTENCE.removeprefix(request.prefix)
        words = rest.split(" ")
        for index, word in enumerate(words):
            if request.model == "diva" and "break" in request.prompt and index == 6:
                yield Usage(input_tokens=12, output_tokens=index)
                raise ProviderError("the diva has left the stage", kind="unavailable")
            yield TextDelta(word if index == len(words) - 1 else word + " ")
            await asyncio.sleep(0)
        yield Usage(input_tokens=12, output_tokens=len(words))
        yield Finish("stop")


@hookimpl
def lightfast_providers(config):
    return [Understudies()]
'''


class Gallery:
    """Makes things while the daemon runs; what cannot be made here is in `left_out`."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage = stage
        self._client = client
        self.left_out: list[str] = []

    def play(self) -> None:
        """Play all of it."""
        self.film()
        self.understudies()
        self.budget()

    def film(self) -> None:
        """Paint a picture, move a camera over it, compose a loop, and cut both together."""
        client = self._client
        with step("paint a picture (by rule, on this machine, no key)"):
            size = {"width": 960, "height": 540}
            picture = client.make(
                "image", "a lighthouse by the sea at dusk", model="studio/image", seed=7, settings=size
            )
            again = client.make(
                "image", "a lighthouse by the sea at dusk", model="studio/image", seed=7, settings=size, cache="exact"
            )
        same = picture.assets[0].sha256 == again.assets[0].sha256
        if not same:
            raise FailedPrecondition("the same seed did not make the same picture")
        try:
            with step("compose a loop, move a camera over the picture, cut both together"):
                loop = client.make(
                    "audio", "a calm ambient loop in D minor", model="studio/music", seed=7, settings={"bars": 1}
                )
                shot = client.make(
                    *("video", "pull back slowly"),
                    model="studio/motion",
                    seed=7,
                    sources=[picture.assets[0].sha256],
                    settings={"duration": 3.0, "width": 640, "height": 360, "fps": 12.0},
                )
                sources = [shot.assets[0].sha256, loop.assets[0].sha256]
                clip = client.make("video", "", model="studio/cut", sources=sources, target_path="/demo/clip")
        except LightfastError as error:
            if error.reason != "PLUGIN_UNAVAILABLE":
                raise
            self.left_out.append(f"films: {error.message}")
            return
        kinds = ", ".join(f"{asset.media_type} {asset.size // 1024} KiB" for asset in (*loop.assets, clip.assets[0]))
        say(f"    {kinds}; the clip is at /demo/clip, for {clip.usage.cost_usd:.2f} $")

    def understudies(self) -> None:
        """Let a model break off in mid-sentence: the next one goes on where it stopped."""
        folder = self._stage.folder / "config" / "plugins"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "understudies.py").write_text(UNDERSTUDIES, encoding="utf-8")
        with step("drop in a plugin: two simulated text models that cost"):
            wait_for(self._is_there, "the plugin that was dropped in", 20)
        made = self._say("please break")
        if not made.text.endswith("the light goes out.") or len(made.fallbacks) != 1 or made.fallbacks[0].restarted:
            raise FailedPrecondition(f"the fallback made {made.text!r} with {len(made.fallbacks)} changes of model")
        said = made.fallbacks[0]
        say(f"    {said.from_model} failed in mid-sentence, {said.to_model} went on where it stopped: {made.text!r}")

    def _is_there(self) -> bool | None:
        return any(model.name == "understudies/second" for model in self._client.models("text")) or None

    def _say(self, prompt: str, project: str = "") -> Made:
        return self._client.make(
            "text",
            prompt,
            model="understudies/diva",
            fallbacks=["understudies/second"],
            project=project,
            cache="off",
            timeout=30.0,
        )

    def budget(self) -> None:
        """Give a project one cent and let many ask at once: it is never exceeded."""
        client, project = self._client, f"demo-{uuid.uuid4().hex[:8]}"  # what an earlier demo has spent stays spent
        client.set_budget("project", project, CENT, "total")

        def ask(number: int) -> bool:
            try:
                self._say(f"a sentence, the {number}th time", project=project)
            except Exhausted:
                return False
            return True

        with step(f"a budget of {CENT} $, and {AT_ONCE} who ask at once"), ThreadPoolExecutor(8) as pool:
            made = list(pool.map(ask, range(AT_ONCE)))
        budget = next(each for each in client.budgets() if (each.scope, each.name) == ("project", project))
        if budget.spent_usd > CENT or all(made) or not any(made):
            raise FailedPrecondition(f"{sum(made)} of {AT_ONCE} were made for {budget.spent_usd} $ of {CENT}")
        say(f"    {sum(made)} were made for {budget.spent_usd:.4f} $, {made.count(False)} refused: not one cent more")
        client.remove_budget("project", project, "total")
