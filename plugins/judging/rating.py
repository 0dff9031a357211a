"""A judge that rates several aspects of a reply, each by a question of its own (F18)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from aftertrain.core.asking.asker import Asker
from aftertrain.core.asking.exchange import Spent
from aftertrain.core.preference import mean_of_aspects
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Builder
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging import aspects
from aftertrain.plugins.judging.judge import Judge
from aftertrain.plugins.judging.settings import AspectsSettings, JudgeSettings, JudgingSettings


class Aspects(Verifier[AspectsSettings]):
    """Ground truth: any JSON or null; the judge is shown a text where it rates truthfulness.

    The value is the mean of the aspects that apply, 1 for 5 and 0 for 1. An aspect that does not apply (N/A) is
    missing, and counts as nothing; where none applies, the verdict is abstained. An aspect whose rating cannot be read
    or had makes the reply's verdict the same.
    """

    Config = AspectsSettings
    isolated: ClassVar[bool] = False
    every_problem: ClassVar[bool] = True
    scale: ClassVar[tuple[float, float]] = aspects.SCALE
    """The judge's lowest and highest rating, of which verdicts have the values 0 and 1."""

    def __init__(self, settings: AspectsSettings, builder: Builder) -> None:
        super().__init__(settings, builder)
        self._asker = Asker(settings, builder, needs_template=True)
        self._judges = {name: Judge(_judge_settings(settings, name), builder, self._asker) for name in settings.aspects}

    @property
    def timeout(self) -> float:
        """As long as the model may keep silent, once for each time it is asked."""
        return sum(judge.timeout for judge in self._judges.values())

    @property
    def needs_truth(self) -> bool:
        """No."""
        return False

    @property
    def spent(self) -> Spent:
        """Calls, tokens and cost so far."""
        return self._asker.spent

    @property
    def cost(self) -> float:
        """Of calls."""
        return self._asker.cost

    def content(self) -> str:
        """Of the model's files."""
        return self._asker.content()

    def preflight(self) -> None:
        """Find model folder, tokenizer and transcript, without loading weights."""
        self._asker.preflight()

    def close(self) -> None:
        """Free the model."""
        self._asker.close()

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """To a ground truth that is no JSON; the judge is not asked."""
        return next(iter(self._judges.values())).objections(cases)

    def aspects_of(self, cases: Sequence[VerificationCase]) -> list[dict[str, Verdict]]:
        """Of each reply the verdict on each aspect; one batch for each aspect.

        Raises:
            ModelError: the model cannot be loaded. RunError: the transcript cannot be written.
        """
        verdicts = {name: judge.verify(cases) for name, judge in self._judges.items()}
        return [{name: verdicts[name][place] for name in verdicts} for place in range(len(cases))]

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """The means of the aspects."""
        return [mean_of_aspects(found) for found in self.aspects_of(cases)]


def _judge_settings(settings: AspectsSettings, name: str) -> JudgeSettings:
    """A judge's for one aspect, with all that is set of the model and of asking it."""
    shared = {key: getattr(settings, key) for key in settings.model_fields_set & JudgingSettings.model_fields.keys()}
    rule: Mapping[str, object] = {}
    template = name
    if name in settings.criteria:
        template = aspects.prompt_for(name, settings.criteria[name])
        rule = {"parse": {"pattern": aspects.PATTERN, "scale": aspects.SCALE, "abstains": aspects.ABSTAINS}}
    return JudgeSettings.model_validate({"sampling": settings.sampling, **shared, "template": template, **rule})
