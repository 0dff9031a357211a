"""System calls that Python's library lacks, by ctypes. Called only on Linux, inside a sandbox's own process."""

from __future__ import annotations

import ctypes
import os
import struct

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000
NEWUSER, NEWPID, NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
RDONLY, NOSUID, NODEV = 1, 2, 4
DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_SET_SECCOMP = 1, 4, 8, 22
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 36, 38, 47
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_DAC_READ_SEARCH, _SYS_ADMIN = 1 << 2, 1 << 21
_AMBIENT_RAISE, _AMBIENT_CLEAR = 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def system_call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call that has no function of its own.

    Raises:
        OSError: it failed.
    """
    passed = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *passed), f"system call {number}")


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names; a new PID namespace begins with the next child."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """Mount `source` on `target`."""
    encode = os.fsencode
    result = _libc.mount(
        encode(source), encode(target), kind and kind.encode(), ctypes.c_ulong(flags), data and data.encode()
    )
    _check(result, f"mount {source} on {target}")


def unmount(target: str) -> None:
    """Take the mount at `target` out of the tree; it ends when nobody uses it any more."""
    _check(_libc.umount2(os.fsencode(target), DETACH), f"unmount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root, and mount what was the root on `old`."""
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), "pivot_root")


def restrict_mount(path: str, attributes: int) -> None:
    """Set `attributes` on the mount at `path` and on all below it (Linux 5.12)."""
    request = struct.pack("QQQQ", attributes, 0, 0, 0)
    arguments = (_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, request, ctypes.c_size_t(len(request)))
    _check(_libc.syscall(*arguments), f"mount_setattr {path}")


def _prctl(option: int, *values: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return _check(_libc.prctl(option, *padded), f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Get that signal when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def set_dumpable(allowed: bool) -> None:
    """Whether others of the same user may trace this process and look into its memory and descriptors."""
    _prctl(_PR_SET_DUMPABLE, int(allowed))


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def drop_privileges() -> None:
    """Give up every capability for good, in what is executed later, too."""
    _set_capabilities(0)
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def keep_mounting() -> None:
    """Of all capabilities keep that for mounts, in what is executed next, too."""
    _set_capabilities(_SYS_ADMIN, inheritable=_SYS_ADMIN)
    _prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, _SYS_ADMIN.bit_length() - 1)


def name_host(name: str) -> None:
    """Name the machine, and no domain, in this process's own namespace."""
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")
    _check(_libc.setdomainname(b"", 0), "setdomainname")


def install_filter(program: bytes) -> None:
    """Put a seccomp filter (packed BPF instructions) on this process and its children, for good."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    _check(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), header, 0, 0), "seccomp")


def become(user: int, keep_reading: bool) -> None:
    """Turn from root into `user`, for good; `keep_reading` leaves the right to read every file."""
    if keep_reading:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if keep_reading:
        _set_capabilities(_DAC_READ_SEARCH)
    set_dumpable(True)


def _set_capabilities(low: int, inheritable: int = 0) -> None:
    header = struct.pack("Ii", 0x2008_0522, 0)
    _check(_libc.capset(header, struct.pack("6I", low, low, inheritable, 0, 0, 0)), "capset")
