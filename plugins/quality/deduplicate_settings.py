"""Settings of the operator `deduplicate`. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import Fraction, PositiveInt, Settings
from aftertrain.plugins.quality.settings import Part, PartSettings


class Highest(Settings):
    """The row that is kept of some, by a fact."""

    highest: Annotated[str, Field(min_length=1)] = Field(description="Fact of which the row with the most is kept.")


class Lowest(Settings):
    """The row that is kept of some, by a fact."""

    lowest: Annotated[str, Field(min_length=1)] = Field(description="Fact of which the row with the least is kept.")


class DeduplicateSettings(PartSettings):
    """What counts as a duplicate, and which row is kept."""

    of: Part = Field("all", description="all, prompt or reply: what is compared.")
    method: Literal["exact", "minhash"] = Field(
        "minhash",
        description="exact: the same text, after NFKC and case folding, with any white space read as one space; "
        "minhash: texts whose sets of n-grams of words have a Jaccard index of `threshold` or more, the same words "
        "included.",
    )
    threshold: Annotated[Fraction, Field(gt=0), UsedIf("method", "minhash")] = Field(
        0.7, description="Jaccard index from which on two texts are duplicates; it is measured for each pair found."
    )
    n: Annotated[PositiveInt, UsedIf("method", "minhash")] = Field(5, description="Words of an n-gram.")
    hashes: Annotated[int, Field(ge=16, le=1024), UsedIf("method", "minhash")] = Field(
        128, description="Places of a signature."
    )
    recall: Annotated[Fraction, Field(gt=0, lt=1), UsedIf("method", "minhash")] = Field(
        0.98,
        description="Probability with which a pair just at the threshold is found; more like ones are found surer.",
    )
    keep: Literal["first"] | Highest | Lowest = Field(
        "first",
        description="Which of several is kept: the first, or by a fact, {highest: quality.score} or {lowest: …}; of "
        "equal ones the first, and one whose fact has no value last.",
    )
