"""What the compiler cannot know about a branch: which side is the rare one."""

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


@intrinsic
def _expected(typingctx: Any, condition: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bit = ir.IntType(1)
        expect = cgutils.get_or_insert_function(builder.module, ir.FunctionType(bit, [bit, bit]), "llvm.expect.i1")
        return builder.call(expect, [args[0], bit(1)])

    return types.boolean(types.boolean), codegen


_expect: Any = _expected


@overload(usually, inline="always", strict=False)
def _usually(condition: Any) -> Any:
    return lambda condition: _expect(condition)  # noqa: PLW0108 - numba asks for a function of Python
