"""Operators that find facts about rows, and leave rows out by them."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2
HERE = "aftertrain.plugins.quality"
ROWS = (
    ("length", "length:Length", "settings:LengthSettings", "counts characters, words, turns and tokens"),
    (
        "repetition",
        "repetition:Repetition",
        "settings:RepetitionSettings",
        "how much a text repeats lines, paragraphs and n-grams (Gopher's rules)",
    ),
    ("language", "language:Language", "settings:LanguageSettings", "which language a text is in (lingua)"),
    ("markup", "markup:Markup", "settings:MarkupSettings", "what a text is made of: letters, tags, broken characters"),
    (
        "special_tokens",
        "special_tokens:SpecialTokens",
        "settings:SpecialTokensSettings",
        "special tokens of a tokenizer and its template that stand in texts",
    ),
    ("turns", "turns:Turns", "settings:TurnsSettings", "empty, cut-off or misplaced turns"),
    ("refusals", "refusals:Refusals", "settings:RefusalsSettings", "words of refusal, and names of other assistants"),
    ("overlap", "overlap:Overlap", "settings:OverlapSettings", "how much of a reply is a copy of its prompt"),
    ("quality", "quality:Quality", "settings:QualitySettings", "a weighted score of facts (F1)"),
    (
        "threshold",
        "threshold:Threshold",
        "settings:ThresholdSettings",
        "leaves rows out by a fact: by value or by quantile",
    ),
    (
        "deduplicate",
        "deduplicate:Deduplicate",
        "deduplicate_settings:DeduplicateSettings",
        "keeps one of rows that are alike: exact, or near by MinHash",
    ),
    (
        "diversity",
        "diversity:Diversity",
        "diversity_settings:DiversitySettings",
        "measures sources, n-grams and quality of all rows (F7, F8), and lets them pass",
    ),
    (
        "perplexity",
        "perplexity:Perplexity",
        "model_settings:PerplexitySettings",
        "how likely a model finds replies or texts",
    ),
    (
        "reward_model",
        "reward_model:RewardModel",
        "model_settings:RewardModelSettings",
        "a reward model's score of replies",
    ),
    ("verdict", "verdict:Verdict", "model_settings:VerdictSettings", "a verifier's or judge's verdict on replies"),
    (
        "rlvr_quality",
        "rlvr_quality:RlvrQuality",
        "model_settings:RlvrQualitySettings",
        "verifiability and complexity of problems (F33)",
    ),
)


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    for name, component, settings, summary in ROWS:
        registry.add("operator", name, f"{HERE}.{component}", f"{HERE}.{settings}", summary)
