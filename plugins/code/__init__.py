"""The verifier of programs: tests run in a sandbox."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 1
_HERE = "aftertrain.plugins.code"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the rows."""
