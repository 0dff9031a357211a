"""The keeper of one worker: sees to it that nothing which a verifier starts outlives it, and that no stop lasts.

It is the pool's child and the worker's parent, and runs no code but this. It adopts what the worker's descendants leave
behind (a daemon has forked twice and begun a session, so that no process group holds it), wakes a worker that was
stopped, makes harmless for a terminal what the worker writes to standard error, and ends with the worker's own status,
after everything else has ended. It takes the closing of the worker's inbox (the pool's process is gone) and SIGTERM
as the order to end all.

Started by path, with the standard library alone. Arguments: the worker's inbox, outbox and page, then its command.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import select
import signal
import struct
import sys
import time
from contextlib import suppress

NUMBER = struct.Struct("=Q")
MOMENT = struct.Struct("=d")
BEGUN, BEGAN, WORKER, SWEPT = 0, 8, 16, 24
"""Where the page holds which case of its batch the worker began last, when (monotonic), the worker's process id, and
whether its keeper has ended all of its descendants."""
SUBREAPER = 36
"""`PR_SET_CHILD_SUBREAPER` of prctl(2)."""
SWEEPING = 2.0
"""Seconds after which descendants that cannot be killed are left."""
LOOKING = 5_000
"""Milliseconds after which the worker's state is asked for, should a signal be lost."""
LOUD = 100_000
"""Bytes of standard error that are passed on."""


def main() -> None:
    """Start the worker and watch over it until it ends or shall end."""
    inbox, outbox, page = map(int, sys.argv[1:4])
    progress = mmap.mmap(page, mmap.PAGESIZE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    orders: list[int] = []
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: orders.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    stderr, worker_stderr = os.pipe()
    keeper = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.dup2(worker_stderr, 2)
        command = [*sys.argv[4:], str(inbox), str(outbox), str(page), str(keeper)]
        os.execv(command[0], command)
    NUMBER.pack_into(progress, WORKER, worker)
    os.close(outbox)
    os.close(worker_stderr)
    status = watch(worker, inbox, woken, stderr, orders)
    sweep()
    NUMBER.pack_into(progress, SWEPT, 1)
    end_as(status)


def watch(worker: int, inbox: int, woken: int, stderr: int, orders: list[int]) -> int | None:
    """The worker's wait status once it has ended; None once it shall end."""
    poller = select.poll()
    poller.register(inbox, 0)
    poller.register(woken, select.POLLIN)
    poller.register(stderr, select.POLLIN)
    room = LOUD
    while not orders:
        for descriptor, happened in poller.poll(LOOKING):
            if descriptor == inbox:
                return None
            if descriptor == woken:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
            elif happened:
                text = os.read(stderr, 65_536)
                if not text:
                    poller.unregister(stderr)
                room = pass_on(text, room)
        for pid, status in ended():
            if os.WIFSTOPPED(status):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            elif pid == worker:
                return status
    return None


def pass_on(text: bytes, room: int) -> int:
    """Write what the worker said to standard error, without what a terminal obeys; returns the room that is left."""
    if room <= 0:
        return room
    shown = "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text[:room].decode("utf-8", "backslashreplace")
    )
    if len(text) >= room:
        shown += "\n(what a judging process writes from here on is not shown)\n"
    with suppress(OSError):
        os.write(2, shown.encode("utf-8", "backslashreplace"))
    return room - len(text)


def ended() -> list[tuple[int, int]]:
    """Children, adopted ones too, that have ended or stopped since, with their wait statuses."""
    processes = []
    with suppress(ChildProcessError):
        while (happened := os.waitpid(-1, os.WNOHANG | os.WUNTRACED))[0]:
            processes.append(happened)
    return processes


def sweep() -> None:
    """Stop all descendants, so that none starts others meanwhile, and kill them, until there are none."""
    until = time.monotonic() + SWEEPING
    while time.monotonic() < until:
        ended()
        stopped: set[int] = set()
        while (fresh := descendants() - stopped) and time.monotonic() < until:
            send(fresh, signal.SIGSTOP)
            stopped |= fresh
        if not stopped:
            return
        send(stopped, signal.SIGKILL)
        time.sleep(0.001)


def descendants() -> set[int]:
    """Process ids of all that this process or its descendants started and that have not been reaped."""
    family = {os.getpid()}
    size = 0
    parents = all_parents()
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, parent in parents.items() if parent in family}
    return family - {os.getpid()}


def all_parents() -> dict[int, int]:
    """The parent of every process, where /proc tells; else there are none but those of the process group."""
    parents = {}
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return parents


def send(pids: set[int], number: int) -> None:
    """A signal to each that is still there and may be signalled."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_as(status: int | None) -> None:
    """End as the worker ended."""
    if status is None:
        os._exit(0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with suppress(OSError, ValueError):  # SIGKILL has no handler, and the C library's own signals are no one's
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(SWEEPING)
        os._exit(128 + number)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
