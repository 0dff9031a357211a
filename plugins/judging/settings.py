"""Settings of the verifiers that ask a model. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import BeforeValidator, Field, field_validator, model_validator

from aftertrain.core.asking.settings import AskedSampling, AskingSettings, ModelName
from aftertrain.core.engine import Engine
from aftertrain.core.errors import unknown
from aftertrain.core.ground.endpoint import is_endpoint
from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.settings import Fraction, PositiveInt, Settings, Use
from aftertrain.core.text.answer import AnswerSettings
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging import aspects, comparisons, parsing, templates


def _yes_or_no(value: Any) -> Any:
    """YAML 1.1 tools write `no` as false."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


class ExtractSampling(AskedSampling):
    """How the model's completion is drawn; greedy and short unless said otherwise."""

    max_new_tokens: PositiveInt = Field(64, description="Tokens after which a completion is cut.")


class JudgingSettings(AskingSettings, AnswerSettings):
    """The model that is asked for a judgement."""


class ParseSettings(Settings):
    """Where a judge's reply says its judgement, and what that is worth."""

    pattern: Annotated[str, Field(min_length=1, max_length=2_000)] = Field(
        description="Regular expression over the judge's reply, letter case aside; its first group is the judgement."
    )
    which: Literal["first", "last"] = Field("last", description="Which match counts when there are several.")
    labels: dict[str, Fraction] | None = Field(None, description="Value in [0, 1] of each judgement; others have none.")
    scale: tuple[float, float] | None = Field(
        None, description="Lowest and highest number: the judgement is a number, worth (n - low)/(high - low)."
    )

    abstains: tuple[str, ...] = Field(
        (), description="Judgements that say that the question does not apply (n/a): the verdict is 'abstained'."
    )

    @field_validator("pattern")
    @classmethod
    def _usable(cls, pattern: str) -> str:
        parsing.check(pattern)
        return pattern

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.labels is None) == (self.scale is None):
            raise ValueError("set either labels or scale")
        if self.labels is not None and not self.labels:
            raise ValueError("labels names no judgement")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise ValueError("scale is the lowest number and then the highest")
        return self


class JudgeSettings(JudgingSettings):
    """What the judge is asked, and how its reply is read."""

    template: Annotated[str, Field(min_length=1)] = Field(
        "correct",
        description="A ready template: correct (agrees with the ground truth), rating (1 to 10), helpfulness, honesty, "
        "instruction_following, truthfulness (1 to 5 or n/a), wildguard; or your own in Jinja, with prompt, response, "
        "ground_truth, source and fence.",
    )
    label: str | None = Field(
        None, description="wildguard: which of its answers counts: prompt_harm, response_refusal or response_harm."
    )
    wanted: Annotated[Literal["yes", "no"] | None, BeforeValidator(_yes_or_no)] = Field(
        None, description="wildguard: the answer that is worth 1; the other is worth 0."
    )
    parse: ParseSettings | None = Field(None, description="How its reply is read; null: as the ready template says.")
    chat: bool | None = Field(
        None,
        description="true: the template is a user's message in the model's chat template; false: it is the whole "
        "prompt, special tokens written out; null: as the ready template says, true for your own.",
    )

    def without_use(self) -> dict[str, Unused]:
        """Further the chat template, where the template is the whole prompt."""
        idle = super().without_use()
        if not self.in_chat:
            idle["chat_template"] = Unused("the template is the whole prompt (chat: false)", ("chat", "template"))
        return idle

    @property
    def in_chat(self) -> bool:
        """Whether the template is a user's message, and not the whole prompt."""
        ready = templates.READY.get(self.template)
        return self.chat if self.chat is not None else ready is None or ready.chat

    @model_validator(mode="after")
    def _template_and_parse_fit(self) -> Self:
        ready = None
        if templates.is_name(self.template):
            if self.template not in templates.READY:
                raise ValueError(
                    f"{unknown('template', self.template, templates.READY)} One of your own holds {{{{ response }}}}."
                )
            ready = templates.READY[self.template]
        else:
            templates.check(self.template)
            if self.parse is None:
                raise ValueError("a template of your own needs 'parse': how the judge's reply is read")
        if ready is None or ready.by_label is None:
            if self.label is not None or self.wanted is not None:
                raise ValueError("'label' and 'wanted' belong to the template wildguard")
        elif self.label is None:
            raise ValueError(f"the template {self.template} needs 'label', one of: {', '.join(ready.by_label)}")
        elif self.label not in ready.by_label:
            raise ValueError(f"'label': {unknown('label', self.label, ready.by_label)}")
        elif self.wanted is None:
            raise ValueError(f"say which answer is worth 1: 'wanted: yes' or 'wanted: no' ({self.label})")
        elif self.parse is not None:
            raise ValueError("the template wildguard has its own parse rule")
        return self


class AspectsSampling(AskedSampling):
    """How a rating is drawn; greedy and short unless said otherwise."""

    max_new_tokens: PositiveInt = Field(64, description="Tokens after which the judge's reply is cut.")


