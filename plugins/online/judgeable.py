"""Problems whose ground truth no reply could be judged by: found before the first reply is made."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from aftertrain.core.errors import DataError
from aftertrain.core.verification.checks import checks_of
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.online.problems import EXAMPLES, Prompt, Prompts
from aftertrain.plugins.online.reward import case_of
from aftertrain.plugins.online.settings import Unjudgeable

REASON = "no reply could be judged"

log = logging.getLogger("aftertrain.online")


def only_judgeable(
    prompts: Prompts,
    verifiers: Mapping[str, Verifier[Any]],
    policy: Unjudgeable,
    data: str,
    *,
    shaping: Collection[str] = (),
) -> Prompts:
    """Stop at, drop or keep problems with a check that its verifier objects to.

    Args:
        data: the data set's name, for messages.
        shaping: names of the verifiers that are asked about every reply.

    Raises:
        DataError: there are some and the policy is `stop`, or none is left.
    """
    objections = _objections(prompts.kept, verifiers, shaping)
    if not objections:
        return prompts
    examples = "; ".join(f"problem {name!r}: {reason}" for name, reason in islice(objections.items(), EXAMPLES))
    fault = f"data set {data!r}: {len(objections):,} of {len(prompts.kept):,} problems cannot be judged; {examples}"
    if policy == "stop":
        raise DataError(f"{fault}. Mend what is named, or set 'unjudgeable' to drop (leave them out) or keep")
    log.warning("%s (%s)", fault, "dropped" if policy == "drop" else "kept; each reply to them will be an error")
    if policy == "keep":
        return prompts
    kept = [prompt for prompt in prompts.kept if prompt.problem.id not in objections]
    if not kept:
        raise DataError(f"{fault}. None is left to train on")
    return Prompts(kept, {**prompts.dropped, REASON: list(objections)}, prompts.ids)


def _objections(
    prompts: Sequence[Prompt], verifiers: Mapping[str, Verifier[Any]], shaping: Collection[str]
) -> dict[str, str]:
    """By problem, what the verifiers of its checks, and those of every reply, object to; one batch per verifier."""
    objections: dict[str, str] = {}
    for name, verifier in verifiers.items():
        if verifier.compares:  # its ground truth is another reply
            continue
        cases = [
            case_of(prompt, check, prompt.problem.id)
            for prompt in prompts
            for check in checks_of(prompt.problem, name, everywhere=name in shaping)
        ]
        for case, reason in zip(cases, verifier.objections(cases) if cases else [], strict=True):
            if reason is not None:
                objections.setdefault(case.id, f"{name}: {reason}")
    return objections
