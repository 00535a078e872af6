"""Promotion: what must be refused is refused with its reason, what is honest goes into the store and comes back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import quantai as qa
from quantai.cli import main
from quantai.core.errors import DataError, InputError, StrategyError, UnknownName
from quantai.core.rows import Rows
from quantai.execution.limits import Limits
from quantai.notebook.promote import (
    Promotion,
    Version,
    difference,
    get,
    promote,
    resolve,
    rollback,
    set_alias,
    versions,
)
from quantai.notebook.promote.source import load_class, module_text
from quantai.notebook.promote.store import alias_of, history
from quantai.notebook.serve import Served, serve
from quantai.tools import Request, ready_tools
from tests.conftest import REPO
from tests.fuzzing import fuzz, without_a_key
from tests.promotions import Follow, Level, trending
from tests.serving_setting import KEYS, PATIENCE_S, bentoml_home

COSTS = {"fee_bps": 2.0}


@pytest.fixture(scope="module")
def bars() -> qa.Bars:
    return trending()


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An own BentoML home for this file."""
    with bentoml_home(tmp_path_factory.mktemp("bentoml") / "home") as folder:
        yield folder


def refused(done: Promotion, gate: str) -> str:
    """The reason of a gate that refused; nothing was stored."""
    assert done.version is None, done.report
    found = {g.name: g.reason for g in done.refused_by}
    assert gate in found, done.report
    assert "refused" in done.report
    return found[gate]


@pytest.fixture(scope="module")
def honest(bars: qa.Bars, home: Path) -> Promotion:
    swept = qa.sweep(Follow, bars, period=[20, 30, 40, 60], **COSTS)
    done = qa.promote(swept, name="follow", limits=Limits.example())
    assert done.version is not None, done.report
    return done


def test_an_honest_strategy_passes_every_gate_and_comes_back_whole(honest: Promotion, bars: qa.Bars) -> None:
    assert {g.outcome for g in honest.gates if g.name != "drawdown"} == {"pass"}, honest.report
    assert honest.alias == "champion"
    version = get(honest.tag)
    assert version.strategy.params["period"] == version.params["period"]
    assert type(version.strategy).source_hash() == Follow.source_hash()
    assert version.manifest["data"]["fingerprint"] == bars.fingerprint
    assert version.limits == Limits.example()
    assert version.differences() == []
    assert len(version.golden.intents) > 5
    assert "numba==" in (version.folder / "environment.txt").read_text()
    card = (version.folder / "card.md").read_text()
    assert "| lookahead | pass |" in card
    assert not list(version.folder.rglob("*.pkl"))
    served = qa.backtest(version.strategy, bars, **COSTS)
    assert served.intents.tobytes() == qa.backtest(Follow(**version.params), bars, **COSTS).intents.tobytes()


