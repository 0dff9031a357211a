"""What an evaluation says of a model, in figures: scores, paired differences, and how the replies ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from aftertrain.core.events.event import Event
from aftertrain.core.ground.openings import Opening
from aftertrain.core.statistics import Interval, direction


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A metric's mean over one task at one temperature.

    Attributes:
        task: its name.
        metric: its name.
        temperature: None where nothing is sampled.
        mean: of the metric, over the questions that have a verdict; None where it is withheld.
        low: lower end of the mean's 95 % interval.
        high: its upper end.
        n: questions that it is made of.
        unjudged: replies that could not be judged; they are in no mean.
        lowest: the mean over all questions if all of these replies were wrong; None where nothing bounds it, as for a
            metric that is no share.
        highest: the mean over all questions if all of them were right.
        primary: whether it is the task's main metric; None where that was not recorded.
        fingerprint: of the task; only scores with the same one may be compared.
        share: whether it lies in [0, 1] and is written in per cent; None where that was not recorded.
        withheld: more could not be judged than the evaluation allows, or nothing bounds what that leaves open, so that
            there is no result: what is shown in its place are `lowest` and `highest`, and an average over rows has this
            one missing. None where that was not recorded.
        of: questions that it would be made of if all had a verdict; None where that was not recorded.
        clusters: that these questions make up, by which the interval is; None where all are independent.
        clustered_by: what questions of a cluster share, such as `passage`.
    """

    task: str
    metric: str
    temperature: float | None
    mean: float | None
    low: float | None
    high: float | None
    n: int
    unjudged: int = 0
    lowest: float | None = None
    highest: float | None = None
    primary: bool | None = None
    fingerprint: str = ""
    share: bool | None = None
    withheld: bool | None = None
    of: int | None = None
    clusters: int | None = None
    clustered_by: str = ""

    @property
    def interval(self) -> Interval | None:
        """The figure with its interval; None where it is withheld."""
        if self.withheld or self.mean is None or self.low is None or self.high is None:
            return None
        return Interval(self.mean, self.low, self.high, self.n)

    @property
    def counted(self) -> str:
        """How many questions it is made of, and of how many where some have no verdict: `12`, `10 of 12`."""
        return f"{self.n:,}" if self.of in (None, self.n) else f"{self.n:,} of {self.of:,}"


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (this stage - `against`) over the same instances of one task at one temperature.

    Only pairs of which both sides have a verdict are in it.

    Attributes:
        task: its name.
        metric: its name.
        temperature: None where nothing is sampled.
        against: the stage that is compared with.
        mean: of the differences.
        low: lower end of the mean's 95 % interval: a paired bootstrap, or by `error` and Student's t where there are
            `clusters`; widened by what so few may not show.
        high: its upper end.
        n: pairs, each with two verdicts.
        better: pairs in which this stage scored more; None where that was not recorded.
        worse: pairs in which it scored less.
        unjudged: pairs that are left out, since a side has no verdict.
        lowest: the mean over all pairs if what could not be judged spoke against this stage; None where nothing bounds
            it, as for a metric that is no share.
        highest: the mean over all pairs if it spoke for it.
        p: McNemar's exact p-value where scores are 0 or 1, else that of the sign-flip test; where there are `clusters`
            that of the test that gives a whole cluster one sign.
        p_holm: the same after Holm's method, over all of the stage's comparisons.
        effect: design effect of the questions' clusters: so many times as many questions are needed as if they were
            independent; None where all are, where these pairs cannot show it (one cluster, equal differences), or that
            was not recorded.
        clusters: that these pairs make up, by which interval and p-value are; None where all are independent.
        clustered_by: what questions of a cluster share.
        correlation: of differences within a cluster; None where too few pairs of one cluster show it.
        error: standard error of the mean, by clusters where there are some; None where these pairs cannot show it (one
            pair, one cluster), or that was not recorded.
        square: mean of the squared differences: the share of pairs that changed where each did so by 1.

    `effect` and `correlation` are of pairs that weigh alike, whatever these weigh.
    """

    task: str
    metric: str
    temperature: float | None
    against: str
    mean: float
    low: float
    high: float
    n: int
    better: int | None = None
    worse: int | None = None
    unjudged: int = 0
    lowest: float | None = None
    highest: float | None = None
    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    clusters: int | None = None
    clustered_by: str = ""
    correlation: float | None = None
    error: float | None = None
    square: float | None = None

    @property
    def adjusted(self) -> float | None:
        """The p-value to go by: adjusted where it was."""
        return self.p if self.p_holm is None else self.p_holm

    @property
    def direction(self) -> Literal["rise", "fall", "none"]:
        """What it may be called: none where what could not be judged may decide it, or nothing says how far."""
        if self.unjudged and self.lowest is None:
            return "none"
        return direction(self.mean, self.adjusted, self.lowest, self.highest)


@dataclass(frozen=True, slots=True)
class Health:
    """How the replies to one task at one temperature ended.

    Attributes:
        task: its name.
        temperature: None where nothing is sampled.
        n: replies.
        truncated: those cut at the token limit.
        empty: those without a visible character.
        mean_tokens: mean length.
        outcomes: replies by the verdict's outcome.
        formatted: share of the judged replies that have the asked form: the task's own metric of it, else those in
            which an answer was found; None where no replies are made.
        paths: judged replies by the rule that found their answer, as far as verdicts say; the rarest are `other`.
        completed: the headline over the questions of which every reply ended by itself and was judged; None where
            there is none, or no replies are made.
        n_completed: these questions.
        other_rule: replies whose headline metric would be another if the other part of them had been read (all of it,
            or what follows its thoughts).

    The last five are None where they were not recorded.
    """

    task: str
    temperature: float | None
    n: int
    truncated: int
    empty: int
    mean_tokens: float
    outcomes: Mapping[str, int] = field(default_factory=dict)
    formatted: float | None = None
    paths: Mapping[str, int] | None = None
    completed: float | None = None
    n_completed: int | None = None
    other_rule: int | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A row of a suite that was not scored, or a task whose main figure is not defined of what was asked.

    Attributes:
        task: its name.
        why: what is missing, and how it is given.
    """

    task: str
    why: str


