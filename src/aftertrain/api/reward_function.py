"""A verifier as a reward function of another trainer, in TRL's form."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from aftertrain.api.evaluation import isolated_verifier

if TYPE_CHECKING:
    from aftertrain.core.records import Outcome, Verdict, VerificationCase
    from aftertrain.core.verification import PoolSettings

RewardFunction = Callable[..., list[float | None]]
log = logging.getLogger(__name__)


def reward_function(
    name: str,
    *,
    ground_truth: str = "ground_truth",
    source: str | None = None,
    on_timeout: float | None = 0.0,
    on_error: float | None = None,
    on_unparsable: float | None = 0.0,
    pool: PoolSettings | Mapping[str, Any] | None = None,
    **settings: Any,
) -> RewardFunction:
    """A verifier as a TRL reward function: `fn(prompts, completions, **columns)` gives one reward per completion.

    A completion is a text, or messages, of which the assistant's are judged. Errors of a call are told in one logged
    warning; where the trainer hands a `log_metric`, the rate of each outcome is a metric.

    Args:
        ground_truth: column of the data set that holds what a completion is compared with; may be missing where the
            verifier looks at none (`format`).
        source: column with the name of each row's data set, which `by_source` goes by; None takes the column `source`
            where there is one.
        on_timeout: reward of a case that could not be judged in time; None tells TRL to leave it out. Likewise
            `on_error`, which is left out unless set (a verifier that fails says nothing of the reply), and
            `on_unparsable`. A verifier that abstains is left out.
        pool: how many processes judge, and what one case may take; settings or a mapping of them.
        **settings: of the verifier.

    Raises:
        RecipeError: unknown verifier or settings. AftertrainError: a package or resource is missing.

    >>> fn = reward_function("gsm8k")
    >>> fn(prompts=["6 * 7?", "2 + 2?"], completions=["#### 42", "#### 5"], ground_truth=["42", "4"])
    [1.0, 0.0]
    """
    verifier = isolated_verifier(name, settings, pool)
    instead: dict[Outcome, float | None] = {
        "timeout": on_timeout,
        "error": on_error,
        "unparsable": on_unparsable,
        "abstained": None,
    }

    def rewards(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        for column in (ground_truth if verifier.needs_truth else None, source):
            if column is not None and column not in columns:
                raise ValueError(
                    f"reward {name!r} needs the column {column!r}; there are: {', '.join(sorted(columns))}"
                )
        sources = columns.get("source") if source is None else columns[source]
        truths = columns.get(ground_truth, [None] * len(completions))
        named = {"prompts": prompts, "completions": completions, ground_truth: truths}
        verdicts = verifier.verify(_cases(name, named, source or "source", sources))
        _tell(name, verdicts, columns.get("log_metric"))
        return [
            (verdict.value if verdict.reward is None else verdict.reward)
            if verdict.outcome == "scored"
            else instead[verdict.outcome]
            for verdict in verdicts
        ]

    rewards.__name__ = name
    return rewards


def _cases(name: str, columns: dict[str, Sequence[Any]], source: str, sources: Any) -> list[VerificationCase]:
    """One case per completion; `columns` are prompts, completions and ground truths."""
    from aftertrain.core.records import VerificationCase

    count = len(columns["completions"])
    if not isinstance(sources, list | tuple):  # one text, say, which TRL hands as it is: it is every row's
        sources = ["" if sources is None else sources] * count
    lengths = {column: len(values) for column, values in (*columns.items(), (source, sources))}
    if set(lengths.values()) != {count}:
        words = ", ".join(f"{column} {length}" for column, length in lengths.items())
        raise ValueError(f"reward {name!r}: columns of unequal lengths: {words}")
    rows = zip(*columns.values(), sources, strict=True)
    return [
        VerificationCase(
            str(number), _text(prompt), _text(completion, "assistant"), truth, "" if origin is None else str(origin)
        )
        for number, (prompt, completion, truth, origin) in enumerate(rows)
    ]


def _tell(name: str, verdicts: Sequence[Verdict], log_metric: Any) -> None:
    """The rates of all outcomes, those that did not occur too: every process must name the same metrics."""
    from aftertrain.core.records import Outcome

    counts = Counter(verdict.outcome for verdict in verdicts)
    if counts["error"]:
        first = next(verdict.detail for verdict in verdicts if verdict.outcome == "error")
        log.warning(
            "reward %r: %d of %d verdicts are errors; the first: %s", name, counts["error"], len(verdicts), first
        )
    if callable(log_metric) and verdicts:
        for outcome in get_args(Outcome):
            log_metric(f"rewards/{name}/{outcome}_rate", counts[outcome] / len(verdicts))


def _text(turns: str | Sequence[Mapping[str, Any]] | None, role: str | None = None) -> str:
    """A completion or prompt as text: TRL hands texts, or lists of messages.

    Args:
        role: whose turns are meant; None takes all. What a tool answered is not the model's reply.
    """
    if turns is None or isinstance(turns, str):
        return turns or ""
    texts = [_content(turn.get("content")) for turn in turns if role is None or turn.get("role", role) == role]
    return "\n".join(filter(None, texts))


def _content(content: Any) -> str:
    """Of a message: a text, none (a call of a tool), or parts, of which the texts are read."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence):
        raise TypeError(f"a message's content must be a string or a list of parts, found {type(content).__name__}")
    return "".join(part if isinstance(part, str) else part.get("text") or "" for part in content)
