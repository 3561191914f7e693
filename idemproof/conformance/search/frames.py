"""Which locals of a waiting generator its future depends on."""

import dis
from functools import cache
from types import CodeType
from typing import Any

_ENDS = {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"}
_JUMPS = {"JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"}


@cache
def readable(code: CodeType, lasti: int) -> frozenset[str]:
    """Return the locals of ``code`` that may be read after ``lasti``, before they are written anew.

    What no instruction can read makes no difference to the future. Where the flow of control is in doubt, a
    local counts as readable; and so does the variable of a loop, which tells how far the loop has come.

    Parameters
    ----------
    code
        Of a generator's frame.
    lasti
        The offset of the instruction at which it waits.
    """
    return _readable_before(code)[lasti] | _loop_variables(code)


@cache
def _loop_variables(code: CodeType) -> frozenset[str]:
    """Return what is written first in each turn of a loop."""
    instructions = list(dis.get_instructions(code))
    found: set[str] = set()
    for place, instruction in enumerate(instructions):
        if instruction.opname.startswith("FOR_ITER"):
            following = instructions[place + 1].argval
            found.update(following if isinstance(following, tuple) else (following,))
    return frozenset(found)


@cache
def _readable_before(code: CodeType) -> dict[int, frozenset[str]]:
    """For each instruction, the locals that may be read from there on."""
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
    settled = False
    while not settled:
        settled = True
        for instruction in reversed(instructions):
            later = everything.union(*(found[offset] for offset in following[instruction.offset]))
            earlier = _before(instruction, later)
            if earlier != found[instruction.offset]:
                found[instruction.offset] = earlier
                settled = False
    return found


def _before(instruction: dis.Instruction, later: frozenset[str]) -> frozenset[str]:
    """Return what may be read before ``instruction``, given what may be read after it."""
    if "_FAST" not in instruction.opname:
        return later
    # Some instructions are two in one, such as STORE_FAST_LOAD_FAST.
    names = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
    kinds = instruction.opname.replace("_BORROW", "").split("_FAST")
    for kind, name in reversed(list(zip(kinds, names, strict=False))):
        later = later - {name} if kind.strip("_") == "STORE" else later | {name}
    return later
