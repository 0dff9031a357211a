"""Questions that share a passage: from the data to scores, differences, tables and plans."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from aftertrain.core.events import Difference, ScoreRow
from aftertrain.core.figures import Figure, grouped, mean
from aftertrain.core.statistics import Weights, mean_interval, paired_difference, paired_p
from aftertrain.plugins.evaluation import summary
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.observers import wording
from aftertrain.testing.build import build

PASSAGES = [f"p{number // 4}" for number in range(40)]
RIGHT = [float(number // 4 % 3 > 0) for number in range(40)]
"""Ten passages of four questions; those of a passage are all right, or all wrong."""


def row(number: int, value: float, cluster: str) -> ScoredInstance:
    place = dict(group="ab"[number >= 20], cluster=cluster)  # noqa: C408
    return ScoredInstance(
        str(number), "t", 0.0, "", "said", None, "said", "scored", {"acc": value}, finish_reason="stop", **place
    )


def task(*figures: Figure) -> Any:
    inner = SimpleNamespace(metrics=("acc",), clustered_by="passage")
    return SimpleNamespace(
        name="t", temperatures=(0.0,), figures=figures, withhold_above=0.05, fingerprint="f", task=inner
    )


ROWS = [row(number, RIGHT[number], PASSAGES[number]) for number in range(40)]


def test_scores_are_by_passages() -> None:
    micro, macro = summary.scores([task(mean("acc"), grouped(mean("acc")))], ROWS)
    expected = mean_interval(RIGHT, clusters=PASSAGES)
    assert (micro.low, micro.high, micro.n) == (expected.low, expected.high, 40)
    assert (micro.clusters, micro.clustered_by) == (10, "passage")
    assert micro.high is not None
    assert micro.low is not None
    assert micro.high - micro.low > 1.6 * (mean_interval(RIGHT).high - mean_interval(RIGHT).low)
    weights = Weights.of_groups(["a"] * 20 + ["b"] * 20)
    assert macro.low == mean_interval(RIGHT, weights, PASSAGES).low
    assert wording.score(micro).endswith("n = 40, clustered by passage, 10 clusters")
    (alone,) = summary.scores([task(mean("acc"))], [row(n, RIGHT[n], "") for n in range(40)])
    assert (alone.clusters, alone.clustered_by, alone.low) == (None, "", mean_interval(RIGHT).low)


def test_differences_are_by_passages() -> None:
    """Two whole passages got better: of two clusters that changed nothing is shown, of eight questions p is 2/2⁸."""
    after = [1.0 if number // 4 in (0, 3) else RIGHT[number] for number in range(40)]
    rows = [row(number, after[number], PASSAGES[number]) for number in range(40)]
    (found,) = summary.differences([task(mean("acc"))], rows, {"before": ROWS})
    expected = paired_difference(RIGHT, after, None, PASSAGES)
    assert (found.low, found.high, found.n, found.clusters) == (expected.low, expected.high, 40, 10)
    assert found.p == 0.5
    assert paired_p(RIGHT, after) == 2 / 2**8
    # Two of ten clusters of four rose: (10/9)·(2·3.2² + 8·0.8²)/40² over (8·0.8² + 32·0.2²)/(39·40).
    assert found.effect == pytest.approx(13 / 3)
    assert found.correlation is None, "60 pairs of questions are too few"
    assert "clustered by passage, 10 clusters" in wording.difference(found)


def test_either_side_may_name_the_clusters() -> None:
    """Runs of before clusters were recorded have none in their rows: both directions are the same."""
    after = [1.0 if number // 4 in (0, 3) else RIGHT[number] for number in range(40)]
    new = [row(number, after[number], PASSAGES[number]) for number in range(40)]
    old = [row(number, RIGHT[number], "") for number in range(40)]
    (there,) = summary.differences([task(mean("acc"))], new, {"a": old})
    (back,) = summary.differences([task(mean("acc"))], old, {"a": new})
    assert (there.mean, there.low, there.high) == (-back.mean, -back.high, -back.low)
    assert (there.p, there.clusters, there.clustered_by, there.error) == (0.5, 10, "passage", back.error)
    assert (back.p, back.clusters, back.clustered_by) == (0.5, 10, "passage")


@pytest.mark.parametrize(
    ("name", "n", "clusters", "by"),
    [
        ("boolq", 3270, 2939, "passage"),
        ("socialiqa", 1954, 1930, "context"),
        ("piqa", 1838, 1803, "goal"),
        ("hellaswag", 10042, 8407, "source"),
    ],
)
def test_questions_of_olmes_know_what_they_share(shared_data: Path, name: str, n: int, clusters: int, by: str) -> None:
    """Counted in the data by their own columns."""
    built: Any = build("eval_task", name, data=str(shared_data / "hub"), subset=False)
    assert built.clustered_by == by
    instances = built.instances()
    assert (len(instances), len({instance.cluster for instance in instances})) == (n, clusters)


def test_questions_of_agieval_know_their_passages(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"agieval_english: {{file: '{shared_data}/agieval_en/{{config}}'}}\n")
    built: Any = build("eval_task", "agieval_english", data=str(tmp_path))
    assert built.clustered_by == "passage"
    of_exam: dict[str, set[str]] = {}
    for instance in built.instances():
        of_exam.setdefault(instance.group, set()).add(instance.cluster)
    assert {exam: len(there - {""}) for exam, there in of_exam.items()} == {
        "aqua-rat": 0, "gaokao-english": 77, "logiqa-en": 557, "lsat-ar": 40, "lsat-lr": 507, "lsat-rc": 40,
        "sat-en": 44, "sat-math": 7,
    }  # fmt: skip


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    path = tmp_path / "passages.jsonl"
    rows = [
        {"question": f"{text} {number}?", "choices": ["yes", "no"], "answer": number % 2, "passage": text}
        for text in (f"Passage {place}." for place in range(20))
        for number in range(10)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in rows), encoding="utf-8")
    return path


def test_an_evaluation_tells_its_clusters(
    tiny_model: Path, passages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a file of anyone's, whose column of passages is named."""
    import aftertrain
    from aftertrain.api.results import write_results
    from aftertrain.cli.evaluate import echo_scores

    given = {"use": "multiple_choice", "path": str(passages), "columns": {"cluster": "passage"}, "chat": False}
    (row_,) = aftertrain.evaluate(str(tiny_model), given, out=tmp_path / "run")
    assert (row_["n"], row_["clusters"], row_["clustered_by"]) == (200, 20, "passage")
    echo_scores([row_])
    assert "200, clustered by passage, 20 clusters" in capsys.readouterr().out
    write_results(tmp_path / "run", tmp_path / "card.md")
    assert "| 200, clustered by passage, 20 clusters |" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "clustered by passage, 20 clusters" in aftertrain_report(tmp_path / "run")


