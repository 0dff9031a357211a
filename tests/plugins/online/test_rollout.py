"""Rollouts of several turns, with a generator that answers from a script."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import AutoTokenizer

from aftertrain.core.environment import Environment, Episode, Observation, Reply, TurnSettings
from aftertrain.core.generator import GenerationRequest, Generator, Sampling
from aftertrain.core.playing import Table
from aftertrain.core.records import Completion, Message, Problem
from aftertrain.core.settings import Settings
from aftertrain.core.text.chat import render, text_ids
from aftertrain.plugins.online.problems import Prompt
from aftertrain.plugins.online.rollout import Rollout, Stand, roll_out
from aftertrain.testing.build import build

ASK = (Message("user", "What is 17 * 23?"),)
CALL = '<tool_call>{"name": "calculate", "arguments": {"expression": "17 * 23"}}</tool_call>'
Script = Callable[[int, int], str | Sequence[int]]
"""What a rollout of a number says in a turn of a number: words, after which it ends, or token ids as they are."""


class Scripted(Generator[Settings]):
    """Says what its script says; keeps what it was asked."""

    def __init__(self, tokenizer: Any, script: Script, heard: list[str]) -> None:
        self.tokenizer, self.script, self.heard = tokenizer, script, heard
        self.asked: list[list[GenerationRequest]] = []
        self.turns: dict[str, int] = {}

    def open(self, model: str, version: int = 0) -> None: ...

    def submit(self, requests: Sequence[GenerationRequest]) -> None:
        self.asked.append(list(requests))

    def collect(self, timeout: float | None = None) -> list[Completion]:
        return [self._reply(request) for request in self.asked[-1]]

    def cancel(self, ids: Iterable[str] | None = None) -> None: ...

    def update_weights(self, weights: Iterable[tuple[str, Any]], version: int) -> None: ...

    def _reply(self, request: GenerationRequest) -> Completion:
        self.heard.append(self.tokenizer.decode(request.prompt_ids))
        turn = self.turns.get(request.id, 0)
        self.turns[request.id] = turn + 1
        said = self.script(int(request.id), turn)
        end = self.tokenizer.eos_token_id
        ids = [*text_ids(self.tokenizer, said), end] if isinstance(said, str) else list(said)
        whole = len(ids) <= request.sampling.max_new_tokens
        ids = ids[: request.sampling.max_new_tokens]
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        logprobs = tuple(-0.5 - 0.001 * i for i in range(len(ids)))
        versions = (3,) * len(ids)
        reason: Any = "stop" if whole else "length"
        return Completion(request.id, request.prompt_ids, tuple(ids), logprobs, versions, reason, text)


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def play(tokenizer: Any) -> Callable[..., tuple[list[Rollout], Scripted]]:
    """Rolls a script out with an environment; the generator too."""

    def play(
        environment: Environment[Any],
        script: Script,
        *,
        problems: int = 1,
        samples: int = 1,
        tokens: int = 400,
        most: int = 512,
        step: int = 1,
        heard: list[str] | None = None,
    ) -> tuple[list[Rollout], Scripted]:
        generator = Scripted(tokenizer, script, [] if heard is None else heard)
        ids = tuple(render(tokenizer, ASK, generation_prompt=True))
        prompts = [Prompt(Problem(f"p{i}", ASK, (), "here"), ids) for i in range(problems)]
        with Table(environment) as table:
            stand = Stand(environment, table, tokenizer, most)
            sampling = Sampling(max_new_tokens=tokens)
            made = roll_out(generator, stand, prompts, sampling, samples, seed=7, step=step, timeout=60.0)
        return made, generator

    return play


def calculator(**settings: Any) -> Environment[Any]:
    made: Environment[Any] = build("environment", "calculator", show="prompt", **settings)
    return made


def test_a_single_turn_is_the_rollout_that_it_always_was(play: Any, tokenizer: Any) -> None:
    """The prompt's ids as they are, one request for each reply, seeds by the step and the place."""
    from aftertrain.core.learning.seeding import sub_seed

    made, generator = play(build("environment", "single_turn"), lambda i, _: f"reply {i}", problems=2, samples=2)
    (requests,) = generator.asked
    prompt = tuple(render(tokenizer, ASK, generation_prompt=True))
    assert [request.prompt_ids for request in requests] == [prompt] * 4
    assert [request.seed for request in requests] == [sub_seed(7, "reply", 1, i) for i in range(4)]
    assert [rollout.id for rollout in made] == ["p0/0", "p0/1", "p1/0", "p1/1"]
    for i, rollout in enumerate(made):
        segment = rollout.segment()
        said = (*text_ids(tokenizer, f"reply {i}"), tokenizer.eos_token_id)
        assert segment.token_ids == (*prompt, *said)
        assert segment.loss_mask == (False,) * len(prompt) + (True,) * len(said)
        assert segment.columns["turn_rewards"] == (0.0,) * len(segment.token_ids)


