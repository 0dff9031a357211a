"""What an online stage would do, in figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aftertrain.core.environment import Environment
from aftertrain.core.learning.rates import rates_told
from aftertrain.core.learning.rewards import verification_reward
from aftertrain.core.packed.shared_attention import attends_apart
from aftertrain.core.records import PlanItem
from aftertrain.core.stage import PlanContext
from aftertrain.plugins.online.problems import Prompts
from aftertrain.plugins.online.reward_settings import RewardSettings
from aftertrain.plugins.online.settings import OnlineSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def plan_items(settings: OnlineSettings, prompts: Prompts) -> Iterator[PlanItem]:
    """1 step = …, problems, prompts, tokens, models, and what does not fit."""
    batch, reward, n = settings.batch, settings.reward, len(prompts.kept)
    rows = min(batch.prompts, n)
    replies = rows * batch.samples_per_prompt
    lengths = [len(prompt.token_ids) for prompt in prompts.kept]
    longest = max(lengths) + settings.sampling.max_new_tokens
    per_epoch = n // rows if batch.incomplete == "drop" else -(-n // rows)
    tokens = replies * (sum(lengths) / n + settings.sampling.max_new_tokens)
    made = f"{rows:,} prompts × {batch.samples_per_prompt} samples = {replies:,} replies"
    learnt = f"{batch.updates} updates × {batch.minibatches} minibatches = {settings.optimizer_steps} optimizer steps"
    epochs = f"{settings.steps / per_epoch:.2f} epochs of {n:,} problems"
    yield PlanItem("1 step", f"{made}; {learnt}")
    yield PlanItem("steps", f"{settings.steps:,} = {epochs}{_partial(settings, n, rows)}")
    yield PlanItem("learning rate", rates_told(settings.optimizer, settings.steps, settings.optimizer_steps))
    yield PlanItem("prompts", f"{sum(lengths) / n:,.0f} tokens on average, {max(lengths):,} at most")
    yield PlanItem("tokens per step", f"at most {tokens:,.0f}, in micro-batches of {batch.micro_tokens:,}")
    yield PlanItem("models", _models(settings))
    yield PlanItem("method", _method(settings))
    yield PlanItem("reward", _rewards(reward))
    if beside := _beside(reward, settings.sampling.max_new_tokens):
        yield PlanItem("reward, further", beside)
    if batch.by_memory is not None:
        yield PlanItem("batch.by_memory", "steps are smaller where verification needs more memory than is free (F40)")
    if n < batch.prompts:
        yield PlanItem("batch.prompts", f"{batch.prompts:,} are more than the problems there are", "warning")
    if longest > batch.micro_tokens:
        needed = f"a prompt with its reply may need {longest:,} tokens, batch.micro_tokens is {batch.micro_tokens:,}"
        yield PlanItem("micro_tokens", needed, "error")
    for reason, ids in prompts.dropped.items():
        yield PlanItem("dropped", f"{len(ids):,} problems: {reason}", "warning")
    # What would teach the policy to avoid being judged.
    for name, earned, what in (
        ("on_error", reward.on_error, "a failed verifier"),
        ("on_timeout", reward.on_timeout, "a verifier that ran out of time"),
        ("on_environment", reward.on_environment, "an environment that failed"),
        ("on_unparsable", reward.on_unparsable, "a reply without an answer"),
        ("on_abstained", reward.on_abstained, "a reply that no check applies to"),
    ):
        if earned is not None and earned > reward.negative:
            yield PlanItem(f"reward.{name}", f"{what} is rewarded above a wrong reply", "warning")


def validation_items(settings: OnlineSettings, prompts: Prompts, held_out: Prompts | None) -> Iterator[PlanItem]:
    """On how many problems accuracy is measured, and whether they are held out."""
    chosen = settings.validation
    if chosen is None or held_out is None:
        return
    measured = held_out.kept[: chosen.rows]
    drawn = "greedy" if chosen.temperature == 0 else f"temperature {chosen.temperature:g}, {chosen.samples} each"
    leaves = "the best weights are left" if chosen.keep == "best" else "the last weights are left"
    what = f"on {len(measured):,} problems every {chosen.every:,} steps and after the last, {drawn}; {leaves}"
    yield PlanItem("validation", what)
    trained = {prompt.token_ids for prompt in prompts.kept}
    if both := sum(prompt.token_ids in trained for prompt in measured):
        yield PlanItem("validation.data", f"{both:,} of its {len(measured):,} prompts are trained on, too", "warning")


def environment_items(name: str, environment: Environment[Any]) -> Iterator[PlanItem]:
    """What answers the policy, where it has more than one turn."""
    if environment.max_turns > 1:
        tools = [tool["function"]["name"] for tool in environment.tools]
        shown = f", tools {', '.join(tools)}" if tools else ""
        apart = ", in a process of its own" if environment.isolated else ""
        yield PlanItem("environment", f"{name}: at most {environment.max_turns} turns{shown}{apart}")


def drawn_alike(settings: OnlineSettings, context: PlanContext) -> list[PlanItem]:
    """Warn where an earlier stage of the plan has the same problems and seed: order and random numbers are its own."""
    data = context.builder.build(settings.data).fingerprint()
    other = context.found.setdefault(f"replies of seed {context.seed} to {data}", context.name)
    if other == context.name:
        return []
    alike = f"{context.seed}, as stage {other!r} has: the same problems come in the same order, and replies are drawn"
    cure = "by the same random numbers. Set 'seed' of one of them, unless it is to be compared with the other"
    return [PlanItem("seed", f"{alike} {cure}", "warning")]


def sharing(
    settings: OnlineSettings, prompts: Prompts, config: PretrainedConfig, *, shares: bool
) -> Iterator[PlanItem]:
    """Whether a prompt is computed once for its replies, and what of it is not.

    Args:
        shares: `Engine.shares_prefixes`.
    """
    batch, n = settings.batch, len(prompts.kept)
    if batch.samples_per_prompt == 1:
        return
    rows = min(batch.prompts, n)
    new = rows * batch.samples_per_prompt * settings.sampling.max_new_tokens
    mean = sum(len(prompt.token_ids) for prompt in prompts.kept) / n
    if not shares:
        yield PlanItem("shared prompts", f"none: the engine {settings.engine.name} computes one for each reply")
        return
    once, alone = rows * mean + new, rows * batch.samples_per_prompt * mean + new
    apart = attends_apart(config)
    told = f"a prompt is computed once in a micro-batch: about {once:,.0f} tokens a step in place of {alone:,.0f}"
    yield PlanItem("shared prompts", f"{told}; {apart}" if apart else told)


def _partial(settings: OnlineSettings, n: int, rows: int) -> str:
    """What becomes of an epoch's last problems."""
    left = n % rows
    if left == 0:
        return ""
    if settings.batch.incomplete == "drop":
        return f", each of which leaves out {left:,}, by turns"
    return f"; the last step of an epoch has {left:,} prompts"


