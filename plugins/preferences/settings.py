"""Settings of the stage `preferences`. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from aftertrain.core.asking.settings import ModelName
from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine
from aftertrain.core.errors import unknown
from aftertrain.core.generator import Generator, Sampling
from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.rows.files import Format
from aftertrain.core.settings import Fraction, LocalPath, PositiveInt, Settings, Use, unhashed
from aftertrain.core.stage import SeededSettings
from aftertrain.core.verification.checks import reward_name
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier

Policy = Literal["on", "off"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""A model's name: part of its replies' ids, and of a folder's name."""


class ReplierSettings(Settings):
    """One of the models that reply: a stage's, or a folder, a hub name or an endpoint."""

    from_: Annotated[str, Field(min_length=1)] | None = Field(
        None, alias="from", description="Stage whose model replies; 'base' is the recipe's."
    )
    model: ModelName | None = Field(
        None,
        description="A model of no stage: a folder (relative to the recipe), 'package:MODULE/FOLDER', a hub name, or "
        "with the generator openai an endpoint, http://HOST/v1#NAME.",
    )
    name: Annotated[str, Field(pattern=NAME)] | None = Field(
        None, description="What it is called in rows and reports; null: its stage, or the last part of its model."
    )
    samples: PositiveInt | None = Field(None, description="Replies to each prompt; null: the stage's.")
    sampling: Sampling | None = Field(None, description="How they are drawn; null: as the stage says.")
    generator: Use[Generator[Any]] | None = Field(None, description="Runs it; null: the stage's.")
    chat_template: str | None = Field(
        None, description="Named chat template in place of its own; null: of a stage's model the recipe's."
    )
    policy: Policy | None = Field(
        None,
        description="Whether its replies count as on-policy, of the model that is to learn from the rows: on or off; "
        "null: on for a stage's model, off for others. It is told, and changes nothing.",
    )

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.from_ is None) == (self.model is None):
            raise ValueError("name either a stage (from) or a model")
        return self

    @property
    def called(self) -> str:
        """Its name."""
        if self.name is not None:
            return self.name
        written = self.from_ if self.from_ is not None else str(self.model).rpartition("#")[2].rstrip("/")
        last = written.rpartition("/")[2]
        return "".join(c if c.isalnum() or c in "._-" else "-" for c in last).lstrip("._-") or "model"

    @property
    def on_policy(self) -> bool:
        """Whether its replies count so."""
        return self.policy == "on" if self.policy is not None else self.from_ is not None


class RaterSettings(Settings):
    """Who rates a reply: verifiers, a judge, or a reward model."""

    _kinds: ClassVar[tuple[str, ...]] = ("verifiers", "judge", "reward_model")

    verifiers: tuple[Use[Verifier[Any]], ...] = Field(
        (), description="Verifiers by the names of the problems' checks; of several checks the lowest value counts."
    )
    checks: Annotated[dict[str, str], UsedIf("verifiers")] = Field(
        {}, description="Verifier by the name of a check, where the two differ."
    )
    on_unparsable: Annotated[Literal["lowest", "drop"], UsedIf("verifiers")] = Field(
        "lowest",
        description="A reply in which a verifier finds no answer: it gets the lowest rating, as one that is wrong, or "
        "none. Errors and time-outs never are a rating.",
    )
    judge: Use[Verifier[Any]] | None = Field(
        None,
        description="A verifier that is asked about every reply: aspects (the mean of those that apply), another "
        "judge, or a judge of two replies (pairwise), which compares all replies to a prompt in both orders.",
    )
    reward_model: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="Stage whose reward model rates."
    )
    scale: tuple[float, float] | None = Field(
        None,
        description="Ratings of replies with the values 0 and 1; null: the judge's own scale (1 to 5 of aspects), else "
        "0 to 1. Margins, bounds and strengths are in these units.",
    )
    max_tokens: Annotated[PositiveInt | None, UsedIf("reward_model")] = Field(
        None, description="Longest prompt and reply that the reward model rates; null: its context."
    )
    engine: Annotated[Use[Engine[Any]], UsedIf("reward_model")] = Field(
        cast("Any", "torch"), description="Runs the reward model."
    )
    micro_tokens: Annotated[PositiveInt, UsedIf("reward_model")] = Field(
        8192, description="Packing budget of one of its forwards, in tokens."
    )
    verification: PoolSettings = Field(PoolSettings(), description="Processes in which verifiers judge.")

    @model_validator(mode="after")
    def _one_rater(self) -> Self:
        given = [name for name in self._kinds if getattr(self, name)]
        if len(given) != 1:
            kinds = f"{', '.join(self._kinds[:-1])} and {self._kinds[-1]}"
            raise ValueError(f"name one of {kinds}, not {' and '.join(given) or 'none'}")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError("scale is the lowest rating and then the highest")
        names = self.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"verifiers: {', '.join(twice)} stands there more than once")
        for check, name in self.checks.items():
            if name not in names:
                raise ValueError(f"checks: {check}: {unknown('verifier', name, names)}")
        return self

    @property
    def names(self) -> list[str]:
        """Of the verifiers: of one that runs a function that one's."""
        return [reward_name(use) for use in self.verifiers]

    def without_use(self) -> dict[str, Unused]:
        """Further the scale of a reward model, which has its own, and processes where nothing is verified."""
        idle = super().without_use()
        if self.reward_model is not None:
            idle |= {name: Unused("a reward model rates", ("reward_model",)) for name in ("scale", "verification")}
        return idle


