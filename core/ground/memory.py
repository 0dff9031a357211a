"""How much memory is free, so that who wants more knows whether it may be had, and how much processes hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aftertrain.core.ground.foreign import message_of

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")


def free_bytes(meminfo: Path = MEMINFO, group: Path = GROUP) -> int:
    """Main memory that can be had without swapping: the machine's, or what the control group leaves if that is less.

    0 where the system does not say.
    """
    free = 1024 * _statistic(meminfo, "MemAvailable:")
    limit, used = (_text(group / name).strip() for name in ("memory.max", "memory.current"))
    if not (limit.isdigit() and used.isdigit()):
        return free
    # Pages of files count as used, and are given up when memory is wanted.
    return min(free, max(0, int(limit) - int(used) + _statistic(group / "memory.stat", "inactive_file")))


def peak_bytes(pids: Iterable[int], proc: Path = Path("/proc")) -> int:
    """The most main memory that processes have held so far, together; one that is gone, or not told of, holds none."""
    return 1024 * sum(_statistic(proc / str(pid) / "status", "VmHWM:") for pid in pids)


def memory_refusal(error: BaseException) -> str | None:
    """What could not be had, when an error says that memory is full; None for an error of another kind."""
    text = (message_of(error).strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError):
        return text or "the system gives no more memory"
    full = ("out of memory", "can't allocate memory", "cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return text if isinstance(error, RuntimeError | OSError) and any(word in text for word in full) else None


def _text(path: Path) -> str:
    """Content of a file of the kernel's, empty where there is none."""
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _statistic(path: Path, name: str) -> int:
    return next((int(line.split()[1]) for line in _text(path).splitlines() if line.split()[:1] == [name]), 0)
