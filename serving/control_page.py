# ruff: noqa: ANN001, ANN202, B018
"""The control page: runs, models, services and positions of a served strategy; decisions, promotion and the way back.

The strategy service shows it at /control; `/control?key=KEY` lets a browser in.
"""

import marimo

__generated_with = "0.25.2"

app = marimo.App(width="medium", app_title="quantai: control")


@app.cell
def _():
    import marimo as mo

    from serving.control import Board

    request = mo.app_meta().request
    board = Board((request.meta or {}).get("key") if request is not None else None)
    get_said, set_said = mo.state("")
    get_changed, set_changed = mo.state(0)
    refresh = mo.ui.refresh(options=["1s", "5s", "30s"], default_interval="1s")
    return board, get_changed, get_said, mo, refresh, set_changed, set_said


@app.cell
def _(board, mo, refresh):
    who = f"{board.who.name}, {board.who.role}" if board.who else "nobody"
    mo.hstack([mo.md(f"# {board.name}"), mo.hstack([mo.plain_text(who), refresh], justify="end")])
    return


@app.cell
def _(board, mo, refresh):
    refresh
    state = [
        mo.stat(str(value), label=name) for name, value in board.state().items() if name not in ("alarms", "reason")
    ]
    told = {name: value for name, value in board.state().items() if name in ("alarms", "reason")}
    mo.vstack(
        [mo.hstack(state, wrap=True, justify="start"), mo.plain_text("\n".join(f"{k}: {v}" for k, v in told.items()))]
    )
    return


@app.cell
def _(board, mo, set_changed, set_said):
    def act(what):
        def on_click(value):
            set_said(what())
            set_changed(lambda n: n + 1)
            return value

        return on_click

    kinds = {"kill": "danger", "flatten": "warn", "stop": "warn"}
    buttons = [
        mo.ui.button(label=verb, kind=kinds.get(verb, "neutral"), on_click=act(lambda verb=verb: board.decide(verb)))
        for verb in ("pause", "resume", "reduce", "stop", "flatten", "kill")
    ]
    decisions = mo.ui.array(buttons)
    mo.hstack(list(decisions), justify="start") if board.operates else mo.md("*This key may read only.*")
    return (act,)


@app.cell
def _(get_said, mo):
    mo.plain_text(get_said() or "nothing was decided here yet")
    return


@app.cell
def _(board, mo, refresh):
    refresh
    mo.vstack(
        [
            mo.md("## Positions"),
            mo.ui.table(board.positions(), selection=None),
            mo.md("## Challenger"),
            mo.ui.table(board.challenger(), selection=None) if board.challenger() else mo.md("*There is none.*"),
        ]
    )
    return


@app.cell
def _(act, board, get_changed, mo):
    get_changed()
    models = board.models()
    version = mo.ui.dropdown([one["version"] for one in models], value=models[0]["version"] if models else None)
    promote = mo.ui.button(label="promote", on_click=act(lambda: board.promote(version.value)))
    back = mo.ui.button(label="roll back", on_click=act(board.roll_back))
    offered = [mo.hstack([version, promote, back], justify="start")] if board.operates else []
    mo.vstack([mo.md("## Models"), mo.ui.table(models, selection=None), *offered])
    return


@app.cell
def _(board, get_changed, mo):
    get_changed()
    mo.vstack(
        [
            mo.md("## Services"),
            mo.ui.table(board.services(), selection=None),
            mo.md("## Runs"),
            mo.ui.table(board.runs(), selection=None),
        ]
    )
    return


if __name__ == "__main__":
    app.run()
