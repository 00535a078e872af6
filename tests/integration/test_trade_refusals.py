"""What `quantai trade` refuses: exit code 1, one line that names the thing, and nothing sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from quantai.cli import main
from quantai.execution.plan import paper_limits
from quantai.venues.loopback import KEY, SECRET
from tests.chaos.live import Market


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    running = Market(seed=4)
    yield running
    running.close()


@pytest.fixture
def words(market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A live run that would trade: what is changed in it is what is wrong."""
    monkeypatch.setenv("QUANTAI_BINANCE_KEY", KEY)
    monkeypatch.setenv("QUANTAI_BINANCE_SECRET", SECRET)
    limits = tmp_path / "limits.toml"
    limits.write_text(paper_limits().text())
    return [
        "trade", "quantai.strategy.examples:Quote", "--venue", "BINANCE", "--symbols", "BTC-USDT", "--mode", "live",
        "--i-understand", "--limits", str(limits), "--journal", str(tmp_path / "run.journal"),
        "--endpoint", market.exchange.http, "--seconds", "1", "--json",
    ]  # fmt: skip


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
