"""The words that `meaning` knows: what may be left out of a prompt, and where it may not."""

from __future__ import annotations


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


REQUESTS = _set(
    """add animate blend blur build calculate change choose combine compare compose compute convert create crop cut
    define delete describe design display draft draw duplicate edit estimate explain export fade fetch find fix generate
    give help hide import improve increase decrease insert invent label list lower make merge mix mute name open outline
    paint pan pick plan play plot propose raise randomise randomize recommend reduce remove rename render replace resize
    rewrite rotate save scale select set shorten show simplify sing sketch sort start stop suggest summarise
    summarize synchronise synchronize tell translate turn unmute update write zoom"""
)
"""What a request begins with."""

OPENERS: tuple[tuple[str, ...], ...] = (
    *(("could", "you", "please"), ("would", "you", "please"), ("can", "you", "please"), ("will", "you", "please")),
    *(("could", "you", "kindly"), ("would", "you", "kindly"), ("could", "you"), ("would", "you"), ("can", "you")),
)
"""Polite beginnings; they go where one of `REQUESTS` follows."""

PLEASE: tuple[tuple[str, ...], ...] = (
    *(("please",), ("pls",), ("plz",), ("kindly",), ("bitte",), ("por", "favor"), ("per", "favore"), ("svp",)),
    *(("s'il", "vous", "plaît"), ("s'il", "te", "plaît"), ("请",), ("請",)),
)
"""Words that say please, at the beginning or the end."""

THANKS: tuple[tuple[str, ...], ...] = (
    *(("thanks",), ("thank", "you"), ("thanks", "a", "lot"), ("thank", "you", "very", "much"), ("many", "thanks")),
    *(("thanks", "in", "advance"), ("thank", "you", "in", "advance"), ("danke",), ("vielen", "dank")),
    *(("danke", "schön"), ("merci",), ("merci", "beaucoup"), ("gracias",), ("muchas", "gracias"), ("grazie",)),
    *(("grazie", "mille"), ("obrigado",), ("obrigada",)),
)
"""Words that say thanks, at the end."""

GREETINGS: tuple[tuple[str, ...], ...] = (
    ("hi",),
    ("hello",),
    ("hey",),
    ("hi", "there"),
    ("hello", "there"),
    ("hallo",),
    ("bonjour",),
    ("hola",),
)
"""Greetings, at the beginning and before a sign."""

AFTER_PLEASE = _set(
    """the a an him her me my your his their our everyone everybody them us this that these those someone all both each
    yourself myself people"""
)
"""Before these "please" is a verb."""

BEFORE_PLEASE = _set(
    """to you they we i he she it and or not can will would could should may might must that who which always never only
    as if best"""
)
"""After these "please" is a verb."""

SAYING = _set(
    """say says said saying translate translates translation spell spells word words phrase pronounce mean means meaning
    rhyme rhymes repeat print type transcribe quote sag sage übersetze übersetzen wort traduis traduire dis traduce
    traducir palabra traduci parola mot"""
)
"""With these the prompt may be about the very words that would be left out."""

WH = _set(
    """what who whom whose which where when why how wer was wo wann warum wie welche welcher welches wohin woher
    qui quoi
    où quand pourquoi comment combien qué quién dónde cuándo por cómo cuál chi dove quando perché"""
)
"""What begins with these is a question, with its sign or without."""

ARTICLES = frozenset(("a", "an", "the"))
NOT_ENGLISH = _set(
    """el la los las un una le les des du der das ein eine einen dem den und il lo gli di de que y et e een het en per
    con por para mit auf für avec dans sur est sont ist sind nicht kein pas non"""
)
"""With these "a" may be a word of another language, and means something."""

AFTER_ARTICLE = _set(
    """few little lot bit must rest time minor major flat sharp number while couple hundred thousand million no do will
    can may is not who to and or of in on at by with from as for into onto over under plus minus"""
)
"""Before these an article changes the meaning: few and a few, minor and A minor, the rest and a rest."""

BEFORE_ARTICLE = frozenset(("in", "of", "at", "by", "out", "all", "both", "half", "or", "and", "from", "to"))
"""After these an article is left alone: in charge and in the charge, at a time and at the time, from A to B."""

NEGATIONS = _set(
    """not no never without none nothing nobody neither nor cannot except unless hardly barely scarcely nicht kein keine
    keinen nie niemals ohne ne pas jamais sans no nunca sin non mai senza não nunca sem"""
)

CAPITAL_MATTERS = _set("polish turkey china march august may mark bill rose rich job reading nice")
"""As the first word, too, these mean something else with a capital."""

CAPITALS_MATTER = _set("us it who aids id am pm led ram art cat act so or")
"""In a text that is all in capitals these may be short for something."""

EMPHASIS = NEGATIONS | _set(
    """must always only all any every very and or but if then more less please do don't should can the a an"""
)
"""Written in capitals within a sentence these are only said louder."""

CONTRACTIONS = {
    "can't": ("can", "not"),
    "cannot": ("can", "not"),
    "won't": ("will", "not"),
    "shan't": ("shall", "not"),
    "i'm": ("i", "am"),
    "it's": ("it", "is"),
    "that's": ("that", "is"),
    "there's": ("there", "is"),
    "what's": ("what", "is"),
    "where's": ("where", "is"),
    "how's": ("how", "is"),
    "who's": ("who", "is"),
}
ENDINGS = (("n't", "not"), ("'re", "are"), ("'ll", "will"), ("'ve", "have"))

SPELLINGS = {
    "colour": "color",
    "colours": "colors",
    "coloured": "colored",
    "grey": "gray",
    "greys": "grays",
    "centre": "center",
    "centred": "centered",
    "behaviour": "behavior",
    "favourite": "favorite",
    "summarise": "summarize",
    "synchronise": "synchronize",
    "randomise": "randomize",
    "organise": "organize",
    "analyse": "analyze",
    "theatre": "theater",
    "e-mail": "email",
    "okay": "ok",
}