@pytest.fixture(scope="module")
def service(honest: Promotion, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The signal service of the version, started for real."""
    one = serve(honest, mode="signal", folder=tmp_path_factory.mktemp("signal"))
    yield one
    one.stop()


def sent(bars: qa.Bars, n: int) -> list[dict[str, Any]]:
    names = ("ts_open", "ts_close", "open", "high", "low", "close", "volume")
    return [{name: row[name].item() for name in names} for row in bars.rows[:n]]


def aims(intents: Rows) -> list[tuple[int, float]]:
    return [(int(intent["seq"]) - 1, int(intent["qty_lots"]) / 1e9) for intent in intents]


def test_the_signal_service_answers_what_a_backtest_asks_for(service: Served, honest: Promotion, bars: qa.Bars) -> None:
    items = sent(bars, 2_000)
    kept = qa.backtest(get(honest.tag).strategy, qa.Bars(bars.rows[:2_000], bars.instruments, "1h"), fee_bps=2.0)
    expected = aims(kept.intents)
    assert len(expected) > 20
    said = service.ask("targets", "POST", {"bars": items})
    assert [(x["n"], x["target"]) for x in said["intents"]] == expected
    assert [x["ts_ns"] for x in said["intents"]] == [items[n]["ts_close"] for n, _ in expected]
    assert said["targets"] == {"BTC-USDT": expected[-1][1]}

    lines = "\n".join(json.dumps(item) for item in items[:500]) + "\n" + json.dumps(items[500:2_000])
    headers = {"Authorization": f"Bearer {KEYS['read']}"}
    with httpx.stream("POST", f"{service.address}/stream", content=lines, headers=headers, timeout=PATIENCE_S) as got:
        answers = [json.loads(line) for line in got.iter_lines()]
    assert len(answers) == 501
    assert [(x["n"], x["target"]) for answer in answers for x in answer["intents"]] == expected
    assert answers[-1]["bars"] == 2_000


def test_the_signal_service_refuses_in_words_what_makes_no_sense(service: Served, bars: qa.Bars) -> None:
    one, two = sent(bars, 2)
    for wrong, why in (
        ({"bars": [one | {"close": "x"}]}, "bars 0: 'x' is no number"),
        ({"bars": [one | {"symbol": "BTC-USD"}]}, "did you mean 'BTC-USDT'"),
        ({"bars": [{"ts_close": 5}]}, "open is missing"),
        ({"bars": [two, one]}, "order"),
        ({"rows": []}, "send a JSON object"),
    ):
        with pytest.raises(InputError, match=rf"400 .*{why}"):
            service.ask("targets", "POST", wrong)


def test_the_interface_of_signals_holds_and_asks_for_keys(service: Served) -> None:
    operations = fuzz(f"{service.address}/openapi.json", key=KEYS["read"], examples=25, leave_out=["/stream"])
    open_ = {"GET /livez": 200, "GET /readyz": 200}
    found = without_a_key(service.address, operations)
    assert {name: code for name, code in found.items() if code != 401} == open_
    assert len(found) == 4


def test_look_ahead_is_refused(bars: qa.Bars) -> None:
    fitted = promote(lambda data: Level(level=float(np.median(data.rows["close"]))), bars, name="x", **COSTS)
    assert "the future changes the past" in refused(fitted, "lookahead")
    centred = promote(
        Follow, bars, name="x", prepare=lambda data: data.df()["close"].rolling(5, center=True).mean(), **COSTS
    )
    assert "prepared" in refused(centred, "lookahead")


def test_non_determinism_is_refused(bars: qa.Bars) -> None:
    rng = np.random.default_rng()
    drawn = promote(lambda _: Follow(period=int(rng.integers(20, 2_000))), bars, name="x", **COSTS)
    assert "other parameters" in refused(drawn, "deterministic")


def test_what_cannot_be_compiled_or_read_again_is_refused(bars: qa.Bars, tmp_path: Path) -> None:
    file = tmp_path / "drawn_once.py"
    file.write_text(
        "import random\nimport quantai as qa\n\n\n"
        "class Drawn(qa.Strategy):\n    x: float = qa.state(random.random())\n\n"
        "    def on_bar(self, ctx, bar):\n        ctx.target(0.5 if bar.close > 100.0 + self.x else -0.5)\n"
    )
    from quantai.strategy.load import load_strategy

    done = promote(load_strategy(f"{file}:Drawn"), bars, name="x", **COSTS)
    assert "gives another strategy" in refused(done, "compiles")


def test_a_source_takes_along_what_it_uses_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    threshold, table = 100.0, np.arange(3.0)

    def weight(close: float) -> float:
        return -0.5 if close < threshold - 1.0 else 0.0

    class Holds(qa.Strategy):
        def on_bar(self, ctx: Any, bar: Any) -> None:
            ctx.target(0.5 if bar.close > threshold else weight(bar.close))

    class Looks(qa.Strategy):
        def on_bar(self, ctx: Any, bar: Any) -> None:
            ctx.target(table[0])

    text = module_text(Holds)
    assert "threshold = 100.0" in text
    file = tmp_path / "strategy.py"
    file.write_text(text)
    assert load_class(file, "Holds", "promoted_holds").source_hash() == Holds.source_hash()
    with pytest.raises(StrategyError, match="'table', a ndarray: only numbers"):
        module_text(Looks)


def test_a_short_warm_up_is_refused(bars: qa.Bars) -> None:
    assert "NOT ENOUGH" in refused(promote(Follow(), bars, name="x", warmup=5, **COSTS), "warmup")


def test_too_few_trades_are_refused(bars: qa.Bars) -> None:
    steps: list[str] = []
    assert "too few" in refused(promote(Level(level=1.0), bars, name="x", on_step=steps.append, **COSTS), "trades")
    gates = ["deterministic", "parity", "lookahead", "warmup", "costs", "trades", "drawdown", "validation", "limits"]
    assert steps == [
        "backtesting", "gate 1 of 10, compiles", "running it on its golden rows",
        *(f"gate {n} of 10, {gate}" for n, gate in enumerate(gates, 2)),
    ]  # fmt: skip


def test_a_profit_without_fees_is_refused(bars: qa.Bars) -> None:
    free = promote(qa.backtest(Follow(), bars), name="x")
    assert "no costs are counted" in refused(free, "costs")
    dear = promote(qa.backtest(Follow(), bars, fee_bps=200.0), name="x")
    assert "no profit after costs" in refused(dear, "costs")


def test_an_overfitted_sweep_is_refused() -> None:
    swept = qa.sweep(Follow, trending(3_000, seed=8, drift=0.0), period=range(5, 125, 6), fee_bps=0.01)
    said = refused(promote(swept, name="x"), "validation")
    assert "deflated Sharpe ratio" in said
    assert "of 3 checks" in said


def test_an_override_needs_a_reason_and_is_stored(bars: qa.Bars) -> None:
    strategy = Level(level=1.0)
    for gate, reason, words in (("trades", " ", "needs a reason"), ("parity", "why", "no override")):
        with pytest.raises(InputError, match=words):
            promote(strategy, bars, name="held", override={gate: reason}, **COSTS)
    with pytest.raises(UnknownName, match="did you mean 'trades'"):
        promote(strategy, bars, name="held", override={"trade": "why"}, **COSTS)
    first = promote(strategy, bars, name="held", **COSTS)
    done = promote(
        strategy,
        bars,
        name="held",
        override={g.name: "it only holds" for g in first.refused_by},
        alias="challenger",
        **COSTS,
    )
    assert get(done.tag).manifest["overrides"]["trades"] == "it only holds"
    assert "it only holds" in (get(done.tag).folder / "card.md").read_text()
    assert (done.alias, alias_of("held", "champion")) == ("challenger", None)


def test_champion_challenger_diff_and_rollback(honest: Promotion, bars: qa.Bars) -> None:
    second = promote(qa.backtest(Follow(period=25), bars, **COSTS), name="follow")
    assert second.alias == "challenger"
    assert resolve("follow") == honest.tag
    assert resolve("follow:challenger") == second.tag
    found = difference(get(honest.tag), get(second.tag))
    assert found.params["period"][1] == 25
    assert found.source == ""
    set_alias("follow", "champion", second.version, "a better one")
    assert (resolve("follow"), alias_of("follow", "challenger")) == (second.tag, None)
    assert rollback("follow", "it was not") == honest.tag
    assert history("follow")[-1]["reason"] == "rollback: it was not"
    with pytest.raises(InputError, match="no earlier champion"):
        rollback("follow")


def test_only_exact_versions_are_served(honest: Promotion) -> None:
    for wanted in ("follow", "follow:latest", "follow:"):
        with pytest.raises(InputError, match="one exact version"):
            get(wanted)
    with pytest.raises(UnknownName, match="version of follow"):
        get(honest.tag[:-3])  # BentoML itself would take the beginning of a version
    with pytest.raises(UnknownName, match="did you mean 'follow'"):
        resolve("folow")


@pytest.mark.parametrize(
    "asked",
    [
        ("promote", "--name", "folow"),
        ("promote", "--name", "folow", "--rollback"),
        ("promote", "--name", "folow", "--champion", "x"),
        ("promote", "--name", "folow", "--export", "x.bento"),
        ("compare", "folow"),
    ],
)
def test_a_name_that_nothing_was_promoted_as_is_refused(
    honest: Promotion, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...]
) -> None:
    assert main([*asked, "--json"]) == 1
    assert "unknown promoted strategy 'folow': did you mean 'follow'?" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_built(
    honest: Promotion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", "--name", "follow", "--export", str(tmp_path / "no" / "x.bento"), "--json"]) == 1
    assert "name a file in a folder that is there" in capsys.readouterr().err
    (tmp_path / "run.journal").touch()
    assert main(["compare", str(tmp_path / "run.journal")]) == 1
    assert "is a journal: say who is to be shown it" in capsys.readouterr().err


def test_a_changed_file_is_refused(honest: Promotion, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(get(honest.tag).folder, copy)
    assert Version.open(copy).tag == honest.tag
    text = (copy / "strategy.py").read_text()
    (copy / "strategy.py").write_text(text.replace("0.5", "0.9"))
    with pytest.raises(DataError, match=r"strategy\.py is not what was promoted"):
        Version.open(copy)


def test_the_command_line_promotes_a_file_and_refuses_with_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("promote", "tests.promotions:Follow", "--params", '{"period": 60}', "--name", "spx", "--json")
    ran = subprocess.run([sys.executable, "-c", _MAIN, *asked], capture_output=True, text=True, check=False, cwd=REPO)
    said = json.loads(ran.stdout.splitlines()[-1])
    assert (ran.returncode, said["version"], said["gates"]["costs"]) == (1, None, "fail")
    assert (
        ran.stderr.strip().splitlines()[-1].startswith("quantai: error: spx is refused: costs: no profit after costs")
    )
    reasons = [f"--override={gate}=to try the rest" for gate in ("costs", "validation")]
    code = main([*asked, *reasons])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (code, said["name"], said["alias"]) == (0, "spx", "champion")
    assert said["version"] in versions("spx")


_MAIN = "import sys; from quantai.cli import main; sys.exit(main(sys.argv[1:]))"


async def test_an_assistant_may_put_forward_a_challenger_when_a_person_agrees_and_never_a_champion(
    bars: qa.Bars, tmp_path: Path
) -> None:
    asked: list[Request] = []

    async def agree(request: Request) -> bool:
        asked.append(request)
        return True

    with qa.Workspace(lake=qa.Lake(tmp_path / "lake"), folder=tmp_path, runs=tmp_path) as workspace:
        ready_tools()
        workspace.keep("result", qa.backtest(Follow(), bars, **COSTS))
        workspace.keep("result", qa.backtest(Follow(), bars))
        given = {"candidate": "result-1", "name": "of-a-tool"}
        alone = await workspace.call("promote_candidate", given)
        assert "needs a person's approval" in str(alone.content)
        stored = await workspace.call("promote_candidate", given, approve=agree)
        assert (stored.ok, stored.content["alias"], stored.content["refused"]) == (True, "challenger", "")
        assert alias_of("of-a-tool", "challenger") == f"of-a-tool:{stored.content['version']}"
        assert alias_of("of-a-tool", "champion") is None
        free = await workspace.call("promote_candidate", {"candidate": "result-2", "name": "free"}, approve=agree)
        assert free.content["version"] is None
        assert "no costs are counted" in free.content["refused"]
    assert [(request.tool, request.permission.value) for request in asked] == [("promote_candidate", "write")] * 2
