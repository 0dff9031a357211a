"""Settings of the verifiers of instructions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from aftertrain.core.errors import unknown
from aftertrain.core.text.answer import AnswerSettings

IFEVAL_KINDS = (
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "combination:repeat_prompt",
    "combination:two_responses",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:constrained_response",
    "detectable_format:json_format",
    "detectable_format:multiple_sections",
    "detectable_format:number_bullet_lists",
    "detectable_format:number_highlighted_sections",
    "detectable_format:title",
    "keywords:existence",
    "keywords:forbidden_words",
    "keywords:frequency",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:nth_paragraph_first_word",
    "length_constraints:number_paragraphs",
    "length_constraints:number_sentences",
    "length_constraints:number_words",
    "punctuation:no_comma",
    "startend:end_checker",
    "startend:quotation",
)
"""The 25 instruction ids of IFEval (Zhou et al. 2023)."""

TULU_FUNCTIONS = (
    "validate_choice",
    "validate_end",
    "validate_forbidden_words",
    "validate_frequency_capital_words",
    "validate_highlighted_sections",
    "validate_json_format",
    "validate_lowercase",
    "validate_no_commas",
    "validate_paragraphs",
    "validate_placeholders",
    "validate_quotation",
    "validate_repeat_prompt",
    "validate_response_language",
    "validate_sections",
    "validate_title",
    "validate_two_responses",
    "validate_uppercase",
    "validate_word_constraint",
    "verify_bullet_points",
    "verify_keyword_frequency",
    "verify_keywords",
    "verify_letter_frequency",
    "verify_paragraph_count",
    "verify_postscript",
    "verify_sentence_constraint",
)
"""The 25 function names of Tulu 3's constraints (open-instruct's if_functions)."""


class IFEvalSettings(AnswerSettings):
    """How strictly a reply is read, and what its score counts."""

    mode: Literal["strict", "loose"] = Field(
        "strict",
        description="strict: the reply as it is; loose: an instruction also holds when it holds for the reply without "
        "its first line, its last line, both, or without asterisks (IFEval's loose accuracy).",
    )
    level: Literal["prompt", "instruction"] = Field(
        "prompt",
        description="prompt: 1 when all instructions hold, else 0; instruction: the weighted share of them that hold.",
    )
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="Weight of an instruction by its id or function name, 1 where not given; 0: judged and shown, but "
        "not counted.",
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if name not in IFEVAL_KINDS and name not in TULU_FUNCTIONS and name not in IFBENCH_KINDS:
                known = TULU_FUNCTIONS if "_" in name and ":" not in name else IFEVAL_KINDS
                raise ValueError(unknown("instruction", name, known))
        return weights


IFBENCH_KINDS = (
    "count:conjunctions",
    "count:countries",
    "count:keywords_multiple",
    "count:levenshtein",
    "count:numbers",
    "count:person_names",
    "count:pronouns",
    "count:punctuation",
    "count:unique_word_count",
    "count:word_count_range",
    "count:words_french",
    "count:words_japanese",
    "custom:character_reverse",
    "custom:csv_city",
    "custom:csv_quotes",
    "custom:csv_special_character",
    "custom:date_format_list",
    "custom:european_capitals_sort",
    "custom:mcq_count_length",
    "custom:multiples",
    "custom:reverse_newline",
    "custom:sentence_alphabet",
    "custom:word_reverse",
    "format:camel_case",
    "format:emoji",
    "format:line_indent",
    "format:list",
    "format:newline",
    "format:no_bullets_bullets",
    "format:no_whitespace",
    "format:options",
    "format:output_template",
    "format:parentheses",
    "format:quote_unquote",
    "format:quotes",
    "format:sub-bullets",
    "format:thesis",
    "format:title_case",
    "ratio:overlap",
    "ratio:sentence_balance",
    "ratio:sentence_type",
    "ratio:sentence_words",
    "ratio:stop_words",
    "repeat:repeat_change",
    "repeat:repeat_simple",
    "repeat:repeat_span",
    "sentence:alliteration_increment",
    "sentence:increment",
    "sentence:keyword",
    "words:alphabet",
    "words:consonants",
    "words:keywords_specific_position",
    "words:last_first",
    "words:no_consecutive",
    "words:odd_even_syllables",
    "words:palindrome",
    "words:paragraph_last_first",
    "words:prime_lengths",
    "words:repeats",
    "words:start_verb",
    "words:vowel",
    "words:words_position",
)
"""The 58 instruction ids of IFBench (Pyatkin et al. 2025), and 4 of Tulu 3's IFEval-OOD."""


class IFBenchSettings(AnswerSettings):
    """How strictly a reply is read, and what its score counts."""

    mode: Literal["strict", "loose"] = Field(
        "strict",
        description="strict: the reply as it is; loose: an instruction also holds when it holds for the reply without "
        "its first line, its last line, both, or without asterisks (what IFBench reports).",
    )
    level: Literal["prompt", "instruction"] = Field(
        "prompt",
        description="prompt: 1 when all instructions hold, else 0; instruction: the weighted share of them that hold.",
    )
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        {},
        description="Weight of an instruction by its id, 1 where not given; 0: judged and shown, but not counted.",
    )

    @field_validator("weights")
    @classmethod
    def _known(cls, weights: dict[str, float]) -> dict[str, float]:
        for name in weights:
            if name not in IFBENCH_KINDS and name not in IFEVAL_KINDS:
                raise ValueError(unknown("instruction", name, IFBENCH_KINDS))
        return weights
