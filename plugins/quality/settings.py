"""Settings of the operators that look at texts. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.asking.settings import ModelName
from aftertrain.core.settings import Fraction, PositiveInt, Settings

Part = Literal["all", "prompt", "reply"]


class PartSettings(Settings):
    """Which part of a row is looked at."""

    of: Part = Field(
        "all",
        description="all: every turn, or the document; prompt: what users, systems and tools say; reply: what the "
        "assistant says (of a pair both replies), or the document.",
    )


class LengthSettings(PartSettings):
    """What is counted."""

    tokenizer: ModelName | None = Field(
        None, description="Model whose tokens are counted too; a folder, a hub name or package:MODULE/FOLDER."
    )


class RepetitionSettings(PartSettings):
    """Which repetitions are looked for."""

    of: Part = Field("reply", description="all, prompt or reply: what is looked at.")
    top: tuple[PositiveInt, ...] = Field((2, 3, 4), description="n of the n-grams whose most frequent one is weighed.")
    repeated: tuple[PositiveInt, ...] = Field(
        (5, 6, 7, 8, 9, 10), description="n of the n-grams that are weighed where they come again."
    )


class LanguageSettings(PartSettings):
    """Which languages are told apart."""

    languages: tuple[Annotated[str, Field(pattern="^[a-z]{2}$")], ...] = Field(
        (),
        description="ISO 639-1 codes of the languages that are told apart, two at least (a text in none of them is "
        "taken for the likest); none: all that lingua knows, which takes a gigabyte of memory for each process.",
    )
    characters: PositiveInt = Field(1000, description="How much of a row's text is read, from its start.")

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(set(self.languages)) == 1:
            raise ValueError("one language cannot be told from others: name two at least, or none for all")
        return self


class MarkupSettings(PartSettings):
    """What is looked at."""


class SpecialTokensSettings(PartSettings):
    """Whose special tokens are looked for."""

    model: ModelName = Field(
        description="Model whose tokenizer and chat template say what is special; a folder, a hub name or "
        "package:MODULE/FOLDER."
    )
    also: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Further texts to be looked for.")


class TurnsSettings(Settings):
    """What is a fault."""

    system: Literal["first", "anywhere"] = Field("first", description="Where a turn of the system may stand.")


class RefusalsSettings(Settings):
    """What is looked for in replies."""

    looked_at: PositiveInt = Field(300, description="Characters of each reply that are searched for a refusal.")
    names: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        ("OpenAI", "Open AI", "ChatGPT", "GPT-3", "GPT-4", "BingChat", "Bing Chat", "LAION", "Open Assistant",
         "OpenAssistant", "Anthropic", "Google AI", "Mistral AI",
         "language model trained by"),
        description="Names of other assistants and their makers, as words, letter case aside.",
    )  # fmt: skip


class OverlapSettings(Settings):
    """How a copy is recognised."""

    n: PositiveInt = Field(5, description="Words in a row that make a copy.")


class Scale(Settings):
    """A fact as one part of a quality score."""

    fact: Annotated[str, Field(min_length=1)] = Field(description="Fact that an operator before found: operator.fact.")
    weight: Annotated[float, Field(gt=0)] | None = Field(
        None, description="w; those of all parts sum to 1. null in every part gives all the same."
    )
    worst: float = Field(0.0, description="Value from which on q is 0; may lie above the best one.")
    best: float = Field(1.0, description="Value from which on q is 1; between the two q is in proportion.")

    @model_validator(mode="after")
    def _two_ends(self) -> Self:
        if self.worst == self.best:
            raise ValueError(f"worst and best are both {self.best}: between them q would not be defined")
        return self


class QualitySettings(Settings):
    """Q(d) = Σ wᵢ·qᵢ(d) (F1)."""

    parts: Annotated[tuple[Scale, ...], Field(min_length=1)] = Field(description="What it is made of.")

    @property
    def weights(self) -> tuple[float, ...]:
        """One a part."""
        return tuple(1 / len(self.parts) if part.weight is None else part.weight for part in self.parts)

    @model_validator(mode="after")
    def _one_whole(self) -> Self:
        given = [part.weight for part in self.parts if part.weight is not None]
        if given and len(given) < len(self.parts):
            raise ValueError("give every part a weight, or none")
        if given and abs(sum(given) - 1) > 1e-6:
            raise ValueError(f"the weights sum to {sum(given):g}, not to 1")
        facts = [part.fact for part in self.parts]
        if twice := sorted({fact for fact in facts if facts.count(fact) > 2}):
            raise ValueError(f"{', '.join(twice)}: a fact is at most two parts, one for each end")
        return self


class Quantile(Settings):
    """A bound that is learnt."""

    quantile: Fraction = Field(description="Share of the rows that lie below the bound, over all that have the fact.")


class ThresholdSettings(Settings):
    """Which rows stay, by a fact."""

    fact: Annotated[str, Field(min_length=1)] = Field(description="Fact that an operator before found: operator.fact.")
    at_least: float | Quantile | None = Field(
        None, description="Rows below it are left out; a number, or {quantile: 0.1} for the lowest tenth."
    )
    at_most: float | Quantile | None = Field(
        None, description="Rows above it are left out; a number, or {quantile: 0.9} for the highest tenth."
    )
    one_of: tuple[str, ...] = Field((), description="Values that stay, for a fact that is a text: [en, de].")
    undefined: Literal["drop", "keep", "stop"] = Field(
        "drop", description="What becomes of a row whose fact has no value (null)."
    )

    @property
    def learns(self) -> bool:
        """Whether a bound is a quantile."""
        return isinstance(self.at_least, Quantile) or isinstance(self.at_most, Quantile)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        bounds = self.at_least is not None or self.at_most is not None
        if bounds == bool(self.one_of):
            raise ValueError("give at_least or at_most (or both), or one_of")
        low, high = self.at_least, self.at_most
        if isinstance(low, float) and isinstance(high, float) and low > high:
            raise ValueError(f"no value is at least {low:g} and at most {high:g}")
        if isinstance(low, Quantile) and isinstance(high, Quantile) and low.quantile > high.quantile:
            raise ValueError(f"no row lies above the quantile {low.quantile:g} and below {high.quantile:g}")
        return self
