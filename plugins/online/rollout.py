"""Rollouts: the current policy's turns with an environment, for one step's problems.

A rollout's token ids are those that were sampled, with the ids of what answered them between: nothing is tokenised
again. All that are not done take their next turn together, and are answered in the order of their tickets, so that it
does not matter which reply or answer is there first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aftertrain.core.completions.delivered import deliver
from aftertrain.core.environment import Environment, Observation, Reply
from aftertrain.core.errors import RunError
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.ground.model_folder import context_window
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.packed.packing import Segment
from aftertrain.core.playing import Table
from aftertrain.core.records import Completion, Message, Verdict
from aftertrain.core.text.chat import UnusableRow
from aftertrain.core.text.growing import Growing
from aftertrain.core.text.tool_calls import calls_in
from aftertrain.plugins.online.problems import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply that was answered.

    Attributes:
        observed: token ids between this reply and the next one: its end where none was sampled, the answer, and what
            the next reply is prompted with. None of them is ever a target.
        messages: the answer.
        reward: what the turn earned.
    """

    completion: Completion
    observed: tuple[int, ...]
    messages: tuple[Message, ...]
    reward: float = 0.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """The replies to one prompt, most often one.

    Attributes:
        id: problem's id and the sample's number, unique within a step.
        group: which of the step's problems it answers.
        prompt: with the token ids of what the environment opened with.
        completion: the last reply, which verifiers judge.
        before: earlier ones, with what answered them.
        reward: what the last turn earned.
        cut: no room was left for another turn.
        failure: `timeout` or `error` where the environment failed: no turn earned anything then.
    """

    id: str
    group: int
    prompt: Prompt
    completion: Completion
    before: tuple[Turn, ...] = ()
    reward: float = 0.0
    cut: bool = False
    failure: Verdict | None = None

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self.completion.finish_reason == "stop" and not self.cut

    @property
    def turn_rewards(self) -> tuple[float, ...]:
        """What each turn earned; nothing where the environment failed."""
        if self.failure is not None:
            return (0.0,) * (len(self.before) + 1)
        return (*(turn.reward for turn in self.before), self.reward)

    @property
    def turns(self) -> int:
        """Replies that it has."""
        return len(self.before) + 1

    @property
    def sampled(self) -> int:
        """Tokens that the policy made."""
        return sum(len(turn.completion.token_ids) for turn in self.before) + len(self.completion.token_ids)

    @property
    def tokens(self) -> int:
        """All of them, prompt and answers too."""
        return len(self.prompt.token_ids) + self.sampled + sum(len(turn.observed) for turn in self.before)

    @property
    def pieces(self) -> list[tuple[Completion, tuple[int, ...]]]:
        """Each reply, with the ids of what answered it."""
        return [*((turn.completion, turn.observed) for turn in self.before), (self.completion, ())]

    @property
    def transcript(self) -> str:
        """What was said after the prompt, for people."""
        return "\n".join(
            [
                *(part for turn in self.before for part in (turn.completion.text, *map(_line, turn.messages))),
                self.completion.text,
            ]
        )

    def segment(self) -> Segment:
        """All of it as one segment whose targets are the sampled ids.

        Columns: `generator_logprobs` and `versions` of the sampled ids, 0 at others, and `turn_rewards`, each on the
        last token of its turn.
        """
        ids, mask = list(self.prompt.token_ids), [False] * len(self.prompt.token_ids)
        logprobs, versions, rewards = [0.0] * len(ids), [0.0] * len(ids), [0.0] * len(ids)
        for (reply, observed), reward in zip(self.pieces, self.turn_rewards, strict=True):
            made, seen = len(reply.token_ids), len(observed)
            ids += [*reply.token_ids, *observed]
            mask += [True] * made + [False] * seen
            logprobs += [*reply.logprobs, *[0.0] * seen]
            versions += [*map(float, reply.versions), *[0.0] * seen]
            rewards += [0.0] * (made - 1) + [reward] * min(made, 1) + [0.0] * seen
        return Segment(
            sample_id=self.id,
            token_ids=tuple(ids),
            loss_mask=tuple(mask),
            source=self.prompt.problem.source,
            group=self.group,
            columns={
                "generator_logprobs": tuple(logprobs),
                "versions": tuple(versions),
                "turn_rewards": tuple(rewards),
            },
        )


