"""Where the components of a run came from, for its manifest."""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aftertrain.core.errors import RunError
from aftertrain.core.events import LoadedPlugin
from aftertrain.core.ground.reading import parse_json, typed
from aftertrain.registry.tables import Registry

log = logging.getLogger(__name__)


def provenance(registry: Registry) -> list[LoadedPlugin]:
    """Each plugin's origin, state, and the commit of a package installed from git."""
    return [
        LoadedPlugin(**asdict(plugin.origin), state=plugin.state, commit=commit(plugin.origin.distribution))
        for plugin in registry.plugins
    ]


@lru_cache(maxsize=64)
def commit(distribution: str) -> str | None:
    """Commit of an installed package's source, `-dirty` appended when an editable one has changes.

    None for a package that was not installed from git.
    """
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    source = _source(text) if text is not None else {}
    if "vcs_info" in source:
        return str(source["vcs_info"]["commit_id"])
    if source.get("dir_info", {}).get("editable"):
        return _head(Path(unquote(urlsplit(source["url"]).path)))
    return None


def _source(text: str) -> dict[str, Any]:
    """Content of a distribution's `direct_url.json`; empty where an installer left it broken."""
    try:
        source: dict[str, Any] = typed(parse_json(text, "direct_url.json"), dict[str, Any], "direct_url.json")
    except RunError as error:
        log.warning("%s", error)
        return {}
    return source


def _head(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
