"""Settings of whatever asks a model. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, ValidationInfo

from aftertrain.core.generator import Generator, Sampling
from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.settings import LocalPath, PositiveInt, Settings, Use, unhashed


def _beside_recipe(value: str, info: ValidationInfo) -> str:
    """A folder beside the recipe by its whole path; a hub name or a package's model as it is."""
    base = (info.context or {}).get("base_folder")
    folder = Path(base or ".") / Path(value).expanduser()
    return str(folder) if base is not None and folder.is_dir() else value


ModelName = Annotated[str, Field(min_length=1), AfterValidator(_beside_recipe)]
"""A model folder (relative to the recipe), a package's, a hub name, or an endpoint's address."""


class AskedSampling(Sampling):
    """How the model's reply is drawn; greedy unless said otherwise."""

    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="Softmax temperature; 0 takes the argmax.")


class Budget(Settings):
    """The most that one object asks for; past it a question is an error, 'budget spent'."""

    calls: PositiveInt | None = Field(None, description="Most replies asked for, retries included; null: no limit.")
    tokens: PositiveInt | None = Field(
        None, description="Most tokens of prompts and replies together, never exceeded; null: no limit."
    )


class Prices(Settings):
    """What a million tokens cost, in any one currency."""

    prompt: Annotated[float, Field(ge=0)] = Field(0.0, description="A million prompt tokens.")
    reply: Annotated[float, Field(ge=0)] = Field(0.0, description="A million reply tokens.")


class AskingSettings(Settings):
    """The model that is asked, and what asking may cost."""

    model: ModelName = Field(
        description="The model: a Hugging Face folder (relative to the recipe), 'package:MODULE/FOLDER', or a hub "
        "name; with the generator openai an endpoint, http://HOST/v1#NAME."
    )
    generator: Use[Generator[Any]] = Field(cast("Any", "transformers"), description="Runs it.")
    sampling: AskedSampling = Field(AskedSampling(), description="How its replies are drawn.")
    chat_template: str | None = Field(None, description="Named chat template in place of the model's own (tulu).")
    max_prompt_tokens: PositiveInt = Field(
        4096,
        description="Longest prompt; a longer one is an error verdict, never cut. The model's context limits it too.",
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        0, description="How often it is asked again, with another seed, when its reply says nothing that can be used."
    )
    retry_temperature: Annotated[float, Field(gt=0), UsedIf("retries")] = Field(
        0.7, description="Temperature of retries where sampling is greedy: asked the same way, it would say the same."
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of drawn replies, together with case and prompt.")
    budget: Budget = Field(Budget(), description="Limits.")
    prices: Prices = Field(Prices(), description="From tokens to cost.")
    store: LocalPath | None = unhashed(
        None, description="File in which replies are kept for later runs; null: the evaluation's, where there is one."
    )
    transcript: LocalPath | None = unhashed(
        None, description="File to which every prompt, reply, its tokens, cost and verdict are added, as JSON lines."
    )
    timeout: Annotated[float, Field(gt=0)] = Field(
        600.0, description="Seconds without any finished reply after which all cases that wait are time-outs."
    )

    def without_use(self) -> dict[str, Unused]:
        """What is for drawn replies, where all are greedy; what is for greedy ones, where they are drawn."""
        idle = super().without_use()
        if self.sampling.temperature > 0:
            reason = "it is for greedy sampling, and sampling has a temperature"
            idle["retry_temperature"] = Unused(reason, ("sampling",))
        elif self.retries == 0:
            idle["seed"] = Unused("all replies are greedy", ("sampling", "retries"))
        return idle
