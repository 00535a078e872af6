"""A strategy typed in a Jupyter cell or a marimo cell compiles, keeps its source, and reports errors by cell line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

REPO = Path(__file__).parents[2]

STRATEGY = """class Typed(qa.Strategy):
    period: int = 5
    mean = qa.ind.ema("period")

    def on_bar(self, ctx, bar):
        ctx.target(1.0 if bar.close > self.mean.update(bar.close) else 0.0)
"""
BROKEN = """class Broken(qa.Strategy):
    def on_bar(self, ctx, bar):
        x = bar.close
        ctx.tagret(x)
"""
AGAIN = STRATEGY.replace("1.0 if", "0.5 if")
RUN = "r = qa.backtest(Typed(), qa.synth.bars(300, seed=1))\n"


def run_notebook(*cells, tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    client = NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    return ["".join(o.get("text", "") for o in c.outputs) for c in book.cells]


def test_jupyter_cells(tmp_path):
    out = run_notebook(
        "import quantai as qa",
        STRATEGY,
        RUN + "print(len(r.intents), 'class Typed' in Typed.source(), Typed.source_hash())",
        AGAIN,
        RUN + "print(max(r.intents['qty_lots']))",
        BROKEN,
        "try:\n    qa.backtest(Broken(), qa.synth.bars(10, seed=1))\nexcept qa.StrategyError as e:\n    print(e)",
        tmp_path=tmp_path,
    )
    intents, has_source, _ = out[2].split()
    assert int(intents) > 10
    assert has_source == "True"
    assert out[4].strip() == "500000000", "a redefined class must not reuse the first one's kernel"
    assert out[6].startswith("cell line 4: ctx has no verb 'tagret': did you mean 'target'?")


MARIMO = """import marimo

app = marimo.App()


@app.cell
def setup():
    import quantai as qa

    return (qa,)


@app.cell
def typed(qa):
    class Typed(qa.Strategy):
        period: int = 5
        mean = qa.ind.ema("period")

        def on_bar(self, ctx, bar):
            ctx.target(1.0 if bar.close > self.mean.update(bar.close) else 0.0)

    return (Typed,)


@app.cell
def run(Typed, qa):
    import json

    result = qa.backtest(Typed(), qa.synth.bars(300, seed=1))
    print(json.dumps({"intents": len(result.intents), "source": "class Typed" in Typed.source()}))
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.mark.parametrize("how", ["python", "export"])
def test_marimo_cells(how, tmp_path):
    file = tmp_path / "app.py"
    file.write_text(MARIMO)
    command = {
        "python": [sys.executable, str(file)],
        "export": [sys.executable, "-m", "marimo", "export", "ipynb", str(file), "--include-outputs"],
    }[how]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if how == "python":
        said = json.loads(done.stdout.strip().splitlines()[-1])
    else:
        cells = nbformat.reads(done.stdout, as_version=4).cells
        said = json.loads(
            next(o["text"] for c in cells for o in c.get("outputs", []) if "intents" in o.get("text", ""))
        )
    assert said["intents"] > 10
    assert said["source"]
