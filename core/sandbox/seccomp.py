"""A seccomp filter: system calls that no test of a program needs and that reach past namespaces.

Namespaces do not cover everything: virtual machine sockets (AF_VSOCK) reach the host, memory files and System V memory
escape the memory limit, nested user namespaces give privileges back. This filter refuses them. It knows x86-64 and
64-bit ARM; elsewhere there is none.
"""

from __future__ import annotations

import platform
import struct
from functools import cache

_MACHINES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
_REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
}
_SOCKET, _CLONE, _CLONE3 = (41, 198), (56, 220), (435, 435)
_SIGNALS = {"kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "pidfd_send_signal": (424, 424)}
_UNIX, _INET, _INET6 = 1, 2, 10
_NEWUSER = 0x1000_0000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97

_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER, _ARCH, _FIRST = 0, 4, 16
"""Offsets in `struct seccomp_data`; `_FIRST` is the low half of the first argument."""


@cache
def filter_program(*, internet: bool, only_signal: int | None = None) -> bytes | None:
    """The filter's packed instructions, or None for a machine that it does not know.

    Args:
        internet: whether internet sockets may be made: yes behind a network namespace, where they lead nowhere. Without
            them no socket can be made at all but connected pairs.
        only_signal: the one process that may be signalled; None where a PID namespace hides all others.
    """
    if platform.machine() not in _MACHINES:
        return None
    arch, column = _MACHINES[platform.machine()]
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    if arch == _MACHINES["x86_64"][0]:
        code += [(_AT_LEAST, 0, 1, 0x4000_0000), (_RETURN, 0, 0, _ERROR | _ENOSYS)]
    for numbers in _REFUSED.values():
        code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ERROR | _EPERM)]
    code += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _ERROR | _ENOSYS)]
    code += _on_first(_CLONE[column], [(_BITS, 0, 1, _NEWUSER), (_RETURN, 0, 0, _ERROR | _EPERM)])
    families = (_UNIX, _INET, _INET6) if internet else ()
    allowed = [(_EQUAL, len(families) - at, 0, family) for at, family in enumerate(families)]
    code += _on_first(_SOCKET[column], [*allowed, (_RETURN, 0, 0, _ERROR | _EAFNOSUPPORT)])
    if only_signal is not None:
        own = [(_EQUAL, 1, 0, only_signal), (_RETURN, 0, 0, _ERROR | _EPERM)]
        for numbers in _SIGNALS.values():
            code += _on_first(numbers[column], own)
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _on_first(number: int, test: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """For that system call, run `test` on its first argument; what falls out of the test is allowed."""
    body = [(_LOAD, 0, 0, _FIRST), *test, (_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]
