"""What the compiler cannot know: which side of a branch is the rare one, and which calls are."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, type_callable


def usually(condition: bool) -> bool:
    """Return the condition; compiled, its rare side is kept out of the way.

    Otherwise the compiler may work out both sides each time and choose, and every row then waits for a choice that is
    always the same.

    >>> usually(3 > 2)
    True
    """
    return condition


def rarely(condition: bool) -> bool:
    """Return the condition; compiled, what follows where it is true is kept out of the way.

    >>> rarely(3 < 2)
    False
    """
    return condition


def _expect(hint: Any, is_true: bool) -> None:
    # lowered, not inlined: of an inlined overload's arguments, numba drops some that are still needed behind it
    def typer(context: Any) -> Any:
        return lambda condition: types.boolean

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bit = ir.IntType(1)
        tell = cgutils.get_or_insert_function(builder.module, ir.FunctionType(bit, [bit, bit]), "llvm.expect.i1")
        return builder.call(tell, [context.cast(builder, args[0], signature.args[0], types.boolean), bit(is_true)])

    type_callable(hint)(typer)
    lower_builtin(hint, types.Any)(lower)


_expect(usually, True)
_expect(rarely, False)


@intrinsic
def _apart(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


apart: Any = _apart
"""apart(): keeps the function it stands in from being pasted into its callers, which would grow. Compiled code only."""


@intrinsic
def _distinct(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for arg in builder.function.args[2:]:  # behind what it returns, and what it raises
            if isinstance(arg.type, ir.PointerType):
                arg.attributes.add("noalias")
        return context.get_dummy_value()

    return types.void(), codegen


distinct: Any = _distinct
"""distinct(): nothing that the function it stands in reaches in another way overlaps with the records it is passed.

A field of such a record is then read once, not anew after every write to a table. Compiled code only.
"""
