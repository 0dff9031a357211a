"""Each alarm fires on a history made for it and is silent on one that is well; it is told once until it clears."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from aftertrain.core.errors import CheckpointError
from aftertrain.core.events import Alarm, Sample, SampleVerdict
from aftertrain.core.learning.alarm_rules import ALARMS
from aftertrain.core.learning.alarms import History, Watch
from aftertrain.core.learning.reward_hacks import paid, reply_figures, respaced, verdict_counts
from aftertrain.core.statistics import wilson

Values = Mapping[str, float]
Course = Callable[[int], Values]


def _told(course: Course, steps: int = 30) -> dict[str, tuple[int, str]]:
    """Alarms of a stage whose metrics are `course(step)`: the step at which each was first told, and its words."""
    watch, told = Watch(ALARMS), {}
    for step in range(1, steps + 1):
        for alarm in watch.look(step, course(step)):
            told.setdefault(alarm.name, (step, alarm.message))
    return told


def _well(step: int) -> dict[str, float]:
    """A stage that learns: everything moves, nothing too far."""
    return {
        "reward": 2.0 + 0.2 * step,
        "accuracy": 0.2 + 0.02 * step,
        "sampled_entropy": 0.9 - 0.01 * step,
        "response_length": 100.0 + step,
        "finished_rate": 0.97,
        "kl": 0.05 * step,
        "logprob_difference": 1e-3,
        "effective_samples": 0.99,
        "constant_groups": 0.4,
        "paid_alike": 0.1,
        "paid_empty_tags": 0.0,
        "respaced/asked": 2.0,
        "respaced/flipped": 0.0,
        "verdicts/gsm8k/gsm/scored": 60.0,
        "verdicts/gsm8k/gsm/unparsable": 4.0,
        "verdicts/math/math/scored": 60.0,
        "verdicts/math/math/unparsable": 4.0,
        **({f"validation_{name}": value for name, value in _validated(40 + step).items()} if step % 5 == 0 else {}),
    }


def _validated(right: int, of: int = 100) -> dict[str, float]:
    interval = wilson(right, of)
    return {"accuracy": interval.mean, "accuracy_low": interval.low, "accuracy_high": interval.high}


def test_a_stage_that_learns_is_told_nothing() -> None:
    assert _told(_well) == {}


def _after(start: int, **changed: float) -> Course:
    """Well, and from a step on these figures."""
    names = {name.replace("__", "/"): value for name, value in changed.items()}
    return lambda step: {**_well(step), **(names if step >= start else {})}


def _heldout(right: int) -> Course:
    """Held-out accuracy is 50 of 100 at step 10, and then that."""

    def course(step: int) -> Values:
        values = _well(step)
        if step % 5 == 0:
            values |= {f"validation_{name}": value for name, value in _validated(50 if step <= 10 else right).items()}
        return values

    return course


FIRES: dict[str, tuple[Course, int, str]] = {
    # 50 of 100 has [.404, .596], 30 has [.219, .396]: .2 > √(.096² + .096²) = .136. At step 15, when it is measured;
    # the reward's mean over steps 1 to 5 is 2.6, over 11 to 15 4.6.
    "heldout_falls": (_heldout(30), 15, "held-out accuracy 50.0% at step 5 → 30.0%, while reward 2.6 → 4.6"),
    # From step 11 on .2, a quarter of the beginning's .87 is .2175: five steps later the mean is .2.
    "entropy_collapse": (_after(11, sampled_entropy=0.2), 15, "entropy 0.87 → 0.2 nats a token"),
    # Steps 9 to 13 have 109, 110 and thrice 300 tokens; finished are twice .97 and thrice .5.
    "length_explosion": (
        _after(11, response_length=300.0, finished_rate=0.5),
        13,
        "replies of 103 → 224 tokens, 31% of them cut at the limit",
    ),
    # Thrice 6 of five times 64 + thrice 6 is 5.3 %, twice 6 of them 3.6 %.
    "verifier_failures": (
        _after(11, **{"verdicts__gsm8k__gsm__error": 6.0}),
        13,
        "gsm8k: 5% of 338 verdicts failed",
    ),
    "one_sided_verifier": (
        _after(11, **{"verdicts__math__math__unparsable": 60.0, "verdicts__math__math__scored": 4.0}),
        12,
        "math on math: 41% of 320 verdicts have no value, elsewhere 6%",
    ),
    # The median of steps 1 to 8 is 4.5 · .05; the mean of .45, .5 and 90 is 30.3.
    "kl_blow_up": (_after(11, kl=90.0), 11, "KL 0.225 → 30.3 nats a reply within 20 steps"),
    "constant_groups": (_after(11, constant_groups=0.95), 15, "95% of the groups earned one reward, accuracy 46.0%"),
    "parity_drift": (
        _after(11, logprob_difference=0.1),
        11,
        "generator and trainer are 0.021 nats a token apart (at the beginning 0.001)",
    ),
    "hack_one_text": (_after(11, paid_alike=0.8), 13, "one reply text is 52% of the paid replies"),
    "hack_empty_tags": (_after(11, paid_empty_tags=0.2), 12, "8% of the paid replies have a tag without content"),
    # One of two a step: from the eighth reply on.
    "hack_white_space": (_after(1, respaced__flipped=1.0), 4, "4 of 8 paid replies are no longer right"),
}


def test_every_alarm_is_tried() -> None:
    assert list(FIRES) == [rule.name for rule in ALARMS]


@pytest.mark.parametrize("name", FIRES)
def test_it_fires_when_its_reason_is_there(name: str) -> None:
    course, step, words = FIRES[name]
    told = _told(course)
    assert list(told) == [name]
    assert told[name][0] == step
    assert told[name][1].startswith(words)


SILENT: dict[str, Course] = {
    # 50 → 43 of 100 is within chance: .07 < √(.096² + .099²).
    "held-out within chance": _heldout(43),
    "held-out falls with the reward": lambda step: {**_heldout(30)(step), "reward": 5.0 - 0.1 * step},
    "a solved task": lambda step: {**_well(step), "sampled_entropy": 0.9 / step**2, "accuracy": 0.95},
    "no entropy to lose": lambda step: {**_well(step), "sampled_entropy": 0.04 / step},
    "longer and better": lambda step: {**_well(step), "response_length": 50.0 * step},
    "one bad step": lambda step: {**_well(step), **({"sampled_entropy": 0.0, "paid_alike": 1.0} if step == 12 else {})},
    "both sides alike": _after(
        11, **{"verdicts__math__math__unparsable": 60.0, "verdicts__gsm8k__gsm__unparsable": 60.0}
    ),
    "a KL that grows slowly": lambda step: {**_well(step), "kl": 0.5 * step},
    "another precision": lambda step: {**_well(step), "logprob_difference": 0.015},
    "half of the groups": _after(11, constant_groups=0.89),
    "one text of two": _after(11, paid_alike=0.5),
    "a rare flip": lambda step: {**_well(step), "respaced/flipped": float(step % 5 == 0)},
}


@pytest.mark.parametrize("what", SILENT)
def test_it_is_silent_when_nothing_is_wrong(what: str) -> None:
    assert _told(SILENT[what]) == {}


def test_other_ways_to_the_same_alarm() -> None:
    longer = _told(lambda step: {**_well(step), "response_length": 50.0 * step, "accuracy": 0.3})
    assert longer["length_explosion"] == (10, "replies of 150 → 400 tokens, accuracy 30.0% → 30.0%")
    assert _told(_after(11, kl=60.0), 30)["kl_blow_up"][0] == 11
    steady = _told(lambda step: {**_well(step), "kl": 60.0})
    assert steady["kl_blow_up"] == (5, "KL 60 nats a reply, 0.58 a token")
    broken = _told(_after(11, kl=float("nan")))
    assert broken["kl_blow_up"] == (11, "the KL to the reference is not finite")
    few = _told(_after(11, effective_samples=0.1))
    assert few["parity_drift"][1] == "effective samples are 46% of the tokens"


def test_it_is_told_once_and_again_after_it_has_cleared() -> None:
    """Steps 11 to 20 and from 31 on: of five steps four must be at 1 for a mean of .9."""
    watch, told = Watch(ALARMS), []
    for step in range(1, 41):
        bad = 11 <= step <= 20 or step >= 31
        told += [(step, a.name, a.cleared) for a in watch.look(step, {"constant_groups": 1.0 if bad else 0.5})]
    assert told == [
        (14, "constant_groups", False),
        (26, "constant_groups", True),  # steps 18 to 22 are the first that are well, 22 to 26 the fifth
        (34, "constant_groups", False),
    ]


def test_a_resumed_stage_tells_the_same() -> None:
    """The state goes through JSON after every step, as a checkpoint's does."""
    for course, _, _ in FIRES.values():
        watch, through = Watch(ALARMS), Watch(ALARMS)
        for step in range(1, 31):
            told = watch.look(step, course(step))
            assert through.look(step, course(step)) == told
            through, state = Watch(ALARMS), json.loads(json.dumps(through.state()))
            through.restore(state)
            assert through.history == watch.history
    with pytest.raises(CheckpointError, match="standing alarms"):
        Watch(ALARMS).restore({"history": {}, "quiet": "none"})


