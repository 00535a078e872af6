"""What a text claims, what it cites, and whether the cited passages say so."""

import re
from collections.abc import Sequence

from quantai.knowledge.answers.answer import Claim
from quantai.knowledge.answers.page import CITE, UNCITED, cited_numbers
from quantai.knowledge.passages import Passage
from quantai.knowledge.words import words

SUPPORT = 0.5
"""Share of a claim's words that the passages it cites must hold; its numbers they must hold all."""

_SENTENCE = re.compile(r"(?<=[.!?])(?:(?:\s*\[[\d,;\s]+\])+)?\s+(?=[A-Z0-9“\"*-])|\n+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def claims_of(text: str, passages: Sequence[Passage]) -> tuple[Claim, ...]:
    """Return the sentences of an answer with what they cite; numbers of no passage do not count.

    >>> passage = Passage("Revenue rose to 12 million.", 1, 1, "a", "", "", None, None, 0, 0, "", "", 0, 0)
    >>> [
    ...     (c.cites, c.supported)
    ...     for c in claims_of("Revenue rose to 12 million [1]. It fell to 9 [1]. Fees rose.", [passage])
    ... ]
    [((1,), True), ((1,), False), ((), False)]
    """
    return tuple(_claim(sentence, passages) for sentence in sentences(text))


def sentences(text: str) -> list[str]:
    r"""Return the sentences and list items of a text; citations after a full stop belong to the sentence before it.

    >>> sentences("It rose. [1] It fell by 1.5 [2].\n- Costs rose")
    ['It rose. [1]', 'It fell by 1.5 [2].', '- Costs rose']
    """
    found: list[str] = []
    at = 0
    for end in _SENTENCE.finditer(text):
        stop = end.start() + len(end[0].rstrip())
        found.append(text[at:stop].strip())
        at = end.end()
    found.append(text[at:].strip())
    return [each for each in found if words(CITE.sub("", each)) or CITE.search(each)]


def mark_uncited(text: str, claims: Sequence[Claim]) -> str:
    """Return the text with a mark behind each claim that cites nothing.

    >>> mark_uncited("A rose [1]. B fell.", (Claim("A rose [1].", (1,), True), Claim("B fell.", (), False)))
    'A rose [1]. B fell. [uncited]'
    """
    at = 0
    for claim in claims:
        found = text.find(claim.text, at)
        end = found + len(claim.text)
        if not claim.cites:
            text = f"{text[:end]} {UNCITED}{text[end:]}"
            end += len(UNCITED) + 1
        at = end
    return text


def _claim(sentence: str, passages: Sequence[Passage]) -> Claim:
    cites = tuple(number for number in cited_numbers(sentence) if 1 <= number <= len(passages))
    return Claim(sentence, cites, bool(cites) and _says(sentence, [passages[number - 1] for number in cites]))


def _says(sentence: str, cited: Sequence[Passage]) -> bool:
    bare = CITE.sub("", sentence)
    asked, there = set(words(bare)), set(words(" ".join(f"{p.title} {p.heading} {p.text}" for p in cited)))
    figures = {number.replace(",", "") for number in _NUMBER.findall(bare)}
    return figures <= there and (not asked or len(asked & there) >= SUPPORT * len(asked))
