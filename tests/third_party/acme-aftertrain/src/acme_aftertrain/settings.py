"""Settings of acme's components; no torch is imported here."""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import Field

from aftertrain.core.dataset import Dataset
from aftertrain.core.eval_task import EvalTaskSettings
from aftertrain.core.generator import Generator
from aftertrain.core.settings import PositiveInt, Settings, Use, unhashed
from aftertrain.core.stage import StageSettings
from aftertrain.core.verifier import Verifier


class MarginSettings(Settings):
    """Settings of the loss `acme/margin`."""

    margin: Annotated[float, Field(ge=0)] = Field(1.0, description="Nats by which the chosen reply must lead.")


class EndsWithSettings(Settings):
    """Settings of the verifier `acme/ends_with`."""

    strip: str = Field(" .\n", description="Characters taken off the reply's end first.")


class SaysYesSettings(Settings):
    """Settings of the verifier `acme/says_yes`."""

    model: str | None = Field(None, description="The judge: a folder, a run's model, or a hub name; null has none.")
    generator: Use[Generator[Any]] = Field(cast("Any", "transformers"), description="Makes the judge's answers.")
    timeout: Annotated[float, Field(gt=0)] = unhashed(60.0, description="Seconds without any answer.")


class CapitalsSettings(EvalTaskSettings):
    """Settings of the evaluation task `acme/capitals`."""

    verifier: Use[Verifier[Any]] = Field(cast("Any", "acme/ends_with"), description="Judges the replies.")
    samples: PositiveInt = Field(1, description="Replies to each question.")


class MottosSettings(EvalTaskSettings):
    """Settings of the evaluation task `acme/mottos`."""


class ShortSettings(StageSettings):
    """Settings of the stage `acme/short`."""

    data: Use[Dataset[Any]] = Field(description="Conversations.")
    most: PositiveInt = Field(20, description="Characters of the longest last reply that is kept.")


class SoberSettings(Settings):
    """Settings of the operator `acme/sober`."""

    most: Annotated[int, Field(ge=0)] = Field(1, description="Exclamation marks that are borne with.")
