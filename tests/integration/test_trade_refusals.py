"""What `quantai trade` refuses: exit code 1, one line that names the thing, and nothing sent.

What is refused while a run trades is one line, too, and the run goes on.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import quantai as qa
from quantai.cli import main
from quantai.execution.plan import paper_limits
from quantai.venues.loopback import KEY, SECRET
from tests.chaos.live import Market

REFUSED = "BINANCE: NEW BTC-USDT refused:"
CROSSED = "risk denies a request: STALE_QUOTE"
"""Of a moment in which the stream of best prices is ahead of that of the book, on a machine that is busy."""
NO_BALANCE = "Account has insufficient balance for requested action."


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    running = Market(seed=4)
    yield running
    running.close()


@pytest.fixture
def words(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A live run that would trade: what is changed in it is what is wrong."""
    monkeypatch.setenv("QUANTAI_BINANCE_KEY", KEY)
    monkeypatch.setenv("QUANTAI_BINANCE_SECRET", SECRET)
    limits = tmp_path / "limits.toml"
    limits.write_text(paper_limits().text())
    yield [
        "trade", "quantai.strategy.examples:Quote", "--venue", "BINANCE", "--symbols", "BTC-USDT", "--mode", "live",
        "--i-understand", "--limits", str(limits), "--journal", str(tmp_path / "run.journal"),
        "--endpoint", market.exchange.http, "--seconds", "1", "--json",
    ]  # fmt: skip
    market.heal()


def refused(market: Market, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of a run that must not have sent anything."""
    before = len(market.truth()["orders"])
    assert main(words) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("quantai: ")]
    assert (len(lines), said.out) == (1, ""), said
    assert lines[0].startswith("quantai: error: "), lines
    assert SECRET not in said.err
    assert len(market.truth()["orders"]) == before, "nothing is sent"
    assert not list(Path(words[words.index("--journal") + 1]).parent.glob("*.journal"))
    return lines[0]


def went_on(
    market: Market, words: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, *more: str
) -> str:
    """Return the line about what was refused in a run that asked for orders, none of which came to be."""
    before = len(market.truth()["orders"])
    words[1] = "tests.integration.refusing:Asks"
    with caplog.at_level(logging.WARNING):
        assert main([*words, *more]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["orders"] > 0
    assert (done["fills"], done["at_work"], done["alarms"]) == (0, [], [])
    assert len(market.truth()["orders"]) == before, "nothing came into the exchange's books"
    assert SECRET not in caplog.text
    first, *again = [said for r in caplog.records if not (said := r.getMessage()).startswith(CROSSED)]
    assert all(line.startswith(first) and line.endswith("times by now)") for line in again), caplog.text
    assert "\n" not in first
    return first


def test_a_wrong_key(market, words, capsys, monkeypatch) -> None:
    monkeypatch.setenv("QUANTAI_BINANCE_KEY", "another-key")
    assert "the key, or its rights, are not accepted" in refused(market, words, capsys)


def test_no_key(market, words, capsys, monkeypatch) -> None:
    monkeypatch.delenv("QUANTAI_BINANCE_KEY")
    assert "QUANTAI_BINANCE_KEY" in refused(market, words, capsys)


def test_an_unknown_symbol(market, words, capsys) -> None:
    words[words.index("BTC-USDT")] = "BTC-USDX"
    assert "BTC-USDX" in refused(market, words, capsys)


def test_live_without_saying_so(market, words, capsys) -> None:
    words.remove("--i-understand")
    assert "--i-understand" in refused(market, words, capsys)


def test_live_without_limits(market, words, capsys) -> None:
    at = words.index("--limits")
    del words[at : at + 2]
    assert "--limits FILE" in refused(market, words, capsys)


@pytest.mark.parametrize(
    ("text", "said"), [(None, "limits.toml"), ("max_order_notional = 1", "limits"), ("][", "limits")]
)
def test_limits_that_are_none(market, words, capsys, text: str | None, said: str) -> None:
    path = Path(words[words.index("--limits") + 1])
    path.unlink() if text is None else path.write_text(text)
    assert said in refused(market, words, capsys)


def test_an_address_where_nobody_is(market, words, capsys) -> None:
    words[words.index("--endpoint") + 1] = "http://127.0.0.1:9"
    assert "127.0.0.1:9" in refused(market, words, capsys)


def test_a_clock_that_differs(market, words, capsys) -> None:
    market.fault("reject:code=-1021,path=/api/v3/account")
    assert "the clock of this machine differs from the exchange's" in refused(market, words, capsys)


def test_a_market_that_is_halted_at_the_start(market, words, capsys) -> None:
    market.fault("halt:symbol=BTCUSDT")
    assert "lists only what trades now: it may be halted" in refused(market, words, capsys)


def test_a_plan_that_is_not_there(market, words, capsys) -> None:
    del words[1]
    assert "there is no plan" in refused(market, [*words, "--plan", "nowhere.toml"], capsys)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"qty": 900.0}, "risk denies a request: LEVERAGE"),
        ({"qty": 0.00001}, "risk denies a request: NOTIONAL_MIN"),
        ({"away": 0.9}, "risk denies a request: PRICE_COLLAR"),
        ({"qty": 3.0, "away": 0.001}, f"{REFUSED} the account does not hold enough for it: {NO_BALANCE}"),
        ({"away": 0.85}, f"{REFUSED} it breaks a rule of the exchange: Filter failure: PERCENT_PRICE_BY_SIDE"),
    ],
)
def test_orders_that_cannot_be(market, words, capsys, caplog, asked: dict[str, float], line: str) -> None:
    limits = Path(words[words.index("--limits") + 1])
    limits.write_text(limits.read_text().replace("collar_bps = 5000", "collar_bps = 8800"))
    said = went_on(market, words, capsys, caplog, "--params", json.dumps(asked))
    assert said == line


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("reject:code=-1021,path=*/order,method=POST", "the clock of this machine differs from the exchange's: "),
        ("reject:code=-2019,path=*/order,method=POST", "the account does not hold enough for it: Margin is insuff"),
        ("reject:code=-1013,path=*/order,method=POST", "it breaks a rule of the exchange: Filter failure: LOT_SIZE"),
    ],
)
def test_orders_that_the_exchange_refuses(market, words, capsys, caplog, fault: str, line: str) -> None:
    market.fault(fault)
    assert f"{REFUSED} {line}" in went_on(market, words, capsys, caplog)


def test_a_market_that_halts_while_a_run_trades(market, words, caplog, tmp_path) -> None:
    options = {"limits": words[words.index("--limits") + 1], "endpoint": market.exchange.http, "seconds": 1.0}
    where = {"venue": "BINANCE", "symbols": "BTC-USDT", "mode": "live", "i_understand": True}
    with caplog.at_level(logging.WARNING):
        run = qa.trade("tests.integration.refusing:Asks", journal=tmp_path / "run.journal", **where, **options)
        market.fault("halt:symbol=BTCUSDT")
        before = len(market.truth()["orders"])
        assert run.result().at_work == []
        market.heal()
    assert f"{REFUSED} the market is closed: Market is closed." in caplog.text
    assert len(market.truth()["orders"]) <= before + 1, "one may have been on its way"
