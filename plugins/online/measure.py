"""Figures of one online step, for events; clocks and speeds apart from what a resume must repeat."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from aftertrain.core.learning.step import StepResult
from aftertrain.plugins.online.reward import Judged, counted


class Stopwatch:
    """Seconds spent in named parts of a step.

    `generate` makes replies, and judges those that are there; `verify` waits for the verdicts that are not; `score` is
    what the policy, reference and critic say of the replies before the update; `publish` hands the weights on.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the block's seconds to the part."""
        start = time.perf_counter()
        yield
        self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - start

    def timing(self, replies: int, mean_tokens: float) -> dict[str, float]:
        """The parts, the whole, and F38's throughput over the parts."""
        speed = throughput(replies, mean_tokens, self._parts.values())
        return {**self._parts, "seconds": time.perf_counter() - self._start, "tokens_per_second": speed}


def throughput(replies: int, mean_tokens: float, seconds: Iterable[float]) -> float:
    """F38: T = B·N/(t_g + t_v + t_u), response tokens per second of generating, verifying and updating.

    >>> throughput(256, 20.0, (3.0, 0.5, 1.5))
    1024.0
    """
    return replies * mean_tokens / sum(seconds)


def reply_metrics(judged: Sequence[Judged]) -> dict[str, float]:
    """Reward, share verified, length, and share that ended by themselves.

    `batch_reward` is R_batch = (1/B)·Σ [R_base(x_i, y_i) + λ·V(A(y_i), y_i*)] (F30): what replies earned by themselves.
    `reward` is the mean of what is learnt from, after normalisation and the missing-EOS rule.

    `verdict` is the mean of the verdicts' values, of several checks of a reply the lowest, over replies that were
    judged; absent where none was. It differs from `accuracy` where verifiers give values between 0 and 1. `turns` is
    the mean number of replies of a rollout, `turn_reward` what they earned beside the reward of the whole.

    Replies that are left out, for judging them failed, count for lengths alone, and are `left_out`.

    Of problems from several data sets further `accuracy/SOURCE` and `source_reward/SOURCE`.
    """
    every, judged = judged, counted(judged)
    verdicts = [reply for reply in judged if reply.verdicts and not reply.unjudged]
    n, lengths = len(judged), [reply.rollout.sampled for reply in every]
    mean = sum(reply.total for reply in judged) / n
    values = [reply.value for reply in judged if reply.value is not None]
    return {
        "reward": mean,
        "batch_reward": sum(reply.earned for reply in judged) / n,
        "reward_std": (sum((reply.total - mean) ** 2 for reply in judged) / n) ** 0.5,
        **({"accuracy": _mean([float(reply.verified) for reply in verdicts])} if verdicts else {}),
        **({"verdict": sum(values) / len(values)} if values else {}),
        "response_length": sum(lengths) / len(every),
        "finished_rate": sum(reply.rollout.ended for reply in every) / len(every),
        "response_tokens": float(sum(lengths)),
        **({"left_out": float(len(every) - len(judged))} if any(reply.left_out for reply in every) else {}),
        **_by_source(judged),
        **_turns(every),
    }


def _turns(judged: Sequence[Judged]) -> dict[str, float]:
    """Replies of a rollout, and what they earned turn by turn, where an environment has answered any."""
    rollouts = [reply.rollout for reply in judged]
    if all(rollout.turns == 1 and not any(rollout.turn_rewards) for rollout in rollouts):
        return {}
    return {
        "turns": sum(rollout.turns for rollout in rollouts) / len(rollouts),
        "turn_reward": sum(sum(rollout.turn_rewards) for rollout in rollouts) / len(rollouts),
    }


def update_metrics(results: Sequence[StepResult]) -> dict[str, float]:
    """Averages over a step's optimizer steps; learning rates are the last ones, `tokens` the sum.

    Of a step from which nothing could be learnt there is only `tokens`, 0.
    """
    if not results:
        return {"tokens": 0.0}
    terms = {"policy": "", "value": "critic_"}
    figures: dict[str, float] = {"loss": _mean([sum(result.losses.values()) for result in results])}
    for term in results[0].losses:
        figures[f"{term}_loss"] = _mean([result.losses[term] for result in results])
        figures[f"{terms[term]}grad_norm"] = _mean([result.reports[term].grad_norm for result in results])
        figures[f"{terms[term]}learning_rate"] = results[-1].reports[term].learning_rate
    for name in results[0].metrics:
        figures[name] = _mean([result.metrics[name] for result in results if name in result.metrics])
    figures["tokens"] = float(sum(result.tokens for result in results))
    return figures


def _by_source(judged: Sequence[Judged]) -> dict[str, float]:
    sources: dict[str, list[Judged]] = {}
    for reply in judged:
        sources.setdefault(reply.rollout.prompt.problem.source, []).append(reply)
    figures: dict[str, float] = {}
    for source, replies in sorted(sources.items()) if len(sources) > 1 else ():
        if known := [float(reply.verified) for reply in replies if not reply.unjudged]:
            figures[f"accuracy/{source}"] = _mean(known)
        figures[f"source_reward/{source}"] = _mean([reply.total for reply in replies])
    return figures


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
