"""Data in flight: small frozen records with stable ids. Standard library only.

Every record keeps `source` (which data set it came from) so that metrics, contamination reports and reward routing can
be told per source, `license` where the data set states one, and `tools`: JSON schemas of the functions that the
assistant may call, as the chat template is to show them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from aftertrain.core.ground.cleaning import clean, worded

JSON = Any
Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "cancelled", "refused"]
UNKNOWN_ID = -1
"""In place of a token id that is not known; no tokenizer makes text of it."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant asks for, with a JSON object of arguments."""

    name: str
    arguments: Mapping[str, JSON]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        learn: false makes a turn of the assistant context, which is no target.
        reasoning: the assistant's thoughts where they do not stand in `content`; the chat template puts them there.
        tool_calls: what the assistant asks for, after `content`.
        tool_call_id: of a turn of the role `tool`: the call that it answers.
        name: of a turn of the role `tool`: the function that it answers for.
    """

    role: Role
    content: str
    learn: bool = True
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def empty(self) -> bool:
        """Nothing is said, thought or asked for."""
        return not (self.content.strip() or self.reasoning.strip() or self.tool_calls)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A supervised example: the assistant's turns are learnt, the others are context."""

    id: str
    messages: tuple[Message, ...]
    source: str
    license: str | None = None
    tools: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A plain text, all of which is learnt; no chat template is put around it."""

    id: str
    text: str
    source: str
    license: str | None = None


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two replies to one prompt. `chosen` and `rejected` hold only the turns after `prompt`.

    Attributes:
        margin: rating of chosen minus rating of rejected, where the source has ratings (F19).
    """

    id: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    source: str
    margin: float | None = None
    license: str | None = None
    tools: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True)
