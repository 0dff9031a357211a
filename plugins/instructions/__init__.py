"""Instructions that a program can check, IFEval and IFBench: verifiers, problems and evaluation tasks."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.instructions"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the verifiers, the data set and the tasks."""
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
    registry.add(
        "dataset",
        "constrained",
        f"{_HERE}.constrained:Constrained",
        f"{_HERE}.settings:ConstrainedSettings",
        "prompts of another data set, each with an instruction that the reward 'ifeval' checks",
    )
    registry.add(
        "eval_task",
        "ifeval",
        f"{_HERE}.task:IFEvalTask",
        f"{_HERE}.settings:IFEvalTaskSettings",
        "IFEval: 541 prompts of 25 kinds of instructions, loose at prompt level first (OLMES ifeval::tulu)",
    )
    registry.add(
        "eval_task",
        "ifeval_ood",
        f"{_HERE}.task:IFEvalOOD",
        f"{_HERE}.settings:IFEvalOODTaskSettings",
        "IFEval-OOD: out-of-domain instructions, Tülu 3's 52 kinds or IFBench's 58, and their weighted share",
    )