class WeighedRater(RaterSettings):
    """One of several raters."""

    weight: Annotated[float, Field(gt=0)] = Field(1.0, description="w: what its rating is multiplied by.")
    name: Annotated[str, Field(pattern=NAME)] | None = Field(
        None, description="What it is called in rows and reports; null: judge, verifiers, or its stage."
    )

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or self.reward_model or ("judge" if self.judge is not None else "verifiers")


class RatingSettings(RaterSettings):
    """Who rates a reply: verifiers, a judge, a reward model, or several of them together."""

    _kinds: ClassVar[tuple[str, ...]] = (*RaterSettings._kinds, "weighted")

    weighted: tuple[WeighedRater, ...] = Field(
        (),
        description="Several raters, each with a weight: a reply is worth Σ wᵢ·rᵢ, each rating in its rater's own "
        "units; one that a rater could not rate has no rating.",
    )

    @model_validator(mode="after")
    def _raters_differ(self) -> Self:
        names = [rater.called for rater in self.weighted]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"weighted: {', '.join(twice)} stands there more than once; give them names that differ")
        # NAME.FACT is a fact of one rater, and must be the rating of no other.
        if inside := next(((one, other) for one in names for other in names if other.startswith(f"{one}.")), None):
            raise ValueError(f"weighted: {inside[1]} reads like a fact of {inside[0]}; give one of them another name")
        if sum(bool(rater.verifiers) for rater in self.weighted) > 1:
            raise ValueError("weighted: more than one names verifiers; put them into one, by their checks' names")
        return self

    @property
    def raters(self) -> Mapping[str, RaterSettings]:
        """By the path of their settings: this one, or those that are weighed."""
        if not self.weighted:
            return {"rating": self}
        return {f"rating.weighted.{place}": rater for place, rater in enumerate(self.weighted)}

    def without_use(self) -> dict[str, Unused]:
        """Further what each of several has of its own."""
        idle = super().without_use()
        if self.weighted:
            idle |= {name: Unused("each rater has its own", ("weighted",)) for name in ("scale", "verification")}
        return idle


