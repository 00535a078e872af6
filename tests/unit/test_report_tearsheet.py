"""The tear sheet: one file, complete, safe, the same bytes each time, and drawn by a browser that has no network."""

import base64
import gzip
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from json import loads
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantai.core.errors import DataError, StorageError
from quantai.data.samples import sp500
from quantai.report import stats, tables, tearsheet

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
RULES = ["A market order decided at a bar's close fills at the next open."]


def run_of(bars: Any, every: int = 20, symbol: str = "SPX") -> dict[str, Any]:
    """A long position bought and sold every few bars, with its frames."""
    at = bars.index[::every]
    px = bars["open"].to_numpy()[::every]
    n = len(at) // 2
    bought, sold = px[: 2 * n : 2], px[1 : 2 * n : 2]
    fills = pd.DataFrame({"ts": at, "order": np.arange(len(at)), "symbol": symbol, "px": px, "qty": 10.0, "fee": 0.5})
    fills["side"] = np.where(np.arange(len(at)) % 2, -1, 1)
    fills["where"] = "open"
    trades = pd.DataFrame(
        {"symbol": symbol, "side": 1, "qty": 10.0, "entry_ts": at[: 2 * n : 2], "exit_ts": at[1 : 2 * n : 2]}
    )
    trades["entry_px"], trades["exit_px"], trades["fees"] = bought, sold, 1.0
    trades["pnl"] = 10 * (sold - bought) - 1
    trades["ret"], trades["bars"], trades["open"] = trades["pnl"] / (10 * bought), every, False
    curve = 1e5 + np.interp(np.arange(len(bars)), 2 * every * np.arange(1, n + 1), trades["pnl"].cumsum(), left=0.0)
    close = bars.index + pd.Timedelta("6h30min")
    equity = pd.DataFrame({"equity": curve, "cash": curve, "exposure": 0.1}, index=close)
    return {"bars": bars, "fills": fills, "trades": trades, "equity": equity}


@pytest.fixture(scope="module")
def run() -> dict[str, Any]:
    return run_of(sp500().df().tail(1_000))


def sheet(folder: Path, run: dict[str, Any], **more: Any) -> str:
    given: dict[str, Any] = {
        "title": "A run",
        "stats": {} if "stats" in more else stats.summary(run["equity"], run["fills"], run["trades"]),
        "provenance": {"data": {"fingerprint": "sha256:1234"}, "parameters": {"fast": 5}, "fill_rules": RULES},
        **run,
        **more,
    }
    path = tearsheet.write(folder / "deep" / "er" / "out.html", **given)
    assert [p.name for p in path.parent.iterdir()] == ["out.html"]
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Every element with its attributes, and the text of the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attrs = self.elements[-1] if self.elements else ("", {})
        if tag == "script":
            name = attrs.get("id") or "code"
            self.scripts[name] = self.scripts.get(name, "") + data
        else:
            self.words.append(data)


def test_nothing_in_the_file_points_outside_it(tmp_path: Path, run: dict[str, Any]) -> None:
    text = sheet(tmp_path, run)
    page = Page(text)
    assert re.findall(r"https?:|//[a-z0-9-]+\.[a-z]|url\(|@import", text) == []
    assert [a for _, a in page.elements if "src" in a or "href" in a] == []
    assert [t for t, _ in page.elements if t in ("link", "iframe", "object", "base", "img")] == []
    policy = next(a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert len(text) < 4_000_000


def test_plotly_travels_inside_unchanged(tmp_path: Path, run: dict[str, Any]) -> None:
    from plotly.offline import get_plotlyjs

    packed = Page(sheet(tmp_path, run)).scripts["plotly"]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_figures_tables_and_origin_are_all_there(tmp_path: Path, run: dict[str, Any]) -> None:
    text = sheet(tmp_path, run, notes=["3 bars were ambiguous."], currency="USD")
    page = Page(text)
    words = " ".join(page.words)
    figures = loads(page.scripts["figures"])
    assert set(figures["figures"]) == {"backtest", "histogram"}
    assert set(figures["themes"]) == {"light", "dark"}
    assert {a["id"] for _, a in page.elements if a.get("class") == "plot"} == set(figures["figures"])
    assert {"Price", "Buy", "Sell", "Equity", "Drawdown"} <= {t["name"] for t in figures["figures"]["backtest"]["data"]}
    for said in ("3 bars were ambiguous.", "sha256:1234", "fast", *RULES, "How orders were filled", "USD"):
        assert said in words, said
    s = stats.summary(run["equity"], run["fills"], run["trades"])
    best = f"{run['trades']['pnl'].max():,.2f}".replace(",", "\u202f")
    assert words.count(best) == 2, "among the winners and among all trades"
    assert tables.shown("sharpe", s["sharpe"]) in words
    assert words.count("SPX") >= len(run["trades"])


def test_text_from_outside_cannot_become_markup(tmp_path: Path, run: dict[str, Any]) -> None:
    clean = Page(sheet(tmp_path / "a", run, notes=["x"]))
    hostile = {k: v.assign(symbol=HOSTILE) if k in ("fills", "trades") else v for k, v in run.items()}
    hostile["fills"] = hostile["fills"].assign(where=HOSTILE)
    origin = {HOSTILE: [HOSTILE, {"deep": HOSTILE}], "fill_rules": {HOSTILE: HOSTILE}, "{{plotly}}": "{{figures}}"}
    text = sheet(tmp_path / "b", hostile, title=HOSTILE, notes=[HOSTILE], currency=HOSTILE, provenance=origin)
    page = Page(text)
    for tag in ("script", "img"):
        count = sum(t == tag for t, _ in clean.elements)
        assert sum(t == tag for t, _ in page.elements) == count, tag
    assert "{{figures}}" in text
    assert loads(page.scripts["figures"])["figures"]["backtest"]["data"]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, run: dict[str, Any]) -> None:
    assert sheet(tmp_path / "a", run) == sheet(tmp_path / "b", run)


