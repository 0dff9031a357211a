"""The alarms of online learning: what each looks at, from where on it is told, and why from there on.

Each is a function of the history of metrics. "Now" is the mean over the last 5 steps, "at the beginning" that over the
stage's first 5; a rule says nothing before it has both where it needs both.
"""

from __future__ import annotations

import math
from statistics import median

from aftertrain.core.learning.alarms import LONG, VALIDATION, WINDOW, History, Rule
from aftertrain.core.learning.reward_hacks import HACKS
from aftertrain.core.statistics import wilson

SPENT, SOLVED, ANY_ENTROPY = 0.25, 0.9, 0.05
"""Entropy below this share of its beginning, while accuracy is below `SOLVED`. Reward is bought with entropy, on the
curve R = b - a·exp(H) (Cui et al. 2025, arXiv 2505.22617): where three quarters are spent, little is left to gain. A
policy that began below `ANY_ENTROPY` nats a token had none to lose."""
LONGER, NO_BETTER, MOSTLY_CUT = 2.0, 0.02, 0.25
"""Replies so many times as long as at the beginning, while accuracy has risen by less than `NO_BETTER`, or more than
`MOSTLY_CUT` of them end at the token limit: longer replies that are better are what reasoning looks like."""
FAILED, FEWEST = 0.05, 20
"""Share of verdicts that failed, of at least so many: a verifier's aim is an error below 5 % (F41)."""
SIDED, APART = 0.25, 0.2
"""One side's share of verdicts without a value, and how far the 95 % interval of its distance to the rest is from 0.
A quarter, and a fifth more than elsewhere beyond chance: that is the verifier or the data, not the policy."""
KL_A_TOKEN, KL_JUMP, KL_LEAST = 0.5, 5.0, 1.0
"""Nats a token, at which the reference finds each token e^0.5 = 1.6 times less likely; or so many times the median of
the steps before, and at least one nat a reply, below which a ratio says nothing."""
CONSTANT = 0.9
"""Share of groups whose replies all earned the same: nine tenths of the generated tokens teach nothing (DAPO, arXiv
2503.14476, section 3.2)."""
DRIFT, DRIFT_TIMES, DRIFT_LEAST = 0.02, 5.0, 0.005
"""Mean |generator - trainer| log-probability in nats a token: 2 % off in the ratio, a tenth of a clip range of 0.2, and
well before a stage stops by itself, at 0.05; or so many times the beginning's, from 0.005 on."""
SAMPLES_LEFT = 0.5
"""Effective sample size of the importance weights, as a share: below it half of the tokens are as good as not there."""


def heldout_falls(history: History) -> str | None:
    """The reward has risen since held-out accuracy was best, and that has fallen beyond chance.

    The lower end of the difference's 95 % interval by Newcombe's hybrid of Wilson intervals (1998, method 10) is above
    0. The problems are the same ones, so that the test is careful.
    """
    best, now = history.best, history.measured
    if best is None or now is None or now.step == best.step or now.values["reward"] <= best.values["reward"]:
        return None
    was, is_ = best.values[VALIDATION], now.values[VALIDATION]
    low, high = best.values.get(f"{VALIDATION}_low", was), now.values.get(f"{VALIDATION}_high", is_)
    if was - is_ <= math.hypot(was - low, high - is_):
        return None
    reward = f"reward {best.values['reward']:.3g} → {now.values['reward']:.3g}"
    return f"held-out accuracy {was:.1%} at step {best.step} → {is_:.1%}, while {reward}"


def entropy_collapse(history: History) -> str | None:
    """Entropy is below `SPENT` of its beginning, and the problems are not solved."""
    name = "entropy" if history.names("entropy") else "sampled_entropy"
    before, now, accuracy = history.beginning(name), history.now(name), history.now("accuracy")
    if before is None or now is None or before < ANY_ENTROPY or now >= SPENT * before:
        return None
    if accuracy is not None and accuracy >= SOLVED:
        return None
    return f"entropy {before:.3g} → {now:.3g} nats a token"


def length_explosion(history: History) -> str | None:
    """Replies are `LONGER` times as long, and no better or mostly cut."""
    before, now = history.beginning("response_length"), history.now("response_length")
    if before is None or now is None or now < LONGER * before:
        return None
    finished, was, is_ = history.now("finished_rate"), history.beginning("accuracy"), history.now("accuracy")
    words = f"replies of {before:,.0f} → {now:,.0f} tokens"
    if finished is not None and 1 - finished > MOSTLY_CUT:
        return f"{words}, {1 - finished:.0%} of them cut at the limit"
    if was is not None and is_ is not None and is_ < was + NO_BETTER:
        return f"{words}, accuracy {was:.1%} → {is_:.1%}"
    return None


def verifier_failures(history: History) -> str | None:
    """More than `FAILED` of a verifier's verdicts are errors or timeouts."""
    words = []
    for verifier, (asked, failed, _) in _sides(history, by_source=False).items():
        if asked >= FEWEST and failed / asked > FAILED:
            words.append(f"{verifier}: {failed / asked:.0%} of {asked:,.0f} verdicts failed")
    return "; ".join(words) or None