class PreferencesSettings(SeededSettings):
    """Which prompts, who replies, who rates, and what is made of it."""

    data: Use[Dataset[Any]] = Field(
        description="The prompts: problems, or conversations and pairs, of which what follows the last turn that is "
        "not the assistant's is left away. Each prompt is asked of every model."
    )
    models: Annotated[tuple[ReplierSettings, ...], Field(min_length=1)] = Field(
        description="The models that reply, such as [{from: sft}, {model: org/name}]."
    )
    samples: PositiveInt = Field(4, description="Replies of each model to each prompt.")
    sampling: Sampling = Field(Sampling(), description="How replies are drawn.")
    generator: Use[Generator[Any]] = Field(cast("Any", "transformers"), description="Runs the models.")
    rating: RatingSettings = Field(description="Who rates the replies.")
    output: Literal["pairs", "best", "rows"] = Field(
        "pairs",
        description="pairs: of each prompt the best reply against a lower one, for preference training (F18); best: "
        "of each prompt the best replies, as conversations for supervised training (rejection sampling); rows: all "
        "rated replies, as conversations.",
    )
    rejected: Annotated[Literal["random", "lowest"], UsedIf("output", "pairs")] = Field(
        "random", description="Which of the lower replies: one that the seed draws, or the lowest."
    )
    margin: Annotated[float, Field(ge=0), UsedIf("output", "pairs")] = Field(
        0.0, description="τ: a pair is kept only if r(chosen) - r(rejected) is above it (F19)."
    )
    at_least: Annotated[float | None, UsedIf("output", "best")] = Field(
        None, description="Lowest rating of a best reply; null: with verifiers the highest (it is right), else none."
    )
    most: Annotated[PositiveInt, UsedIf("output", "best")] = Field(
        1, description="Most replies to a prompt that are taken, no two of the same text."
    )
    diversity_weight: Annotated[Fraction, UsedIf("output", "pairs")] = Field(
        0.5, description="α of the mixture's quality, α·D_div + (1-α)·D_qual (F21)."
    )
    cut: Literal["drop", "keep"] = Field(
        "drop", description="Replies that were cut at sampling.max_new_tokens: left out, or taken as they are."
    )
    thoughts: Literal["keep", "cut"] = Field(
        "keep",
        description="Thoughts in a reply: kept in the rows, or cut, so that the rows teach the answers alone. Which "
        "part is rated, the verifiers and the judge say themselves.",
    )
    unjudgeable: Literal["stop", "drop"] = Field(
        "stop", description="Prompts of which no reply could be rated, whatever it says: stop, or leave them out."
    )
    format: Format = Field("jsonl", description="Of the shards: jsonl, or parquet; datasets.load_dataset reads both.")
    shard_rows: PositiveInt = Field(10_000, description="Prompts whose rows make a shard.")
    block: PositiveInt = Field(
        64,
        description="Prompts that are asked, or rated, between two saves. A model in this process replies to a block "
        "together, and the batch's shape changes rounding.",
    )
    shown: Annotated[int, Field(ge=0)] = unhashed(
        5, description="Prompts whose replies are shown in events and report."
    )
    store: LocalPath | Literal[False] | None = unhashed(
        None,
        description="File in which replies are kept, the judge's too, so that none is paid twice. Null: "
        "cache/completions.sqlite in the run's folder; false: none.",
    )
    timeout: Annotated[float, Field(gt=0)] = unhashed(
        3600.0, description="Seconds without any finished reply after which the stage stops."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [model.called for model in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"models: {', '.join(twice)} stands there more than once; give them names that differ")
        return self

    @model_validator(mode="after")
    def _enough_replies(self) -> Self:
        total = sum(self.samples_of(model) for model in self.models)
        if self.output == "pairs" and total < 2:
            raise ValueError("a pair needs two replies to a prompt: raise samples, or name a second model")
        return self

    def samples_of(self, model: ReplierSettings) -> int:
        """Replies of a model to each prompt."""
        return model.samples or self.samples

    def sampling_of(self, model: ReplierSettings) -> Sampling:
        """How a model's replies are drawn."""
        return model.sampling or self.sampling

    def generator_of(self, model: ReplierSettings) -> Use[Generator[Any]]:
        """What runs a model."""
        return model.generator or self.generator

    def without_use(self) -> dict[str, Unused]:
        """Further what every model has of its own."""
        idle = super().without_use()
        for name in ("samples", "sampling", "generator"):
            if all(getattr(model, name) is not None for model in self.models):
                idle[name] = Unused("every model has its own", ("models",))
        return idle
