"""What a forked child of the zygote becomes: a program, or the examiner. Either gives up everything first."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from aftertrain.core.sandbox import candidate, examiner, landlock, linux, program
from aftertrain.core.sandbox.limits import environment
from aftertrain.core.sandbox.seccomp import Neighbours, filter_program

Handlers = dict[int, Any]
"""What each signal does, by its number."""
OPEN_FILES = 256
SIGNALS = 1024
"""Signals that may wait and timers that may run: a user's processes share what there is of them."""
OURS = 2
"""Processes that count to the same user: the zygote, and the one that waits outside the walls."""
COUNTS_BY_NAMESPACE = (5, 14)
"""Linux that counts a user's processes in each user namespace for itself."""


def run(
    order: dict[str, Any],
    descriptors: Sequence[int],
    *,
    private: Sequence[int],
    handlers: Handlers,
    limits: dict[str, Any],
    folder: str,
    neighbours: Neighbours,
    doors: landlock.Doors | None,
) -> NoReturn:
    """Become the program that the owner ordered.

    Args:
        order: `mode`, and `timeout`, seconds of wall time for all.
        descriptors: what the owner sent along: for `script` program, stdin, stdout, stderr; for `module` program and
            the line to the examiner.
        private: the zygote's own descriptors, closed first.
        handlers: what signals did before the zygote took to ignoring them.
        limits: fields of `limits.Limits`.
        folder: the scratch folder.
        neighbours: who else is there.
        doors: the files that may be opened; None where nothing but walls says so.
    """
    try:
        _leave_zygote(private, handlers)
        if sys.platform == "linux":
            linux.set_dumpable(True)  # a program may look at itself in /proc; only the zygote is closed
        os.chdir(folder)
        if not neighbours.network:
            os.environ.update(HOME=folder, TMPDIR=folder)
            sys.modules["tempfile"].tempdir = None  # type: ignore[attr-defined]
            _set("NPROC", limits["processes"] + OURS + tasks_of_user())
        _set("CPU", int(order["timeout"]) + 1)
        _close_doors(neighbours, doors)
        if order["mode"] == "script":
            program.run(*descriptors)
        source, line = descriptors
        candidate.run(source, line)
    except BaseException:  # noqa: BLE001 (a forked child must never return into the zygote's loop)
        os._exit(70)
    os._exit(70)


def examine(control: socket.socket, private: Sequence[int], handlers: Handlers, neighbours: Neighbours) -> NoReturn:
    """Become the examiner, which takes orders from `control` until the owner is gone. No program can look into it."""
    try:
        _leave_zygote(private, handlers)
        _close_doors(replace(neighbours, alone=False), None)
        examiner.serve(control)
    finally:
        os._exit(70)


def ignore_signals() -> Handlers:
    """Ignore every signal that can be ignored, except a parent's end (SIGHUP); what the signals did before.

    A first process of a namespace gets from those inside just the signals that it has a handler for, and Python has one
    for SIGINT.
    """
    before: Handlers = {}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGHUP, signal.SIGCHLD}:
        handler = signal.getsignal(number)
        if handler not in (signal.SIG_IGN, None):
            before[number] = handler
            signal.signal(number, signal.SIG_IGN)
    return before


def _leave_zygote(private: Sequence[int], handlers: Handlers) -> None:
    signal.set_wakeup_fd(-1)
    for number, handler in {**handlers, signal.SIGCHLD: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}.items():
        signal.signal(number, handler)
    for descriptor in private:
        os.close(descriptor)
    os.setsid()


def prepare(limits: dict[str, Any], folder: str, neighbours: Neighbours, others: int) -> None:
    """Set what is the same for every program, once, in the zygote: children inherit it.

    `others` is the number of processes outside that the kernel counts to the same user.
    """
    os.umask(0o077)
    os.environ.clear()
    os.environ.update(environment(folder))
    _set("AS", limits["memory_bytes"])
    _set("FSIZE", limits["file_bytes"])
    _set("NOFILE", OPEN_FILES)
    _set("CORE", 0)
    _set("MSGQUEUE", 0)
    _set("SIGPENDING", SIGNALS)
    if neighbours.network:
        _set("NPROC", limits["processes"] + OURS + others)
    filter_program(neighbours, 0)  # children find it made


def _set(name: str, value: int) -> None:
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        return
    hard = resource.getrlimit(kind)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (least, least))
    except (OSError, ValueError):
        if sys.platform == "linux":
            raise  # macOS knows RLIMIT_AS but refuses it


def tasks_of_user() -> int:
    """Threads of this user on this machine: the limit on processes counts them all where no namespace is."""
    user, total = os.geteuid(), 0
    if not os.path.isdir("/proc/self"):
        return 512
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    total += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return total


def _close_doors(neighbours: Neighbours, doors: landlock.Doors | None) -> None:
    """Give up, for good, capabilities, all files but those of `doors`, and what the filter refuses."""
    if sys.platform != "linux":
        return
    linux.drop_privileges()
    if doors:
        landlock.restrict(doors)
    if code := filter_program(neighbours, os.getpid()):
        try:
            linux.install_filter(code)
        except OSError:
            if neighbours.network:
                raise
