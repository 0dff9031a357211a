"""Plugins made on the spot: a package in a folder of its own, with the metadata that pip would write."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest

from aftertrain.core.plugin import ENTRY_POINT_GROUP

Install = Callable[..., EntryPoint]

SETTINGS = """
from typing import Any
from pydantic import Field
from aftertrain.core.loss import Loss
from aftertrain.core.settings import LocalPath, Settings, Use

class Inner(Settings):
    rate: float = Field(1.0, description="A rate.")

class MarginSettings(Settings):
    margin: float = Field(0.5, description="How far apart.")
    inner: Inner = Field(Inner(), description="More.")
    file: LocalPath | None = Field(None, description="A file.")
    other: Use[Loss[Any]] | None = Field(None, description="Another loss.")
    several: tuple[Use[Loss[Any]], ...] = Field((), description="More losses.")
"""
LOSS = """
from aftertrain.core.loss import Loss
from {package}.settings import MarginSettings

class Margin(Loss[MarginSettings]):
    Config = MarginSettings
    needs = None
    def __call__(self, batch, scores):
        raise NotImplementedError
"""


def registering(
    *rows: tuple[str, str], api: str = "AFTERTRAIN_API = 2", package: str = "acme", before: str = ""
) -> str:
    """Source of a registering module that adds a row for each (kind, name)."""
    adds = "\n    ".join(
        f'registry.add("{kind}", "{name}", "{package}.loss:Margin", "{package}.settings:MarginSettings", "a margin")'
        for kind, name in rows
    )
    return textwrap.dedent(f"""
from aftertrain.core.plugin import Registrar, hookimpl
{before}
{api}

@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    {adds or "pass"}
""")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package whose `__init__` is the given source; returns its entry point. It is gone after the test."""
    before = set(sys.modules)
    count = 0

    def make(
        source: str,
        *,
        name: str = "acme",
        distribution: str = "acme-aftertrain",
        version: str = "1.2",
        package: str = "acme",
    ) -> EntryPoint:
        nonlocal count
        count += 1
        site = tmp_path / f"site-{count}"
        home = site / package
        home.mkdir(parents=True)
        (home / "__init__.py").write_text(source)
        (home / "settings.py").write_text(SETTINGS)
        (home / "loss.py").write_text(LOSS.format(package=package))
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {package}\n")
        monkeypatch.syspath_prepend(str(site))
        found = PathDistribution(info).entry_points
        return next(iter(importlib.metadata.EntryPoints(found)))

    yield make
    for module in set(sys.modules) - before:
        if module.partition(".")[0] not in ("aftertrain", "pydantic", "torch"):
            del sys.modules[module]