def test_several_instruments_are_drawn_each_and_the_rest_is_named(tmp_path: Path, run: dict[str, Any]) -> None:
    bars = {f"S{i}": run["bars"] for i in range(8)}
    every = {s: run_of(run["bars"], every=20 + i, symbol=s) for i, s in enumerate(bars)}
    fills = pd.concat([r["fills"] for r in every.values()])
    trades = pd.concat([r["trades"] for r in every.values()])
    text = sheet(tmp_path, run | {"bars": bars, "fills": fills, "trades": trades})
    page = Page(text)
    assert set(loads(page.scripts["figures"])["figures"]) == {
        "equity", "drawdown", "histogram", *(f"price{i}" for i in range(6)),
    }  # fmt: skip
    assert "Not drawn: S6, S7." in " ".join(page.words)


def test_a_run_without_a_trade_or_bars_still_has_a_sheet(tmp_path: Path, run: dict[str, Any]) -> None:
    idle = run | {"fills": run["fills"].iloc[:0], "trades": run["trades"].iloc[:0], "bars": None}
    words = " ".join(Page(sheet(tmp_path, idle, provenance={})).words)
    assert "There were no trades." in words
    one = {k: v.iloc[:1] for k, v in run.items()}
    assert "1 bars" in " ".join(Page(sheet(tmp_path / "one", one)).words)


def test_months_count_from_the_account_before_the_first_bar(run: dict[str, Any]) -> None:
    s = stats.summary(run["equity"], run["fills"], run["trades"], initial=2e5)
    whole = tearsheet._with_start(run["equity"], s)  # pyright: ignore[reportPrivateUsage]
    assert "−50.0" in tables.months(whole)
    assert "−50.0" not in tables.months(run["equity"])


def test_long_tables_say_what_they_leave_out(run: dict[str, Any]) -> None:
    many = pd.concat([run["trades"]] * 100, ignore_index=True)
    text = tables.all_trades(many)
    assert f"The first 2,000 of {len(many):,} trades" in text
    assert text.count("<tr>") == tables.ROWS + 1


def test_what_cannot_be_written_is_one_clear_error_and_leaves_nothing(tmp_path: Path, run: dict[str, Any]) -> None:
    (tmp_path / "deep").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="pass a path in a writable folder"):
        sheet(tmp_path, run)
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]
    with pytest.raises(DataError, match="at least one bar"):
        sheet(tmp_path, run | {"equity": run["equity"].iloc[:0]}, stats={})


def test_statistics_need_no_plotly() -> None:
    code = "import sys, quantai.report.stats, quantai.report.tearsheet; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the program chromium to open the page")
def test_a_browser_without_a_network_draws_it(tmp_path: Path, run: dict[str, Any]) -> None:
    sheet(tmp_path, run)
    command = [
        "chromium",
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        "--dump-dom",
    ]
    command += [
        "--proxy-server=127.0.0.1:9",
        "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    shown = subprocess.run(
        [*command, f"file://{tmp_path}/deep/er/out.html"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert 'data-drawn="yes"' in shown
    assert "plot missing" not in shown
    assert shown.count('class="main-svg"') >= 4
    assert 'data-title="Reset axes"' in shown
    assert 'data-title="Share' not in shown
