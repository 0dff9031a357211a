"""Stages of several turns as a user runs them: a recipe, its environment, its ledger."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.errors import Interrupted
from aftertrain.core.text.chat import TULU_TEMPLATE

TOOLS = "{% if tools %}{{ '<|system|>\n' + (tools | tojson) + '\n' }}{% endif %}" + TULU_TEMPLATE

RECIPE = """
name: turns
model: {model}
threads: 1
stages:
  rlvr:
    use: online
    advantages: group
    data: {{use: jsonl, path: problems.jsonl, format: rlvr}}
    {more}
    kl: {{beta: 0.0}}
    batch: {{prompts: 4, samples_per_prompt: 2}}
    steps: 2
    optimizer: {{lr: 1.0e-4}}
"""
CALCULATOR = """rewards: [{use: gsm8k, extract: flexible}]
    environment: {use: calculator, max_turns: 4}
    generator: {use: "./scripted.py:Scripted"}
    parity: null
    sampling: {max_new_tokens: 300}
    reward: {missing_eos: null}"""
GAME = """environment: {use: guess_number, max_turns: 3}
    sampling: {max_new_tokens: 150, stop: [e, "1", " "]}
    reward: {missing_eos: null}"""
SCRIPTED = '''"""A policy that asks the calculator, and then says what it was told; some samples forget to."""

from aftertrain.core.generator import Generator
from aftertrain.core.records import Completion
from aftertrain.core.settings import Settings
from transformers import AutoTokenizer


class Scripted(Generator[Settings]):
    def open(self, model, version=0):
        self.tokenizer, self.version, self.queue = AutoTokenizer.from_pretrained(model), version, []

    def submit(self, requests):
        self.queue += requests

    def collect(self, timeout=None):
        done, self.queue = [self.reply(request) for request in self.queue], []
        return done

    def cancel(self, ids=None):
        self.queue = []

    def update_weights(self, weights, version):
        self.version = version

    def reply(self, request):
        prompt = self.tokenizer.decode(request.prompt_ids)
        question = prompt.split("What is ")[-1].split("?")[0]
        said = '<tool_call>{"name": "calculate", "arguments": {"expression": "%s"}}</tool_call>' % question
        if "<|tool|>" in prompt:
            said = "It is " + prompt.split("<|tool|>\\n")[-1].split("\\n")[0]
        elif request.seed % 3 == 0:
            said = "It is 0"
        # letter by letter: no tokenizer would write it so
        ids = [i for letter in said for i in self.tokenizer(letter, add_special_tokens=False)["input_ids"]]
        ids = (*ids, self.tokenizer.eos_token_id)
        whole = (-1.0,) * len(ids), (self.version,) * len(ids)
        return Completion(request.id, request.prompt_ids, ids, *whole, "stop", said)
'''


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a recipe with these settings beside problems and a scripted generator, and works in its folder."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "id": f"p{i}",
            "messages": [{"role": "user", "content": f"What is {i} * {i + 3}?"}],
            "ground_truth": str(i * (i + 3)),
            "dataset": "gsm8k",
        }
        for i in range(2, 8)
    ]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "scripted.py").write_text(SCRIPTED)

    def write(more: str, template: str = TOOLS) -> Path:
        shutil.copytree(tiny_model, tmp_path / "model")
        config = tmp_path / "model/config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "max_position_embeddings": 2048}))
        (tmp_path / "model/chat_template.jinja").write_text(template)
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE.format(model=tmp_path / "model", more=more))
        return path

    return write


def told(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Samples of both steps, their metrics, and the stage's books."""
    (stage,) = folder.glob("runs/turns/stages/rlvr-*")
    samples = [
        json.loads(line) for file in sorted((stage / "samples").iterdir()) for line in file.read_text().splitlines()
    ]
    events = [json.loads(line) for line in (folder / "runs/turns/events.jsonl").read_text().splitlines()]
    metrics = [event["data"] for event in events if event["name"] == "metrics"]
    (books,) = [event["data"] for event in events if event["name"] == "ledger"]
    return samples, metrics, books


