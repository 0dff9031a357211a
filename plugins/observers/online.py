"""A step of online learning in words: few lines of at most 94 columns, one for each question that a person has.

Did it earn more, and where; how far has the policy moved; what do replies look like; where does the time go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from aftertrain.core.events import Metrics
from aftertrain.plugins.observers.wording import figure

WIDTH = 94
"""Columns of a line, so that it fits 100 with what stands before it."""
NAMED = 6
"""Parts of a reward, or sources, that are named; of more the rest is counted."""
LONGEST = 24
"""Characters of such a name."""
WHOLE = ("seconds", "tokens_per_second")
NO_VALUE = ("unparsable", "timeout", "error")
"""Verdicts whose share is told where there are any."""
LEAST = 0.005
"""Share of a step's time from which a part is told."""
Write = Callable[[float], str]


def is_online(values: Mapping[str, float]) -> bool:
    """Whether a step's metrics are those of replies that earned something."""
    return "reward" in values and "response_length" in values


def lines(event: Metrics, held_out: Mapping[str, float], alarms: Sequence[str] = ()) -> tuple[str, ...]:
    """What a step says.

    Args:
        held_out: the newest metrics that begin with `validation_`, for these are not measured in each step.
        alarms: those that stand.

    >>> values = {"reward": 7.5, "accuracy": 0.75, "kl": 0.25, "response_length": 18.0, "finished_rate": 0.98}
    >>> timing = {"seconds": 4.0, "generate": 2.5, "update": 1.25, "tokens_per_second": 410.0}
    >>> for line in lines(Metrics(values, timing), {"validation_accuracy": 0.61}, ("kl_blow_up",)):
    ...     print(line)
    reward 7.5  accuracy 75 %  held-out 61 %
    KL 0.25
    18 tokens a reply  2 % cut
    4 s a step: generate 2.5, update 1.25, other 0.25  410 tokens/s
    alarms: kl_blow_up
    """
    values = event.values
    groups = (
        [*_reward(values), *_interval(held_out)],
        _by_source(values),
        _policy(values),
        _replies(values),
        _time(event.timing),
        [f"alarms: {', '.join(alarms)}"] if alarms else [],
    )
    return tuple(line for group in groups for line in rows(group))


def rows(cells: Iterable[str], width: int = WIDTH) -> list[str]:
    """Cells side by side, on as many lines as they need; one that is wider than a line is cut.

    >>> rows(["one", "two", "three"], 8)
    ['one  two', 'three']
    """
    found: list[str] = []
    for cell in cells:
        short = cell if len(cell) <= width else cell[: width - 1] + "…"
        if found and len(found[-1]) + 2 + len(short) <= width:
            found[-1] += f"  {short}"
        else:
            found.append(short)
    return found


def _reward(values: Mapping[str, float]) -> list[str]:
    # A part that is the whole says nothing.
    told = {name: value for name, value in values.items() if value != values["reward"]}
    parts = _named(told, "reward/", figure)
    reward = f"reward {figure(values['reward'])}" + (f" ({', '.join(parts)})" if parts else "")
    return [reward, *_known(values, {"accuracy": ("accuracy", _percent), "verdict": ("mean verdict", figure)})]


def _interval(held_out: Mapping[str, float]) -> list[str]:
    if "validation_accuracy" not in held_out:
        return []
    bounds = [held_out.get(f"validation_accuracy_{end}") for end in ("low", "high")]
    told = "" if None in bounds else f" [{', '.join(f'{100 * b:.0f}' for b in bounds if b is not None)}]"
    return [f"held-out {_percent(held_out['validation_accuracy'])}{told}"]


def _by_source(values: Mapping[str, float]) -> list[str]:
    rewards, right = _named(values, "source_reward/", figure), _named(values, "accuracy/", _percent)
    return [
        *([f"accuracy by source: {', '.join(right)}"] if right else []),
        *([f"reward by source: {', '.join(rewards)}"] if rewards else []),
    ]


def _policy(values: Mapping[str, float]) -> list[str]:
    return _known(
        values,
        {
            "kl": ("KL", figure),
            "entropy": ("entropy", figure),
            "sampled_entropy": ("sampled entropy", figure),
            "clip_fraction": ("clipped", _percent),
            "logprob_difference": ("parity", figure),
            "effective_samples": ("effective samples", _percent),
            "grad_norm": ("grad norm", figure),
            "learning_rate": ("learning rate", figure),
        },
    )


def _replies(values: Mapping[str, float]) -> list[str]:
    finished = values.get("finished_rate")
    return [
        f"{figure(values['response_length'])} tokens a reply",
        *([] if finished is None else [f"{_percent(1 - finished)} cut"]),
        *_known(
            values,
            {"constant_groups": ("groups of one reward", _percent), "paid_alike": ("paid for one text", _percent)},
        ),
        *_known(
            {name: values[f"{name}_rate"] for name in NO_VALUE if values.get(f"{name}_rate")},
            {"unparsable": ("unparsable", _percent), "timeout": ("timed out", _percent), "error": ("errors", _percent)},
        ),
    ]


def _time(timing: Mapping[str, float]) -> list[str]:
    """The step's seconds in its parts; what no part says is `other`."""
    if "seconds" not in timing:
        return []
    least = LEAST * timing["seconds"]
    parts = {name: seconds for name, seconds in timing.items() if name not in WHOLE and seconds >= least}
    rest = timing["seconds"] - sum(parts.values())
    if parts and rest >= 0.05 * timing["seconds"]:
        parts["other"] = rest
    told = ", ".join(f"{name} {figure(seconds)}" for name, seconds in parts.items())
    speed = timing.get("tokens_per_second")
    return [
        f"{figure(timing['seconds'])} s a step" + (f": {told}" if told else ""),
        *([] if speed is None else [f"{figure(speed)} tokens/s"]),
    ]


def _known(values: Mapping[str, float], words: Mapping[str, tuple[str, Write]]) -> list[str]:
    return [f"{word} {write(values[name])}" for name, (word, write) in words.items() if name in values]


def _named(values: Mapping[str, float], start: str, write: Write) -> list[str]:
    names = [name for name in values if name.startswith(start)]
    told = [f"{_short(name.removeprefix(start))} {write(values[name])}" for name in names[:NAMED]]
    return told + ([f"and {len(names) - NAMED} more"] if len(names) > NAMED else [])


def _short(name: str) -> str:
    """A name that data or a recipe gave, on one line."""
    word = " ".join(name.split())
    return word if len(word) <= LONGEST else word[: LONGEST - 1] + "…"


def _percent(share: float) -> str:
    """A share as per cent.

    >>> _percent(0.754), _percent(0.0042), _percent(0.0)
    ('75 %', '0.42 %', '0 %')
    """
    number = 100 * share
    return f"{number:.0f} %" if abs(number) >= 10 else f"{number:.2g} %"
