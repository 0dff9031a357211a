"""Judging in killable processes: a case that hangs, crashes or eats memory costs its own verdict and nothing else."""

from aftertrain.core.verification.pool import Isolated, VerifierPool, isolate, stream
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verification.shared import close_pools, shared_pool

__all__ = [
    "Isolated",
    "PoolSettings",
    "VerifierPool",
    "close_pools",
    "isolate",
    "shared_pool",
    "stream",
]