def test_a_calculator_is_learnt_to_be_asked(
    recipe: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the calculator said is context, what was said is learnt as it was sampled, and the books balance."""
    from aftertrain.core.batch import PackedBatch
    from aftertrain.plugins.online import experience

    packed: list[PackedBatch] = []
    original = experience.pack_minibatches

    def noted(*given: Any, **named: Any) -> Any:
        parts = original(*given, **named)
        packed.extend(batch for part in parts for batch in part)
        return parts

    monkeypatch.setattr(experience, "pack_minibatches", noted)
    assert main(["run", str(recipe(CALCULATOR))]) == 0
    samples, metrics, books = told(tmp_path)
    asked = [sample for sample in samples if "[tool]" in sample["response"]]
    assert 0 < len(asked) < len(samples) == 12
    assert all(sample["reward"] == (10.0 if sample in asked else 0.0) for sample in samples)
    assert 1.0 < metrics[0]["turns"] <= 2.0
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(next(tmp_path.glob("runs/turns/stages/rlvr-*/model")))
    targets = 0
    for batch in packed:
        for owner in range(len(batch.sample_ids)):
            mine = batch.segment_ids == owner
            runs = tokenizer.decode(batch.token_ids[mine & batch.targets].tolist())
            whole = tokenizer.decode(batch.token_ids[mine].tolist())
            targets += int((mine & batch.targets).sum())
            assert "<|tool|>" not in runs
            assert "<|assistant|>" not in runs
            if "<|tool|>" in whole:
                assert runs.count("<eos>") == 2
                # letter by letter: one id for each letter that was said
                assert int((mine & batch.targets).sum()) == len(runs.replace("<eos>", "e"))
    ticket = books["ticket"]
    assert ticket["tokens"]["learnt"] + ticket["tokens"].get("masked", 0) == targets


def test_a_game_without_checks_is_rewarded_turn_by_turn(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    """A real model and generator; the parity probe holds over turns: the trainer sees the ids that were sampled."""
    assert main(["run", str(recipe(GAME))]) == 0
    samples, metrics, _ = told(tmp_path)
    assert any("[user]" in sample["response"] for sample in samples)
    assert all(not sample.get("verdicts") for sample in samples)
    assert all("accuracy" not in values for values in metrics)
    assert metrics[0]["turns"] > 1.0


def test_nothing_that_rewards_is_refused(recipe: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe("environment: {use: calculator}"))]) == 2
    assert "rewards is empty, and nothing else would reward a reply" in capsys.readouterr().err


def test_a_template_without_tools_is_refused_before_anything_is_made(
    recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A system turn tells of them where the recipe says so."""
    assert main(["plan", str(recipe(CALCULATOR, TULU_TEMPLATE))]) == 1
    assert "environment 'calculator': the chat template leaves out the tools" in capsys.readouterr().out
    assert main(["run", str(tmp_path / "recipe.yaml"), "stages.rlvr.environment.show=prompt"]) == 0


def test_plan_says_what_answers(recipe: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe(GAME))]) == 0
    assert "guess_number: at most 3 turns" in capsys.readouterr().out


FLAKY = '''
from aftertrain.core.environment import Environment, Episode, Observation, TurnSettings


class Settings(TurnSettings):
    """Goes down where a reply says 0."""


class Flaky(Environment[Settings]):
    Config = Settings

    def episode(self):
        return Down()


class Down(Episode):
    def reset(self, problem, seed):
        return problem.prompt

    def step(self, reply):
        if reply.text == "It is 0":
            raise ConnectionError("the server is down")
        return Observation(done=True)
'''


