"""Prompt templates: methods of GenerationService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.core.errors import Unavailable
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.gateway.prompts.templates import Template
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services


class PromptMethods:
    """Prompt templates: methods of GenerationService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "SavePrompt": OPERATE,
        "GetPrompt": WATCH,
        "ListPrompts": WATCH,
        "DeletePrompt": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"SavePrompt", "DeletePrompt"})
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def SavePrompt(self, request: pb.SavePromptRequest, caller: Caller) -> pb.SavePromptResponse:
        """Save a new version of a template, where something changed."""
        prompt = request.prompt
        template = await self._room().templates.save(
            prompt.name, prompt.text, prompt.system, prompt.description, prompt.model
        )
        return pb.SavePromptResponse(prompt=_message(template))

    async def GetPrompt(self, request: pb.GetPromptRequest, caller: Caller) -> pb.GetPromptResponse:
        """Get a template, rendered where that is asked for."""
        room = self._room()
        template = await room.templates.get(request.name)
        response = pb.GetPromptResponse(prompt=_message(template))
        if request.render:
            arguments = convert.get_values(request.arguments, "arguments") if request.arguments else {}
            shown = await room.show(template, arguments, compact=request.compact)
            response.rendered, response.rendered_system = shown.text, shown.system
            response.tokens, response.tokens_saved = shown.tokens, shown.tokens_saved
        return response

    async def ListPrompts(self, request: pb.ListPromptsRequest, caller: Caller) -> pb.ListPromptsResponse:
        """List the newest version of each template, or all of one."""
        found = await self._room().templates.listed(request.name)
        return pb.ListPromptsResponse(prompts=[_message(template) for template in found])

    async def DeletePrompt(self, request: pb.DeletePromptRequest, caller: Caller) -> pb.DeletePromptResponse:
        """Delete a template with all its versions."""
        return pb.DeletePromptResponse(versions=await self._room().templates.delete(request.name))

    def _room(self) -> PromptRoom:
        room = self._services.gateway.prompts
        if not isinstance(room, PromptRoom):
            raise Unavailable("this daemon keeps no prompt templates", reason="NO_PROMPTS")
        return room


def _message(template: Template) -> pb.Prompt:
    message = pb.Prompt(
        name=template.name,
        version=template.version,
        text=template.text,
        system=template.system,
        arguments=template.arguments,
        description=template.description,
        model=template.model,
    )
    convert.put_time(message.create_time, template.create_time)
    return message
