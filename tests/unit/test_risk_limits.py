"""The limits file: complete, spelt right, in range, and never looser by accident."""

import re
from dataclasses import fields, replace
from decimal import Decimal
from pathlib import Path

import pytest

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument
from quantai.execution.exposure import risk_book
from quantai.execution.limits import LIMITS, Limits

EXAMPLE = Limits.example()


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    limits = replace(EXAMPLE, position={"BTC-USDT": Decimal("0.5")})
    path = tmp_path / "limits.toml"
    path.write_text(limits.text())
    assert Limits.load(path) == limits
    assert limits.max_units("BTC-USDT") == Decimal("0.5")
    assert limits.max_units("ETH-USDT") == 50


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "max_order_notional, max_position, .* missing; a limit has no default"),
        (EXAMPLE.text() + "x = ", "not TOML"),
        (EXAMPLE.text().replace("max_leverage = 2", 'max_leverage = "two"'), "max_leverage = 'two' is not a number"),
        (EXAMPLE.text().replace("max_leverage = 2", "max_leverage = -2"), "max_leverage = -2 is not a number of 0"),
        (EXAMPLE.text().replace("max_leverage = 2", "max_leverage = inf"), "is not a number of 0 or more"),
        (EXAMPLE.text().replace("max_leverage = 2", "max_leverage = true"), "max_leverage = True is not a number"),
        (re.sub("max_drawdown = .*", "max_drawdown = 20", EXAMPLE.text()), "max_drawdown = 20 is a fraction"),
        (re.sub("max_gross = .*", 'max_gross = "1e400"', EXAMPLE.text()), "max_gross = 1e400 is more than"),
        (EXAMPLE.text().replace("rate_max = 10\n", "rate_max = 10.5\n"), "rate_max = .* is not a whole number"),
        (EXAMPLE.text().replace("rate_max = 10\n", "rate_max = 5000\n"), "rate_max = 5000 is above 4096"),
        (EXAMPLE.text() + "position = 3\n", "position is a table of symbols"),
        (EXAMPLE.text() + '[position]\n"BTC-USDT" = "much"\n', "position.BTC-USDT = 'much' is not a number"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Limits.parse(text)


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="unknown limit 'max_position_size': did you mean 'max_position'"):
        Limits.parse(EXAMPLE.text() + "max_position_size = 3\n")
    with pytest.raises(UnknownName, match="value of stp 'denied': did you mean 'deny'"):
        Limits.parse(EXAMPLE.text().replace('"deny"', '"denied"'))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml cannot be read: No such file"):
        Limits.load(tmp_path / "nowhere.toml")


STRICTER = {"rate_window_ms": 2000, "duplicate_window_ms": 400}


@pytest.mark.parametrize(
    "name", [f.name for f in fields(Limits) if f.name not in ("position", "stp", "passive_cross_bps")]
)
def test_only_stricter_limits_load_while_running(name: str) -> None:
    value = getattr(EXAMPLE, name)
    stricter = replace(EXAMPLE, **{name: STRICTER.get(name, type(value)(value / 2))})
    assert EXAMPLE.replaced_by(stricter) is stricter
    with pytest.raises(InputError, match=f"limits got looser .{name} .* confirm the change"):
        stricter.replaced_by(EXAMPLE)
    assert stricter.replaced_by(EXAMPLE, confirmed=True) is EXAMPLE


def test_leaving_self_trades_to_the_venue_is_looser() -> None:
    assert EXAMPLE.loosened(replace(EXAMPLE, stp="venue")) == ["stp deny -> venue"]
    assert replace(EXAMPLE, stp="venue").loosened(EXAMPLE) == []


def test_the_position_limit_of_a_symbol_counts_as_what_it_is() -> None:
    small = replace(EXAMPLE, position={"A": Decimal(1)})
    assert EXAMPLE.loosened(small) == []
    assert small.loosened(EXAMPLE) == ["position.A 1 -> 50"]
    assert small.loosened(replace(small, position={"A": Decimal(2), "B": Decimal(60)})) == [
        "position.A 1 -> 2",
        "position.B 50 -> 60",
    ]


def test_the_row_holds_every_limit_in_the_units_of_the_check() -> None:
    row = replace(EXAMPLE, passive_cross_bps=Decimal(25)).row()[0]
    assert (row["collar"], row["passive_cross"], row["rate_window_ns"], row["stp_deny"]) == (0.05, 0.0025, 10**9, 1)
    assert float(row["max_drawdown"]) == 0.2
    assert LIMITS.itemsize == sum(LIMITS[n].itemsize for n in LIMITS.names or ()) == 128


def test_a_book_knows_the_position_limit_of_each_instrument() -> None:
    limits = replace(EXAMPLE, position={"BTC-USDT": Decimal("0.5")})
    book = risk_book([Instrument.parse("BTC-USDT"), Instrument.parse("ETH-USDT")], limits)
    assert list(book.watch["max_position"]) == [0.5, 50.0]
    assert len(risk_book([], limits).instruments) == 0
