"""One seed, the same bits: deterministic algorithms, named sub-seeds, and a scope for libraries with global state."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


def sub_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for one purpose, a pure function of the run's seed and the purpose's name.

    Streams of different names are independent, so that adding a draw in one place moves no other.
    """
    digest = hashlib.sha256("\x1f".join([str(seed), *map(str, names)]).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def use_determinism(threads: int | None) -> int:
    """Make this process reproducible; call once, early. Returns the thread count in force.

    Indexed backward passes are otherwise not reproducible even on CPU, and the thread count changes sums, so it is
    recorded with a run.
    """
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.use_deterministic_algorithms(True)
    # Filling new tensors with NaN finds reads of uninitialised memory, and costs a sixth of a small model's step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators inside the block and restore them after it.

    For libraries that know only the global generators (a fresh layer's initialisation); our own draws take explicit
    generators.
    """
    import numpy as np
    import torch

    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
