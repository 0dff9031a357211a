"""Settings of the verifiers made of verifiers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from aftertrain.core.settings import Settings, Use
from aftertrain.core.verifier import Verifier


class PartSettings(Settings):
    """One of the verifiers that are combined."""

    verifier: Use[Verifier[Any]] = Field(description="The verifier.")
    truth: str | None = Field(
        None,
        description="Key of the ground truth that this verifier gets, where the ground truth is a mapping; null hands "
        "it the whole ground truth.",
    )


class WeightedPart(PartSettings):
    """One of the verifiers of `weighted`."""

    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="Its share of the score; weights are divided by their sum."
    )


Parts = Annotated[tuple[PartSettings, ...], Field(min_length=1)]
Zero = tuple[Literal["timeout", "unparsable"], ...]
ZERO = (
    "Outcomes of a part that count as a score of 0: unparsable, timeout. Without them they are the outcome of the "
    "whole. An error always is."
)


class PartsSettings(Settings):
    """Verifiers that are asked one after the other."""

    parts: Parts = Field(description="The verifiers.")


class WeightedSettings(PartsSettings):
    """The verifiers and their weights."""

    parts: Annotated[tuple[WeightedPart, ...], Field(min_length=1)] = Field(description="The verifiers.")
    zero: Zero = Field((), description=ZERO)


class AllSettings(PartsSettings):
    """The verifiers that must all hold."""

    parts: Parts = Field(description="The verifiers, cheap ones first: one that scores 0 spares the others.")
    zero: Zero = Field((), description=ZERO)


class AnySettings(PartsSettings):
    """The verifiers of which one is enough."""

    parts: Parts = Field(description="The verifiers, cheap ones first: one that scores 1 spares the others.")


class FirstSettings(PartsSettings):
    """The verifiers in order."""

    parts: Parts = Field(description="The verifiers, tried in this order.")
    pass_over: tuple[Literal["timeout", "error", "unparsable"], ...] = Field(
        ("timeout", "unparsable"),
        description="Outcomes after which the next part is tried. With error in it, a part that is set up wrongly is "
        "passed over for ever.",
    )


class BySourceSettings(Settings):
    """Which verifier judges which data set."""

    routes: Annotated[dict[str, Use[Verifier[Any]]], Field(min_length=1)] = Field(
        description="Verifier by the record's source: its data set's setting 'source', else that file's name."
    )
    default: Use[Verifier[Any]] | None = Field(
        None, description="Verifier of all other sources; null makes them an error."
    )
