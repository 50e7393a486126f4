"""Layers stand alone: each can be left out, deleted or broken, and the archive and the others notice nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from tests.support.judging import notes

from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.emergence.layer import EmergenceLayer
from lightfast.storage.archive.layer import Layer
from lightfast.storage.archive.records import NewFrame, Query
from lightfast.storage.archive.significance.layer import SignificanceLayer

KINDS: dict[str, type[SignificanceLayer | EmergenceLayer]] = {
    "significance": SignificanceLayer,
    "emergence": EmergenceLayer,
}


async def used(folder: Path, wanted: tuple[str, ...], first: int) -> tuple[list[str], dict[str, bool]]:
    """Open the archive with some layers, append, search, let all settle; return the ids, and which layers answered."""
    archive = await Archive.open(folder)
    layers: dict[str, Layer] = {name: KINDS[name](archive, folder, rest=0.0) for name in wanted}
    try:
        for layer in layers.values():
            layer.start()
        ids = await archive.append([NewFrame(note.text) for note in notes()[first : first + 20]])
        assert set(await archive.get(ids)) == set(ids)
        assert await archive.search(Query("harbor"))
        answered = {}
        for name, layer in layers.items():
            await layer.settled()
            found = await archive.run(lambda reader: reader.count)
            assert layer.position == found - 1
            if isinstance(layer, SignificanceLayer):
                answered[name] = await layer.significance(ids[0]) is not None
            else:
                await layer.find()  # type: ignore[attr-defined]
                answered[name] = bool(await layer.clusters())  # type: ignore[attr-defined]
        return ids, answered
    finally:
        for layer in layers.values():
            await layer.close()
        await archive.close()


SOME: list[tuple[str, ...]] = [(), ("significance",), ("emergence",), ("significance", "emergence")]


@pytest.mark.parametrize(("before", "after"), list(product(SOME, repeat=2)))
async def test_any_layers_follow_any_others(tmp_path: Path, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    folder = tmp_path / "archive"
    _, answered = await used(folder, before, 0)
    assert answered == dict.fromkeys(before, True)
    assert [name for name in KINDS if (folder / name).exists()] == [name for name in KINDS if name in before]
    _, answered = await used(folder, after, 20)
    assert answered == dict.fromkeys(after, True)


@pytest.mark.parametrize("gone", list(KINDS))
async def test_deleting_the_folder_of_one_touches_nothing_else(tmp_path: Path, gone: str) -> None:
    folder = tmp_path / "archive"
    ids, _ = await used(folder, ("significance", "emergence"), 0)
    (other,) = [name for name in KINDS if name != gone]
    kept = (folder / other / f"{other}.db").read_bytes()
    shutil.rmtree(folder / gone)
    archive = await Archive.open(folder)
    try:
        assert set(await archive.get(ids)) == set(ids)
        assert len(await archive.search(Query("harbor"))) > 1
    finally:
        await archive.close()
    assert (folder / other / f"{other}.db").read_bytes() == kept
    _, answered = await used(folder, ("significance", "emergence"), 20)
    assert answered == {"significance": True, "emergence": True}  # found again from the frames


@pytest.mark.parametrize("name", list(KINDS))
def test_a_layer_imports_no_other_and_nothing_heavy(name: str) -> None:
    (other,) = [one for one in KINDS if one != name]
    code = (
        f"import sys, lightfast.app.layers, lightfast.storage.archive.{name}.layer;"
        f"print([m for m in sys.modules if '.{other}' in m or m in ('numpy', 'sklearn', 'rapidfuzz', 'cryptography')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
