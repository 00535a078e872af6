"""Trading at the loopback exchange for two minutes: memory, tasks and sockets stay what they were, nothing is lost.

`python -m tests.chaos soak --minutes 60 --rate 2000` is the whole of it.
"""

from tests.chaos import soak


def test_two_minutes_of_trading_leak_nothing() -> None:
    figures = soak.run(1, seed=2, minutes=1.2, rate=300.0)  # two minutes with the start and the end
    assert figures["failures"] == 0, figures
    assert figures["rows_lost"] == 0
    assert figures["fills"] > 0
