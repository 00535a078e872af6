"""Tools for runs: what the journals of backtests and of trading say. They read, and touch nothing that trades."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument
from quantai.journal import StoreReader
from quantai.journal.views import Views
from quantai.tools.registry import tool
from quantai.tools.workspace import Workspace

Run = Annotated[str, "a run, by the name list_runs gives it"]
Most = Annotated[int, Field(ge=1, le=1000, description="most rows to return, the latest ones")]


@tool(permission="read", category="runs", examples=[{}])
def list_runs(workspace: Workspace) -> list[dict[str, Any]]:
    """List the journaled runs with their strategy, parameters and when they started."""
    return [{"run": name} | _manifest(path) for name, path in sorted(_journals(workspace).items())]


@tool(permission="read", category="runs", examples=[{"run": "cross"}])
def get_orders(workspace: Workspace, run: Run, most: Most = 100) -> list[dict[str, Any]]:
    """Return the orders of a run: what was asked, what was filled, what the venue last said."""
    query = (
        'select "order", seq, instrument, side, "type", tif, lots, filled_lots, avg_px, last_report, '
        'last_time from orders order by "order" desc limit ?'
    )
    return _rows(workspace, run, query, most)


@tool(permission="read", category="runs", examples=[{"run": "cross"}])
def get_positions(workspace: Workspace, run: Run) -> list[dict[str, Any]]:
    """Return what a run holds by its executions: quantity, and the cash that went out for it, fees left out."""
    query = (
        "select instrument, sum(side * qty) as qty, -sum(side * qty * px) as cash, count(*) as fills, "
        "max(time) as last_fill from fills where not coalesce(busted, false) "
        "group by instrument order by instrument limit ?"
    )
    return _rows(workspace, run, query, 1000)


@tool(permission="read", category="runs", examples=[{"run": "cross"}])
def explain_run(workspace: Workspace, run: Run) -> dict[str, Any]:
    """Say what a run was and what happened in it: manifest, rows by kind, fills, gaps and damage."""
    path = _path(workspace, run)
    with Views(path, damage="skip") as views, StoreReader(path, damage="skip") as reader:
        kinds = views.sql(
            "select k.name, count(*) from event e join names_Kind k on k.value = e.kind group by 1 order by 1"
        ).fetchall()
        fills = views.sql("select count(*), sum(qty * px), min(time), max(time) from fills").fetchall()[0]
        asked = views.sql("select count(*) from intent").fetchall()[0][0]
        return _manifest(path) | {
            "rows": {str(kind): int(count) for kind, count in kinds},
            "intents": int(asked),
            "fills": {"count": fills[0], "notional": fills[1], "first": _text(fills[2]), "last": _text(fills[3])},
            "gaps": [gap._asdict() for gap in reader.gaps()],
        }


def _journals(workspace: Workspace) -> dict[str, Path]:
    return {path.stem: path for path in workspace.runs.glob("*.journal")} if workspace.runs.is_dir() else {}


def _path(workspace: Workspace, run: str) -> Path:
    journals = _journals(workspace)
    if run not in journals:
        raise UnknownName(f"run in {workspace.runs}", run, journals)
    return journals[run]


def _rows(workspace: Workspace, run: str, query: str, most: int) -> list[dict[str, Any]]:
    path = _path(workspace, run)
    listed = _instruments(path)
    with Views(path, damage="skip") as views:
        rows = views.sql(query, [most]).to_arrow_table().to_pylist()
    for row in rows:
        number = row["instrument"]
        row["symbol"] = listed[number].symbol if number < len(listed) else None
        for key in ("last_time", "last_fill"):
            if key in row:
                row[key] = _text(row[key])
    return rows


def _instruments(path: Path) -> list[Instrument]:
    with StoreReader(path, damage="skip") as reader:
        said: Mapping[str, Any] = next(iter(reader.manifests()), {})
    try:
        return [Instrument.from_dict(item) for item in said.get("instruments", ())]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path.name}: its manifest lists no instruments that can be read") from None


def _manifest(path: Path) -> dict[str, Any]:
    with StoreReader(path, damage="skip") as reader:
        said: Mapping[str, Any] = next(iter(reader.manifests()), {})
    return {key: said[key] for key in ("strategy", "parameters", "settings", "interval", "started_ns") if key in said}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