def test_every_alarm_advises() -> None:
    (alarm,) = [a for step in range(1, 16) for a in Watch(ALARMS).look(step, {"kl": float("inf")})][:1]
    assert alarm == Alarm("kl_blow_up", "the KL to the reference is not finite", alarm.advice)
    assert all(len(rule.advice) > 40 for rule in ALARMS)
    assert History().add(1, {"a": float("nan")}).broken == ("a",)


def _sample(problem: str, number: int, response: str, *values: float | None, **more: object) -> Sample:
    verdicts = tuple(SampleVerdict("v", "unparsable" if value is None else "scored", value) for value in values)
    reward = min((value or 0.0) for value in values)
    return Sample("", response, reward, verdicts, id=f"{problem}/{number}", problem=problem, **more)  # type: ignore[arg-type]


def test_figures_of_replies_by_hand() -> None:
    """Of seven replies to four problems five are paid: three of one text (a, b, c), two with tags that hold nothing."""
    samples: Sequence[Sample] = [
        _sample("a", 0, "so  be it", 1.0),
        _sample("a", 1, "<answer> </answer>", 0.5),
        _sample("b", 0, "so be\nit", 1.0, 0.5),
        _sample("b", 1, "no", 0.0),
        _sample("c", 0, "so be it", 1.0),
        _sample("c", 1, r"\boxed{ } <answer>4</answer>", 1.0, source="maths"),
        _sample("d", 0, "none", None),
    ]
    assert [paid(sample) for sample in samples] == [True, True, True, False, True, True, False]
    figures = reply_figures(samples)
    assert figures == pytest.approx(
        {
            "paid_alike": 3 / 5,
            "paid_empty_tags": 2 / 5,
            "constant_groups": 1 / 3,  # of a, b and c, which have two replies, c's earned 1 both
        }
    )
    assert verdict_counts(samples) == {
        "verdicts/v/maths/scored": 1.0,
        "verdicts/v/problems/scored": 6.0,
        "verdicts/v/problems/unparsable": 1.0,
    }
    # The same text for two problems alone is no sign yet; nor is a text that nobody paid for.
    assert reply_figures(samples[:4])["paid_alike"] == 0.0
    assert reply_figures([]) == {"paid_alike": 0.0, "paid_empty_tags": 0.0}


def test_other_white_space_is_seeded_and_changes_no_word_and_no_code() -> None:
    text = "one two three, four\n\n- five six\n```python\nif a b:\n    c d\n```\nseven eight"
    changed = [respaced(text, seed) for seed in range(20)]
    assert respaced(text, 3) == changed[3]
    assert len(set(changed)) > 3
    for other in changed:
        assert other != text
        assert other.split() == text.split()
        assert other.split("```")[1] == text.split("```")[1]
        assert [line.split() for line in other.splitlines()] == [line.split() for line in text.splitlines()]
        assert other.endswith("\n")
    assert respaced("word", 0) == "word\n"


def test_the_documentation_has_each_alarm_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs" / "online.md").read_text(encoding="utf-8")
    section = text.partition("## Alarms\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [rule.name for rule in ALARMS]
