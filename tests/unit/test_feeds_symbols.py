"""Symbol names go both ways, and instruments say what cryptofeed knows of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from quantai.core.errors import UnknownName
from quantai.core.instruments import Instrument
from quantai.data.tables import check_name
from quantai.feeds.symbols import Names, instrument, our_name

PAIRS = [
    ("BTC-USDT", "BTC-USDT"),
    ("BTC-USDT-PERP", "BTC-USDT-PERP"),
    ("BTC-USD-22K27", "BTC-USD-20220527"),
    ("BTC-USD-21Q6", "BTC-USD-20210806"),
    ("BTC-USD-21Q06", "BTC-USD-20210806"),
    ("ETH-2800-21N30-call", "ETH-USD-20210730-2800-C"),
    ("BTC-8000-21U24-put", "BTC-USD-20210924-8000-P"),
    ("BTC-USDC-90000-26H6-put", "BTC-USDC-20260306-90000-P"),
    ("XRP-USDC-0.5500-26H6-call", "XRP-USDC-20260306-0.55-C"),
    ("BTC-JPY-FX", "BTC-JPY-PERP"),
    ("kPEPE-USD-PERP", "KPEPE-USD-PERP"),
    ("BTC-USDT-PINDEX", "BTC-USDT-PINDEX"),
    ("USDT", "USDT"),
    ("BTC-USD_UM-26Q28", "BTC-USD_UM-20260828"),
    ("币安-USDT", "u5e01u5b89-USDT"),
]


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_a_name_goes_there_and_back(theirs: str, ours: str) -> None:
    assert our_name(theirs) == ours
    names = Names("OKX", [theirs])
    assert (names.ours(theirs), names.theirs(ours), names.theirs(theirs)) == (ours, theirs, theirs)
    assert check_name("symbol", ours) == ours


def test_two_listings_never_share_a_name() -> None:
    names = Names("BITFLYER", ["BTC-JPY-PERP", "BTC-JPY-FX"])
    assert {names.theirs(names.ours(t)) for t in ("BTC-JPY-PERP", "BTC-JPY-FX")} == {"BTC-JPY-PERP", "BTC-JPY-FX"}


def test_an_unknown_symbol_is_refused_with_a_hint() -> None:
    with pytest.raises(UnknownName, match="unknown symbol of OKX 'BTC-USDX': did you mean 'BTC-USDT'"):
        Names("OKX", ["BTC-USDT"]).theirs("BTC-USDX")


def test_every_listing_of_the_captured_venues_has_a_name_and_an_instrument(shared_data: Path) -> None:
    seen = 0
    for path in sorted((shared_data / "wire").glob("*.meta.json")):
        feed = json.loads(path.read_text())["feeds"][0]
        venue, listed = feed["exchange"], feed["symbols_snapshot"]
        names = Names(venue, listed["normalized"])
        for theirs in listed["normalized"]:
            ours = names.ours(theirs)
            assert names.theirs(ours) == theirs
            made = instrument(venue, theirs, ours, listed["info"])
            assert (made.symbol, made.venue) == (check_name("symbol", ours), venue)
            kind = listed["info"].get("instrument_type", {}).get(theirs, "")
            if kind in ("option", "futures", "future", "perpetual"):
                assert made.contract.name == {"futures": "FUTURE"}.get(kind, kind.upper())
            seen += 1
    assert seen > 5_000


def made(venue: str, theirs: str, **info: dict[str, Any]) -> Instrument:
    return instrument(venue, theirs, our_name(theirs), info)


def test_ticks_are_exact_whatever_type_the_venue_sends() -> None:
    for tick in ("0.00050000", 0.0005, "5e-4"):
        assert str(made("DERIBIT", "BTC-8000-21U24-put", tick_size={"BTC-8000-21U24-put": tick}).tick.normalize()) in (
            "0.0005",
            "0.00050",
        )
    for unknown in ({}, {"BTC-USDT": None}, {"BTC-USDT": "n/a"}, {"BTC-USDT": 0}):
        assert str(made("GATE", "BTC-USDT", tick_size=unknown).tick) == "1E-8"


@pytest.mark.parametrize(
    ("venue", "theirs", "payoff", "settle"),
    [
        ("OKX", "BTC-USD-PERP", "INVERSE", "BTC"),
        ("OKX", "BTC-USDT-PERP", "LINEAR", "USDT"),
        ("BINANCE_DELIVERY", "BTC-USD-26H27", "INVERSE", "BTC"),
        ("HYPERLIQUID", "BTC-USD-PERP", "LINEAR", "USD"),
        ("PHEMEX", "BTC-USD-PERP", "INVERSE", "BTC"),
        ("PHEMEX", "XTZ-USD-PERP", "LINEAR", "USD"),
        ("DERIBIT", "ETH-2800-21N30-call", "LINEAR", "ETH"),
        ("OKX", "BTC-USD-90000-26H6-put", "LINEAR", "BTC"),
        ("DERIBIT", "BTC-USDC-90000-26H6-put", "LINEAR", "USDC"),
    ],
)
def test_what_a_contract_settles_in(venue: str, theirs: str, payoff: str, settle: str) -> None:
    found = made(venue, theirs)
    assert (found.payoff.name, found.settle) == (payoff, settle)


def test_venues_that_say_so_are_believed() -> None:
    sizes = {"BTC-USD-PERP": -1}
    inverse = made("KUCOIN_FUTURES", "BTC-USD-PERP", is_inverse={"BTC-USD-PERP": True}, contract_size=sizes)
    assert (inverse.payoff.name, inverse.multiplier) == ("INVERSE", 1)
    kinds = {"BTC-USD-PERP": "Perpetual Inverse Futures", "ETH-USD-PERP": "Perpetual Linear Multi-Collateral Futures"}
    assert made("KRAKEN_FUTURES", "BTC-USD-PERP", product_type=kinds).payoff.name == "INVERSE"
    assert made("KRAKEN_FUTURES", "ETH-USD-PERP", product_type=kinds).payoff.name == "LINEAR"
