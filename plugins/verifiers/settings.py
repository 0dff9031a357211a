"""Settings of the verifiers."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import PositiveInt, Settings, unhashed
from aftertrain.core.text.answer import AnswerSettings


def _function(value: str, info: ValidationInfo) -> str:
    """FILE.py:FUNCTION with the file's full path, or MODULE:FUNCTION as it stands."""
    source, _, name = value.rpartition(":")
    if not source or not name.isidentifier():
        raise ValueError(f"{value!r} is no function: write ./FILE.py:FUNCTION or MODULE:FUNCTION")
    if not source.endswith(".py"):
        return value
    path, base = Path(source).expanduser(), (info.context or {}).get("base_folder")
    return f"{path if path.is_absolute() else Path(base or Path.cwd()) / path}:{name}"


class GSM8KSettings(AnswerSettings):
    """Which number of a reply is its answer, and when two numbers are equal."""

    extract: Literal["strict", "flexible", "tulu"] = Field(
        "strict",
        description="strict: the first '#### N' (lm-eval's strict-match); flexible: the last number, with commas, $ "
        "and a trailing period (lm-eval's flexible-extract); tulu: the last number as Tulu 3's verifier finds it.",
    )
    equality: Literal["decimal", "string"] = Field(
        "decimal",
        description="decimal: equal values of whole numbers as people write them (72.0 = 72, 9{,}500 = 9500); string: "
        "equal digits (what lm-eval and open-instruct do).",
    )


MATH_VERIFY = UsedIf("equality", "math_verify", "either")


class MathSettings(AnswerSettings):
    """Where a reply's answer stands, and when two answers in LaTeX are the same."""

    extract: Literal["boxed", "minerva", "flexible", "math_verify"] = Field(
        "flexible",
        description="boxed: the last \\boxed{...}; minerva: 'Final Answer: The final answer is ... . I hope it is "
        "correct.'; flexible: either of the two, else the last $...$, \\(...\\) or \\[...\\], else the whole reply "
        "(Tulu 3's order); math_verify: what the package math-verify finds, in LaTeX or plain text.",
    )
    equality: Literal["string", "math_verify", "either"] = Field(
        "either",
        description="string: equal texts after MATH's normalisation (Hendrycks et al. 2021) or Minerva's (Lewkowycz "
        "et al. 2022); math_verify: the verdict of the package math-verify, by value; either: equal texts where the "
        "normalisation drops nothing that matters, else math-verify's verdict unless units, bases or signs speak "
        "against it.",
    )
    precision: Annotated[int, MATH_VERIFY] = Field(
        6, ge=0, le=15, description="Decimal places to which math-verify rounds decimals before it compares them."
    )
    strict: Annotated[bool, MATH_VERIFY] = Field(
        True,
        description="Whether variables keep their names for math-verify; false: where the answer has one variable, "
        "any name will do (f(x) = f(y)).",
    )
    set_relations: Annotated[bool, MATH_VERIFY] = Field(
        False,
        description="Whether for math-verify an inequality may stand for the set that the ground truth gives "
        "(-2 <= x <= 7 for [-2, 7]); a set may always stand for an inequality.",
    )

    final_line: Annotated[bool, UsedIf("extract", "flexible")] = Field(
        False,
        description="Whether with extract flexible a line that begins with 'Final answer', in bold, as a heading or "
        "plain, gives the answer where neither a box nor Minerva's sentence does.",
    )


class MinervaSettings(AnswerSettings):
    """Where a reply's answer stands, for the rule of OLMES's `minerva_math`."""

    extract: Literal["flexible", "sentence"] = Field(
        "flexible",
        description="sentence: 'Final Answer: The final answer is ... . I hope it is correct.' (exact_match); "
        "flexible: that sentence and the last \\boxed{...}, else the last $...$, else the whole reply "
        "(exact_match_flex).",
    )
    compat: bool = Field(
        True,
        description="Keep the reference's known fault: SymPy reads the beginning of a text, so that 3, 5, 7 equals 3. "
        "false reads to the end; the numbers are then not the published.",
    )


