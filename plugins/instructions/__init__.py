"""Verifiers of instructions that a program can check: IFEval and IFBench."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 1
_HERE = "aftertrain.plugins.instructions"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the rows."""
