"""What may be kept, and what may be given again: the one place that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.gateway.ports import Asked, Kept


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for one request: *find* is empty, `exact` or `semantic`; *keep* and *share* say whether."""

    find: str = ""
    keep: bool = False
    share: bool = False


NOTHING = Rule()


def rule(asked: Asked, use: str, mode: str) -> Rule:
    """Decide for a request. *use* is that of the call, *mode* what `[gateway] cache` says where the call says nothing.

    - `off`: nothing is found, kept or shared. Calls whose prompt is not to be kept come with it.
    - Text is found, kept and shared, whatever its settings are: who wants another answer says `refresh`.
    - Images, sounds and films with a given seed likewise: they would come out the same.
    - Without a seed, only where the call itself asks for it: who asks twice for "a sunset" wants two.
    - `refresh` finds and shares nothing, and keeps what was made, under the same condition.
    - `semantic` is for text; of all else the very same request must have been answered.
    """
    how = use or mode
    if how == "off":
        return NOTHING
    if asked.output != "text" and asked.seed is None and not use:
        return NOTHING
    if how == "refresh":
        return Rule(keep=True)
    return Rule("semantic" if how == "semantic" and asked.output == "text" else "exact", keep=True, share=True)


def is_whole(asked: Asked, kept: Kept) -> bool:
    """Say whether an answer is one that may stand for the next one, too.

    Not an empty one, not one that was filtered, and not one of another model (a fallback) than was asked: it would
    stay when the right one is back. One that was cut at its length only where the request says the length: then the
    next one would be cut at the same place. What failed or ran into its deadline never comes here.
    """
    if not kept.text and not kept.assets:
        return False
    if kept.model != asked.model or kept.finish_reason == "filtered":
        return False
    return kept.finish_reason != "length" or asked.max_output_tokens > 0
