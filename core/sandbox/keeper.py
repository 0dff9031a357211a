"""What a keeper of programs knows of its own state, so that it notices when a program has changed it.

No program should be able to: the filter refuses it. This is the second lock, and the only one where the kernel has no
filter. It sees limits, scheduling, signals, descriptors, the working folder and leftover children, not memory.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from functools import partial
from typing import Any

_LIMITS = {
    f"limit {name[7:]}": getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}
_TIMERS = {f"timer {name[7:]}": getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")}
_OWN_FILES = ("oom_score_adj", "autogroup")
"""Files of /proc/self by which others of the same user could change a process."""


def state(proc: int | None) -> dict[str, Any]:
    """The calling process's state, by names for people.

    Args:
        proc: the folder /proc, open; None where there is none.
    """
    seen: dict[str, Any] = {name: resource.getrlimit(kind) for name, kind in _LIMITS.items()}
    seen |= {name: signal.getitimer(kind)[0] > 0 for name, kind in _TIMERS.items()}
    mask = os.umask(0o077)
    os.umask(mask)
    seen["umask"], seen["priority"] = mask, os.getpriority(os.PRIO_PROCESS, 0)
    seen["blocked signals"] = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    seen["waiting signals"] = signal.sigpending()
    seen["group and session"] = (os.getpgid(0), os.getsid(0))
    seen["lowest free descriptor"] = lowest = os.dup(0)
    os.close(lowest)
    seen["children"] = _has_children()
    if hasattr(os, "sched_getaffinity"):
        seen["cores"] = os.sched_getaffinity(0)
        seen["scheduling"] = (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)
    return seen | {name: text for name in _OWN_FILES if (text := read(proc, f"self/{name}")) is not None}


def changes(before: dict[str, Any], after: dict[str, Any]) -> str:
    """What of the state is different, for people; nothing where it is the same."""
    names = [name for name in before if before[name] != after.get(name)]
    return ", ".join(f"{name} (was {before[name]}, is {after.get(name)})" for name in names)


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def read(proc: int | None, name: str) -> bytes | None:
    """A file of /proc; None where there is none, or it or its process is gone."""
    if proc is not None:
        with contextlib.suppress(OSError), open(name, "rb", opener=partial(os.open, dir_fd=proc)) as file:
            return file.read()
    return None
