"""Landlock (Linux 5.13): a process gives up files, other processes' memory and, from Linux 6.12, their signals, without
any right and without namespaces. On other systems there is none.

It covers opening, making and removing files, and whatever needs the right to trace a process. It does not cover the
names, sizes and dates of files (`stat`), nor their rights and owners (`chmod`).
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from aftertrain.core.sandbox import linux

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
TRUNCATE, DEVICES = 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_DIR
NETWORK = 3
"""Binding and connecting TCP."""
OTHERS = 3
"""Abstract Unix sockets and signals of processes outside."""
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | DEVICES
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights on files, by the version of the interface that brought the last of them."""
MOVES = 2
"""The version from which files can be moved from folder to folder."""
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _VERSION = 1, 1


def version() -> int:
    """The interface's version that this kernel has; 0 for none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return linux.system_call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class Doors:
    """What stays open.

    Attributes:
        readable: files, and folders with all in them, that may be read and executed.
        writable: the same that may be written, too.
        network: whether TCP stays as it is.
    """

    readable: Sequence[str]
    writable: Sequence[str]
    network: bool


def restrict(doors: Doors) -> None:
    """For good, and in all children: open no file but those, and reach no process outside. What is open, also by a link
    of /proc/self/fd to a pipe or a memory file, stays so. Where the kernel has no Landlock, nothing happens.

    Raises:
        OSError: the kernel has it and refuses.
    """
    have = version()
    if not have:
        return
    files = _HANDLED[max(known for known in _HANDLED if known <= have)]
    attributes = struct.pack("Q", files)
    attributes += struct.pack("Q", 0 if doors.network else NETWORK) if have >= 4 else b""
    attributes += struct.pack("Q", OTHERS) if have >= 6 else b""
    rules = linux.system_call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, rights in ((doors.readable, READ), (doors.writable, files & ~DEVICES)):
            for path in paths:
                _allow(rules, path, rights & files)
        linux.system_call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there cannot be read either
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        beneath = struct.pack("=Qi", rights, opened)
        linux.system_call(_ADD_RULE, rules, _PATH_BENEATH, beneath, 0)
    finally:
        os.close(opened)