@dataclass(frozen=True)
class Stand:
    """Where episodes are played.

    Attributes:
        most: token ids that an opening may have.
        generator: what replies are made by, for messages.
        context: most tokens of prompt and reply that the model takes; None: any.
    """

    environment: Environment[Any]
    table: Table
    tokenizer: PreTrainedTokenizerBase
    most: int
    generator: str = "of the stage"
    context: int | None = None

    def close(self) -> None:
        """End the episodes that are going, and what the environment holds."""
        self.table.close()
        self.environment.close()


def make_stand(
    environment: Environment[Any],
    tokenizer: PreTrainedTokenizerBase,
    limits: Mapping[str, int],
    *,
    generator: str,
    model: str,
) -> Stand:
    """With a table of its own.

    Args:
        limits: most prompt tokens, by reason.
        generator: its name.
        model: folder of the policy.
    """
    return Stand(environment, Table(environment), tokenizer, min(limits.values()), generator, context_window(model))


@dataclass
class _Play:
    """One rollout as it grows."""

    id: str
    group: int
    prompt: Prompt
    messages: tuple[Message, ...] = ()
    talk: Growing | None = None
    before: list[Turn] = field(default_factory=list)
    used: int = 0
    last: Completion | None = None
    reward: float = 0.0
    cut: bool = False
    failure: Verdict | None = None

    def rollout(self) -> Rollout:
        """As it stands."""
        last = self.last or _nothing(self.id, self.prompt.token_ids)
        return Rollout(self.id, self.group, self.prompt, last, tuple(self.before), self.reward, self.cut, self.failure)


def roll_out(
    generator: Generator[Any],
    stand: Stand,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    samples: int,
    *,
    seed: int,
    step: int,
    timeout: float,
    first: int = 0,
    arrived: Callable[[Rollout], None] | None = None,
) -> list[Rollout]:
    """`samples` rollouts for each prompt, those of one prompt together; seeds depend on the step and the place alone.

    The samples of a prompt meet the same episode. `sampling.max_new_tokens` bounds a rollout, answers included.

    Args:
        first: number of the first prompt's group, where the step has asked others before.
        arrived: told of each reply as soon as it is there, where the environment answers none; of a rollout of several
            turns nobody knows before the last of them which is the last.

    Raises:
        RunError: no reply was finished in time, or one is not what was asked for (`deliver`).
    """
    places = [(group, number) for group in range(len(prompts)) for number in range(samples)]
    numbers = range(first * samples, first * samples + len(places))
    plays = {
        i: _Play(f"{prompts[group].problem.id}/{number}", first + group, prompts[group])
        for i, (group, number) in zip(numbers, places, strict=True)
    }
    begun = {i: (play.prompt.problem, sub_seed(seed, "episode", step, play.group)) for i, play in plays.items()}
    for i, opened in stand.table.reset(begun).items():
        _open(plays[i], opened, stand)
    going = [i for i, play in plays.items() if play.failure is None]
    turn = 0

    def tell(completion: Completion) -> None:
        play = plays[int(completion.id)]
        if arrived is not None:
            arrived(Rollout(play.id, play.group, play.prompt, completion))

    at_once = tell if stand.environment.max_turns == 1 else None
    while going:
        requests = [
            GenerationRequest(str(i), ids, room, sub_seed(seed, "reply", step, i, *[turn][: turn > 0]))
            for i, ids, room in _requests(plays, going, sampling)
        ]
        replies = _generate(generator, requests, timeout, stand, at_once)
        for i, completion in zip(going, replies, strict=True):
            plays[i].last = completion
        going = _answer(plays, going, stand, sampling.max_new_tokens)
        turn += 1
    return [play.rollout() for play in plays.values()]


def try_opening(stand: Stand, prompt: Prompt) -> None:
    """Begin one episode, to find before anything is generated what would fail each of them.

    Raises:
        RunError: it cannot be begun, or leaves no room for replies.
    """
    play = _Play(prompt.problem.id, 0, prompt)
    (opened,) = stand.table.reset({0: (prompt.problem, 0)}).values()
    _open(play, opened, stand)
    stand.table.drop(0)
    if play.failure is not None:
        raise RunError(f"problem {prompt.problem.id!r}: {play.failure.detail}")


