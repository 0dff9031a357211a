"""Settings of the selections. No torch here."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from aftertrain.core.selection import SelectionSettings
from aftertrain.core.settings import Fraction, PositiveInt


class AllSettings(SelectionSettings):
    """Each problem in turn: there is nothing to set."""

    planned: ClassVar[bool] = True


class InformativeSettings(SelectionSettings):
    """Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups whose replies all earned the same are left out."""

    samples: ClassVar[int] = 2
    rounds: PositiveInt = Field(
        10, description="How often a step may ask for more problems before it makes do with the groups it has."
    )


class OversampleSettings(SelectionSettings):
    """More problems than a step needs; those whose replies differ most are learnt from."""

    samples: ClassVar[int] = 2
    factor: Annotated[float, Field(gt=1)] = Field(2.0, description="Problems asked for each one that is kept.")


class CurriculumSettings(SelectionSettings):
    """Problems drawn by how near their pass rate so far is to a wanted one."""

    target: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="Pass rate that is asked for most.")
    width: Annotated[float, Field(gt=0)] = Field(
        0.25, description="Spread of the bell around it: a problem that is so far off weighs e^-½ as much."
    )
    floor: Fraction = Field(
        0.05, description="Least weight of a problem, so that none is given up; one never asked weighs 1."
    )