def _rewards(reward: RewardSettings) -> str:
    """What a verdict's value earns.

    >>> _rewards(RewardSettings())
    "a verdict's value of 1 earns 10, 0 earns 0, between them in proportion (0.5 earns 5)"
    >>> _rewards(RewardSettings(threshold=0.8, missing_eos=-10.0))
    "a verdict's value of 0.8 or more earns 10, a lower one 0; a reply that is cut earns -10 instead"
    """
    cut = "" if reward.missing_eos is None else f"; a reply that is cut earns {reward.missing_eos:g} instead"
    weight = "" if reward.weight == 1.0 and reward.weight_schedule is None else f", times λ = {reward.weight:g}"
    if reward.weight_schedule is not None:
        weight += " (changed over the steps)"
    if reward.threshold is not None:
        values = f"{reward.threshold:g} or more earns {reward.positive:g}, a lower one {reward.negative:g}"
    else:
        half = verification_reward(0.5, reward.positive, reward.negative)
        ends = f"1 earns {reward.positive:g}, 0 earns {reward.negative:g}"
        values = f"{ends}, between them in proportion (0.5 earns {half:g})"
    return f"a verdict's value of {values}{weight}{cut}"


def _beside(reward: RewardSettings, longest: int) -> str:
    """How checks are combined, what is added for form and length, and how tasks are weighed, where not as Tülu 3 does.

    >>> _beside(RewardSettings(combine="weighted_sum", weights={"f": 0.5}, overlong={"cache": 8}), 24)
    'several checks by weighted_sum (f 0.5); up to 1 is taken away from 16 to 24 tokens'
    >>> _beside(RewardSettings(), 24)
    ''
    """
    told = []
    if reward.combine != "min":
        weights = ", ".join(f"{name} {weight:g}" for name, weight in reward.weights.items())
        told.append(f"several checks by {reward.combine}{f' ({weights})' if weights else ''}")
    told += [
        f"{name} ({part.verifier.name}) adds {part.weight:g} of its value" for name, part in reward.shaping.items()
    ]
    if (overlong := reward.overlong) is not None:
        limit = overlong.limit or longest
        told.append(f"up to {overlong.weight:g} is taken away from {limit - overlong.cache:,} to {limit:,} tokens")
    if (tasks := reward.task_weights) is not None:
        less = "less" if tasks.alpha > 0 else "more"
        told.append(f"tasks by {tasks.by}, of which one that goes ill weighs {less} (α = {tasks.alpha:g})")
    return "; ".join(told)


def _models(settings: OnlineSettings) -> str:
    critic = f" and critic from {settings.critic}" if settings.critic else " and critic from the policy with a new head"
    reference = ", reference" if settings.kl.beta > 0 else ", no reference for a penalty (kl.beta is 0)"
    trained = f"policy{critic if settings.method.critic else ''} (trained)"
    base = f", reward model from {settings.reward.base}" if settings.reward.base else ""
    return f"{trained}{reference}{base}, generator {settings.generator.name}"


def _method(settings: OnlineSettings) -> str:
    """By what replies are compared and learnt from, and what KL penalty holds the policy."""
    kl = settings.kl
    leash = f"β = {kl.beta:g} × {kl.estimator} in the {kl.place}" if kl.beta > 0 else "no KL penalty"
    return f"advantages {settings.advantages.name}, loss {settings.loss.name}, {leash}"
