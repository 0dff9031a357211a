"""Control groups of version 2: the kernel itself counts and limits the memory of all processes of a program together.

The owner makes a group for each worker (`delegation.py` says where). It hands the group's files, open, to the keeper
behind the walls: a new child puts itself there before it becomes a program.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
import time
from collections.abc import Mapping

from aftertrain.core.sandbox import delegation
from aftertrain.core.sandbox.delegation import NoGroups
from aftertrain.core.sandbox.limits import Limits

PROC = "/proc"
EVENTS = "memory.events"
"""The file of a group in which the kernel counts what memory's end has cost."""


class Group:
    """One worker's group.

    Args:
        base: the group that it is made in.
        name: of the folder.
        limits: what is written into which of its files. Those of controllers that are not there are left out.

    Raises:
        NoGroups: it cannot be made.
    """

    def __init__(self, base: str, name: str, limits: Mapping[str, int]) -> None:
        self.folder = f"{base}/{name}"
        self._maker = os.getpid()
        step = f"no group can be made in {base}"
        try:
            delegation.make(self.folder)
            for file, value in limits.items():
                step = f"{file} cannot be set"
                if file == "memory.max" or os.path.exists(f"{self.folder}/{file}"):
                    delegation.write(f"{self.folder}/{file}", str(value))
        except OSError as error:
            self.remove()
            raise NoGroups(f"{step}: {error.strerror}") from error

    def open(self) -> list[int]:
        """Descriptors for `Door`; the caller closes them.

        Raises:
            NoGroups: a file of the group is not there.
        """
        opened: list[int] = []
        try:
            for name, how in (("cgroup.procs", os.O_WRONLY), (EVENTS, os.O_RDONLY)):
                opened.append(os.open(f"{self.folder}/{name}", how | os.O_CLOEXEC))
            with contextlib.suppress(FileNotFoundError):  # Linux before 5.14
                opened.append(os.open(f"{self.folder}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            raise NoGroups(f"{error.filename}: {error.strerror}") from error
        return opened

    def remove(self) -> bool:
        """Kill what is left and remove the group; whether it is gone. A fork of the maker does nothing."""
        if os.getpid() != self._maker:
            return False
        for _ in range(delegation.TRIES):
            with contextlib.suppress(OSError):
                delegation.write(f"{self.folder}/cgroup.kill", "1")
            with contextlib.suppress(OSError):
                delegation.remove(self.folder)
            if not os.path.isdir(self.folder):
                return True
            time.sleep(delegation.PAUSE)
        return False


class Door:
    """The keeper's side of a group: its files, open. Other files of control groups are not to be seen there."""

    def __init__(self, procs: int, events: int, kill: int | None = None) -> None:
        self._procs, self._events, self._kill = procs, events, kill
        self.descriptors = [procs, events, *([] if kill is None else [kill])]

    def enter(self) -> None:
        """Put the calling process, and the children it will have, into the group.

        Raises:
            OSError: the kernel refuses it.
        """
        os.write(self._procs, b"0")

    def refuses(self) -> str:
        """Why a child of this process cannot enter; empty where it can."""
        child = os.fork()
        if child == 0:
            code = 255
            try:
                self.enter()
                code = 0
            except OSError as error:
                code = min(error.errno or 255, 255)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return f"a program's process cannot be put there: {os.strerror(code)}" if code else ""

    def killed(self) -> int:
        """Processes that the kernel has killed there because memory ran out."""
        count = re.search(rb"^oom_kill ([0-9]+)$", os.pread(self._events, 4096, 0), re.MULTILINE)
        return int(count[1]) if count else 0

    def kill(self) -> None:
        """Kill every process of the group, where the kernel can do that at once."""
        if self._kill is not None:
            with contextlib.suppress(OSError):
                os.write(self._kill, b"1")


def files(program: Limits) -> dict[str, int]:
    """What is written into which file of a group. Memory and scratch folder together: files in memory count, too."""
    return {
        "memory.max": program.memory_bytes + program.file_bytes,
        "memory.swap.max": 0,
        "memory.oom.group": 1,
        "pids.max": program.processes,
    }


_lock = threading.Lock()
_bases: dict[tuple[int, str], str | NoGroups] = {}
"""What was found, of each process, because a fork begins with a copy."""
_numbers = itertools.count(1)


def make(limits: Mapping[str, int], proc: str | None = None) -> Group:
    """A new group for a worker.

    Args:
        limits: value of each file, such as `memory.max` in bytes.
        proc: where the kernel tells of processes; `PROC`.

    Raises:
        NoGroups: control groups cannot be had here, or this one cannot be made.
    """
    proc = proc or PROC
    with _lock:
        key = (os.getpid(), proc)
        if key not in _bases:
            try:
                _bases[key] = delegation.prepare(proc)
            except NoGroups as error:
                _bases[key] = error
            except OSError as error:
                _bases[key] = NoGroups(f"{error.filename or proc}: {error.strerror}")
        base = _bases[key]
    if isinstance(base, NoGroups):
        raise NoGroups(*base.args)
    return Group(base, delegation.group_name(next(_numbers), proc), limits)
