"""One pool per process and settings: its children serve every stage, task and call, and start once."""

from __future__ import annotations

import os
import threading

from aftertrain.core.verification.pool import VerifierPool
from aftertrain.core.verification.settings import PoolSettings

_pools: dict[PoolSettings, VerifierPool] = {}
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a fork may copy a lock that no thread of the copy will release
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def shared_pool(settings: PoolSettings | None = None) -> VerifierPool:
    """The pool of this process with these settings."""
    settings = settings or PoolSettings()
    with _lock:
        return _pools.setdefault(settings, VerifierPool(settings))


def close_pools() -> None:
    """Kill the children of every shared pool; a later use starts new ones."""
    with _lock:
        for pool in _pools.values():
            pool.close()