ContaminationVerdict = Literal["clean", "contaminated", "not testable", "unknown", "off"]


@dataclass(frozen=True, slots=True)
class Contamination:
    """A task's questions in the data that made the model.

    Attributes:
        task: its name.
        items: questions that were scored.
        testable: those long enough to be found by n-grams.
        found: of these, those that one training row has above the rule's threshold.
        whole: of the others, those that stand in a training row as a whole.
        covered: C(D), the share of the questions' tokens that n-grams of the data cover (F5).
        rule: by which they were looked for.
        stages: whose data were looked at; none where nothing is known of what the model was trained on. Of the base
            model's own training nothing ever is.
        sources: `stage/source` of data that the task contaminates: more than 2 % of the testable questions (F6), or
            of the others as a whole.
        metric: the task's main one.
        clean: its mean over the testable questions that were not found, the mean's 95 % interval, and their number;
            empty where no question was found, or there are none of these. Of questions that are not testable and were
            not found as a whole nothing is known, and they are in neither part.
        contaminated: the same over those that were found, as a whole too.
        off: why nothing was looked for.
        unknown: stages that made the model and whose data could not be looked at, or not all of them, each with why.
    """

    task: str
    items: int
    testable: int = 0
    found: int = 0
    whole: int = 0
    covered: float = 0.0
    rule: str = ""
    stages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    metric: str = ""
    clean: tuple[float, ...] = ()
    contaminated: tuple[float, ...] = ()
    off: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def verdict(self) -> ContaminationVerdict:
        """In a word; `clean` only where all that is known to have trained the model was looked at."""
        if self.off:
            return "off"
        if self.found or self.whole:
            return "contaminated"
        if not self.stages or self.unknown:
            return "unknown"
        return "clean" if self.testable else "not testable"

    def __str__(self) -> str:
        """As a column has it."""
        if self.off:
            return f"off: {self.off}"
        words = []
        if self.found:
            words.append(f"{self.found:,} of {self.testable:,} contaminated")
        elif self.stages and self.testable:
            words.append("none found" if self.unknown else "clean")
        if self.stages and self.testable < self.items:
            words.append(f"{1 - self.testable / self.items:.1%} not testable" if self.testable else "not testable")
        if self.whole:
            words.append(f"{self.whole:,} as a whole")
        if self.sources:
            words.append("over the limit")
        if self.unknown:
            words.append(f"unknown: {' '.join(dict.fromkeys(why.partition(': ')[0] for why in self.unknown))}")
        return ", ".join(words) or "unknown"


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast outputs of one task at one temperature were made and scored, by the attempt that ended the evaluation.

    Attributes:
        task: its name.
        temperature: None where nothing is sampled.
        outputs: that this attempt made or took from the store.
        recalled: those of them that were taken from the store.
        seconds: for all of them, judging with it; without loading the model.
        read: tokens of prompts, of texts that were scored, and of choices, with the context of each question once.
            What questions share, as worked examples, is computed once and counted for each.
        written: tokens of replies.
        cost: of an endpoint's replies and of judges, by their prices; 0 where they have none.
    """

    task: str
    temperature: float | None
    outputs: int
    recalled: int
    seconds: float
    read: int
    written: int
    cost: float = 0.0

    @property
    def rate(self) -> float | None:
        """Tokens a second, read and written; None where outputs were recalled, which took none."""
        return None if self.recalled or self.seconds <= 0 else (self.read + self.written) / self.seconds


@dataclass(frozen=True, slots=True)
class Scores(Event):
    """What an evaluation found.

    Attributes:
        scores: per task, temperature and metric, a task's main metric first.
        differences: to the stages it is compared with.
        health: of the replies per task and temperature.
        missing: rows of suites for which data or a judge are missing, and tasks without their main figure.
        openings: of sealed benchmarks, by this evaluation and by those of the models that its model was made of.
        contamination: of each task, by the data that made the model.
        timing: how fast each task was, and what it cost.
    """

    event: ClassVar[str] = "scores"
    scores: tuple[ScoreRow, ...]
    differences: tuple[Difference, ...]
    health: tuple[Health, ...]
    missing: tuple[Missing, ...] = ()
    openings: tuple[Opening, ...] = ()
    contamination: tuple[Contamination, ...] = ()
    timing: tuple[Speed, ...] = ()
