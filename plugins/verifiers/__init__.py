"""Verifiers that need nothing but the texts."""

from __future__ import annotations

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.verifiers"

ROWS = (
    (
        "gsm8k",
        "gsm8k:GSM8K",
        "GSM8KSettings",
        "the number a worked answer ends with (GSM8K): strict, flexible or Tulu extraction",
    ),
    (
        "math",
        "math:Math",
        "MathSettings",
        "an answer in LaTeX (MATH): boxed, Minerva's sentence, Tulu 3's order; equal as text or by value",
    ),
    (
        "minerva",
        "minerva:Minerva",
        "MinervaSettings",
        "an answer in LaTeX as OLMES's minerva_math judges it: exact or flexible, by SymPy or Hendrycks' rule",
    ),
    ("string", "string:String", "StringSettings", "the whole reply equals the ground truth or one of its aliases"),
    (
        "f1",
        "f1:TokenF1",
        "F1Settings",
        "the words that reply and ground truth share, as in SQuAD; the best alias counts",
    ),
    ("triviaqa", "triviaqa:TriviaQA", "TriviaQASettings", "the reply is one of the aliases, or holds one (PopQA)"),
    ("multiple_choice", "multiple_choice:MultipleChoice", "MultipleChoiceSettings", "the letter a reply chooses"),
    ("format", "format:Format", "FormatSettings", "the form of a reply: tagged blocks, length, how it ends"),
    (
        "regex",
        "regex:Regex",
        "RegexSettings",
        "what a pattern of yours finds in the reply equals the ground truth, or is there at all",
    ),
    (
        "trl_reward",
        "trl_reward:TRLReward",
        "TRLRewardSettings",
        "a reward function of TRL's form, as it is: what it returns is the reward",
    ),
)


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    """Add the verifiers."""
    for name, component, settings, summary in ROWS:
        registry.add("verifier", name, f"{HERE}.{component}", f"{HERE}.settings:{settings}", summary)