class StringSettings(AnswerSettings):
    """How texts are prepared before they are compared."""

    normalize: Literal["none", "strip", "squad"] = Field(
        "strip",
        description="none: byte for byte; strip: without surrounding space; squad: lower case, without punctuation, "
        "articles and extra space (Rajpurkar et al. 2016).",
    )


class F1Settings(AnswerSettings):
    """How texts are prepared before their words are compared."""

    normalize: Literal["none", "squad"] = Field(
        "squad",
        description="none: words as they stand between spaces; squad: lower case, without punctuation and articles "
        "(Rajpurkar et al. 2016).",
    )


class TriviaQASettings(AnswerSettings):
    """When a reply names an alias."""

    match: Literal["exact", "contains"] = Field(
        "exact",
        description="exact: the whole reply is an alias, both SQuAD-normalised; contains: the reply holds an alias as "
        "it is, in lower case or capitalised (PopQA, Mallen et al. 2023).",
    )


class MultipleChoiceSettings(AnswerSettings):
    """Which letter of a reply is its answer."""

    letters: Annotated[str, Field(pattern="^[A-Z]{2,26}$")] = Field(
        "ABCD", description="The letters that may be chosen; MMLU-Pro has ABCDEFGHIJ."
    )
    rules: Annotated[
        tuple[Literal["tag", "boxed", "phrase", "parentheses", "bold", "standing"], ...], Field(min_length=1)
    ] = Field(
        ("tag", "boxed", "phrase", "parentheses", "bold", "standing"),
        description="Tried in this order, the first that matches decides: tag, <answer>B</answer>; boxed, \\boxed{B}; "
        "phrase, 'the answer is B'; parentheses, (B); bold, **B**; standing, a capital that stands alone.",
    )

    @field_validator("letters")
    @classmethod
    def _each_once(cls, letters: str) -> str:
        if len(set(letters)) < len(letters):
            raise ValueError("each letter once")
        return letters


class FormatSettings(Settings):
    """What the form of a reply must be. Demands that are not made do not count."""

    tags: tuple[Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_-]*$")], ...] = Field(
        ("think", "answer"),
        description="The reply is exactly these blocks in this order, <think>…</think><answer>…</answer>, none blank, "
        "with only white space between and around them; []: no demand.",
    )
    after: Annotated[Literal["nothing", "text", "anything"], UsedIf("tags")] = Field(
        "nothing",
        description="What may follow the blocks of tags: nothing; text, of which there must be some; or anything.",
    )
    prefilled: Annotated[bool | None, UsedIf("tags")] = Field(
        None,
        description="Whether the prompt has written the opening of the first of tags, so that the reply lacks it; "
        "null: where the case's prompt or chat template says so.",
    )
    min_characters: PositiveInt | None = Field(
        None, description="Fewest characters of the whole reply, tags and white space included."
    )
    max_characters: PositiveInt | None = Field(
        None, description="Most characters of the whole reply, tags and white space included."
    )
    min_words: PositiveInt | None = Field(
        None, description="Fewest words of the whole reply, as white space divides it."
    )
    max_words: PositiveInt | None = Field(None, description="Most words of the whole reply, as white space divides it.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="The reply ends with one of these texts, white space after it aside; []: no demand."
    )
    score: Literal["all", "share"] = Field(
        "all", description="all: 1 when every demand is met, else 0; share: the share of the demands that are met."
    )

    @model_validator(mode="after")
    def _some_demand(self) -> Self:
        if len(set(self.tags)) < len(self.tags):
            raise ValueError("each of tags once")
        lengths = [(self.min_characters, self.max_characters), (self.min_words, self.max_words)]
        if any(least is not None and most is not None and least > most for least, most in lengths):
            raise ValueError("no reply can meet both: a minimum is above its maximum")
        if not (self.tags or self.stop or any(bound is not None for pair in lengths for bound in pair)):
            raise ValueError("nothing is demanded: set tags, stop, or a minimum or maximum of characters or words")
        return self


