"""Rollouts in the report: which problems, the colour of each token, turns, and what is said where files are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from aftertrain.core.events import Alarm, Sample, SampleVerdict
from aftertrain.core.learning.rollouts import ReplyTokens, RolloutFile, Rollouts
from aftertrain.plugins.report.alarms import Told, alarms
from aftertrain.plugins.report.facts import Stage
from aftertrain.plugins.report.rollouts import VISITS, browse
from aftertrain.plugins.report.tokens import pieces, runs
from aftertrain.testing.model import tiny_tokenizer


def words(text: str) -> list[int]:
    ids: list[int] = tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return ids


def reply(
    problem: str, number: int, text: str, reward: float, advantages: Sequence[float]
) -> tuple[Sample, ReplyTokens]:
    ids = words(text)
    n = len(ids)
    columns = {"advantages": np.array(advantages, np.float32)} if advantages else {}
    verdict = SampleVerdict("gsm8k", "scored", reward, text.rpartition(" ")[2], "last number")
    sample = Sample("What?", text, reward, (verdict,), id=f"{problem}/{number}", problem=problem, tokens=n)
    reason = "learnt" if advantages else "no_signal"
    return sample, ReplyTokens.of_reply(
        words("What?"), ids, [-0.5] * n, [3] * n, group=0, reason=reason, columns=columns
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path


def write(folder: Path, step: int, *rows: tuple[Sample, ReplyTokens]) -> None:
    samples, replies = zip(*rows, strict=True)
    RolloutFile(folder, step).write(Rollouts(step, samples, replies))


def test_each_token_has_the_colour_of_its_advantage_and_the_answer_is_marked(folder: Path) -> None:
    write(folder, 1, reply("p", 0, "is 7", 1.0, [2.0, 2.0, 0.3, -1.0]), reply("p", 1, "is 8", 0.0, []))
    found = browse(Stage("rl", folder=folder), "", 5, 100)
    assert found is not None
    assert (found.total, found.scale, found.notes) == (1, 2.0, ())
    (asked,) = found.problems
    (visit,) = asked.visits
    assert (visit.step, visit.rewards, visit.mean) == (1, (1.0, 0.0), 0.5)
    best, worst = visit.replies
    # of five depths 2.0 of 2.0 is the fifth, 0.3 the first (0.15 · 5 = 0.75), −1.0 the third (2.5)
    looks = [(run.text, run.tone, run.level, run.marked) for run in best.parts[0].runs]
    assert looks == [("is", "up", 5, False), (" ", "up", 1, False), ("7", "down", 3, True)]
    assert [run.title for run in best.parts[0].runs] == ["advantage +2.00", "advantage +0.30", "advantage −1.00"]
    assert (best.fate, best.versions) == ("4 learnt", "3")
    assert [(run.text, run.tone) for run in worst.parts[0].runs] == [("is ", ""), ("8", "")]
    assert worst.fate == "4 no signal"


def test_turns_stand_apart_and_what_an_environment_said_has_no_colour(folder: Path) -> None:
    turns = [(words("go"), [-1.0] * 2, [0] * 2, words("\nok\n")), (words("end"), [-1.0] * 3, [0] * 3, ())]
    columns = {
        "advantages": np.array([1, 1, -1, -1, -1], np.float32),
        "turn_rewards": np.array([0, 0.5, 0, 0, 2.0], np.float32),
    }
    tokens = ReplyTokens.of_turns(words("What?"), turns, group=0, columns=columns)
    write(folder, 1, (Sample("What?", "go\n[user] ok\nend", 2.5, id="p/0", problem="p", tokens=5), tokens))
    found = browse(Stage("rl", folder=folder), "", 5, 100)
    assert found is not None
    parts = found.problems[0].visits[0].replies[0].parts
    assert [(part.policy, part.runs[0].text, part.runs[0].tone, part.reward) for part in parts] == [
        (True, "go", "up", 0.5),
        (False, "\nok\n", "env", None),
        (True, "end", "down", 2.0),
    ]


def test_what_an_environment_opened_with_is_shown_where_it_is_not_the_problem(folder: Path) -> None:
    turns = [(words("go"), [-1.0] * 2, [0] * 2, words("ok")), (words("end"), [-1.0] * 3, [0] * 3, ())]
    tokens = ReplyTokens.of_turns(words("Guess it."), turns, group=0)
    write(folder, 1, (Sample("play", "go\n[user] ok\nend", 0.0, id="p/0", problem="p", tokens=5), tokens))
    found = browse(Stage("rl", folder=folder), "", 5, 100)
    assert found is not None
    opening, *turned = found.problems[0].visits[0].replies[0].parts
    assert (opening.policy, opening.runs[0].text) == (False, "Guess it.")
    assert [part.runs[0].text for part in turned] == ["go", "ok", "end"]


def test_problems_that_most_steps_asked_come_first_with_steps_from_first_to_last(folder: Path) -> None:
    for step in range(1, 12):
        rows = [reply("often", 0, "is 1", 1.0, [])] + ([reply("once", 0, "is 2", 1.0, [])] if step == 4 else [])
        write(folder, step, *rows)
    found = browse(Stage("rl", folder=folder), "", 1, 100)
    assert found is not None
    (asked,) = found.problems
    assert (asked.id, asked.steps, found.total) == ("often", 11, 2)
    assert [visit.step for visit in asked.visits] == [1, 3, 5, 7, 9, 11]
    assert len(asked.visits) == VISITS


def test_without_its_tokenizer_a_reply_is_shown_as_it_was_recorded_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, 1, reply("p", 0, "is 7", 1.0, [2.0, 2.0, 0.3, -1.0]))
    found = browse(Stage("rl", folder=tmp_path), "", 5, 100)
    assert found is not None
    (note,) = found.notes
    assert note.startswith("no tokenizer.json was found")
    assert [(run.text, run.marked) for run in found.problems[0].visits[0].replies[0].parts[0].runs] == [
        ("is ", False),
        ("7", True),
    ]


def test_another_models_tokenizer_is_not_believed(folder: Path) -> None:
    sample, tokens = reply("p", 0, "is 7", 1.0, [2.0, 2.0, 0.3, -1.0])
    other = ReplyTokens.of_reply(words("What?"), words("no 9"), [-0.5] * 4, [3] * 4, group=0, columns=tokens.columns)
    write(folder, 1, (sample, other))
    found = browse(Stage("rl", folder=folder), "", 5, 100)
    assert found is not None
    assert "does not make that text" in found.notes[0]
    assert "".join(run.text for run in found.problems[0].visits[0].replies[0].parts[0].runs) == "is 7"


def test_a_step_whose_files_do_not_agree_is_left_out_and_named(folder: Path) -> None:
    write(folder, 1, reply("p", 0, "is 7", 1.0, []))
    write(folder, 2, reply("p", 0, "is 8", 1.0, []))
    with RolloutFile(folder, 2).samples.open("a", encoding="utf-8") as file:
        file.write("{}\n")
    (folder / "rollouts" / "step-00003.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    found = browse(Stage("rl", folder=folder), "", 5, 100)
    assert found is not None
    assert [visit.step for visit in found.problems[0].visits] == [1]
    assert [note.partition(":")[0] for note in found.notes] == ["step 3", "step 2"]


def test_none_are_shown_where_none_are_wanted_or_there(folder: Path) -> None:
    assert browse(Stage("rl", folder=folder), "", 5, 100) is None
    write(folder, 1, reply("p", 0, "is 7", 1.0, []))
    assert browse(Stage("rl", folder=folder), "", 0, 100) is None
    assert browse(Stage("rl"), "", 5, 100) is None


def test_a_character_of_several_tokens_is_shown_with_the_last_of_them() -> None:
    """UTF-8 of € is three bytes, each a token here; the fourth token is an a."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    ids = tokenizer.encode("€a").ids
    assert pieces(tokenizer, ids) == ["", "", "€", "a"]
    # a reply that was cut inside a character shows that there was one
    assert pieces(tokenizer, ids[:2]) == ["", "\ufffd"]
    assert [(run.text, run.tone) for run in runs(["", "", "€", "a"], [9, 9, 1, -1], 1.0)] == [
        ("€", "up"),
        ("a", "down"),
    ]


def test_an_alarm_stands_from_its_step_until_it_is_over() -> None:
    stage = Stage("rl")
    stage.alarms = [
        (3, Alarm("kl_blow_up", "KL 9", "lower it")),
        (4, Alarm("constant_groups", "95 %", "take harder ones")),
        (9, Alarm("kl_blow_up", "gone for 5 steps", cleared=True)),
        (12, Alarm("kl_blow_up", "KL 8", "lower it")),
    ]
    assert alarms(stage) == (
        Told("kl_blow_up", "KL 9", "lower it", 3, 9),
        Told("constant_groups", "95 %", "take harder ones", 4),
        Told("kl_blow_up", "KL 8", "lower it", 12),
    )
