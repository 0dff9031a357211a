"""What a run ran with: packages, hardware, threads. No environment variables: they may hold secrets."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from aftertrain.core.recipe import Recipe


@lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """Version of every installed distribution."""
    found = {dist.name: dist.version for dist in metadata.distributions() if dist.name}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, Any]:
    """CPU, cores, memory (bytes) and GPUs of this machine."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus,
        "system": f"{platform.system()} {platform.release()}",
    }


def machine(threads: int, ranks: int = 1) -> dict[str, str]:
    """What must be equal for a resumed stage to give the same bits, by name."""
    import torch

    here = hardware()
    return {
        "ranks": str(ranks),
        "threads": str(threads),
        "torch": torch.__version__,
        "CPU": f"{here['cpu']} ({here['capability']})",
        "GPU": ", ".join(here["gpus"]) or "none",
    }


def manifest(
    recipe: Recipe, *, source: str, base: Path, base_digest: str, threads: int, ranks: int, plugins: Sequence[Any]
) -> dict[str, Any]:
    """Content of `manifest.json`. Settings of type `SecretStr` appear as asterisks."""
    return {
        "name": recipe.name,
        "source": source,
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "seed": recipe.seed,
        "threads": threads,
        "ranks": ranks,
        "base": {"path": str(base), "digest": base_digest},
        "python": sys.version.split()[0],
        "packages": packages(),
        "plugins": list(plugins),
        "hardware": hardware(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
