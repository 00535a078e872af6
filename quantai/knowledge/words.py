"""Words as the lexical index sees them: lower case, stemmed, numbers whole, and without those that say nothing."""

import re
import threading
from collections.abc import Iterator

import Stemmer

_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+")

_GRAMMAR = """
a about above after again an and any are as at be been before being below between both but by can could did do does
doing done down during each for from further had has have having he her here his how i if in into is it its just may
me might more most must my no nor not of off on once only or other our out over own respectively same shall she
should so some such than that the their them then there these they this those through to too under up very was we
were what when where which while who whom whose why will with would you your
"""

STOP_WORDS = frozenset(_GRAMMAR.split())
"""Words of questions and of grammar: they are in every passage, or in none that answers."""

_stemmer = threading.local()


def words(text: str) -> list[str]:
    """Return the index terms of `text`, in order.

    A number with its separators is one term (`1,577.5` and `1577.5` are the same one), and the parts of a name with
    underscores are found as well as the name.

    >>> words("What were the Revenues of 2019: $1,577.5 million?")
    ['revenu', '2019', '1577.5', 'million']
    >>> words("max_drawdown()")
    ['max_drawdown', 'max', 'drawdown']
    """
    if not hasattr(_stemmer, "english"):  # a stemmer keeps state while it works: one for each thread
        _stemmer.english = Stemmer.Stemmer("english")
    return _stemmer.english.stemWords(list(_terms(text)))


def _terms(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        if word[0].isdigit():
            yield word.replace(",", "")
        elif word not in STOP_WORDS:
            yield word
            if "_" in word.strip("_"):
                yield from (part for part in word.split("_") if part and part not in STOP_WORDS)