class RegexSettings(AnswerSettings):
    """A pattern, where it looks, and what its match is compared with."""

    pattern: Annotated[str, Field(min_length=1, max_length=10_000)] = Field(
        description="A regular expression of Python's re."
    )
    group: int | str | None = Field(
        None, description="Number or name of the group that is the answer; null: the first, or the whole match if none."
    )
    flags: tuple[Literal["ignorecase", "multiline", "dotall"], ...] = Field(
        (), description="ignorecase; multiline: ^ and $ at each line; dotall: . is a line break too."
    )
    which: Annotated[Literal["first", "last"], UsedIf("equality", "string", "decimal")] = Field(
        "last", description="Which match counts when there are several."
    )
    equality: Literal["string", "decimal", "search"] = Field(
        "string",
        description="string: the match equals the ground truth or one of several; decimal: both are the same number; "
        "search: there is a match (the ground truth is not looked at; no match scores 0).",
    )
    normalize: Annotated[Literal["none", "strip", "lower", "squad"], UsedIf("equality", "string")] = Field(
        "strip",
        description="Of equality string, on both sides: none; strip: without surrounding space; lower: that, in lower "
        "case; squad: without case, punctuation, articles and extra space.",
    )
    timeout: Annotated[float, Field(gt=0, le=600)] = Field(
        2.0, description="Seconds after which a case is a time-out: some patterns take for ever on some replies."
    )

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Self:
        compiled = compiled_pattern(self.pattern, self.flags)
        known = [*range(compiled.groups + 1), *compiled.groupindex]
        if self.group is not None and self.group not in known:
            raise ValueError(f"the pattern has no group {self.group!r}; there are: {', '.join(map(str, known))}")
        return self


def compiled_pattern(pattern: str, flags: tuple[str, ...]) -> re.Pattern[str]:
    """The pattern, compiled.

    Raises:
        ValueError: it is no pattern; says what is wrong and where.
    """
    total = re.RegexFlag(0)
    for flag in flags:
        total |= re.RegexFlag[flag.upper()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(pattern, total)
    except re.error as error:
        where = f" at position {error.pos}" if error.pos is not None else ""
        raise ValueError(f"not a regular expression: {error.msg}{where}") from None
    except (Warning, OverflowError, RecursionError) as error:
        raise ValueError(f"not a pattern to rely on: {error}") from None


class TRLRewardSettings(Settings):
    """Which function of TRL's form gives the rewards, and how it is called."""

    function: Annotated[str, AfterValidator(_function)] = unhashed(
        description="./FILE.py:FUNCTION, from the recipe's folder, or MODULE:FUNCTION (trl.rewards:accuracy_reward). "
        "Its code enters the hash, the file's folder does not."
    )
    arguments: dict[str, JsonValue] | None = Field(
        None,
        description="Given, FUNCTION is called with these first, and what it returns gives the rewards "
        "(get_soft_overlong_punishment with max_completion_len and soft_punish_cache).",
    )
    column: Annotated[str, Field(min_length=1)] = Field(
        "solution",
        description="Column that the ground truth is handed over as, where it is no mapping; one that is a mapping "
        "gives the columns itself.",
    )
    scale: Literal["raw", "unit"] = Field(
        "raw",
        description="raw: what the function returns is the reward, any finite number, whatever 'positive' and "
        "'negative' say; unit: it is a verdict's value in [0, 1], which those say the worth of.",
    )
    form: Literal["messages", "text"] = Field(
        "messages", description="How prompts and completions are handed over: as lists of messages, or as texts."
    )
    timeout: Annotated[float, Field(gt=0)] = Field(
        600.0, description="Seconds that one call, with all replies of a step, may take before each is a timeout."
    )

    @property
    def called(self) -> str:
        """The reward's name among others: the function's."""
        return self.function.rpartition(":")[2]
