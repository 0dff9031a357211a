"""The requests of nine tasks against those that OLMES sends (F43), from the rows of the hub: equal byte for byte."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.eval_task import Instance
from tests.plugins.olmes.conftest import build

NINE = ["arc_easy", "arc_challenge", "boolq", "csqa", "hellaswag", "openbookqa", "piqa", "socialiqa", "winogrande"]
ROWS = {
    "arc_easy": 2376,
    "arc_challenge": 1172,
    "boolq": 3270,
    "csqa": 1221,
    "hellaswag": 10042,
    "openbookqa": 500,
    "piqa": 1838,
    "socialiqa": 1954,
    "winogrande": 1267,
}


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    lines = gzip.decompress((shared_data / "golden" / "olmes_requests.jsonl.gz").read_bytes()).decode().splitlines()
    variants: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in map(json.loads, lines):
        variants.setdefault((row["task"], row["variant"].split("_")[1]), []).append(row)
    return variants


def requests(instance: Instance) -> list[tuple[str, str]]:
    prompt = "".join(message.content for message in instance.messages)
    return [(prompt if c.context is None else c.context, c.text) for c in instance.choices]


@pytest.mark.parametrize("formulation", ["mc", "rc"])
@pytest.mark.parametrize("name", NINE)
def test_requests_equal_those_of_olmes(
    shared_data: Path, golden: dict[tuple[str, str], list[dict[str, Any]]], name: str, formulation: str
) -> None:
    """Contexts, continuations, their order and the right one; ids where the hub has some."""
    task = build(name, shared_data / "hub", formulation=formulation, subset=False)
    instances = task.instances()
    assert len(instances) == ROWS[name]
    cases = golden[name, formulation]
    assert len(cases) >= 45
    for case in cases:
        instance = instances[case["doc_id"]]
        theirs = [(asked.get("context", case.get("context")), asked["continuation"]) for asked in case["requests"]]
        assert requests(instance) == theirs
        assert instance.target == case["label"]
        assert not instance.chat
        if case["native_id"] is not None:
            assert instance.id.split("-")[0] == str(case["native_id"]).split("-")[0]


@pytest.mark.parametrize("name", NINE)
def test_only_cloze_is_asked_unconditionally(shared_data: Path, name: str) -> None:
    """After `Answer:` alone, as OLMES's configurations have it: nine tasks but those two."""
    rules = [
        json.loads(line) for line in (shared_data / "golden" / "olmes_task_configs.jsonl").read_text().splitlines()
    ]
    for rule in rules:
        if rule["task"] == name:
            formulation = rule["variant"].split("_")[1]
            instance = build(name, shared_data / "hub", formulation=formulation).instances()[0]
            asked = rule["task_config"]["metric_kwargs"].get("uncond_docid_offset") is not None
            assert instance.baseline == ("Answer:" if asked else None)


def test_the_carried_lists_are_those_of_olmes(shared_data: Path) -> None:
    from aftertrain.plugins import olmes

    theirs = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    ours = json.loads((Path(olmes.__file__).parent / "shots.json").read_text(encoding="utf-8"))["lists"]
    assert len(ours) == 9
    assert all(ours[name]["rows"] == theirs[name] and ours[name]["licence"] for name in ours)


@pytest.mark.parametrize("name", ["piqa", "socialiqa", "arc_easy"])
def test_long_splits_are_drawn_in_the_order_of_the_draw(shared_data: Path, name: str) -> None:
    import random

    every = build(name, shared_data / "hub", subset=False).instances()
    drawn = build(name, shared_data / "hub").instances()
    places = random.Random(1234).sample(range(ROWS[name]), 1000)
    assert [instance.id for instance in drawn] == [every[place].id for place in places]
    assert len({instance.id for instance in every}) == len(every)
    assert places[:3] != sorted(places[:3])


def test_mmlu_reads_the_shared_file_by_a_map(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(f"mmlu:\n  file: {shared_data}/mmlu/{{split}}.jsonl.gz\n")
    task = build("mmlu", tmp_path, formulation="mc")
    instances = task.instances()
    assert len(instances) == 14042
    assert len({instance.group for instance in instances}) == 57
    first = instances[0]
    assert (first.id, first.group, first.target) == ("abstract_algebra/0", "abstract_algebra", 1)
    assert first.messages[0].content.startswith(
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "Question: Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.\n A. 0\n B. 1\n C. 2\n D. 3\nAnswer: B\n\n"
    )
    assert first.messages[0].content.endswith(
        "\n\nQuestion: Find the degree for the given field extension Q(sqrt(2), sqrt(3), sqrt(18)) over Q."
        "\n A. 0\n B. 4\n C. 2\n D. 6\nAnswer:"
    )
    assert first.messages[0].content.count("\nAnswer:") == 6
