"""Determines the locals on which the future of a suspended generator depends."""

import dis
from functools import cache
from types import CodeType
from typing import Any

_ENDS = {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"}
_JUMPS = {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}


@cache
def readable(code: CodeType, lasti: int) -> frozenset[str]:
    """Return the locals of ``code`` that may be read after ``lasti``, before they are written again.

    A local that no instruction can read makes no difference to the future. Where the control flow is unclear,
    a local counts as readable. So does the variable of a loop, because it shows the progress of the loop.

    Parameters
    ----------
    code
        The code of the generator's frame.
    lasti
        The offset of the instruction at which it is suspended.
    """
    return _readable_before(code)[lasti] | _loop_variables(code)


@cache
def _loop_variables(code: CodeType) -> frozenset[str]:
    """Return the locals that are written first in each iteration of a loop."""
    instructions = list(dis.get_instructions(code))
    found: set[str] = set()
    for place, instruction in enumerate(instructions):
        if instruction.opname.startswith("FOR_ITER"):
            following = instructions[place + 1].argval
            found.update(following if isinstance(following, tuple) else (following,))
    return frozenset(found)


@cache
def _readable_before(code: CodeType) -> dict[int, frozenset[str]]:
    """Return, for each instruction, the locals that may be read from there on."""
    bytecode = dis.Bytecode(code)
    instructions = list(bytecode)
    handlers: Any = bytecode.exception_entries  # type: ignore[attr-defined]
    following: dict[int, set[int]] = {}
    for place, instruction in enumerate(instructions):
        name, offset = instruction.opname, instruction.offset
        after = {handler.target for handler in handlers if handler.start <= offset < handler.end}
        if instruction.opcode in (*dis.hasjrel, *dis.hasjabs):
            after.add(instruction.argval)
        if name not in _ENDS and name not in _JUMPS and place + 1 < len(instructions):
            after.add(instructions[place + 1].offset)
        following[offset] = after
    found: dict[int, frozenset[str]] = {instruction.offset: frozenset() for instruction in instructions}
    everything = frozenset(code.co_cellvars + code.co_freevars)
    stable = False
    while not stable:
        stable = True
        for instruction in reversed(instructions):
            later = everything.union(*(found[offset] for offset in following[instruction.offset]))
            earlier = _before(instruction, later)
            if earlier != found[instruction.offset]:
                found[instruction.offset] = earlier
                stable = False
    return found


def _before(instruction: dis.Instruction, later: frozenset[str]) -> frozenset[str]:
    """Return the locals that may be read before ``instruction``, given those that may be read after it."""
    if "_FAST" not in instruction.opname:
        return later
    # Some instructions combine two, such as STORE_FAST_LOAD_FAST.
    names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
    kinds = instruction.opname.replace("_BORROW", "").split("_FAST")
    for kind, name in reversed(list(zip(kinds, names, strict=False))):
        later = later - {name} if kind.strip("_") == "STORE" else later | {name}
    return later
