"""The table of system calls and the filter made of it, run here by a small machine of the test's own."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from aftertrain.core.sandbox import seccomp
from aftertrain.core.sandbox.calls import Machine, table
from aftertrain.core.sandbox.seccomp import ALLOW, ARCHITECTURES, ERROR, KILL, Neighbours, assemble

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}
NUMBERS = {(call.name, machine): call.number(machine) for call in table() for machine in ARCHITECTURES}
KEEPER, OWN, OTHER = 1, 7, 4321
WALLS = Neighbours(KEEPER, alone=True, network=True)
OWN_USER = Neighbours(KEEPER, alone=True, network=False)
SHARED_USER = Neighbours(KEEPER, alone=False, network=False)
EPERM, ENOMEM, EINVAL, ENOTTY, ENOSYS = (ERROR | number for number in (1, 12, 22, 25, 38))


def run(code: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = ARCHITECTURES["x86_64"]) -> int:
    """What the filter returns, by the kernel's description of the machine (classic BPF)."""
    padded = [argument & 0xFFFF_FFFF_FFFF_FFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number & 0xFFFF_FFFF, architecture, 0, *padded)
    at, held = 0, 0
    while True:
        what, true, false, operand = struct.unpack_from("<HBBI", code, 8 * at)
        at += 1
        if what == 0x20:
            (held,) = struct.unpack_from("<I", data, operand)
        elif what == 0x54:
            held &= operand
        elif what == 0x05:
            at += operand
        elif what == 0x06:
            return int(operand)
        else:
            holds = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[what]
            at += true if holds else false


def verdict(neighbours: Neighbours, name: str, *arguments: int, machine: Machine = "x86_64") -> int:
    number = NUMBERS[name, machine]
    assert number is not None
    return run(assemble(machine, neighbours, OWN), number, arguments, ARCHITECTURES[machine])


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_numbers_are_those_of_the_kernels_headers(machine: Machine) -> None:
    file = next((path for path in HEADERS[machine] if path.is_file()), None)
    if file is None:
        pytest.skip("no kernel headers are installed")
    pairs = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read_text())
    known = {("newfstatat" if name == "fstatat" else name): int(number) for name, number in pairs}
    newer = {"fchmodat2": 452}
    wrong = {
        call.name: (call.number(machine), known.get(call.name))
        for call in table()
        if call.number(machine) != known.get(call.name, newer.get(call.name))
    }
    assert wrong == {}


def test_each_call_has_one_row_with_a_reason() -> None:
    names = [call.name for call in table()]
    assert len(names) == len(set(names)) > 300
    assert all(call.reason for call in table())


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_says_what_the_table_says_and_the_rest_does_not_exist(machine: Machine) -> None:
    code = assemble(machine, WALLS, OWN)
    assert len(code) // 8 < 4096
    listed = {call.number(machine): call.verdict for call in table()}
    plain = {"allow": ALLOW, "refuse": EPERM, "absent": ENOSYS, None: ENOSYS}
    for number in [*range(700), 2**30 - 1, 2**31, 2**32 - 1]:
        rule = listed.get(number)
        if rule in plain:
            assert run(code, number, (), ARCHITECTURES[machine]) == plain[rule], number


def test_other_machines_calls_end_the_process_and_those_of_x32_do_not_exist() -> None:
    i386, mips = 0x4000_0003, 0x8
    for architecture in (i386, mips, ARCHITECTURES["aarch64"]):
        assert run(assemble("x86_64", WALLS, OWN), 1, (), architecture) == KILL
    assert {run(assemble("x86_64", WALLS, OWN), 0x4000_0000 + number) for number in range(600)} == {ENOSYS}


NAMED = [
    # call, arguments (P stands for the process), which of keeper, own, 0, another, its group, everybody go through
    # behind walls or with a user of its own, and with a user that others share
    *[(name, ("P",), "own 0 other", "own 0") for name in ("prlimit64", "sched_setaffinity")],
    *[
        (name, ("P",), "own 0 other own-group", "own 0 own-group")
        for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
    ],
    ("setpriority", (0, "P"), "own 0 other", "own 0"),
    ("setpriority", (1, "P"), "0", "0"),
    ("setpriority", (2, "P"), "", ""),
    ("ioprio_set", (0, "P"), "", ""),
    ("ioprio_set", (1, "P"), "own 0 other", "own 0"),
    ("ioprio_set", (2, "P"), "0", "0"),
    ("ioprio_set", (3, "P"), "", ""),
    ("pidfd_send_signal", ("P",), "", ""),
]
PROCESSES = {"keeper": KEEPER, "own": OWN, "0": 0, "other": OTHER, "keeper-group": -KEEPER, "own-group": -OWN}


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize(("name", "arguments", "alone", "shared"), NAMED)
def test_which_processes_may_be_named(
    machine: Machine, name: str, arguments: tuple[object, ...], alone: str, shared: str
) -> None:
    def goes_through(neighbours: Neighbours) -> set[str]:
        values = {
            who: tuple(process if part == "P" else int(str(part)) for part in arguments)
            for who, process in PROCESSES.items()
        }
        found = {who: verdict(neighbours, name, *given, machine=machine) for who, given in values.items()}
        assert set(found.values()) <= {ALLOW, EPERM}
        return {who for who, outcome in found.items() if outcome == ALLOW}

    # A negative number is no process to these calls: the kernel knows none.
    odd = {"own-group", "keeper-group"} if "group" not in alone else set()
    assert goes_through(WALLS) - odd == goes_through(OWN_USER) - odd == set(alone.split())
    assert goes_through(SHARED_USER) - odd == set(shared.split())


