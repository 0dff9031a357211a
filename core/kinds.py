"""The kinds of component there are, and the interface of each. Strings only: nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of component.

    Attributes:
        name: the word used in `Registrar.add` and `aftertrain list`.
        interface: `"module:Class"` that a component of this kind subclasses.
        summary: what such a component does.
    """

    name: str
    interface: str
    summary: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("dataset", "aftertrain.core.dataset:Dataset", "yields typed records with a stable id, source and licence"),
        Kind("operator", "aftertrain.core.operator:Operator", "rows -> rows: filters, scores, rewrites, makes them"),
        Kind("loss", "aftertrain.core.loss:Loss", "packed tokens + per-token scores -> sums of loss terms and metrics"),
        Kind("verifier", "aftertrain.core.verifier:Verifier", "batch of responses + ground truths -> verdicts"),
        Kind(
            "advantage",
            "aftertrain.core.advantage:Advantage",
            "a step's replies and what they earned -> token columns for a loss",
        ),
        Kind(
            "selection",
            "aftertrain.core.selection:Selection",
            "which problems an online step asks, and which groups of replies it learns from",
        ),
        Kind("generator", "aftertrain.core.generator:Generator", "prompt ids + sampling -> completions"),
        Kind(
            "environment",
            "aftertrain.core.environment:Environment",
            "answers a policy's replies turn by turn: observations, tools, rewards of turns",
        ),
        Kind("eval_task", "aftertrain.core.eval_task:EvalTask", "instances, prompts, scoring and aggregation"),
        Kind("engine", "aftertrain.core.engine:Engine", "holds a model: packed forward, backward, step, save, load"),
        Kind(
            "head_kernel",
            "aftertrain.core.head_kernel:HeadKernel",
            "hidden states + LM head -> per-token scores, in place of our own function",
        ),
        Kind("stage", "aftertrain.core.stage:Stage", "one step of a recipe: inputs -> artifact"),
        Kind("observer", "aftertrain.core.observer:Observer", "watches a run's events; may not break it"),
    )
}
