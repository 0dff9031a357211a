"""What a run ran with: packages, hardware, threads. No environment variables: they may hold secrets."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from aftertrain.core.events import Hardware, LoadedPlugin


@lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """Version of every installed distribution."""
    versions = {dist.name: dist.version for dist in metadata.distributions() if dist.name}
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


@dataclass(frozen=True)
class Base:
    """The recipe's own model: its folder, and SHA-256 over its files."""

    path: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Content of `manifest.json`.

    Attributes:
        recipe: as it was resolved; settings of type `SecretStr` appear as asterisks.
        order: the stages in their order.
    """

    name: str = ""
    source: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    threads: int | None = None
    ranks: int = 1
    base: Base = field(default_factory=Base)
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)
    plugins: tuple[LoadedPlugin, ...] = ()
    hardware: Hardware | None = None
    order: tuple[str, ...]


def hardware() -> Hardware:
    """Of this machine."""
    import torch

    return Hardware(
        cpu=_cpu_name(),
        capability=torch.backends.cpu.get_cpu_capability(),
        cores=os.cpu_count(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())),
        system=f"{platform.system()} {platform.release()}",
    )


def machine(threads: int, ranks: int = 1) -> dict[str, str]:
    """What must be equal for a resumed stage to give the same bits, by name."""
    import torch

    here = hardware()
    return {
        "ranks": str(ranks),
        "threads": str(threads),
        "torch": torch.__version__,
        "CPU": f"{here.cpu} ({here.capability})",
        "GPU": ", ".join(here.gpus) or "none",
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