class Feedback:
    """One reply to a prompt, found good or bad by itself: no pair is needed. `reply` holds only the turns after it."""

    id: str
    prompt: tuple[Message, ...]
    reply: tuple[Message, ...]
    desirable: bool
    source: str
    license: str | None = None
    tools: tuple[JSON, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One verifiable demand on a reply: which verifier, compared with what."""

    verifier: str
    ground_truth: JSON


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt whose replies can be verified (F32)."""

    id: str
    prompt: tuple[Message, ...]
    checks: tuple[Check, ...]
    source: str
    license: str | None = None
    tools: tuple[JSON, ...] = ()


Record = Conversation | Document | PreferencePair | Feedback | Problem


@dataclass(frozen=True, slots=True)
class Completion:
    """A generated reply. `token_ids` are the sampled ids, never re-tokenised text.

    Attributes:
        id: the request's id.
        prompt_ids: of the prompt; each is `UNKNOWN_ID` where an endpoint tells only how many they are.
        token_ids: sampled ids, the stop token included when one was sampled; unknown ones as in the prompt.
        logprobs: log-probability (nats) of each sampled id under the sampling temperature, before top-p or top-k; empty
            where an endpoint does not tell them.
        versions: version of the weights that made each token.
        finish_reason: `stop` when a stop token or stop string ended it, `length` at the token limit, `refused` when the
            server withheld the reply or the rest of it (a content filter), which says nothing of the model.
        text: decoded reply without special tokens, up to the stop token or stop string, as UTF-8 can hold it.
        text_with_special: the same with special tokens (`<think>` may be one); None where it does not differ.
        why: of a refused one, what the server said.
        likeliest: tokens that were likeliest at its first place, as text, with their log-probabilities; where asked for
            and told.
    """

    id: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    finish_reason: FinishReason
    text: str
    text_with_special: str | None = None
    why: str = ""
    likeliest: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean(self.text))
        if self.text_with_special is not None:
            object.__setattr__(self, "text_with_special", clean(self.text_with_special))


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How thoughts are marked in a reply.

    Attributes:
        begun: the prompt ends with `opening`, so that the reply begins within its thoughts.
    """

    opening: str = "<think>"
    closing: str = "</think>"
    begun: bool = False


Part = Literal["reply", "answer", "block"]
"""All of a reply; what follows its thoughts; the inside of a block that is marked as its answer."""


@dataclass(frozen=True, slots=True)
class VerificationCase:
    """What a verifier is asked: does `response` to `prompt` agree with `ground_truth`?

    Attributes:
        response_with_special: the reply with special tokens, for verifiers that want this view (`Verifier.view`); None
            where it does not differ from `response`. Who changes the one must change or clear the other.
        thoughts: of the chat template that the reply was made with; None where it is not known.
        part: which part of the reply `response` is.
        whole: the whole reply where `response` is a part of it, else None.
        turns: the conversation that is replied to, for a verifier that wants it (`Verifier.wants_turns`); empty where
            only its text is known.
        token_ids: of the reply, as they were sampled, likewise.
    """

    id: str
    prompt: str
    response: str
    ground_truth: JSON
    source: str = ""
    response_with_special: str | None = None
    thoughts: Thoughts | None = None
    part: Part = "reply"
    whole: str | None = None
    turns: tuple[Message, ...] = ()
    token_ids: tuple[int, ...] = ()

    @property
    def reply(self) -> str:
        """The whole reply."""
        return self.response if self.whole is None else self.whole


Outcome = Literal["scored", "timeout", "error", "unparsable", "abstained"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
UNJUDGED: tuple[Outcome, ...] = ("error", "timeout", "abstained")
"""Outcomes that say nothing of the reply: what counts them as 0 says so."""
WORDS = 10_000
"""Characters of a verdict's `extracted` and `detail` that are kept."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verifier's answer. Only settings turn an outcome other than `scored` into a reward; nothing does so silently.

    Attributes:
        value: in [0, 1] when `outcome` is `scored`, else None. A true 0.0 is kept.
        extracted: the answer found in the response, for people to read.
        detail: which rule matched, or why the case could not be judged.
        reward: of a scored one, what it earns by the verifier's own scale, which may be any finite number; `value` is
            then that number held in [0, 1]. None where settings say what a value earns (F27).

    Both texts are for people and files: they become clean (`core.ground.cleaning`), and are cut at `WORDS` characters.

    Raises:
        ValueError: the outcome is none, value and outcome do not agree, or the reward is not finite. TypeError: the
            value is no number.
    """

    outcome: Outcome
    value: float | None = None
    extracted: str | None = None
    detail: str = ""
    reward: float | None = None

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise ValueError(f"a verdict's outcome is one of {', '.join(OUTCOMES)}, not {self.outcome!r:.100}")
        if (self.outcome == "scored") != (self.value is not None):
            raise ValueError(f"a verdict has a value exactly when it is scored: {self.outcome}, {self.value}")
        if self.value is not None and not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a verdict's value lies in [0, 1], not {self.value}")
        if self.value is not None and type(self.value) is not float:
            object.__setattr__(self, "value", float(self.value))
        if self.reward is not None:
            if self.outcome != "scored" or not math.isfinite(self.reward):
                raise ValueError(f"a reward is a finite number of a scored verdict: {self.outcome}, {self.reward}")
            object.__setattr__(self, "reward", float(self.reward))
        for name, words in (("extracted", self.extracted), ("detail", self.detail)):
            if words is not None and (short := worded(words, WORDS)) is not words:
                object.__setattr__(self, name, short)
        if self.detail is None:
            object.__setattr__(self, "detail", "")

    @classmethod
    def scored(cls, value: float, extracted: str | None = None, detail: str = "") -> Verdict:
        """The response was judged."""
        return cls("scored", float(value), extracted, detail)

    @classmethod
    def timeout(cls, detail: str = "") -> Verdict:
        """The deadline passed while judging."""
        return cls("timeout", None, None, detail)

    @classmethod
    def error(cls, reason: str) -> Verdict:
        """The verifier itself failed."""
        return cls("error", None, None, reason)

    @classmethod
    def unparsable(cls, detail: str = "") -> Verdict:
        """No answer could be found in the response."""
        return cls("unparsable", None, None, detail)

    @classmethod
    def rewarded(cls, reward: float, extracted: str | None = None, detail: str = "") -> Verdict:
        """The response was judged on the verifier's own scale.

        >>> Verdict.rewarded(-0.5).value, Verdict.rewarded(0.25).value, Verdict.rewarded(7).value
        (0.0, 0.25, 1.0)
        """
        return cls("scored", min(max(float(reward), 0.0), 1.0), extracted, detail, reward)

    @classmethod
    def abstained(cls, detail: str = "") -> Verdict:
        """The verifier's rule does not apply to the case: it says nothing, and others decide alone."""
        return cls("abstained", None, None, detail)


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One line of `aftertrain plan`: a fact, a figure or a check (`warning`, `error`: the run would not start)."""

    label: str
    value: str
    status: Literal["ok", "warning", "error"] = "ok"


ArtifactType = Literal["model", "endpoint", "reward_model", "adapter", "scores", "data"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a stage leaves behind for the stages after it.

    Attributes:
        type: `model` (a Hugging Face folder), `endpoint` (a model behind an address, which can only be asked),
            `reward_model` (the same with a scalar head), `adapter` (to be put into a
            model; no stage can go on from it), `scores`, `data`.
        path: folder on disk; an endpoint's address.
        stage: name of the stage that made it; `base` for the recipe's own model.
        digest: hash of the stage that made it (or of the model's files).
        details: small JSON facts (scores, counts) for reports.
    """

    type: ArtifactType
    path: str
    stage: str
    digest: str
    details: dict[str, JSON] = field(default_factory=dict)
