"""`import quantai as qa` is cheap, and gives what the type checkers are told it gives."""

import ast
import importlib
import importlib.metadata
import inspect
import json
import subprocess
import sys
from types import ModuleType

import pytest

import quantai as qa

HEAVY = ["numpy", "pandas", "numba", "duckdb", "pyarrow", "plotly", "rich", "typer", "cryptofeed", "ccxt", "vectorbt"]


def test_every_public_name_exists() -> None:
    missing = [name for name in qa.__all__ if getattr(qa, name, None) is None]
    assert missing == []


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(qa))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imported = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == qa._HOME_OF
    assert sorted(imported) == sorted(qa.__all__)


def test_dir_lists_the_public_names() -> None:
    assert dir(qa) == sorted([*qa.__all__, "__version__"])


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'quantai' has no attribute 'backtset'"):
        qa.backtset  # type: ignore[attr-defined]  # noqa: B018


def test_import_brings_in_nothing_heavy() -> None:
    code = f"import json, sys, quantai; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []


def test_backtest_is_the_function_whichever_is_imported_first() -> None:
    room_first = (
        "import quantai.backtest, quantai as qa; from quantai.backtest import Result; print(callable(qa.backtest))"
    )
    function_first = "import quantai as qa; f = qa.backtest; import quantai.backtest; print(f is qa.backtest)"
    for code in (room_first, function_first):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout == "True\n"
    assert isinstance(importlib.import_module("quantai.backtest"), ModuleType)
    assert inspect.isfunction(qa.backtest)


def test_version_is_the_installed_one() -> None:
    assert qa.__version__ == importlib.metadata.version("quantai")
