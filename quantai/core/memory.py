"""Rows at a memory address, for compiled code: tables hang off records by address instead of being passed as arrays."""

from typing import Any

from numba import njit, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

pasted = njit(inline="always", nogil=True)
"""Marks a function so small, or so hot, that it is pasted into its callers before they are typed."""


@intrinsic
def _rows_at(typingctx: Any, address: Any, n: Any, dtype: Any) -> Any:
    rows = types.Array(dtype.dtype, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(rows)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(dtype.dtype)))
        data = builder.inttoptr(args[0], array.data.type)
        populate_array(array, data=data, shape=[args[1]], strides=[size], itemsize=size, meminfo=None)
        return array._getvalue()

    return rows(types.uint64, types.int64, dtype), codegen


rows_at: Any = _rows_at
"""rows_at(address, n, dtype): the `n` rows of a dtype (a global constant) at an address; the array owns nothing."""
