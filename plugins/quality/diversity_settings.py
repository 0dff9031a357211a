"""Settings of the operator `diversity`. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aftertrain.core.asking.settings import ModelName
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import Fraction, PositiveInt, Settings
from aftertrain.plugins.quality.settings import PartSettings

Measure = Literal["source_balance", "distinct_1", "distinct_2", "distinct_3", "vendi_balance"]


class EmbeddingsSettings(Settings):
    """A model whose states say how alike rows are."""

    model: ModelName = Field(
        description="An encoder or a language model: a Hugging Face folder, a hub name, or package:MODULE/FOLDER."
    )
    rows: Annotated[int, Field(ge=2)] = Field(
        1000, description="Rows of the sample that are embedded, in one process; only equal numbers can be compared."
    )
    max_tokens: PositiveInt = Field(256, description="Tokens of a row that are read, from its start.")


class DiversitySettings(PartSettings):
    """M(D) = α·Q(D) + (1 − α)·V(D) (F7)."""

    words: PositiveInt = Field(
        100_000, description="Words of the sample by which n-grams are counted; only equal numbers can be compared."
    )
    parts: Annotated[dict[Measure, Fraction], Field(min_length=1)] = Field(
        {"source_balance": 0.5, "distinct_2": 0.5}, description="V(D): weights of its parts, which sum to 1."
    )
    embeddings: EmbeddingsSettings | None = Field(
        None, description="Further measure rows by the mean of a model's last hidden states; null: words alone."
    )
    quality: str | None = Field(
        None, description="Fact whose mean is Q(D), such as quality.score; null: no score is made."
    )
    alpha: Annotated[Fraction, UsedIf("quality")] = Field(0.5, description="α: the weight of quality in the score.")

    @model_validator(mode="after")
    def _one_whole(self) -> Self:
        if abs(sum(self.parts.values()) - 1) > 1e-6:
            raise ValueError(f"the weights of V(D) sum to {sum(self.parts.values()):g}, not to 1")
        if "vendi_balance" in self.parts and self.embeddings is None:
            raise ValueError("vendi_balance is a part of V(D) only with embeddings")
        return self
