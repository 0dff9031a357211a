"""Rows that a model judges: a shard that is done again does not pay again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aftertrain.cli import main
from aftertrain.core.completions.store import CompletionStore
from tests.plugins.curation.test_curate import shards

FILES = '''
import os, signal
from pathlib import Path
from aftertrain.core.operator import Filter
from aftertrain.core.settings import Settings
from aftertrain.plugins.judging.echo import Echo

HERE = Path(__file__).parent


class Counting(Echo):
    """Writes down each prompt that it is paid for."""

    def _completion(self, request):
        with (HERE / "paid").open("a") as file:
            file.write(self._tokenizer.decode(list(request.prompt_ids)).rpartition("\\n")[2].strip() + "\\n")
        return super()._completion(request)


class Dies(Filter[Settings]):
    """Kills its process after the row r5 was judged, where the file `deadly` is."""

    def dropped(self, row):
        if row.id == "r5" and (HERE / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if row.id == "r5" and (HERE / "failing").exists():
            raise ValueError("it fails")
        return None
'''
RECIPE = """
name: curated
stages:
  curate:
    use: curate
    data: {use: jsonl, path: rows.jsonl, format: prompt_response}
    operators:
      - use: verdict
        verifier:
          use: judge
          model: package:aftertrain.plugins.quickstart/model
          generator: {use: ./judged.py:Counting}
          template: "{{ response }}"
          chat: false
          parse: {pattern: '([0-9]+)', scale: [0, 100]}
      - ./judged.py:Dies
    shard_rows: 3
    workers: WORKERS
"""


def recipe(folder: Path, workers: int) -> Path:
    """Nine rows in three shards; the judge repeats the number that the reply is."""
    folder.mkdir()
    (folder / "judged.py").write_text(FILES, encoding="utf-8")
    rows = [{"id": f"r{n}", "prompt": f"Say {n}", "response": str(10 + n)} for n in range(9)]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("WORKERS", str(workers)), encoding="utf-8")
    return path


def run(path: Path) -> int:
    return main(["run", str(path), "--out", str(path.parent / "runs")])


def paid(folder: Path) -> list[str]:
    return sorted((folder / "paid").read_text(encoding="utf-8").split())


NINE = [str(n) for n in range(10, 19)]


@pytest.mark.slow
def test_a_killed_worker_pays_no_reply_twice(tmp_path: Path) -> None:
    """The shard of r5 is judged, killed, and done again from the run's store; the bytes are those of a whole run."""
    whole, killed = recipe(tmp_path / "whole", 1), recipe(tmp_path / "killed", 2)
    assert run(whole) == 0
    assert paid(whole.parent) == NINE
    (killed.parent / "deadly").touch()
    assert run(killed) == 1
    assert {"13", "14", "15"} <= set(paid(killed.parent))
    (killed.parent / "deadly").unlink()
    assert run(killed) == 0
    assert paid(killed.parent) == NINE
    assert shards(killed.parent) == shards(whole.parent)


def test_a_run_that_failed_pays_no_reply_twice_in_the_same_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one worker the operators stay in this process: what they held of the store is let go with the stage."""
    path = recipe(tmp_path / "one", 1)
    (path.parent / "failing").touch()
    assert run(path) == 1
    assert "it fails" in capsys.readouterr().err
    (path.parent / "failing").unlink()
    assert run(path) == 0
    assert paid(path.parent) == NINE
    lines = [line for shard in shards(path.parent).values() for line in shard.splitlines()]
    values = [json.loads(json.loads(line)["facts"])["verdict.value"] for line in lines]
    assert values == [pytest.approx((10 + n) / 100) for n in range(9)]


def test_a_full_disk_under_the_store_is_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge's replies that cannot be kept stop the stage: they were rows that the judge failed on, and the stage was
    done with them."""
    prepare = CompletionStore._prepare

    def small(store: CompletionStore) -> None:
        prepare(store)
        store._connection.execute("PRAGMA max_page_count=1")

    path = recipe(tmp_path / "one", 1)
    with monkeypatch.context() as patched:
        patched.setattr(CompletionStore, "_prepare", small)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("{{ response }}", "{{ response }} " + "long " * 40), encoding="utf-8")
        assert run(path) == 1
    assert "database or disk is full" in capsys.readouterr().err
    assert run(path) == 0
    lines = [line for shard in shards(path.parent).values() for line in shard.splitlines()]
    assert [json.loads(json.loads(line)["facts"])["verdict.outcome"] for line in lines] == ["scored"] * 9


def test_without_a_model_there_is_no_store(tmp_path: Path) -> None:
    path = recipe(tmp_path / "none", 1)
    text = path.read_text(encoding="utf-8")
    start, end = text.index("          use: judge"), text.index("      - ./judged.py:Dies")
    path.write_text(text[:start] + "          use: string\n        truth: '12'\n" + text[end:], encoding="utf-8")
    assert run(path) == 0
    assert not list((path.parent / "runs").rglob("*.sqlite"))
