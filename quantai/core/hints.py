"""What the compiler cannot know: which side of a branch is the rare one, and which calls are."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload


def usually(condition: bool) -> bool:
    """Return the condition; compiled, its rare side is kept out of the way.

    Otherwise the compiler may work out both sides each time and choose, and every row then waits for a choice that is
    always the same.

    >>> usually(3 > 2)
    True
    """
    return condition


def _expect(is_true: bool) -> Any:
    @intrinsic
    def expect(typingctx: Any, condition: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            bit = ir.IntType(1)
            tell = cgutils.get_or_insert_function(builder.module, ir.FunctionType(bit, [bit, bit]), "llvm.expect.i1")
            return builder.call(tell, [context.cast(builder, args[0], condition, types.boolean), bit(is_true)])

        return types.boolean(condition), codegen

    return expect


_mostly: Any = _expect(True)
rarely: Any = _expect(False)
"""rarely(condition): the condition, hardly ever true: what follows is kept out of the way. For compiled code only."""


@overload(usually, inline="always", strict=False)
def _usually(condition: Any) -> Any:
    return lambda condition: _mostly(condition)  # noqa: PLW0108 - numba asks for a function of Python


@intrinsic
def _apart(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


apart: Any = _apart
"""apart(): keeps the function it stands in from being pasted into its callers, which would grow. Compiled code only."""
