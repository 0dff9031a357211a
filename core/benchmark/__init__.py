"""What the tasks of benchmarks share, a stranger's as well: rows by one rule, worked examples, likelihoods compared.

A task names its `Source`, has `BenchmarkSettings` among its settings, and asks `source.rows(...)`; `Shots` gives the
worked examples before a question; `likelihood` compares choices of unlike length; `ReplyBenchmark` is all of this for
a task whose replies are read, and `JudgedBenchmark` for one whose replies a verifier judges, such as a model.
"""

from __future__ import annotations

from aftertrain.core.benchmark.judged import JudgedBenchmark, JudgedSettings
from aftertrain.core.benchmark.replies import Question, ReplyBenchmark, ReplyBenchmarkSettings
from aftertrain.core.benchmark.rows import Row
from aftertrain.core.benchmark.shots import Shots
from aftertrain.core.benchmark.source import BenchmarkSettings, Source

__all__ = [
    "BenchmarkSettings",
    "JudgedBenchmark",
    "JudgedSettings",
    "Question",
    "ReplyBenchmark",
    "ReplyBenchmarkSettings",
    "Row",
    "Shots",
    "Source",
]
