"""The verifier of programs: tests run in a sandbox."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.code"


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
