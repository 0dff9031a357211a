"""The seccomp filter of programs, made from the table of system calls.

What the table allows, whole or by its arguments, goes through; the rest fails, and what has no row does not exist. A
call under another machine's numbers (i386) ends the process; those of x32 do not exist. The kernel knows the filter as
code for a small machine: here a binary search by the call's number, whose leaves are verdicts or tests of arguments.
It is made for x86-64 and 64-bit ARM; elsewhere there is none.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from aftertrain.core.sandbox.calls import Machine, Verdict, table

ARCHITECTURES: dict[Machine, int] = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""What the kernel calls each machine's own system calls."""
PRCTL = {
    "PR_SET_PDEATHSIG": 1,
    "PR_GET_PDEATHSIG": 2,
    "PR_GET_DUMPABLE": 3,
    "PR_SET_DUMPABLE": 4,
    "PR_SET_NAME": 15,
    "PR_GET_NAME": 16,
    "PR_CAPBSET_READ": 23,
    "PR_SET_TIMERSLACK": 29,
    "PR_GET_TIMERSLACK": 30,
    "PR_SET_CHILD_SUBREAPER": 36,
    "PR_GET_CHILD_SUBREAPER": 37,
    "PR_SET_NO_NEW_PRIVS": 38,
    "PR_GET_NO_NEW_PRIVS": 39,
    "PR_SET_THP_DISABLE": 41,
    "PR_GET_THP_DISABLE": 42,
    "PR_SET_VMA": 0x5356_4D41,
}
"""What a program may do by `prctl`; nothing of it reaches another process."""
FCNTL = {
    "F_DUPFD": 0,
    "F_GETFD": 1,
    "F_SETFD": 2,
    "F_GETFL": 3,
    "F_SETFL": 4,
    "F_GETLK": 5,
    "F_SETLK": 6,
    "F_SETLKW": 7,
    "F_GETOWN": 9,
    "F_GETSIG": 11,
    "F_OFD_GETLK": 36,
    "F_OFD_SETLK": 37,
    "F_OFD_SETLKW": 38,
    "F_GETLEASE": 1025,
    "F_DUPFD_CLOEXEC": 1030,
    "F_SETPIPE_SZ": 1031,
    "F_GETPIPE_SZ": 1032,
    "F_ADD_SEALS": 1033,
    "F_GET_SEALS": 1034,
}
"""The same by `fcntl`: without F_SETOWN, F_SETOWN_EX, F_SETSIG, F_NOTIFY and F_SETLEASE nobody gets a signal."""
IOCTL = {
    "TCGETS": 0x5401,
    "TIOCGPGRP": 0x540F,
    "TIOCOUTQ": 0x5411,
    "TIOCGWINSZ": 0x5413,
    "FIONREAD": 0x541B,
    "FIONBIO": 0x5421,
    "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451,
}
"""The same by `ioctl`: without FIOSETOWN, SIOCSPGRP, TIOCSTI and TIOCSPGRP."""
NAMESPACES = 0x7E02_0000
"""Flags of `clone` for new namespaces."""
PARENT = 0x8000
"""Flag of `clone`: a child of the caller's parent."""
SHARED_WITHOUT_FILE = 0x21
"""Flags of `mmap`: MAP_SHARED and MAP_ANONYMOUS."""
UNIX, INET, INET6 = 1, 2, 10
CONNECTED = (1, 5)
"""Kinds of sockets that send only to their peer: SOCK_STREAM, SOCK_SEQPACKET."""
PEER_PROCESS = 77
"""SO_PEERPIDFD."""
EPERM, ENOMEM, EINVAL, ENOTTY, ENOSYS, ENOPROTOOPT, EAFNOSUPPORT = 1, 12, 22, 25, 38, 92, 97
ALLOW, KILL, ERROR = 0x7FFF_0000, 0x8000_0000, 0x0005_0000

_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in `struct seccomp_data`."""

Operand = int | str
Instruction = tuple[int, int, int, Operand]
"""Code, jump where true, jump where false, operand: a number, or the name of a process that is filled in later."""
Body = list[Instruction]
_OWN, _OWN_GROUP, _KEEPER, _KEEPER_GROUP = "own", "own group", "keeper", "keeper group"
_EVERYBODY = -1


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who else is there for a program to reach, and so what the rules by arguments demand.

    Attributes:
        keeper: the process that forked the program, as the program sees it. It is never to be named.
        alone: whether it can reach no process but the keeper and its own. Where it can, it may name its first process
            only: a filter cannot tell its children from others.
        network: whether its network namespace is the sandbox's own, so that its sockets lead nowhere.
    """

    keeper: int
    alone: bool
    network: bool


def filter_program(neighbours: Neighbours, own: int) -> bytes | None:
    """The filter's packed instructions, or None for a machine that it does not know.

    Args:
        neighbours: who else is there.
        own: the program's first process.
    """
    machine = platform.machine()
    return assemble(machine, neighbours, own) if machine in ARCHITECTURES else None


def assemble(machine: Machine, neighbours: Neighbours, own: int) -> bytes:
    """The filter's packed instructions for a machine."""
    packed, slots = _template(machine, neighbours.alone, neighbours.network)
    named = {_OWN: own, _OWN_GROUP: -own, _KEEPER: neighbours.keeper, _KEEPER_GROUP: -neighbours.keeper}
    code = bytearray(packed)
    for offset, name in slots:
        struct.pack_into("i", code, offset, named[name])
    return bytes(code)


