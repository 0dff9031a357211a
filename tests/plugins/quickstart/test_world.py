"""The quickstart's world: what it promises about splits, working and answers, and the data set made of it."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from aftertrain.core.records import Check, Conversation, PreferencePair, Problem
from aftertrain.core.text.chat import load_tokenizer, render
from aftertrain.core.text.template_checks import template_checks
from aftertrain.plugins.quickstart import world
from aftertrain.plugins.quickstart.dataset import Quickstart
from aftertrain.plugins.quickstart.settings import QuickstartSettings

MODEL = Path(world.__file__).parent / "model"


def dataset(split: str, rows: int, **settings: object) -> Quickstart:
    return Quickstart(QuickstartSettings.model_validate({"split": split, "rows": rows, **settings}), None)  # type: ignore[arg-type]


def test_every_line_of_working_is_true_arithmetic() -> None:
    rng = Random(1)
    for _ in range(300):
        made = world.problem(rng, "train")
        for sound in (True, False):
            lines, results = made.work(sound)
            assert [eval(line.partition(" = ")[0]) for line in lines] == results


def test_sound_and_flawed_ways_never_agree() -> None:
    rng = Random(2)
    for _ in range(300):
        made = world.problem(rng, "test")
        assert made.work(True)[1][-1] != made.work(False)[1][-1]


def test_no_heldout_problem_is_told_in_training() -> None:
    """A story with the same numbers but another name would leak the answer: compare kind and numbers."""

    def content(question: str) -> tuple[str, ...]:
        return (re.sub(r"\d+|^\w+| (?:" + "|".join(world.THINGS) + r")\b", "", question), *re.findall(r"\d+", question))

    heldout = {content(record.prompt[0].content) for record in dataset("heldout", 600)}
    training = {content(record.prompt[0].content) for record in dataset("problems", 4000)}
    training |= {content(record.messages[0].content) for record in dataset("sft", 4000)}
    training |= {content(record.prompt[0].content) for record in dataset("preference", 2000)}
    base = "\n".join(islice(world.base_documents(0), 4000))
    training |= {content(line.removeprefix("Question: ")) for line in base.splitlines() if line.endswith("?")}
    assert not heldout & training


@pytest.mark.parametrize(
    ("split", "type_"),
    [("sft", Conversation), ("preference", PreferencePair), ("problems", Problem), ("heldout", Problem)],
)
def test_splits_yield_their_records(split: str, type_: type) -> None:
    data = dataset(split, 20)
    assert data.record_type is type_
    assert len(list(data)) == len(data) == 20
    assert all(isinstance(record, type_) for record in data)


def test_noise_is_the_share_of_pairs_labelled_wrongly() -> None:
    """A sound tidy answer ends in the right number; it stands as rejected in the noisy pairs and in no others."""
    clean = list(dataset("preference", 500, noise=0.0))
    assert all(pair.chosen[0].content.splitlines()[-1].startswith("####") for pair in clean)
    noisy = list(dataset("preference", 500, noise=1.0))
    assert all(pair.rejected[0].content.splitlines()[-1].startswith("####") for pair in noisy)


def test_ground_truth_is_the_sound_answer() -> None:
    """The kinds' stories say what is to be done with the numbers; this says it again, story by story."""
    answers = {
        "got": lambda a, b, c: a + b - c,
        "lost": lambda a, b, c: a - b + c,
        "filled": lambda a, b, c: a * b - c,
        "boxes": lambda a, b, c: a * b + c,
        "sold": lambda a, b, c: a - b - c,
        "found": lambda a, b, c: a + b + c,
    }
    for record in dataset("heldout", 100):
        question = record.prompt[0].content
        verb = next(
            word for word in ("filled", "boxes", "lost", "got", "sold", "found") if re.search(rf"\b{word}\b", question)
        )
        numbers = [int(number) for number in re.findall(r"\d+", question)]
        assert record.checks == (Check("gsm8k", str(answers[verb](*numbers))),)


def test_tokenizer_round_trips_the_world_and_any_text() -> None:
    tokenizer = load_tokenizer(str(MODEL))
    for text in [*islice(world.base_documents(3), 50), "Ünïcode 🙂\t\x07 <html> 12345678"]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert all(item.status == "ok" for item in template_checks(tokenizer))
    prompt = next(iter(dataset("heldout", 1))).prompt
    assert len(render(tokenizer, prompt, generation_prompt=True)) <= 25
