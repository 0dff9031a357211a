"""Programs whose tests run in a sandbox: a verifier, and the benchmarks HumanEval, HumanEval+ and BigCodeBench-Hard."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.code"
TASKS = {
    "humaneval": (
        "humaneval:HumanEval",
        "HumanEval: functions to complete, pass@10 of 20 (OLMES codex_humaneval::tulu)",
    ),
    "humaneval_plus": (
        "humaneval:HumanEvalPlus",
        "HumanEval+: the same functions, EvalPlus's tests (OLMES codex_humanevalplus::tulu)",
    ),
    "bigcodebench_hard": (
        "bigcodebench:BigCodeBenchHard",
        "BigCodeBench-Hard: programs over many libraries, calibrated pass@1 (OLMES bigcodebench_hard::tulu)",
    ),
}
"""Module, class and summary by name."""
SETTINGS = {
    "humaneval": "HumanEvalSettings",
    "humaneval_plus": "HumanEvalPlusSettings",
    "bigcodebench_hard": "BigCodeBenchSettings",
}


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the rows."""
    registry.add(
        "verifier",
        "code",
        f"{_HERE}.code:Code",
        f"{_HERE}.settings:CodeSettings",
        "a program passes its tests in a sandbox: HumanEval, MBPP, standard input and output (APPS), lists of asserts",
    )
    for name, (component, summary) in TASKS.items():
        registry.add("eval_task", name, f"{_HERE}.{component}", f"{_HERE}.task_settings:{SETTINGS[name]}", summary)


@hookimpl
def aftertrain_doctor() -> list[tuple[str, str]]:
    """What keeps programs that a model wrote away from this machine."""
    from aftertrain.core.sandbox.level import level
    from aftertrain.core.sandbox.worker import SandboxError

    try:
        chosen = level()
    except SandboxError as error:
        return [("sandbox", f"none: {error}")]
    return [("sandbox", chosen.describe()), ("its calls", chosen.calls), ("its memory", chosen.memory)]
