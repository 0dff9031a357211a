"""Verifiers that need nothing but the texts."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
_HERE = "aftertrain.plugins.verifiers"


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the verifiers."""
    registry.add(
        "verifier",
        "gsm8k",
        f"{_HERE}.gsm8k:GSM8K",
        f"{_HERE}.settings:GSM8KSettings",
        "the number a worked answer ends with (GSM8K): strict, flexible or Tulu extraction",
    )
    registry.add(
        "verifier",
        "math",
        f"{_HERE}.math:Math",
        f"{_HERE}.settings:MathSettings",
        "an answer in LaTeX (MATH): boxed, Minerva's sentence, Tulu 3's order; equal as text or by value",
    )
    registry.add(
        "verifier",
        "string",
        f"{_HERE}.string:String",
        f"{_HERE}.settings:StringSettings",
        "the whole reply equals the ground truth or one of its aliases",
    )
    registry.add(
        "verifier",
        "f1",
        f"{_HERE}.f1:TokenF1",
        f"{_HERE}.settings:F1Settings",
        "the words that reply and ground truth share, as in SQuAD; the best alias counts",
    )
    registry.add(
        "verifier",
        "triviaqa",
        f"{_HERE}.triviaqa:TriviaQA",
        f"{_HERE}.settings:TriviaQASettings",
        "the reply is one of the aliases, or holds one (PopQA)",
    )
    registry.add(
        "verifier",
        "multiple_choice",
        f"{_HERE}.multiple_choice:MultipleChoice",
        f"{_HERE}.settings:MultipleChoiceSettings",
        "the letter a reply chooses",
    )
    registry.add(
        "verifier",
        "format",
        f"{_HERE}.format:Format",
        f"{_HERE}.settings:FormatSettings",
        "the form of a reply: tagged blocks, length, how it ends",
    )
    registry.add(
        "verifier",
        "regex",
        f"{_HERE}.regex:Regex",
        f"{_HERE}.settings:RegexSettings",
        "what a pattern of yours finds in the reply equals the ground truth, or is there at all",
    )