def _open(play: _Play, opened: tuple[Message, ...] | Verdict, stand: Stand) -> None:
    """Give a play what its environment opened with."""
    if isinstance(opened, Verdict):
        play.failure = opened
        return
    play.messages = opened
    if opened == play.prompt.problem.prompt:
        return  # its ids are known
    try:
        play.talk = _talk(play, stand)
    except UnusableRow as error:
        play.failure = Verdict.error(f"the environment's opening: {error}")
        return
    ids = play.talk.opening
    if len(ids) > stand.most:
        play.failure = Verdict.error(
            f"the environment's opening has {len(ids):,} tokens; {stand.most:,} leave room for sampling.max_new_tokens"
        )
        return
    play.prompt = Prompt(play.prompt.problem, ids, play.prompt.thoughts)


def _talk(play: _Play, stand: Stand) -> Growing:
    return Growing(stand.tokenizer, play.messages, (*play.prompt.problem.tools, *stand.environment.tools))


def _requests(
    plays: Mapping[int, _Play], going: Sequence[int], sampling: Sampling
) -> Iterator[tuple[int, tuple[int, ...], Sampling]]:
    """By number of the play: what its next reply is given, and how it is drawn."""
    for i in going:
        play = plays[i]
        ids = play.prompt.token_ids
        for turn in play.before:
            ids += (*turn.completion.token_ids, *turn.observed)
        left = sampling.max_new_tokens - play.used
        yield i, ids, sampling.model_copy(update={"max_new_tokens": left}) if play.before else sampling


def _generate(
    generator: Generator[Any],
    requests: Sequence[GenerationRequest],
    timeout: float,
    stand: Stand,
    arrived: Callable[[Completion], None] | None,
) -> Sequence[Completion]:
    try:
        return deliver(generator, stand.generator, requests, timeout, context=stand.context, arrived=arrived)
    except TimeoutError as error:
        raise RunError(
            f"the generator finished no reply in {timeout:g} s ({error}); raise the stage's timeout, "
            "or lower sampling.max_new_tokens"
        ) from error


def _answer(plays: Mapping[int, _Play], going: Sequence[int], stand: Stand, most: int) -> list[int]:
    """Answer the plays' last replies; the numbers of those that go on.

    Args:
        most: tokens after the prompt.
    """
    whole = {i: last for i in going if (last := plays[i].last) is not None and last.finish_reason == "stop"}
    going_on, lost = set[int](), set[int]()
    for i, answer in stand.table.step({i: _reply(last) for i, last in whole.items()}).items():
        play = plays[i]
        if isinstance(answer, Verdict):
            play.failure = answer
            lost.add(i)
            continue
        play.reward = answer.reward
        more = not answer.done and len(play.before) + 1 < stand.environment.max_turns
        if more and _goes_on(play, whole[i], answer, stand, most):
            going_on.add(i)
    for i, earned in stand.table.finish(i for i in going if i not in going_on | lost).items():
        if isinstance(earned, Verdict):
            plays[i].failure = plays[i].failure or earned
        else:
            plays[i].reward += earned
    return [i for i in going if i in going_on]


def _goes_on(play: _Play, reply: Completion, answer: Observation, stand: Stand, most: int) -> bool:
    """Append an answer to a play; whether there is room for another reply, else it stays as it was."""
    play.talk = play.talk or _talk(play, stand)
    try:
        observed = play.talk.answered(reply.token_ids, answer.messages)
    except UnusableRow as error:
        play.failure = Verdict.error(f"the conversation cannot go on: {error}")
        return False
    used = play.used + len(reply.token_ids) + len(observed)
    if used >= most:
        play.cut = True
        return False
    play.used = used
    play.before.append(Turn(reply, observed, answer.messages, answer.reward))
    play.last, play.reward = None, 0.0
    return True


def _reply(completion: Completion) -> Reply:
    found = calls_in(completion.text_with_special or completion.text)
    return Reply(completion.text, completion.text_with_special, found.calls, found.faults)


def _nothing(id: str, prompt: tuple[int, ...]) -> Completion:
    """In place of a reply to an episode that could not be begun."""
    return Completion(id, prompt, (), (), (), "cancelled", "")


def _line(message: Message) -> str:
    return f"[{message.role}] {message.content}"
