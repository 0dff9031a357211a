"""A group of lm-eval whose tasks ask requests of several types, as a suite: a row for each of its tasks.

The group's numbers, and those of the groups within it, are lm-eval's: for each entry of `aggregate_metric_list` and
each filter the mean over the tasks that have such a figure, all alike or by their questions (`weight_by_size`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aftertrain.core.errors import AftertrainError, unknown
from aftertrain.plugins.lm_eval_tasks.catalogue import Found, find

NO_FILTER = "none"
CHOICES = "loglikelihood"
DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""By type of request the metrics of a task that names none, in lm-eval 0.4.13."""


def expansion(
    group: str, include_path: str | None, tasks: Sequence[str] | None, headline: str | None, given: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The suite that a group stands for; None for what one task can ask, and for what is not there.

    Args:
        tasks: those of the group that are asked; None is all.
        headline: the number that comes first.
        given: settings of every row.

    Raises:
        ValueError: `headline` is none of the group's numbers.
    """
    try:
        found = find(group, include_path)
    except AftertrainError:
        return None  # who makes the task tells it, with its cure
    leaves = {name: leaf for name, leaf in found.leaves.items() if tasks is None or name in tasks}
    types = {_type(leaf) for leaf in leaves.values()} - {None}
    if len(types) < 2:
        return None
    rows = {name: {"task": _task(name, found, given)} for name in leaves}
    numbers = list(_numbers(found, leaves))
    numbers.sort(key=lambda number: (number["metric"] != headline, number["group"] != found.name))
    if headline is not None and headline not in {number["metric"] for number in numbers}:
        raise ValueError(f"headline: {unknown('metric', headline, [n['metric'] for n in numbers])}")
    nodes = [number["node"] for number in numbers]
    # A group that lists no number has none, and what a group within it has is not the whole's.
    own = bool(numbers) and numbers[0]["group"] == found.name
    first = nodes.pop(0) if own else {"name": found.name, "listed": [_row(name) for name in rows]}
    return {
        "summary": f"lm-eval's group {found.name}",
        "rows": {_row(name): row for name, row in rows.items()},
        "average": first,
        "beside": nodes,
    }


def _row(leaf: str) -> str:
    """A row's name, in which neither a dot nor an equals sign may stand."""
    return f"lm_eval/{leaf}".replace(".", "_").replace("=", "_").replace(" ", "_")


def _type(leaf: Mapping[str, Any]) -> str | None:
    """What its requests are answered by; None where only its code knows."""
    if "class" in leaf and "output_type" not in leaf:
        return None
    type_ = str(leaf.get("output_type") or "generate_until")
    return CHOICES if type_ == "multiple_choice" else type_


def _task(name: str, found: Found, given: Mapping[str, Any]) -> dict[str, Any]:
    """A task by its own name; one that the group has set up otherwise, as the group's."""
    if name in found.altered:
        return {"use": f"lm_eval/{found.name}", "tasks": [name], "name": _row(name), **given}
    return {"use": f"lm_eval/{name}", **given}


def _numbers(found: Found, leaves: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each number of the group and of the groups within it."""
    for group, (members, listed) in found.groups.items():
        for entry in [listed] if isinstance(listed, Mapping) else listed or ():
            metric, filters = str(entry["metric"]), entry.get("filter_list")
            inside = [name for name in members if name in leaves and _may_have(leaves[name], metric)]
            every = dict.fromkeys(filter_ for name in inside for filter_ in _filters(leaves[name]))
            wanted = [filters] if isinstance(filters, str) else filters or sorted(every)
            for filter_ in wanted:
                having = [name for name in inside if filter_ in _filters(leaves[name])]
                if not having:
                    continue
                key = metric if filter_ == NO_FILTER else f"{metric},{filter_}"
                node = {
                    "name": f"{group} {key}",
                    "pooled" if entry.get("weight_by_size", True) else "mean": list(map(_row, having)),
                    "metrics": {_row(name): _shown(leaves[name], metric, filter_) for name in having},
                }
                yield {"group": group, "metric": key, "node": node}


def _may_have(leaf: Mapping[str, Any], metric: str) -> bool:
    """Whether a task has a metric, as far as its file tells: its own code may make others."""
    if "process_results" in leaf or "class" in leaf:
        return True
    named = leaf.get("metric_list")
    type_ = str(leaf.get("output_type") or "generate_until")
    names = [entry.get("metric") for entry in named] if named else DEFAULTS.get(type_, ())
    return metric in names


def _filters(leaf: Mapping[str, Any]) -> list[str]:
    return [str(entry["name"]) for entry in leaf.get("filter_list") or ()] or [NO_FILTER]


def _shown(leaf: Mapping[str, Any], metric: str, filter_: str) -> str:
    """As the row names the figure: with its filter where it has several."""
    return metric if filter_ == NO_FILTER or len(_filters(leaf)) == 1 else f"{metric},{filter_}"