def test_what_the_environment_fails_is_an_error_and_no_reward(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    """Not what the verifier would say, nor the missing end: `on_environment`, and the state `error` in the ledger."""
    (tmp_path / "flaky.py").write_text(FLAKY)
    more = CALCULATOR.replace("{use: calculator, max_turns: 4}", '{use: "./flaky.py:Flaky"}')
    rules = "{on_environment: -3.0, on_error: -5.0, negative: 1.0, missing_eos: -9.0}"
    more = more.replace("{missing_eos: null}", rules)
    assert main(["run", str(recipe(more))]) == 0
    samples, _, books = told(tmp_path)
    failed = [sample for sample in samples if sample["response"] == "It is 0"]
    assert 0 < len(failed) < len(samples)
    for sample in failed:
        assert sample["reward"] == -3.0
        assert [(verdict["verifier"], verdict["outcome"]) for verdict in sample["verdicts"]] == [
            ("environment", "error")
        ]
        assert "the server is down" in sample["verdicts"][0]["detail"]
    assert books["ticket"]["states"]["error"] == len(failed)


FICKLE = '''
from zlib import crc32

from aftertrain.core.environment import Environment, Episode, Observation, TurnSettings
from aftertrain.core.records import Message


class Settings(TurnSettings):
    """Rewards each turn by its letters, and ends by them."""

    rewards_turns = True


class Fickle(Environment[Settings]):
    Config = Settings

    def episode(self):
        return Draw()


class Draw(Episode):
    def reset(self, problem, seed):
        return problem.prompt

    def step(self, reply):
        number = crc32(reply.text.encode())
        if number % 5 == 0:
            return Observation(reward=number % 7 / 10, done=True)
        return Observation((Message("user", "Go on."),), reward=number % 7 / 10)
'''


def test_a_rollout_that_the_environment_failed_is_left_out(
    recipe: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default: no reward, no target, and nothing for the other reply to its prompt to be compared with (RLOO, two
    replies a prompt). A replay leaves the same out."""
    (tmp_path / "flaky.py").write_text(FLAKY)
    more = CALCULATOR.replace("{use: calculator, max_turns: 4}", '{use: "./flaky.py:Flaky"}')
    more = more.replace("{missing_eos: null}", "{on_unparsable: -1.0, normalize: {}}")
    assert main(["run", str(recipe(more)), "stages.rlvr.advantages=rloo", "stages.rlvr.loss=reinforce"]) == 0
    samples, metrics, books = told(tmp_path)
    failed = [sample for sample in samples if sample["response"] == "It is 0"]
    assert 0 < len(failed) < len(samples)
    assert all((sample["reward"], sample["state"], sample.get("parts")) == (0.0, "error", None) for sample in failed)
    assert all(sample.get("advantage") is None for sample in failed)
    for one, other in zip(samples[::2], samples[1::2], strict=True):
        if (one in failed) != (other in failed):
            left = other if one in failed else one
            assert (left["state"], left["advantage"]) == ("no_signal", 0.0)
    lost = sum(sample["tokens"] for sample in failed)
    assert books["ticket"]["states"]["error"] == len(failed)
    assert books["ticket"]["tokens"]["masked"] >= lost
    assert sum(step.get("left_out", 0) for step in metrics) == len(failed)
    from aftertrain.core.learning.rollouts import REASONS, RolloutFile

    (stage,) = tmp_path.glob("runs/turns/stages/rlvr-*")
    for step in (1, 2):
        rollouts = RolloutFile(stage, step).read()
        for sample, reply in zip(rollouts.samples, rollouts.replies, strict=True):
            reasons = {REASONS[place] for place, drawn in zip(reply.reasons, reply.sampled, strict=True) if drawn}
            assert (reasons == {"unjudged"}) == (sample.state == "error")
    capsys.readouterr()
    assert main(["replay", "runs/turns", "--step", "2"]) == 0
    assert "bit for bit: " in capsys.readouterr().out


@pytest.mark.parametrize("advantages", ["group", "rloo", "process", "reinforce_plus_plus", "gae"])
def test_a_step_of_several_turns_is_replayed_bit_for_bit(
    recipe: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], advantages: str
) -> None:
    """Rewards of turns that no float holds exactly, and a KL penalty; step 2 through the rollouts of step 1."""
    (tmp_path / "fickle.py").write_text(FICKLE)
    more = GAME.replace("use: guess_number", 'use: "./fickle.py:Fickle"')
    more = more.replace("{missing_eos: null}", "{missing_eos: -0.3}")
    loss = {"gae": "ppo", "rloo": "reinforce"}.get(advantages, "grpo")
    changes = [f"stages.rlvr.advantages={advantages}", f"stages.rlvr.loss={loss}", "stages.rlvr.kl.beta=0.1"]
    assert main(["run", str(recipe(more)), *changes]) == 0
    samples, metrics, _ = told(tmp_path)
    assert metrics[1]["turns"] > 1.0
    assert len({sample["reward"] for sample in samples}) > 2
    capsys.readouterr()
    assert main(["replay", "runs/turns", "--step", "2"]) == 0
    said = capsys.readouterr().out
    assert "bit for bit: advantages, " in said
    assert "turn_rewards" in said
    other = "rloo" if advantages != "rloo" else "group"
    change = [f"stages.rlvr.advantages={other}", "stages.rlvr.loss=reinforce", "stages.rlvr.kl.beta=0"]
    assert main(["replay", "runs/turns", "--step", "2", *change]) == 0
    assert "by these settings" in capsys.readouterr().out


def test_a_stage_that_was_stopped_goes_on_to_the_same_bits(bench: Callable[..., Any]) -> None:
    """Nothing of an environment is kept between steps: problem, seed and replies make an episode."""
    changes = {
        "environment": {"use": "guess_number", "max_turns": 3, "miss": 0.25},
        "sampling": {"max_new_tokens": 100, "stop": ("e", "1", " ")},
        "reward": {"missing_eos": None},
        "batch": {"micro_tokens": 2048},
    }
    whole = bench("whole", changes)
    whole.run()
    parted = bench("parted", changes, stop_after=2)
    with pytest.raises(Interrupted):
        parted.run()
    parted.stop_after = None
    parted.run()
    assert parted.outcome() == whole.outcome()
    assert any(values["turns"] > 1 for values in whole.of("metrics"))
    assert all(values["turn_reward"] > 0 for values in whole.of("metrics"))
