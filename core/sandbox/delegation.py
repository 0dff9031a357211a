"""Where this process may make control groups of version 2 with limits, and what has to be done there first.

Only in its own group, where that is writable and has the controller `memory`: others are not touched. One that holds
processes cannot have groups with limits, unless it is the root: this process, and those it started, move into a leaf.
Rules: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Sequence

LEAF = "aftertrain-itself"
"""Where this process moves, below its own group."""
TRIES = 100
"""Looks at a group that is to get empty."""
PAUSE = 0.01
"""Seconds between two of them."""

_NAME = re.compile(r"aftertrain-(\d+)-(\d+)-(\d+)-\d+")
"""A worker's group: the owner's namespace of processes, its number, when it started; and a number of the group."""


class NoGroups(OSError):
    """Control groups cannot be had; the message says why."""


def prepare(proc: str) -> str:
    """The folder in which groups with limits can be made: this process's own group, or the one above its leaf.

    Raises:
        NoGroups, OSError: there is none.
    """
    if sys.platform != "linux":
        raise NoGroups(f"they are Linux's, this is {sys.platform}")
    base = own_folder(proc)
    if os.path.basename(base) == LEAF:
        base = os.path.dirname(base)
    has = read(f"{base}/cgroup.controllers").split()
    if "memory" not in has:
        where = ", which this machine keeps in version 1" if ":memory:" in read(f"{proc}/self/cgroup") else ""
        raise NoGroups(f"{base} has no controller memory{where}")
    if "memory" not in read(f"{base}/cgroup.subtree_control").split():
        _enable(base, ["memory", "pids"] if "pids" in has else ["memory"], proc)
    sweep(base, proc)
    return base


def own_folder(proc: str) -> str:
    """Where this process's control group of version 2 is to be seen.

    Raises:
        NoGroups: nowhere, or not to be written.
        OSError: there is no `proc`.
    """
    lines = read(f"{proc}/self/cgroup").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        raise NoGroups("this kernel has none of version 2")
    reasons = ["no file system of type cgroup2 is mounted"]
    for line in read(f"{proc}/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] != "cgroup2":
            continue
        root, point, options = (re.sub(r"\\(\d{3})", _octal, part) for part in before.split()[3:6])
        below = os.path.relpath(path, root)
        if below.split("/")[0] == ".." or "/.." in path:
            reasons.append(f"{point} does not show the group {path} of this process")
        elif "ro" in options.split(","):
            reasons.append(f"{point} is mounted read-only")
        else:
            folder = os.path.normpath(f"{point}/{below}")
            if os.access(folder, os.W_OK):
                return folder
            reasons.append(f"{folder} is not delegated to this user (it may not write there)")
    raise NoGroups(reasons[-1])


def _enable(base: str, controllers: Sequence[str], proc: str) -> None:
    """Turn controllers on for groups below `base`, after moving this process and its children into a leaf there.

    Raises:
        NoGroups: that would change what is not ours, or it is refused; then all is as before.
    """
    is_root = not os.path.exists(f"{base}/cgroup.type")
    if others := [entry.name for entry in os.scandir(base) if entry.is_dir() and not _ours(entry.name)]:
        raise NoGroups(f"limits are not enabled in {base}, and that would change a group that is not ours, {others[0]}")
    leaf = f"{base}/{LEAF}"
    try:
        if not is_root:
            with contextlib.suppress(FileExistsError):
                make(leaf)
            _move(base, leaf, proc)
        write(f"{base}/cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))
    except OSError as error:
        if not is_root:
            for pid in _pids(leaf) if os.path.isdir(leaf) else []:
                with contextlib.suppress(OSError):
                    write(f"{base}/cgroup.procs", str(pid))
            with contextlib.suppress(OSError):
                remove(leaf)
        if isinstance(error, NoGroups):
            raise
        raise NoGroups(f"limits cannot be enabled in {base}: {error.strerror}") from error


def _move(base: str, leaf: str, proc: str) -> None:
    """Move this process, and those that descend from it, from `base` to `leaf`."""
    for _ in range(TRIES):  # a process may fork meanwhile
        pids = _pids(base)
        if not pids:
            return
        if strangers := [pid for pid in pids if not _descends(pid, proc)]:
            raise NoGroups(
                f"{base} holds a process that aftertrain did not start ({strangers[0]}): start aftertrain as the only "
                "one of a delegated group (systemd-run --user --scope -p Delegate=yes …)"
            )
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                write(f"{leaf}/cgroup.procs", str(pid))
        time.sleep(PAUSE)
    raise NoGroups(f"{base} does not get empty")


def sweep(base: str, proc: str = "/proc") -> None:
    """Remove the groups of owners that are dead. None of them holds a process: what an owner started ends with it."""
    for entry in os.scandir(base):
        named = _NAME.fullmatch(entry.name)
        if named and named[1] == _namespace() and _started(proc, int(named[2])) != named[3]:
            with contextlib.suppress(OSError):
                remove(entry.path)


def group_name(number: int, proc: str = "/proc") -> str:
    """A name for a group of this process, from which others see whether its owner still lives."""
    return f"aftertrain-{_namespace()}-{os.getpid()}-{_started(proc, os.getpid())}-{number}"


def _ours(name: str) -> bool:
    return name == LEAF or bool(_NAME.fullmatch(name))


def _namespace() -> str:
    return str(os.stat("/proc/self/ns/pid").st_ino)


def _stat(proc: str, pid: int) -> list[str]:
    """Fields of a process's `stat` from the third on; none where it is gone."""
    with contextlib.suppress(OSError):
        return read(f"{proc}/{pid}/stat").rpartition(")")[2].split()
    return []


def _started(proc: str, pid: int) -> str:
    return (_stat(proc, pid) or ["0"] * 20)[19]


def _descends(pid: int, proc: str) -> bool:
    """Whether a process is this one or comes of it, or is gone."""
    while pid > 1 and pid != os.getpid():
        stat = _stat(proc, pid)
        if not stat:
            return True
        pid = int(stat[1])
    return pid == os.getpid()


def _pids(folder: str) -> list[int]:
    return [int(pid) for pid in read(f"{folder}/cgroup.procs").split()]


def _octal(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))


def read(path: str) -> str:
    """A file's content."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def write(path: str, text: str) -> None:
    """Write into a file that is there, in one piece: the kernel takes it as an order."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def make(path: str) -> None:
    """Make a group."""
    os.mkdir(path)


def remove(path: str) -> None:
    """Remove a group."""
    os.rmdir(path)
