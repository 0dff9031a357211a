"""Verifiers of instructions that a program can check: IFEval and IFBench."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.instructions"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the verifiers."""
    registry.add(
        "verifier",
        "ifeval",
        f"{_HERE}.ifeval.verifier:IFEval",
        f"{_HERE}.settings:IFEvalSettings",
        "the instructions of IFEval and of Tulu 3's constraints, strict or loose, all of them or their share",
    )
    registry.add(
        "verifier",
        "ifbench",
        f"{_HERE}.ifbench.verifier:IFBench",
        f"{_HERE}.settings:IFBenchSettings",
        "the out-of-domain instructions of IFBench and of Tulu 3's IFEval-OOD, strict or loose, all or their share",
    )
