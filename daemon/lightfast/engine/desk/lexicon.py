"""The words that the classifier goes by: weighted signs of each kind of request, and what single words mean.

A sign is a pattern over the request in lower case, and how much it speaks for (or, below zero, against) some letters;
`none` is talk that asks for nothing. The weights were set by hand on one half of the labelled requests of the tests.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CREATING = (
    "add animate arrange attach bounce build capture colour color compose connect convert copy create crop cut "
    "design develop draft draw duplicate export film generate import insert invent link load make mix model new open "
    "order paint place play produce put record render schedule send set sketch stream translate upscale write"
)
CHANGING = (
    "adjust change close decrease delete dim disable enable extend fade fix flip hide increase lower mirror move mute "
    "optimise optimize pan pause place raise reduce refactor remove rename repair replace reset resize resume rotate "
    "save scale shift shorten show slow sort speed stop swap switch trim tune turn undo unmute update"
)
VERBS = _words(f"{CREATING} {CHANGING}") - {"show", "new"}
_VERB = "|".join(sorted(VERBS))
_BROAD = (
    "adventure|album|app|application|campaign|collection|documentary|exhibition|festival|film|game|installation|"
    "novel|opera|platform|portfolio|product|series|shop|show|site|store|system|tour|website"
)
_WHOLE = r"complete|entire|full|whole|from scratch|end[- ]to[- ]end|from \w+ to (?:final )?\w+|everything"
BROAD = re.compile(rf"\b(?:{_BROAD})s?\b")
WHOLE = re.compile(rf"\b(?:{_WHOLE})\b")
POLITE = re.compile(
    r"^(?:(?:please|pls|hey|hi|ok|okay|so|now|and|well|also|just)[,!]?\s+|(?:can|could|would|will) you (?:please )?|"
    r"(?:i(?:'d| would) like you to|i want you to|i need you to|let's|let us|go ahead and)\s+)+"
)
_ASKED = r"what|what's|whats|which|who|who's|whose|when|where|where's|why|how"


@functools.cache
def signs() -> tuple[tuple[re.Pattern[str], Mapping[str, float]], ...]:
    """Return patterns over the request without what is only polite, and the weights they add."""
    return tuple((re.compile(pattern), weights) for pattern, weights in _SIGNS)


_SIGNS: tuple[tuple[str, Mapping[str, float]], ...] = (
    # Doing
    (rf"^(?:{_VERB})\b", {"tc": 2.4}),
    (rf"\b(?:then|and|,) (?:{_VERB})\b", {"tc": 0.8}),
    (r"^i (?:want|need|would like) (?:a|an|the|some|to|it|\w+)\b", {"tc": 2.0}),
    (r"^recall (?:the )?(?:scene|look|cue)\b", {"tc": 2.6}),
    (r"^(?:make|let) (?:it|them|the|this|that)\b", {"tc": 0.6}),
    (r"(?:^|\s)/[a-z0-9_]+/\S+", {"tc": 0.4, "cl": 0.4}),
    # Taking apart
    (r"\b(?:split|divide)\b.*\b(?:into|up)\b", {"ts": 3.6}),
    (r"^(?:split|divide)\b", {"ts": 2.6}),
    (r"\bbreak\b.*\b(?:down|into|up|apart)\b", {"ts": 3.6}),
    (r"\btake\b.*\bapart\b", {"ts": 3.6}),
    (r"\b(?:sub-?tasks|smaller (?:steps|parts|pieces|tasks)|manageable)\b", {"ts": 1.2}),
    # Workflows
    (r"\bworkflows?\b", {"wf": 2.6}),
    (r"^(?:run|start|launch|kick off|trigger|execute|fire up|begin)\b", {"wf": 1.4, "tc": 0.9}),
    # Remembering
    (r"^(?:remember|memori[sz]e|keep in mind|note that|note:|bear in mind)\b", {"ms": 3.4}),
    (r"^(?:remember|note)\b", {"ms": 1.0}),
    (
        r"\b(?:make a note|write down|take a note|for the record|save the fact|store (?:this|that|the fact))\b",
        {"ms": 3.4, "tc": -1.0},
    ),
    (r"^(?:don't|dont|do not|never) forget\b", {"ms": 3.4}),
    (r"\bremember (?:it|this|that)\b", {"ms": 1.6}),
    (r"^(?:my (?:favou?rite|preferred)|i (?:prefer|like|love|hate|always|never|usually))\b", {"ms": 2.8}),
    (r"^(?:from now on|always|never|as a rule|we (?:call|always|never|use|prefer))\b", {"ms": 2.8}),
    (r"\b(?:preference|as a rule)\b", {"ms": 0.8}),
    # Recalling
    (rf"^(?:{_ASKED})\b", {"cl": 2.6}),
    (r"^(?:is|are|was|were|do|does|did|has|have|had)\b", {"cl": 1.8}),
    (r"\?$", {"cl": 0.9}),
    (
        r"\b(?:do you (?:remember|know|recall)|tell me|remind me|show me|look up)\b",
        {"cl": 3.2, "ms": -1.6},
    ),
    (
        r"\bgive me (?:a|an|the) (?:summary|overview|list)\b",
        {"cl": 3.2, "ms": -1.6},
    ),
    (r"^(?:summari[sz]e|recap|list|recall what|load the context|show the|look up)\b", {"cl": 3.0}),
    (r"\b(?:discuss(?:ed)?|talk(?:ed)? about|conversation|decided|status|history|so far)\b", {"cl": 1.4}),
    (r"^(?:remember|recall) (?:what|which|who|when|where|why|how)\b", {"cl": 2.6, "ms": -2.0}),
    # Talk
    (r"^(?:hi|hello|hey|howdy|good (?:morning|evening|night|afternoon|day)|greetings)\b", {"none": 2.6}),
    (r"\b(?:thanks|thank you|thx|cheers)\b", {"none": 2.8}),
    (r"\bhow are you\b|\bhow(?:'s| is) it going\b|\bwhat's up\b", {"none": 4.4, "cl": -1.5}),
    (r"^(?:bye|goodbye|see you|later|ciao)\b", {"none": 2.8}),
    (r"^(?:ok|okay|cool|great|nice|awesome|perfect|haha\w*|lol|wow|super|fine|alright|yay)\b", {"none": 2.6}),
    (r"^(?:you(?:'re| are) (?:the best|great|awesome|kind)|well done|good job)\b", {"none": 2.8}),
    # Asking back is better
    (
        r"^(?:do|make|use|take|change|fix|try) (?:it|that|this|them|the thing|something|the other one)[.!]?$",
        {"unclear": 3.4},
    ),
    (r"\b(?:something|somehow|whatever|the thing|the other one|you know)\b", {"unclear": 1.2}),
)
INTENTS: Mapping[str, frozenset[str]] = {
    "find": _words("find search locate list look"),
    "fix": _words("fix repair debug mend solve correct"),
    "plan": _words("plan schedule organise organize arrange prepare order"),
    "change": _words(CHANGING) - {"fix", "repair", "place", "show", "save"},
    "create": _words(CREATING),
}
"""The kind of intent by its verb; the first that has it."""

EMPTY_WORDS = _words(
    "a an and any are as at about be but by can could did do does for from give go had has have how i in is it its "
    "know last like list load look made me my now of on or our out please recall remember remind right set show so "
    "some tell that the their them then there they this to us was we were what what's whats when where which who "
    "why will with would you your does everything summary summarize summarise context status"
)
"""Words that say nothing of what a request is about."""

WELL_SPELT = tuple(
    sorted(
        VERBS
        | _words(
            "remember forget memorize note keep mind down break split divide into smaller steps pieces subtasks "
            "workflow start launch trigger execute begin what which where when summarize summarise conversation "
            "discuss discussed remind status history hello thanks thank morning always never prefer favourite favorite "
            "please scene light tempo"
        )
    )
)
"""What a word with a mistake of typing may have been meant as."""
