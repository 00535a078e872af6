"""The lexical index: BM25 over the words of all passages, in memory."""

import logging
import math
from collections.abc import Iterable
from typing import Any

import bm25s
import numpy as np

Scores = np.ndarray[tuple[int], np.dtype[np.float32]]

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG and tells of every index

K1, B = 0.9, 0.4
"""How fast a repeated word stops counting, and how much a long passage is held against it: Anserini's defaults."""


class Lexical:
    """BM25 (Lucene's form) over passages given as their words; a passage is known by its place in `passages`.

    >>> index = Lexical([["revenu", "2019"], ["cash", "flow"]])
    >>> (index.scores(["cash"]) > 0).tolist()
    [False, True]

    Source: Robertson, Zaragoza 2009, doi:10.1561/1500000019; Lù 2024, arXiv:2407.03618.
    """

    def __init__(self, passages: Iterable[list[str]]) -> None:
        self._terms: dict[str, int] = {}
        number = self._terms.setdefault
        rows = [[number(word, len(self._terms)) for word in row] for row in passages]
        self._size = len(rows)
        self._passages_with = np.zeros(len(self._terms), np.int64)
        for row in rows:
            self._passages_with[list(set(row))] += 1
        self._index: Any = None
        if self._terms:
            self._index = bm25s.BM25(method="lucene", k1=K1, b=B)
            self._index.index((rows, self._terms), show_progress=False)

    def __len__(self) -> int:
        return self._size

    def scores(self, query: list[str]) -> Scores:
        """Return the score of every passage for the words of a query; 0 where none of them is in it."""
        known = [self._terms[word] for word in query if word in self._terms]
        if not known:
            return np.zeros(self._size, np.float32)
        return self._index.get_scores_from_ids(known)

    def rarity(self, word: str) -> float:
        """Return how much a word says: its inverse document frequency, most for a word of no passage."""
        number = self._terms.get(word)
        count = 0 if number is None else int(self._passages_with[number])
        return math.log(1 + (self._size - count + 0.5) / (count + 0.5))
