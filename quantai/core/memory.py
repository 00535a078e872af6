"""Rows at a memory address, for compiled code: tables hang off records by address instead of being passed as arrays."""

from typing import Any

from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable


@intrinsic
def _pointer(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.uint64), codegen


@register_jitable
def rows_at(address: int, n: int, dtype: Any) -> Any:
    """The `n` rows of a dtype (a global constant) at a memory address, as an array that owns nothing."""
    return carray(_pointer(address), (n,), dtype)