def one_sided_verifier(history: History) -> str | None:
    """Verdicts without a value fall on one source or verifier: see `SIDED`."""
    sides = _sides(history, by_source=True)
    everything = sum(asked for asked, _, _ in sides.values()), sum(none for *_, none in sides.values())
    for side, (asked, _, none) in sides.items():
        others, of_others = everything[0] - asked, everything[1] - none
        if min(asked, others) < FEWEST or none / asked < SIDED:
            continue
        here, elsewhere = wilson(none, int(asked)), wilson(of_others, int(others))
        distance = here.mean - elsewhere.mean
        if distance - math.hypot(here.mean - here.low, elsewhere.high - elsewhere.mean) > APART:
            return f"{side}: {here.mean:.0%} of {asked:,.0f} verdicts have no value, elsewhere {elsewhere.mean:.0%}"
    return None


def kl_blow_up(history: History) -> str | None:
    """The policy is far from its reference, or has got there in a jump: see `KL_A_TOKEN`."""
    if "kl" in history.broken:
        return "the KL to the reference is not finite"
    now, length, steps = history.now("kl"), history.now("response_length"), history.column("kl", len(history.last))
    if now is not None and length and now / length > KL_A_TOKEN:
        return f"KL {now:.3g} nats a reply, {now / length:.2g} a token"
    if len(steps) < 3 + WINDOW:
        return None
    before, after = median(steps[:-3]), sum(steps[-3:]) / 3
    if after >= KL_LEAST and after > KL_JUMP * max(before, 0.0):
        return f"KL {before:.3g} → {after:.3g} nats a reply within {LONG} steps"
    return None


def constant_groups(history: History) -> str | None:
    """Almost no group has replies of different rewards."""
    share = history.now("constant_groups")
    if share is None or share < CONSTANT:
        return None
    accuracy = history.now("accuracy")
    return f"{share:.0%} of the groups earned one reward" + ("" if accuracy is None else f", accuracy {accuracy:.1%}")


def parity_drift(history: History) -> str | None:
    """Generator and trainer disagree on the log-probabilities of the same tokens: see `DRIFT`."""
    now, before = history.now("logprob_difference"), history.beginning("logprob_difference")
    left = history.now("effective_samples")
    if left is not None and left < SAMPLES_LEFT:
        return f"effective samples are {left:.0%} of the tokens"
    if now is None:
        return None
    risen = before is not None and now >= DRIFT_LEAST and now > DRIFT_TIMES * before
    if now <= DRIFT and not risen:
        return None
    start = "" if before is None else f" (at the beginning {before:.2g})"
    return f"generator and trainer are {now:.2g} nats a token apart{start}"


def _sides(history: History, *, by_source: bool) -> dict[str, tuple[float, float, float]]:
    """Verdicts asked for, those that failed, and those without a value, over the last steps, by verifier (and source).

    Counts stand in metrics `verdicts/VERIFIER/SOURCE/OUTCOME`.
    """
    sides: dict[str, tuple[float, float, float]] = {}
    for name in history.names("verdicts/"):
        verifier, source, outcome = name.removeprefix("verdicts/").rsplit("/", 2)
        side = f"{verifier} on {source}" if by_source else verifier
        count = sum(history.column(name))
        asked, failed, none = sides.get(side, (0.0, 0.0, 0.0))
        bad = outcome in ("error", "timeout")
        sides[side] = (asked + count, failed + count * bad, none + count * (outcome != "scored"))
    return sides


ALARMS = (
    Rule(
        "heldout_falls",
        heldout_falls,
        "the policy learns what the reward can be had for, not the task: keep the checkpoint of the best validation, "
        "raise kl.beta or lower the learning rate, and read the replies that were paid",
    ),
    Rule(
        "entropy_collapse",
        entropy_collapse,
        "replies to a prompt become one reply, and nothing is left to choose among: raise the upper clip bound, lower "
        "the learning rate or the updates per step, raise kl.beta, or leave out prompts that are solved",
    ),
    Rule(
        "length_explosion",
        length_explosion,
        "length pays, or nothing ends a reply: see whether the loss divides by a reply's own length, shape the reward "
        "of overlong replies, and read whether the replies repeat themselves",
    ),
    Rule(
        "verifier_failures",
        verifier_failures,
        "what failed was given on_error or on_timeout in place of a reward: `aftertrain show sample` has a failed "
        "verdict's reason; mend the verifier or the problems, or raise its time",
    ),
    Rule(
        "one_sided_verifier",
        one_sided_verifier,
        "replies of one side are not read, and the policy is taught that they are wrong: judge some by hand with "
        "`aftertrain verify`, and see whether these problems' verifier fits the form that their prompts ask for",
    ),
    Rule(
        "kl_blow_up",
        kl_blow_up,
        "the policy leaves its reference: lower the learning rate or the updates per step, raise kl.beta, look at the "
        "gradient's norm; go on from the checkpoint before",
    ),
    Rule(
        "constant_groups",
        constant_groups,
        "nearly all replies teach nothing: take harder problems where accuracy is high, easier ones where it is low, "
        "more samples_per_prompt, or refill groups without signal",
    ),
    Rule(
        "parity_drift",
        parity_drift,
        "the ratios are not those of the policy that replied: check that the generator has the synced weights, the "
        "trainer's precision and temperature; correct by importance sampling, or stop",
    ),
    *HACKS,
)
"""All alarms, in the order in which they are told."""