def test_nobody_signals_everybody() -> None:
    for neighbours in (WALLS, OWN_USER, SHARED_USER):
        assert verdict(neighbours, "kill", -1, 9) == EPERM


@pytest.mark.parametrize(
    ("name", "arguments", "walls", "none"),
    [
        ("clone", (0x1200011,), ALLOW, ALLOW),  # fork
        ("clone", (0x3D0F00,), ALLOW, ALLOW),  # a thread
        *[("clone", (1 << bit,), EPERM, EPERM) for bit in (15, 17, 25, 26, 27, 28, 29, 30)],
        ("mmap", (0, 4096, 3, 0x22), ALLOW, ALLOW),  # private
        ("mmap", (0, 4096, 3, 0x01, 5), ALLOW, ALLOW),  # of a file
        ("mmap", (0, 4096, 3, 0x21), ENOMEM, ENOMEM),
        ("mmap", (0, 4096, 3, 0x23), ENOMEM, ENOMEM),
        ("mmap", (0, 4096, 3, 0x4021), ENOMEM, ENOMEM),
        *[("fcntl", (3, command), ALLOW, ALLOW) for command in (0, 1, 2, 3, 4, 6, 1030)],
        # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY
        *[("fcntl", (3, command, OTHER), EINVAL, EINVAL) for command in (8, 10, 15, 1024, 1026)],
        *[("ioctl", (3, command), ALLOW, ALLOW) for command in (0x5401, 0x541B, 0x5421, 0x5413)],
        # TCXONC, TIOCSCTTY, TIOCSPGRP, TIOCSTI, FIOASYNC, FIOSETOWN, SIOCSPGRP, SIOCGIFCONF, SIOCGSKNS
        *[
            ("ioctl", (3, command), ENOTTY, ENOTTY)
            for command in (0x540A, 0x540E, 0x5410, 0x5412, 0x5452, 0x8901, 0x8902, 0x8912, 0x894C)
        ],
        *[("prctl", (option,), ALLOW, ALLOW) for option in (1, 15, 38, 0x53564D41)],
        # PR_SET_SECCOMP, PR_SET_MM, PR_SCHED_CORE, PR_SET_PTRACER
        *[("prctl", (option,), EINVAL, EINVAL) for option in (22, 35, 62, 0x59616D61)],
        *[("socket", (family, 1), ALLOW, ERROR | 97) for family in (1, 2, 10)],
        *[("socket", (family, 3), ERROR | 97, ERROR | 97) for family in (0, 16, 17, 38, 40, 45)],
        *[("socketpair", (1, kind), ALLOW, ALLOW) for kind in (1, 5, 0x80801)],
        ("socketpair", (1, 2), ALLOW, EPERM),  # a datagram goes to any name
        ("socketpair", (1, 0x80802), ALLOW, EPERM),
        ("socketpair", (30, 1), ERROR | 97, ERROR | 97),
        *[(name, (3,), ALLOW, EPERM) for name in ("bind", "connect", "listen", "accept", "accept4")],
        ("getsockopt", (3, 1, 17), ALLOW, ALLOW),
        ("getsockopt", (3, 1, 77), ERROR | 92, ERROR | 92),
        ("clock_nanosleep", (1,), ALLOW, ALLOW),
        ("timer_create", (2,), ALLOW, ALLOW),
        ("timer_create", (~OTHER << 3 | 2,), EPERM, EPERM),
    ],
)
def test_rules_by_arguments(name: str, arguments: tuple[int, ...], walls: int, none: int) -> None:
    assert verdict(WALLS, name, *arguments) == walls
    assert verdict(SHARED_USER, name, *arguments) == verdict(OWN_USER, name, *arguments) == none
    assert verdict(WALLS, name, *arguments, machine="aarch64") == walls


def test_only_the_low_half_of_an_argument_counts_as_for_the_kernel() -> None:
    assert verdict(WALLS, "prlimit64", KEEPER + 2**32) == EPERM
    assert verdict(WALLS, "fcntl", 3, 8 + 2**40) == EINVAL


def test_a_machine_that_is_not_known_has_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert seccomp.filter_program(WALLS, OWN) is None
