"""Verifiers that ask a model: a judge, and an extractor of answers."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 1
_HERE = "aftertrain.plugins.judging"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the rows."""
