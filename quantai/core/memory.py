"""Rows at a memory address, for compiled code: tables hang off records by address instead of being passed as arrays."""

import operator
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import load_item, make_array, populate_array, store_item

pasted = njit(inline="always", nogil=True)
"""Marks a function so small, or so hot, that it is pasted into its callers before they are typed."""


class Table(types.Array):
    """Rows at an address. A place in them counts from the first: none is negative, and nobody asks whether it is.

    A slice of it is an array as any other. It is another type than that: one name cannot stand for both.
    """

    def __init__(self, dtype: Any) -> None:
        super().__init__(dtype, 1, "C", name=f"Table({dtype})")


register_model(Table)(models.ArrayModel)


def _item(context: Any, builder: Any, table: Any, place: Any, args: Any) -> Any:
    data = make_array(table)(context, builder, args[0]).data
    return builder.gep(data, [context.cast(builder, args[1], place, types.intp)])


@lower_builtin(operator.getitem, Table, types.Integer)
def _get(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    table, place = signature.args
    return load_item(context, builder, table, _item(context, builder, table, place, args))


@lower_builtin(operator.setitem, Table, types.Integer, types.Any)
def _set(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    table, place, kind = signature.args
    value = context.cast(builder, args[2], kind, table.dtype)
    store_item(context, builder, table, value, _item(context, builder, table, place, args))
    return context.get_dummy_value()


@intrinsic
def _rows_at(typingctx: Any, address: Any, n: Any, dtype: Any) -> Any:
    rows = Table(dtype.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = make_array(rows)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(dtype.dtype)))
        data = builder.inttoptr(args[0], array.data.type)
        populate_array(array, data=data, shape=[args[1]], strides=[size], itemsize=size, meminfo=None)
        return array._getvalue()

    return rows(types.uint64, types.int64, dtype), codegen


rows_at: Any = _rows_at
"""rows_at(address, n, dtype): the `n` rows of a dtype (a global constant) at an address; the array owns nothing."""

MOST_KEPT = 4096
"""Bytes of a record that `kept` copies: it goes on the stack, and a copy has to be worth its time."""


@intrinsic
def _on_stack(typingctx: Any, record: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = signature.args[0].size
        if size > MOST_KEPT:
            return args[0]
        place = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(64), -(-size // 8)))
        _copy(builder, place, args[0], size)
        return builder.bitcast(place, args[0].type)

    return record(record), codegen


@intrinsic
def _off_stack(typingctx: Any, record: Any, copy: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = signature.args[0].size
        if size <= MOST_KEPT:
            _copy(builder, args[0], args[1], size)
        return context.get_dummy_value()

    return types.void(record, copy), codegen


kept: Any = _on_stack
"""kept(record): a copy on the stack of the calling function, which only inlined code may see.

The compiler then holds its fields in registers instead of waiting, at each row, for the stores of the last. A record
larger than MOST_KEPT is not copied.
"""

put_back: Any = _off_stack
"""put_back(record, copy): write what `kept` returned back to the record."""


@intrinsic
def _prefetch(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # to be read, soon and again, as data
        builder.call(ask, [builder.inttoptr(args[0], byte), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.uint64), codegen


prefetch: Any = _prefetch
"""prefetch(address): ask for the cache line at an address, without waiting for it; any address will do."""


@intrinsic
def _first_bit(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


first_bit: Any = _first_bit
"""first_bit(bits): the place of the lowest bit set, of a number that is not 0."""


def _above(width: int, n: int) -> Any:
    @intrinsic
    def above(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            number, place = ir.IntType(width), ir.IntType(32)
            numbers = ir.VectorType(number, n)
            found = builder.load(builder.inttoptr(args[0], numbers.as_pointer()), align=width // 8)
            value = args[1] if width == 64 else builder.trunc(args[1], number)
            one = builder.insert_element(ir.Constant(numbers, ir.Undefined), value, place(0))
            same = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(place, n), [0] * n))
            bits = builder.bitcast(builder.icmp_signed(">", found, same), ir.IntType(n))
            return bits if n == 64 else builder.zext(bits, ir.IntType(64))

        return types.uint64(types.uint64, types.int64), codegen

    return above


above_8: Any = _above(64, 8)
"""above_8(address, value): which of the 8 int64 at an address are above a value, a bit each, the first the lowest."""
above_16: Any = _above(32, 16)
"""The same of 16 int32; the value has to be one too."""
above_64: Any = _above(16, 64)
"""The same of 64 int16, and so must the value be."""


def _copy(builder: Any, to: Any, source: Any, size: int) -> None:
    cgutils.raw_memcpy(builder, to, source, ir.Constant(ir.IntType(64), size), 1)


def int64s(*values: int) -> tuple[int, ...]:
    """Return numbers as numpy integers: numba compiles a callee again for each plain literal it is called with."""
    return cast("tuple[int, ...]", tuple(np.int64(value) for value in values))