@cache
def _template(machine: Machine, alone: bool, network: bool) -> tuple[bytes, tuple[tuple[int, str], ...]]:
    """The packed instructions, and where in them which process is still to be filled in."""
    bodies = _bodies(alone, network)
    leaves: list[tuple[int, Body]] = [(0, bodies["absent"])]
    numbered = sorted((number, call.verdict) for call in table() if (number := call.number(machine)) is not None)
    after = 0
    for number, verdict in numbered:
        if number > after:
            _append(leaves, after, bodies["absent"])
        _append(leaves, number, bodies[verdict])
        after = number + 1
    _append(leaves, after, bodies["absent"])
    code: Body = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, ARCHITECTURES[machine]), (_RETURN, 0, 0, KILL)]
    code += [(_LOAD, 0, 0, _NUMBER), *_search(leaves)]
    packed = b"".join(
        struct.pack("HBBI", *head, 0 if isinstance(operand, str) else operand & 0xFFFF_FFFF) for *head, operand in code
    )
    slots = ((8 * place + 4, operand) for place, (*_, operand) in enumerate(code) if isinstance(operand, str))
    return packed, tuple(slots)


def _append(leaves: list[tuple[int, Body]], start: int, body: Body) -> None:
    """Begin a range of numbers; one that is treated like the range before it goes on with that."""
    if leaves[-1][1] != body:
        leaves.append((start, body))


def _search(leaves: Sequence[tuple[int, Body]]) -> Body:
    """Instructions that find the last range which begins at the number or below, and go on with its body."""
    if len(leaves) == 1:
        return leaves[0][1]
    middle = len(leaves) // 2
    lower, upper = _search(leaves[:middle]), _search(leaves[middle:])
    start = leaves[middle][0]
    # A conditional jump reaches 255 instructions far, a plain one any distance.
    if len(lower) <= 255:
        return [(_AT_LEAST, len(lower), 0, start), *lower, *upper]
    return [(_AT_LEAST, 0, 1, start), (_JUMP, 0, 0, len(lower)), *lower, *upper]


def _bodies(alone: bool, network: bool) -> dict[Verdict, Body]:
    """The instructions of each verdict; each body ends by itself."""
    allow: Body = [(_RETURN, 0, 0, ALLOW)]
    own = _only(0, (0, _OWN, _OWN_GROUP), EPERM)
    pair: Body = [_load(0), (_EQUAL, 1, 0, UNIX), *_error(EAFNOSUPPORT)]
    shared: Body = [_load(3), (_AND, 0, 0, SHARED_WITHOUT_FILE), (_EQUAL, 0, 1, SHARED_WITHOUT_FILE), *_error(ENOMEM)]
    return {
        "allow": allow,
        "refuse": _error(EPERM),
        "absent": _error(ENOSYS),
        "process": _process(0, alone),
        "signal": _unless(0, (_KEEPER, _KEEPER_GROUP, _EVERYBODY), EPERM) if alone else own,
        "priority": _priority(0, alone),
        "io_priority": _priority(1, alone),
        "clock": [_load(0), (_AT_LEAST, 0, 1, 0x8000_0000), *_error(EPERM), *allow],
        "clone": [_load(0), (_BITS, 0, 1, NAMESPACES | PARENT), *_error(EPERM), *allow],
        "prctl": _only(0, tuple(PRCTL.values()), EINVAL),
        "fcntl": _only(1, tuple(FCNTL.values()), EINVAL),
        "ioctl": _only(1, tuple(IOCTL.values()), ENOTTY),
        "mmap": [*shared, *allow],
        "socket": _only(0, (UNIX, INET, INET6), EAFNOSUPPORT) if network else _error(EAFNOSUPPORT),
        "socketpair": [
            *pair,
            *(allow if network else [_load(1), (_AND, 0, 0, 0xFF), *_only(None, CONNECTED, EPERM)]),
        ],
        "network": allow if network else _error(EPERM),
        "getsockopt": _unless(2, (PEER_PROCESS,), ENOPROTOOPT),
    }


def _priority(first: int, alone: bool) -> Body:
    """Of a process, whose kind has the number `first`; of a group, the caller's own; of all of a user, never."""
    process = _process(1, alone)
    choose: Body = [(_EQUAL, 2, 0, first), (_EQUAL, 1 + len(process), 0, first + 1), *_error(EPERM)]
    return [_load(0), *choose, *process, *_only(1, (0,), EPERM)]


def _process(argument: int, alone: bool) -> Body:
    """An argument that names a process; 0 is the caller."""
    return _unless(argument, (_KEEPER,), EPERM) if alone else _only(argument, (0, _OWN), EPERM)


def _only(argument: int | None, values: Sequence[Operand], error: int) -> Body:
    """Allow these values of an argument (None: of what has been loaded already)."""
    tests: Body = [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [*([] if argument is None else [_load(argument)]), *tests, *_error(error), (_RETURN, 0, 0, ALLOW)]


def _unless(argument: int, values: Sequence[Operand], error: int) -> Body:
    """Refuse these values of an argument."""
    tests: Body = [(_EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [_load(argument), *tests, (_RETURN, 0, 0, ALLOW), *_error(error)]


def _load(argument: int) -> Instruction:
    """The low half of an argument: what is looked at are 32-bit numbers, of which the kernel takes no more."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)


def _error(number: int) -> Body:
    return [(_RETURN, 0, 0, ERROR | number)]
