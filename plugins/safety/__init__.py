"""Six benchmarks of safety (F44), exaggerated safety (F51) beside them, and a judge that looks for words of refusal."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2

_HERE = "aftertrain.plugins.safety"
TASKS = {
    "harmbench": ("HarmBench", "HarmBench: harmful requests, replies without harm counted"),
    "xstest": ("XSTest", "XSTest: safe prompts that sound unsafe, and unsafe ones"),
    "wildguardtest": ("WildGuardTest", "WildGuardTest: its harmful prompts, replies without harm counted"),
    "trustllm_jailbreaktrigger": ("JailbreakTrigger", "TrustLLM's JailbreakTrigger: refusals of jailbreaks"),
    "do_anything_now": ("DoAnythingNow", "DoAnythingNow: refusals of jailbreaks found in the wild"),
    "wildjailbreaktest": (
        "WildJailbreakTest",
        "WildJailbreak's evaluation set: harmful and benign adversarial prompts",
    ),
}
"""Class and summary by name."""


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the tasks and the judge."""
    for name, (kind, summary) in TASKS.items():
        registry.add(
            "eval_task", name, f"{_HERE}.tasks:{kind}", f"{_HERE}.settings:SafetySettings", f"{summary} (needs a judge)"
        )
    registry.add(
        "verifier",
        "refusal_by_words",
        f"{_HERE}.refusal:RefusalByWords",
        f"{_HERE}.settings:RefusalSettings",
        "whether a reply refuses, by words of refusal near its beginning; no model",
    )
