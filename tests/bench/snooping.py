"""Whether p-values of data snooping mean what they say: on noise, a p-value is uniform on [0, 1].

For each of `n` seeds, the best of `variants` series of independent noise is tested against cash. `ks` is the largest
distance of the distribution of p-values from the uniform one (Kolmogorov-Smirnov), `ks_p` the probability of as large a
distance if they are uniform, `below_5_percent` the share of p-values below 0.05. `power` is the share of seeds in which
one variant with a yearly Sharpe ratio of 2 among the others is found. The lower and upper p-values of Hansen bracket
the consistent one, and are not uniform.
"""

import math
import time
from typing import Any

import numpy as np

N = 200
ARGS = {"returns": 500, "variants": 20, "reps": 500}


def run(seed: int, n: int, returns: int = 500, variants: int = 20, reps: int = 500) -> dict[str, Any]:
    """Test `n` tables of noise, and the same tables with one good variant in them."""
    from quantai.backtest.validate import data_snooping

    start = time.perf_counter()
    spa, white, found = list[float](), list[float](), 0
    for k in range(n):
        noise = np.random.default_rng([seed, k]).normal(0.0, 0.01, (returns, variants))
        tested = data_snooping(noise, reps=reps, seed=k)
        spa.append(tested.spa)
        white.append(tested.reality_check)
        noise[:, k % variants] += 2.0 / math.sqrt(252) * 0.01
        found += k % variants in data_snooping(noise, reps=reps, seed=k).superior
    return {
        "ks": distance(spa),
        "ks_p": chance(distance(spa), n),
        "below_5_percent": float(np.mean(np.array(spa) < 0.05)),
        "mean": float(np.mean(spa)),
        "reality_check": {"ks": distance(white), "ks_p": chance(distance(white), n)},
        "power": found / n,
        "seconds": time.perf_counter() - start,
    }


def distance(values: list[float]) -> float:
    """Return the Kolmogorov-Smirnov distance of a sample from the uniform distribution on [0, 1]."""
    p, n = np.sort(values), len(values)
    at = np.arange(n)
    return float(max(((at + 1) / n - p).max(), (p - at / n).max()))


def chance(d: float, n: int) -> float:
    """Return the probability of at least this distance under uniformity.

    The asymptotic series, with the correction of Stephens, "EDF Statistics for Goodness of Fit", JASA 69, 1974.
    """
    x = d * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    return min(1.0, max(0.0, 2.0 * sum((-1) ** (k - 1) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 101))))
