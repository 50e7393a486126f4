"""Wishes on their way into OBS: one request for each, and what it holds then is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import Value, Wish
from lightfast_bridges.obs.socket import Connection, RefusedError
from lightfast_bridges.obs.surface import GLOBAL, INPUT, ITEM, TRANSFORM, TWINS, Prop, as_kind, names_in

PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between two looks whether OBS has done what it said it would do."""


@dataclass(slots=True)
class Setting:
    """How a wish is carried out: a request with its data, and a request that tells what is held then.

    *held* finds the value in the answer of the second; *data* of the second is what *about* says. *twin* is another
    path that holds the same thing, and *twin_held* finds its value. Where OBS answers before it has done it, *later*
    is what it will hold.
    """

    request: str
    data: dict[str, Any]
    about: dict[str, Any] = field(default_factory=dict)
    read: str = ""
    held: Callable[[Mapping[str, Any]], Value | None] = lambda _: None
    twin: str = ""
    twin_held: Callable[[Mapping[str, Any]], Value | None] = lambda _: None
    later: Value | None = None

    async def carry_out(self, connection: Connection) -> tuple[Value | None, Value | None]:
        """Do it, and return what OBS holds then, and what at the twin; None where nobody can say.

        Raises as `Connection.ask` does.
        """
        await connection.ask(self.request, self.data)
        if not self.read:
            return None, None
        if self.later is not None:
            return await self._done(connection), None
        said = await connection.ask(self.read, self.about)
        return self.held(said), self.twin_held(said)

    async def _done(self, connection: Connection) -> Value | None:
        """Look until OBS has done it, and return what it holds; None where it does not say."""
        held: Value | None = None
        for pause in (0.0, *PAUSES):
            await asyncio.sleep(pause)
            try:
                held = self.held(await connection.ask(self.read, self.about))
            except RefusedError:
                return None
            if held is None or held == self.later:
                break
        return held


def setting_of(wish: Wish, known: Callable[[str], Value | None]) -> Setting:
    """Return how *wish* is carried out; *known* tells what OBS holds at a path. Raises `ValueError` with why not."""
    if wish.moved_from:
        return _rename(names_in(wish.moved_from), names_in(wish.path))
    names = names_in(wish.path)
    if wish.value is None:
        return _remove(names, wish.path)
    value = wish.value
    if names[0] in GLOBAL and len(names) == 1:
        prop = GLOBAL[names[0]]
        return Setting(prop.request, {prop.field: value}, {}, prop.read, _held(prop), later=value)
    if known(wish.path) is None:
        raise ValueError(f"there is no {wish.path} in OBS now")
    if names[0] == "inputs" and len(names) == 3 and names[2] in INPUT:
        setting = _field(INPUT[names[2]], {"inputName": names[1]}, value)
        if (twin := TWINS.get(names[2])) is not None:
            setting.twin, setting.twin_held = f"{wish.path.rpartition('/')[0]}/{twin}", _held(INPUT[twin])
        return setting
    if names[0] == "inputs" and len(names) == 4 and names[2] == "settings":
        about = {"inputName": names[1]}
        data = {**about, "inputSettings": {names[3]: _plain(value)}, "overlay": True}
        return Setting("SetInputSettings", data, about, "GetInputSettings", _setting("inputSettings", names[3], value))
    if names[0] == "scenes" and len(names) == 5 and names[2] == "items" and names[4] in ITEM:
        return _field(ITEM[names[4]], _item(names), value)
    if names[0] == "scenes" and len(names) == 6 and names[4] == "transform" and names[5] in TRANSFORM:
        return _transform(names, value)
    if len(names) >= 5 and names[2] == "filters":
        return _filter(names, value)
    raise ValueError(f"{wish.path} can only be read")


def _field(prop: Prop, about: dict[str, Any], value: Value) -> Setting:
    return Setting(prop.request, {**about, prop.field: value}, about, prop.read, _held(prop))


def _held(prop: Prop) -> Callable[[Mapping[str, Any]], Value | None]:
    def held(said: Mapping[str, Any]) -> Value | None:
        return as_kind(prop.field, said[prop.field]) if said.get(prop.field) is not None else None

    return held


def _item(names: list[str]) -> dict[str, Any]:
    if not names[3].isdigit():
        raise ValueError(f"{names[3]!r} is no number of a scene item")
    return {"sceneName": names[1], "sceneItemId": int(names[3])}


def _transform(names: list[str], value: Value) -> Setting:
    about, name = _item(names), names[5]

    def held(said: Mapping[str, Any]) -> Value | None:
        found = said.get("sceneItemTransform", {}).get(name)
        if found is None or TRANSFORM[name] == "string":
            return found  # type: ignore[no-any-return]
        return int(found) if TRANSFORM[name] == "int" else float(found)

    data = {**about, "sceneItemTransform": {name: value}}
    return Setting("SetSceneItemTransform", data, about, "GetSceneItemTransform", held)


def _filter(names: list[str], value: Value) -> Setting:
    about = {"sourceName": names[1], "filterName": names[3]}
    if names[4:] == ["filterEnabled"]:
        data = {**about, "filterEnabled": value}
        return Setting("SetSourceFilterEnabled", data, about, "GetSourceFilter", lambda said: said.get("filterEnabled"))
    if names[4] == "settings" and len(names) == 6:
        data = {**about, "filterSettings": {names[5]: _plain(value)}, "overlay": True}
        read = _setting("filterSettings", names[5], value)
        return Setting("SetSourceFilterSettings", data, about, "GetSourceFilter", read)
    raise ValueError(f"{'/'.join(names)} can only be read")


def _setting(where: str, name: str, wished: Value) -> Callable[[Mapping[str, Any]], Value | None]:
    """Return what finds a setting in an answer; a number keeps the kind it was wished in."""

    def held(said: Mapping[str, Any]) -> Value | None:
        found = said.get(where, {}).get(name)
        if isinstance(wished, float) and isinstance(found, int) and not isinstance(found, bool):
            return float(found)
        return found if isinstance(found, bool | int | float | str) else None

    return held


def _plain(value: Value) -> Value:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("a setting is a number, a word, or true or false")  # noqa: TRY004  # it is the user's
    return value


def _rename(old: list[str], new: list[str]) -> Setting:
    if len(old) == len(new) == 2 and old[0] == new[0] == "inputs":
        return Setting("SetInputName", {"inputName": old[1], "newInputName": new[1]})
    if len(old) == len(new) == 2 and old[0] == new[0] == "scenes":
        return Setting("SetSceneName", {"sceneName": old[1], "newSceneName": new[1]})
    if len(old) == len(new) == 4 and old[:3] == new[:3] and old[2] == "filters":
        data = {"sourceName": old[1], "filterName": old[3], "newFilterName": new[3]}
        return Setting("SetSourceFilterName", data)
    raise ValueError("OBS renames inputs, scenes and filters, and moves nothing elsewhere")


def _remove(names: list[str], path: str) -> Setting:
    if len(names) == 2 and names[0] == "inputs":
        return Setting("RemoveInput", {"inputName": names[1]})
    if len(names) == 2 and names[0] == "scenes":
        return Setting("RemoveScene", {"sceneName": names[1]})
    raise ValueError(f"{path} cannot be removed by itself: use RemoveInput, RemoveScene, RemoveSceneItem and the like")