def aftertrain_report(run: Path) -> str:
    from aftertrain.plugins.report.page import render

    return render(run)


def test_a_plan_counts_with_clusters(tiny_model: Path, passages: Path) -> None:
    """20 passages of 10: 1 + 9 · 0.1 = 1.9 times as many questions, where nothing else is known."""
    from aftertrain.cli.plan import plan

    words = ["multiple_choice", f"path={passages}", "columns.cluster=passage", "chat=false", "--detect", "20pt"]
    result = CliRunner().invoke(plan, [str(tiny_model), *words])
    assert result.exit_code == 0, result.output
    told = "note: clustered by passage: 200 questions in 20 clusters, 10.0 on average, 10 at most; "
    assert (
        told + "differences are counted with a design effect of 1.9 (correlation 0.1 within a cluster" in result.output
    )
    without = CliRunner().invoke(plan, [str(tiny_model), *(word for word in words if "cluster" not in word)])
    assert "clustered" not in without.output

    def needed(output: str) -> int:
        return int(output.splitlines()[1].split()[-1])

    assert needed(without.output) < needed(result.output) < 1.9 * needed(without.output)


def test_a_plan_takes_the_correlation_of_an_earlier_pair() -> None:
    from aftertrain.api.power import Earlier, clustering_of, needed_for
    from aftertrain.core.statistics import pairs_needed

    instances: Any = [SimpleNamespace(cluster=f"p{number // 10}") for number in range(1000)]
    of: Any = SimpleNamespace(clustered_by="passage")
    earlier = Earlier(0.3, 0.25)
    found = clustering_of(of, instances, instances[:100], earlier)
    assert found is not None
    assert (found.effect, found.correlation, found.measured) == (pytest.approx(1 + 9 * 0.25), 0.25, True)
    assert needed_for(0.05, earlier, found, 1000) == pytest.approx(pairs_needed(0.05, 0.3) * 3.25, abs=1)
    assert needed_for(0.05, earlier, None, 1000) == pairs_needed(0.05, 0.3)


def test_a_plan_says_what_is_assumed_and_that_one_cluster_finds_nothing() -> None:
    from aftertrain.api.power import Earlier, clustering_of, needed_for
    from aftertrain.core.statistics import detectable

    of: Any = SimpleNamespace(clustered_by="passage")
    instances: Any = [SimpleNamespace(cluster=f"p{number // 10}") for number in range(1000)]
    assumed = clustering_of(of, instances, instances[:100], Earlier(0.3, None))
    assert "correlation 0.1 within a cluster, assumed, as the earlier pair shows none" in str(assumed)
    one = clustering_of(of, instances[:10], instances[:10], None)
    assert one is not None
    assert str(one).endswith("fewer than 6 clusters find no difference")
    assert (detectable(10, 0.3, one.effect), needed_for(0.05, None, one, 10)) == (None, None)


def test_rows_of_earlier_versions_are_read() -> None:
    """They say nothing of clusters."""
    score = ScoreRow("t", "acc", 0.0, 0.5, 0.4, 0.6, 10)
    difference = Difference("t", "acc", 0.0, "a", 0.1, 0.0, 0.2, 10)
    assert (score.clusters, difference.clusters, score.counted) == (None, None, "10")
