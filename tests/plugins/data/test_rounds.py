"""Generated rows over rounds (F2): accumulated they all stay, beside the real ones in the share that is asked for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from aftertrain.cli import main

RECIPE = """
name: rounds
stages:
  first: {{use: curate, data: {{use: quickstart, split: sft, rows: 6, seed: 1}}, workers: 1}}
  second: {{use: curate, data: {{use: quickstart, split: sft, rows: 4, seed: 2}}, workers: 1}}
  mixed:
    use: curate
    workers: 1
    data:
      use: mixture
      order: concatenated
      parts:
        - {{weight: 0.5, data: {{use: jsonl, path: real.jsonl, format: prompt_response}}}}
        - weight: 0.5
          data: {{use: rounds, policy: {policy}, of: [{{use: stage, from: first}}, {{use: stage, from: second}}]}}
"""


@pytest.mark.parametrize(
    ("policy", "generated"), [("accumulate", {"first": 6, "second": 4}), ("replace", {"second": 4})]
)
def test_rounds_accumulate_beside_real_rows(tmp_path: Path, policy: str, generated: dict[str, int]) -> None:
    """F2 with α = ½ and enough real rows: G is all that both rounds made, or what the second one made."""
    rows = [{"prompt": f"Say {n}", "response": str(n)} for n in range(12)]
    (tmp_path / "real.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(policy=policy), encoding="utf-8")
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) == 0
    (folder,) = (tmp_path / "runs" / "rounds" / "stages").glob("mixed-*/data/rows")
    ids = [json.loads(line)["id"] for path in folder.iterdir() for line in path.read_text("utf-8").splitlines()]
    seeds = {"1": "first", "2": "second"}
    found = Counter(seeds.get(id.split("-")[2], "real") if id.startswith("quickstart") else "real" for id in ids)
    assert found == {"real": sum(generated.values()), **generated}
    assert len(set(ids)) == len(ids)


def test_rounds_are_of_one_record_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(
        """
name: rounds
stages:
  mixed:
    use: curate
    data: {use: rounds, of: [{use: quickstart, split: sft}, {use: quickstart, split: problems}]}
""",
        encoding="utf-8",
    )
    assert main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "runs")]) != 0
    told = "".join(capsys.readouterr())
    assert "rounds are of one record type; found Conversation, Problem" in told
