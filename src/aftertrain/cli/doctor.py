"""`aftertrain doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import textwrap
from pathlib import Path

import click

from aftertrain.cli.table import echo_safely, echo_table
from aftertrain.core.ground.cores import usable_cores
from aftertrain.registry.discovery import installed, machine_facts
from aftertrain.registry.tables import Registry

LIBRARIES = ("torch", "transformers", "datasets", "pydantic", "safetensors", "tokenizers")


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check the installation: versions, machine, plugins with tracebacks, missing extras.

    Exits with 1 when a plugin is broken, incompatible or clashing.
    """
    registry = installed()
    libraries = [(name, _version(name) or "missing: pip install aftertrain") for name in ("aftertrain", *LIBRARIES)]
    _section("Environment", [("python", f"{platform.python_version()} ({sys.executable})"), *libraries])
    _section("Machine", [*_machine(), *machine_facts(registry)])
    _section("Extras", _extras())
    if _plugins(registry):
        ctx.exit(1)


def _section(title: str, rows: list[tuple[str, str]]) -> None:
    click.echo(click.style(title, bold=True))
    echo_table([(f"  {name}", value) for name, value in rows])
    click.echo()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> list[tuple[str, str]]:
    rows = [("system", platform.platform()), ("cpu cores", f"{usable_cores()} usable of {os.cpu_count()}")]
    rows += [("memory", _memory()), *_torch()]
    return rows


def _memory() -> str:
    """Total memory, or the control group's limit where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    allowed = min(total, int(text)) if text.isdigit() else total
    return f"{allowed / 2**30:.1f} GiB" + (f" (of the machine's {total / 2**30:.1f})" if allowed < total else "")


def _torch() -> list[tuple[str, str]]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [("torch", f"cannot be imported: {error}; pip install --force-reinstall torch")]
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [
        ("torch threads", f"{torch.get_num_threads()} (a recipe's 'threads' sets it; it changes bits)"),
        ("gpu", ", ".join(devices) or "none: everything runs on the CPU"),
    ]


def _extras() -> list[tuple[str, str]]:
    """Which optional packages are missing, each with the line that installs it."""
    extras: dict[str, list[str]] = {}
    for requirement in importlib.metadata.requires("aftertrain") or ():
        match = re.match(r"([A-Za-z0-9._-]+)[^;]*;.*extra\s*==\s*['\"]([^'\"]+)", requirement)
        if match and match[2] not in ("all", "dev", "docs", "test"):
            extras.setdefault(match[2], []).append(match[1])
    rows = []
    for extra, packages in sorted(extras.items()):
        missing = [name for name in packages if _version(name) is None]
        have = ", ".join(f"{name} {_version(name)}" for name in packages if name not in missing)
        rows.append((extra, f"missing {', '.join(missing)}: pip install 'aftertrain[{extra}]'" if missing else have))
    return rows


def _plugins(registry: Registry) -> bool:
    """Say what is wrong with which plugin; whether anything is."""
    _section("Plugins", [(plugin.origin.plugin, f"{plugin.state} ({plugin.origin})") for plugin in registry.plugins])
    failed = [plugin for plugin in registry.plugins if not plugin.usable and plugin.state != "blocked"]
    for plugin in failed:
        click.echo(click.style(f"{plugin.origin.plugin} is {plugin.state}", bold=True, fg="red"))
        echo_safely(f"  {plugin.origin.full()}\n  {plugin.note}")
        if plugin.traceback:
            echo_safely(textwrap.indent(plugin.traceback.rstrip(), "  | "))
        click.echo(f"  To go on without it: AFTERTRAIN_BLOCK={plugin.origin.plugin}\n")
    for plugin in registry.plugins:
        if plugin.state == "slow":
            echo_safely(f"note: {plugin.origin.plugin} ({plugin.origin}) is slow: {plugin.note}")
    click.echo("Everything is in order." if not failed else f"{len(failed)} of {len(registry.plugins)} plugins fail.")
    return bool(failed)