def test_what_a_tool_says_is_never_a_target(play: Any, tokenizer: Any) -> None:
    """Call, result, answer: the ids between are those of the template, and no target."""
    (rollout,), generator = play(calculator(), lambda _, turn: [CALL, "It is 391."][turn])
    assert rollout.completion.text == "It is 391."
    assert rollout.ended
    assert rollout.failure is None
    assert [turn.messages[0].content for turn in rollout.before] == ["391"]
    segment = rollout.segment()
    call = (*text_ids(tokenizer, CALL), tokenizer.eos_token_id)
    said = (*text_ids(tokenizer, "It is 391."), tokenizer.eos_token_id)
    between = tuple(text_ids(tokenizer, "\n<|tool|>\n391\n<|assistant|>\n"))
    opening = rollout.prompt.token_ids
    assert segment.token_ids == (*opening, *call, *between, *said)
    assert segment.loss_mask == (
        (False,) * len(opening) + (True,) * len(call) + (False,) * len(between) + (True,) * len(said)
    )
    # the second reply was given all that stands before it, and its log-probabilities stand at its own tokens
    assert generator.asked[1][0].prompt_ids == (*opening, *call, *between)
    logprobs = segment.columns["generator_logprobs"]
    assert logprobs[-len(said) :] == rollout.completion.logprobs
    assert all(value == 0.0 for value, target in zip(logprobs, segment.loss_mask, strict=True) if not target)
    assert rollout.tokens == len(segment.token_ids)
    assert rollout.sampled == sum(segment.loss_mask)
    assert rollout.transcript == f"{CALL}\n[tool] 391\nIt is 391."


def test_the_opening_tells_of_the_tools(play: Any, tokenizer: Any) -> None:
    (rollout,), _ = play(calculator(), lambda _, __: "391")
    opening = tokenizer.decode(rollout.prompt.token_ids)
    assert '"name": "calculate"' in opening
    assert ASK[0].content in opening


def test_ids_that_no_tokenizer_would_write_stay_as_they_were_sampled(play: Any, tokenizer: Any) -> None:
    """The call letter by letter, though the tokenizer has longer pieces."""
    letters = [i for letter in CALL for i in text_ids(tokenizer, letter)] + [tokenizer.eos_token_id]
    assert letters[:-1] != text_ids(tokenizer, CALL)
    (rollout,), generator = play(calculator(), lambda _, turn: letters if turn == 0 else "391.")
    assert rollout.before[0].completion.token_ids == tuple(letters)
    start = len(rollout.prompt.token_ids)
    assert generator.asked[1][0].prompt_ids[start : start + len(letters)] == tuple(letters)
    assert rollout.segment().token_ids[start : start + len(letters)] == tuple(letters)


def test_rollouts_take_their_turns_together_in_the_order_of_their_tickets(play: Any) -> None:
    """Those that are done leave; the others keep their order, and their seeds are those of place and turn."""
    turns = [3, 1, 2, 1]
    made, generator = play(
        calculator(), lambda i, turn: CALL if turn < turns[i] - 1 else f"done {i}", problems=2, samples=2
    )
    assert [[request.id for request in asked] for asked in generator.asked] == [["0", "1", "2", "3"], ["0", "2"], ["0"]]
    assert [rollout.completion.text for rollout in made] == [f"done {i}" for i in range(4)]
    seeds = [request.seed for asked in generator.asked for request in asked]
    assert len(set(seeds)) == len(seeds)


def test_an_episode_ends_with_its_last_turn(play: Any) -> None:
    """The call is answered, for its reward, and nobody reads the answer."""
    (rollout,), generator = play(calculator(max_turns=2), lambda _, __: CALL)
    assert len(generator.asked) == 2
    assert (len(rollout.before), rollout.completion.text, rollout.ended) == (1, CALL, True)


def test_a_rollout_without_room_for_another_turn_is_cut(play: Any, tokenizer: Any) -> None:
    """`max_new_tokens` bounds all that follows the prompt; the answer that leaves no room is left out."""
    call = len(text_ids(tokenizer, CALL)) + 1
    between = len(text_ids(tokenizer, "\n<|tool|>\n391\n<|assistant|>\n"))
    (full,), _ = play(calculator(), lambda _, __: CALL, tokens=call + between)
    assert (full.before, full.cut, full.ended, full.sampled) == ((), True, False, call)
    (room,), _ = play(calculator(), lambda _, __: CALL, tokens=call + between + 1)
    assert (len(room.before), room.completion.finish_reason, room.ended) == (1, "length", False)
    assert room.tokens - len(room.prompt.token_ids) == call + between + 1


def test_a_reply_that_was_cut_is_not_answered(play: Any) -> None:
    (rollout,), generator = play(calculator(), lambda _, __: CALL, tokens=10)
    assert len(generator.asked) == 1
    assert (rollout.before, rollout.ended, rollout.failure) == ((), False, None)


