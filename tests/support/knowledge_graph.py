"""A knowledge graph with the tools of the MCP reference memory server, in memory, as wayward as told."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lightfast.core.errors import FailedPrecondition, Unavailable


class KnowledgeGraph:
    """Answers tools; *failing* names one that fails next, before (or with *after*: after) it does its work."""

    def __init__(self) -> None:
        self.entities: dict[str, dict[str, Any]] = {}
        self.relations: list[dict[str, str]] = []
        self.calls: list[str] = []
        self.failing = ""
        self.after = False

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        self.calls.append(tool)
        fails, self.failing = self.failing == tool, "" if self.failing == tool else self.failing
        if fails and not self.after:
            raise Unavailable("the server went away", reason="APP_GONE")
        answer = getattr(self, f"_{tool}")(copy.deepcopy(dict(arguments)))
        if fails:
            raise Unavailable("the server went away", reason="APP_GONE")
        return copy.deepcopy(answer)

    def _create_entities(self, arguments: Mapping[str, Any]) -> Any:
        new = [entity for entity in arguments["entities"] if entity["name"] not in self.entities]
        self.entities |= {entity["name"]: entity for entity in new}
        return {"entities": new}

    def _add_observations(self, arguments: Mapping[str, Any]) -> Any:
        for each in arguments["observations"]:
            if each["entityName"] not in self.entities:
                raise FailedPrecondition(f"Entity with name {each['entityName']} not found")
            held = self.entities[each["entityName"]]["observations"]
            held += [text for text in each["contents"] if text not in held]
        return {"results": []}

    def _create_relations(self, arguments: Mapping[str, Any]) -> Any:
        self.relations += [each for each in arguments["relations"] if each not in self.relations]
        return {"relations": []}

    def _delete_relations(self, arguments: Mapping[str, Any]) -> Any:
        self.relations = [each for each in self.relations if each not in arguments["relations"]]
        return {"success": True}

    def _read_graph(self, arguments: Mapping[str, Any]) -> Any:
        return {"entities": list(self.entities.values()), "relations": self.relations}
