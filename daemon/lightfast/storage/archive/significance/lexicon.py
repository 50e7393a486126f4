"""Words that speak for a dimension of significance, with their weights. English; written for this purpose.

A word is matched whole and folded; one that ends with `*` matches what begins so. Expressions are matched on whole
words, whatever signs stand between them. Other languages are still judged by what needs no words: numbers, dates,
signs, names, novelty and recurrence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Lexicon = Mapping[str, float]

_GROUP = re.compile(r"^([\d.]+): ((?:.|\n    )+)", re.MULTILINE)


def _words(text: str) -> dict[str, float]:
    return {word: float(weight) for weight, words in _GROUP.findall(text) for word in words.split()}


def _sayings(text: str) -> dict[str, float]:
    groups = _GROUP.findall(text)
    return {" ".join(said.split()): float(weight) for weight, sayings in groups for said in sayings.split(";")}


FEELING: Lexicon = _words(
    """
1: love* adore* hate* hatred joy joyful* happy happiness happily sad sadness sadly sorrow* grief griev* cry cried
    crying tear tears weep* wept afraid fear feared fears fearful scared scary terrified terrible terribly horror*
    horrible horribl* furious rage anger angry angrily proud pride ashamed shame shameful embarrass* disgust*
    despair* desperate* lonely loneliness heartbreak* heart broke wonderful* beautiful* beauty gorgeous amazing
    amazed awesome awful* magical ecsta* delight* thrill* excite* exciting goosebumps ecstatic miserable misery
    nervous anxious anxiety panic panicked worried worry dread* shock* hurt hurts pain painful bliss* glorious*
    euphor* jealous* envy envious devastat* overjoyed laugh* smile* smiling hug hugged hugs kiss* grateful gratitude
    thankful touching touched moved
0.6: sorry miss missed misses missing disappoint* frustrat* annoy* lovely enjoy* fun funny hope hopeful hopes tired
    exhausted exhausting bored boring surprise* surprised relief relieved calm peaceful tender sweet bitter disaster
    nightmare dream dreams perfect favorite favourite celebrate* applause stunning fantastic brilliant* incredible*
    unbelievable* pity regret* upset stress* stressed sleepless nobody alone passion* cheer* shaking trembling fail*
0.3: feel feels feeling felt very really absolutely totally utterly completely god wow oh ah wish
"""
)
NOT_FEELING: Lexicon = _words(
    """
0.7: moved missing touched fail fails failed failing love* heart
"""
)
"""Words of feeling that are more often about things; they count by so much less."""
KNOWLEDGE: Lexicon = _words(
    """
0.6: because therefore hence thus otherwise requires require required depends means meaning causes caused cause
    avoid avoids never always must cannot whereas unless instead works expects expect needs need fixed solved reason
    rule formula exactly only maximum minimum most least default equals ensures prevents explains explained defined
0.35: use uses used using set sets reset if when then else than per each every into between from before after within
    should so rate range limit value values unit units scale factor ratio degree degrees percent scheme method
    answers listens sends receives reads writes stores stored carries draws weighs lasts
0.3: port channel* universe* protocol socket packet* driver firmware version* parameter* setting* config* file*
    format* codec* resolution pixel* frame* fps hz khz mhz db dbtp lufs ms volt* amp* watt* ohm* impedance gain
    filter* reverb compress* limiter latency buffer* thread* memory queue cache render* shader* texture* mesh*
    curve* matrix axis axes radians linear gamma srgb hdr dmx midi osc artnet sacn timecode sync clock signal*
    cable* connector* lens* projector* microphone* speaker* dimmer* console* sensor* encoder* server* network*
    address ip usb hdmi sdi xlr fuse* supply voltage phase polarity frequency spectrum bias normal* vertex index key
    note pitch tempo bpm beat*
"""
)
IDLE: Lexicon = _words(
    """
1: ok okay yes no hm hmm hello hi hey thanks asdf test tests todo temp tmp untitled copy copied lorem ipsum misc
    stuff something somehow maybe whatever nothing etc foo bar bla saved exported moved renamed done again continue
    draft note new another some version