def test_an_opening_that_is_too_long_is_an_error_of_the_environment(play: Any) -> None:
    (rollout,), generator = play(calculator(), lambda _, __: CALL, most=30)
    assert rollout.failure.outcome == "error"
    assert "the environment's opening has" in rollout.failure.detail
    assert generator.asked == []
    assert not any(rollout.segment().loss_mask)


def test_a_game_gives_each_turn_its_reward(play: Any) -> None:
    """By halves, which finds any number of 1 to 100 in seven turns; the rewards lie on the turns' last tokens."""
    bounds, heard = [1, 100], list[str]()

    def by_halves(_: int, turn: int) -> str:
        if turn:
            word, middle = heard[-1].rsplit("<|user|>\n", 1)[1].split("\n")[0], sum(bounds) // 2
            bounds[:] = [middle + 1, bounds[1]] if word == "Higher." else [bounds[0], middle - 1]
        return f"Is it {sum(bounds) // 2}"

    game: Environment[Any] = build("environment", "guess_number", reward=5.0, miss=-0.25)
    (rollout,), _ = play(game, by_halves, heard=heard)
    turns = len(rollout.before) + 1
    assert turns <= 7
    assert rollout.turn_rewards == (-0.25,) * (turns - 1) + (5.0,)
    segment = rollout.segment()
    rewards = segment.columns["turn_rewards"]
    last = [
        i
        for i, target in enumerate(segment.loss_mask)
        if target and (i + 1 == len(segment.loss_mask) or not segment.loss_mask[i + 1])
    ]
    assert [rewards[i] for i in last] == list(rollout.turn_rewards)
    assert sum(map(abs, rewards)) == pytest.approx(5.0 + 0.25 * (turns - 1))


def test_the_samples_of_a_prompt_meet_the_same_episode(play: Any) -> None:
    """And another one at another step."""
    game: Environment[Any] = build("environment", "guess_number", lowest=0, highest=10**6)
    told = {}
    for step in (1, 1, 2):
        made, _ = play(game, lambda _, __: "Is it 500000", problems=3, samples=2, step=step)
        words = [rollout.before[0].messages[0].content for rollout in made]
        assert words[::2] == words[1::2]
        told.setdefault(step, []).append(words)
    assert told[1][0] == told[1][1] != told[2][0]


class Delayed(Environment[TurnSettings]):
    """Repeats the reply, some time later; a few words make it fail."""

    Config = TurnSettings
    isolated: ClassVar[bool] = False

    def episode(self) -> Episode:
        return Echo()


class Echo(Episode):
    def reset(self, problem: Problem, seed: int) -> Sequence[Message]:
        return problem.prompt

    def step(self, reply: Reply) -> Observation:
        if "down" in reply.text:
            raise ConnectionError("the server is down")
        if "slow" in reply.text:
            raise TimeoutError
        return Observation((Message("user", reply.text),), reward=1.0)

    def finish(self) -> float:
        return 0.5


def echo(turns: int = 3) -> Environment[Any]:
    return Delayed(TurnSettings(max_turns=turns), builder=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("word", "outcome"), [("down", "error"), ("slow", "timeout")])
def test_a_failure_of_the_environment_is_no_reward(play: Any, word: str, outcome: str) -> None:
    """What earlier turns earned is gone too: nothing is learnt of a rollout that nobody could finish."""
    made, _ = play(echo(), lambda i, turn: word if (i, turn) == (0, 1) else "fine", samples=2)
    assert (made[0].failure.outcome, made[0].turn_rewards) == (outcome, (0.0, 0.0))
    assert set(made[0].segment().columns["turn_rewards"]) == {0.0}
    assert (made[1].failure, made[1].turn_rewards) == (None, (1.0, 1.0, 1.5))


def test_what_a_template_would_rewrite_ends_the_rollout_as_an_error(play: Any, tokenizer: Any) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}<eos>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    made, _ = play(echo(), lambda i, _: "<think>so</think>4" if i == 0 else "4", samples=2)
    assert made[0].failure.outcome == "error"
    assert "the conversation cannot go on: the chat template rewrites an earlier reply" in made[0].failure.detail
    assert made[1].failure is None


def test_a_rollout_can_be_played_again_from_its_replies(play: Any) -> None:
    """Problem, seed and replies make the state, whatever else was played between."""
    source = random.Random(3)
    said = {(i, turn): f"Is it {source.randint(0, 999)}" for i in range(4) for turn in range(8)}
    game: Environment[Any] = build("environment", "guess_number", highest=1000)
    first, _ = play(game, lambda i, turn: said[i, turn], problems=4)
    again, _ = play(game, lambda i, turn: said[i, turn], problems=4)
    assert [rollout.segment() for rollout in first] == [rollout.segment() for rollout in again]
    assert any(len(rollout.before) > 2 for rollout in first)