class AspectsSettings(JudgingSettings):
    """Which aspects of a reply the judge rates, each by a question of its own (F18)."""

    aspects: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        tuple(aspects.ASPECTS),
        description="Ready ones: helpfulness, honesty, instruction_following, truthfulness; and those of 'criteria'.",
    )
    criteria: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Annotated[str, Field(min_length=1)]] = Field(
        {}, description="Aspects of your own, by name: what is rated, and what 1 and 5 mean."
    )
    sampling: AspectsSampling = Field(AspectsSampling(), description="How its ratings are drawn.")

    @model_validator(mode="after")
    def _aspects_are_known(self) -> Self:
        known = [*aspects.ASPECTS, *self.criteria]
        for name in self.aspects:
            if name not in known:
                raise ValueError(f"aspects: {unknown('aspect', name, known)}")
        if len(set(self.aspects)) < len(self.aspects):
            raise ValueError("aspects: one stands there more than once")
        for name in self.criteria:
            if name in aspects.ASPECTS or name not in self.aspects:
                fault = "is a ready aspect" if name in aspects.ASPECTS else "is not among 'aspects'"
                raise ValueError(f"criteria: {name} {fault}")
        return self


class WildGuardSampling(AskedSampling):
    """How WildGuard's reply is drawn; greedy, and no longer than its three lines."""

    max_new_tokens: PositiveInt = Field(32, description="Tokens after which its reply is cut.")


class WildGuardSettings(JudgingSettings):
    """WildGuard, and what asking it may cost."""

    model: ModelName = Field(
        "allenai/wildguard", description="WildGuard: a folder, or its hub name (its terms must be accepted there)."
    )
    sampling: WildGuardSampling = Field(WildGuardSampling(), description="How its replies are drawn.")


class PairwiseSettings(JudgingSettings):
    """Who compares two replies, by which prompt, and how its answer is read."""

    template: Annotated[str, Field(min_length=1)] = Field(
        "arena",
        description="A ready prompt: arena (ours; A, B or tie), alpaca_eval, href (as published); or your own in "
        "Jinja, with prompt, first, second, reference and fence.",
    )
    parse: ParseSettings | None = Field(
        None,
        description="How the reply to your own template is read: 1 where the first reply is better, 0 the second.",
    )
    read: Literal["text", "likelihood"] = Field(
        "text",
        description="text: the judge's written answer; likelihood: how likely its answer is to be the first reply's "
        "name, of the two (of a model folder by the engine, of an endpoint by its five likeliest first tokens).",
    )
    engine: Annotated[Use[Engine[Any]], UsedIf("read", "likelihood")] = Field(
        cast("Any", "torch"), description="Scores the two names."
    )
    micro_tokens: Annotated[PositiveInt, UsedIf("read", "likelihood")] = Field(
        8192, description="Packing budget of one forward of the engine, in tokens."
    )

    def without_use(self) -> dict[str, Unused]:
        """Further what scores a folder, of an endpoint; and how replies are drawn, where none is read."""
        idle = super().without_use()
        if self.read == "likelihood":
            reason = "likelihoods are read, and no reply"
            idle |= {name: Unused(reason, ("read",)) for name in ("sampling", "retries", "retry_temperature")}
            if is_endpoint(self.model):
                reason = "an endpoint tells its likelihoods itself"
                idle |= {name: Unused(reason, ("model",)) for name in ("engine", "micro_tokens")}
        return idle

    @model_validator(mode="after")
    def _prompt_and_parse_fit(self) -> Self:
        if templates.is_name(self.template):
            if self.template not in comparisons.READY:
                raise ValueError(
                    f"{unknown('prompt', self.template, comparisons.READY)} One of your own holds {{{{ first }}}}."
                )
            if self.parse is not None:
                raise ValueError(f"the prompt {self.template} has its own parse rule")
            return self
        templates.check(self.template, comparisons.VARIABLES, ("first", "second"))
        if self.parse is None:
            raise ValueError("a template of your own needs 'parse': how the judge's reply is read")
        if self.read == "likelihood":
            raise ValueError("'read: likelihood' needs a ready prompt, which says the two names")
        return self


class ExtractSettings(JudgingSettings):
    """What is completed, and who compares the answer."""

    verifier: Use[Verifier[Any]] = Field(description="Compares the extracted answer with the ground truth.")
    sampling: ExtractSampling = Field(ExtractSampling(), description="How its completions are drawn.")
    phrase: Annotated[str, Field(min_length=1)] = Field(
        "Thus, the final answer is: ", description="Put behind the reply; the model goes on from there."
    )
    context: Literal["response", "conversation"] = Field(
        "response",
        description="response: the model sees the reply and the phrase, nothing else (F29); conversation: the prompt "
        "as the user's turn in its chat template, reply and phrase as the assistant's unfinished one.",
    )
    chat_template: Annotated[str | None, UsedIf("context", "conversation")] = Field(
        None, description="Named chat template in place of the model's own (tulu)."
    )
    before: str = Field("", description="Put before the answer for the verifier, as in '\\boxed{'.")
    after: str = Field("", description="Put behind the answer for the verifier, as in '}'.")
