"""One ranking from two: what the lexical and the dense index say, brought to one scale and added.

Adding standardised scores beats adding reciprocal ranks on the sets tried (docs/knowledge.md): ranks forget by how much
the first is better than the second, which is what says whom to trust. Source: Bruch et al. 2023, arXiv:2210.11934.
"""

import numpy as np

Scores = np.ndarray[tuple[int], np.dtype[np.float32]]

POOL = 100
"""How many passages of each index are compared."""

DENSE_WEIGHT = 0.4
"""Share of the dense index in the sum."""

RRF_K = 60


def standardize(scores: Scores) -> Scores:
    """Return scores with mean 0 and standard deviation 1; all 0 when they do not differ.

    >>> standardize(np.array([1, 3], np.float32)).tolist()
    [-1.0, 1.0]
    """
    spread = scores.std()
    return (scores - scores.mean()) / spread if spread > 1e-9 else np.zeros_like(scores)


def fuse(lexical: dict[int, float], dense: dict[int, float], dense_weight: float = DENSE_WEIGHT) -> dict[int, float]:
    """Return passage -> score, best first, for two pools of passage -> score.

    A passage that is in one pool only has the lowest score of the other: it was at best just outside. A lexical pool
    that is not full holds every passage with a word of the question: the others score 0 there. Without that, a word
    that stands in one passage only would count for nothing, because it has nothing to be compared with.

    >>> fuse({1: 9.0, 2: 3.0, 3: 3.0}, {2: 0.8, 4: 0.2})[2] > fuse({1: 9.0, 2: 3.0, 3: 3.0}, {2: 0.8, 4: 0.2})[4]
    True
    >>> next(iter(fuse({5: 7.0}, {1: 0.5, 2: 0.4, 5: 0.1})))
    5
    """
    total: dict[int, float] = dict.fromkeys([*lexical, *dense], 0.0)
    if 0 < len(lexical) < POOL:
        lexical = dict.fromkeys(total, 0.0) | lexical
    for pool, weight in ((lexical, 1 - dense_weight), (dense, dense_weight)):
        if not pool:
            continue
        scaled = standardize(np.fromiter(pool.values(), np.float32)) * weight
        by_passage = dict(zip(pool, scaled.tolist(), strict=True))
        lowest = min(by_passage.values())
        for passage in total:
            total[passage] += by_passage.get(passage, lowest)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def fuse_ranks(*pools: dict[int, float]) -> dict[int, float]:
    """Return passage -> sum of 1 / (60 + rank) over the pools, best first: reciprocal rank fusion, for comparison.

    >>> list(fuse_ranks({1: 9.0, 2: 3.0}, {2: 0.8, 4: 0.2}))
    [2, 1, 4]

    Source: Cormack et al. 2009, doi:10.1145/1571941.1572114.
    """
    total: dict[int, float] = {}
    for pool in pools:
        for rank, passage in enumerate(sorted(pool, key=lambda key: (-pool[key], key)), 1):
            total[passage] = total.get(passage, 0.0) + 1 / (RRF_K + rank)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
