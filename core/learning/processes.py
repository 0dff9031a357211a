"""Ranks that are processes of their own, a model's copy or share each: how they meet, and what they do together (F42).

A process belongs to a run of several when the environment says so, in the words of torchrun: `RANK`, `WORLD_SIZE`,
`MASTER_ADDR`, `MASTER_PORT`, `LOCAL_RANK`. `aftertrain run --nproc N` sets them too. Every wait for the others has a
name and a deadline; a rank that is gone is noticed at once, because its connections close.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from aftertrain.core.errors import RankLost, RunError
from aftertrain.core.learning.deadline import waiting
from aftertrain.core.learning.meeting import Meeting, patience
from aftertrain.core.learning.presence import Presence
from aftertrain.core.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")
JOINING = 300.0
"""Seconds that a rank waits for the others to start."""
TIMEOUT = 1800.0
"""Seconds that a rank waits for the others in a step or at a checkpoint. `AFTERTRAIN_RANK_DEADLINE` replaces both."""
BUCKET = 1 << 24
"""Numbers that one call adds over ranks: 64 MiB in float32."""
_LOSSES = ("connection", "socket", "gloo", "nccl", "broken pipe", "peer", "timed out")


class Processes(Ranks):
    """The processes of a run that have met.

    Args:
        store: their key-value store.
    """

    def __init__(self, rank: int, size: int, local: int, store: Store) -> None:
        super().__init__(rank, size, local)
        self.store = store
        self.timeout = patience(TIMEOUT)
        self.presence = Presence(store, rank, size)

    def gather(self, value: T, what: str) -> list[T]:
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        with self.together(what):
            dist.all_gather_object(values, value)
        return values

    def add(self, tensors: Sequence[Tensor], what: str) -> None:
        import torch
        import torch.distributed as dist

        for bucket in buckets_of(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with self.together(what):
                dist.all_reduce(flat)
            for tensor, part in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        try:
            with (
                self.presence.at(what),
                waiting(f"the other ranks ({what})", self.timeout, self.presence.told),
            ):
                yield
        except RuntimeError as error:
            if not any(word in str(error).lower() for word in _LOSSES):
                raise
            first_line = str(error).strip().splitlines()[0]
            raise RankLost(f"rank {self.rank} lost another rank ({what}): {first_line}") from error


_meetings = 0


@contextmanager
def joined(environment: Mapping[str, str] | None = None) -> Iterator[Ranks]:
    """Meet the other ranks that the environment tells of, and leave them at the end; without any, `ALONE`.

    Raises:
        RunError: the environment is incomplete, or not all ranks came in time.
    """
    environment = os.environ if environment is None else environment
    size = _number(environment, "WORLD_SIZE", 1, range(1, sys.maxsize))
    if size == 1:
        yield ALONE
        return
    import torch.distributed as dist

    ranks = _join(environment, size)
    yield ranks
    # After an error the others may be gone, and taking leave of them would wait: the process ends anyway.
    ranks.meet("the end of the run")
    ranks.presence.end()
    dist.destroy_process_group()


def _join(environment: Mapping[str, str], size: int) -> Processes:
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise RunError(
            f"the environment says WORLD_SIZE={size} but not {', '.join(missing)}: start the run with "
            "'aftertrain run RECIPE --nproc N' or with torchrun, or unset WORLD_SIZE"
        )
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    global _meetings  # noqa: PLW0603 - a store may be met at again, and then nobody is there yet
    _meetings += 1
    if dist.is_initialized():
        raise RunError("torch.distributed is initialised already; leave it to aftertrain to join the ranks")
    rank = _number(environment, "RANK", 0, range(size))
    local = _number(environment, "LOCAL_RANK", rank, range(size))
    timeout = patience(JOINING)
    meeting = Meeting(environment, rank, size, timeout)
    try:
        # A backstop for what torch does without saying when it ends.
        with waiting(f"rank {rank} of {size} to meet the others at {meeting.where}", timeout + JOINING):
            store = PrefixStore(f"meeting/{_meetings}", meeting.store(_meetings))
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            ranks = Processes(rank, size, local, PrefixStore("aftertrain", store))
            # Ours passes first, because it also tells what was waited for.
            limit = timedelta(seconds=ranks.timeout + 60)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)
    except (dist.DistError, ValueError) as error:
        raise RunError(f"rank {rank} of {size} cannot meet the others at {meeting.where}: {error}") from error
    return ranks


def _number(environment: Mapping[str, str], name: str, otherwise: int, allowed: range) -> int:
    """A whole number that the launcher has left in the environment.

    Raises:
        RunError: it is none, or not one of those allowed.
    """
    written = environment.get(name)
    if written is None:
        return otherwise
    # So many digits say every number of processes, and no conversion is refused.
    if written.isascii() and written.isdecimal() and len(written) < 10 and int(written) in allowed:
        return int(written)
    upto = f" to {allowed[-1]}" if allowed.stop < sys.maxsize else " or more"
    raise RunError(
        f"{name} is {written!r} in the environment: expected a whole number, {allowed[0]}{upto}; start the run with "
        "'aftertrain run RECIPE --nproc N' or with torchrun, or unset WORLD_SIZE for a run of one process"
    )


def buckets_of(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of tensors that one call adds: together no more than `BUCKET` numbers, or one tensor alone."""
    bucket: list[Tensor] = []
    room = BUCKET
    for tensor in tensors:
        if bucket and tensor.numel() > room:
            yield bucket
            bucket, room = [], BUCKET
        bucket.append(tensor)
        room -= tensor.numel()
    if bucket:
        yield bucket
