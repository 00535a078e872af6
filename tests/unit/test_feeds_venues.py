"""What venues offer, and the errors for what they do not."""

import pytest

from quantai.core.errors import InputError, UnknownName
from quantai.feeds.feed import CHANNELS
from quantai.feeds.venues import channels, check_channels, describe, venues

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")


def test_every_venue_of_cryptofeed_can_be_described() -> None:
    from cryptofeed.exchanges import EXCHANGE_MAP

    assert venues() == sorted(EXCHANGE_MAP)
    for venue in venues():
        about = describe(venue)
        assert set(about["channels"]) <= set(CHANNELS)
        assert "trades" in about["channels"]
        assert about["needs_keys"] is False
        assert bool(about["candle_intervals"]) == ("candles" in about["channels"]), venue


def test_each_channel_is_offered_somewhere() -> None:
    assert {c for venue in venues() for c in channels(venue)} == set(CHANNELS)


def test_unknown_names_come_with_a_hint() -> None:
    with pytest.raises(UnknownName, match="did you mean 'KRAKEN_FUTURES'"):
        describe("KRAKEN_FUTURE")
    with pytest.raises(UnknownName, match="channel of OKX 'liquidation': did you mean 'liquidations'"):
        check_channels("OKX", ["trades", "liquidation"])
    with pytest.raises(InputError, match="no channel"):
        check_channels("OKX", [])
    assert check_channels("OKX", ["trades", "ticker", "trades"]) == ["trades", "ticker"]