"""
)
"""Words of notes that hold nothing."""
BOND: Lexicon = _words(
    """
0.8: friend* friendship together trust* promise* forgave forgive* apolog* thank* thanked argue* quarrel* married
    marry wedding divorce* introduced met mentor* taught teach* rival* betray* loyal* partner* family brother*
    sister* mother* father* son daughter* parents wife husband child* grandmother grandfather uncle aunt cousin*
    godfather godmother relation* relationship* bond* colleague* ally allies team teammates band crew ensemble
    between each
0.4: we us our ours client* customer* director* conductor* composer* choreographer* designer* producer* teacher*
    student* neighbor* neighbour* boss assistant* caretaker* guest* member* people everybody everyone nobody agreed
    agree* asked asks ask told tells calls called invited invite* helped help* supports respects likes liked prefers
    wants owes lent lend* listen* shares share* shared decides decide* responsible signs approves her his him she he
"""
)
BREAKTHROUGH: Lexicon = _words(
    """
1: breakthrough* eureka solved cracked discover* discovery epiphany revelation invented invention insight* milestone
    revolution* unprecedented
0.6: finally found realized realised understand understood works worked succeeded success* achieved managed overcame
    unexpectedly surprisingly suddenly first impossible miracle* fixes fixed proof proved answer solution
"""
)
BREAKTHROUGH_SAID: Lexicon = _sayings(
    """
1.2: for the first time; changes everything; we did it; game changer
0.9: it works; at last; found out; the trick; we know why; never before
1: turns out; turned out; found why; root cause; missing piece; thought possible
1.1: figured out; now we know; now i know; now i understand
0.5: found the; after weeks; after months; after years; without a single
0.8: the secret; managed it before
0.6: i understand; we noticed; i noticed
0.7: nobody believed; no one believed; all along; was never the; big step; new idea
0.4: made it
"""
)
TIME: Lexicon = _words(
    """
1: today tonight tomorrow yesterday deadline* due expires expire* overdue urgent urgently asap reminder immediately
    soon upcoming appointment* meeting* schedule* scheduled postponed cancelled canceled rescheduled
0.6: monday tuesday wednesday thursday friday saturday sunday weekend january february march april june july august
    september october november december noon midnight morning evening afternoon a.m p.m o'clock
0.35: until till before by next last this now starts start begins ends end closes opens week month day days hour
    hours
"""
)
TIMELESS: Lexicon = _words(
    """
0.6: always never whenever generally usually every each ever
"""
)
RECURRENCE: Lexicon = _words(
    """
0.9: again always usually whenever repeatedly recurring recurs recur regularly often frequently constantly
    habitually routine* typical* tends tend pattern* everytime weekly daily monthly yearly annually likewise
0.5: every each same once twice keeps kept still another usual common rule trend* ritual
"""
)
RECURRENCE_SAID: Lexicon = _sayings(
    """
1: every time; each time; as always; as usual; like every; as in every; as on every; over and over; same pattern;
    third time; fourth time; fifth time
0.8: every evening; every night; every day; every week; every month; every year; each year; each night; as before;
    once more; same problem; same mistake; second time
0.5: in every; on every; week before
1.2: again and again
0.4: the same
0.9: as last time; happens every
0.6: happens on; happens when
"""
)


def prefixes(lexicon: Lexicon) -> tuple[dict[str, float], dict[str, float]]:
    """Split a lexicon into whole words, and beginnings of words."""
    whole = {word: weight for word, weight in lexicon.items() if not word.endswith("*")}
    begins = {word[:-1]: weight for word, weight in lexicon.items() if word.endswith("*")}
    return whole, begins


class Matcher:
    """Looks words up in a lexicon."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._whole, self._begins = prefixes(lexicon)
        self._lengths = sorted({len(start) for start in self._begins})

    def weight(self, word: str) -> float:
        """Return the weight of a folded word, 0.0 when it is not there."""
        found = self._whole.get(word)
        if found is not None:
            return found
        for length in self._lengths:
            if length > len(word):
                break
            found = self._begins.get(word[:length])
            if found is not None:
                return found
        return 0.0
