"""What goes wrong while rows are curated: nothing is lost, the message names it, and the same bytes come out after."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.errors import DataError, MissingExtra, UnknownName
from aftertrain.core.operator import Dropped, Operator, Row
from aftertrain.core.records import Document
from aftertrain.core.rows.chain import through
from aftertrain.core.rows.funnel import Funnel
from aftertrain.core.settings import Settings
from tests.plugins.curation.test_curate import shards

OPERATORS = '''
import os, signal, time
from pathlib import Path
from aftertrain.core.errors import UnknownName
from aftertrain.core.operator import Filter
from aftertrain.core.settings import Settings

HERE = Path(__file__).parent


class Dies(Filter[Settings]):
    """Kills its process at the row 25, where the file `deadly` is."""

    def dropped(self, row):
        if row.id == "r25" and (HERE / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return row.drop("odd") if len(row.text) % 2 else None


class Raises(Filter[Settings]):
    """Fails at row 25."""

    def dropped(self, row):
        return 1 / 0 if row.id == "r25" else None


class Misses(Filter[Settings]):
    """Raises what is made of other arguments than its message."""

    def dropped(self, row):
        raise UnknownName("colour", "gren", ["green", "red"])


class Bounded(Filter[Settings]):
    """Gives a text as a bound."""

    def bounds(self):
        return {"Bounded.words": [1, "2"]}

    def dropped(self, row):
        return None


class Waits(Filter[Settings]):
    """Tells its process's id, and waits for ever."""

    def dropped(self, row):
        (HERE / f"pid-{os.getpid()}").touch()
        time.sleep(600)
'''
RECIPE = """
name: curated
stages:
  curate:
    use: curate
    data: {{use: jsonl, path: rows.jsonl}}
    operators: [./ops.py:{operator}]
    shard_rows: 10
    workers: {workers}
"""


def recipe(folder: Path, operator: str = "Dies", workers: int = 2) -> Path:
    """Forty conversations, r0 to r39."""
    folder.mkdir(exist_ok=True)
    (folder / "ops.py").write_text(OPERATORS)
    rows = [
        {"id": f"r{i}", "messages": [{"role": "user", "content": "?" * i}, {"role": "assistant", "content": "!"}]}
        for i in range(40)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(operator=operator, workers=workers))
    return path


def run(path: Path, *more: str) -> int:
    return main(["run", str(path), "--out", str(path.parent / "runs"), *more])


@pytest.mark.slow
def test_a_killed_worker_is_told_and_the_same_bytes_come_out_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = recipe(tmp_path / "whole", workers=1), recipe(tmp_path / "killed")
    assert run(whole) == 0
    (killed.parent / "deadly").touch()
    assert run(killed) == 1
    told = capsys.readouterr().err
    assert "a process that worked on rows was killed (of memory, or by somebody); what is done is kept" in told
    assert "Traceback" not in told
    (killed.parent / "deadly").unlink()
    assert run(killed) == 0
    assert shards(killed.parent) == shards(whole.parent)


def test_a_bound_that_is_no_number_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe(tmp_path, operator="Bounded", workers=1)) == 1
    told = capsys.readouterr().err
    assert "Bounded' gave '2' as a bound of 'Bounded.words': no finite int or float" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("bound", [None, True, math.nan, math.inf, "2", [2]])
def test_no_other_bound_is_one_either(bound: Any) -> None:
    with pytest.raises(DataError, match=r"operator 'mine' gave .* as a bound of 'words'"):
        Funnel().bound("words", bound, "mine")


@pytest.mark.slow
def test_a_killed_run_leaves_no_worker_behind(tmp_path: Path) -> None:
    path = recipe(tmp_path, operator="Waits")
    code = "import sys; from aftertrain.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "run", str(path), "--out", str(tmp_path / "runs")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        process.kill()
    workers = [int(file.name.removeprefix("pid-")) for file in tmp_path.glob("pid-*")]
    _until(lambda: not any(map(_runs, workers)))


def _until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.05)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_operator_that_fails_is_told_with_its_row_and_line(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(recipe(tmp_path, "Raises", workers)) == 1
    told = capsys.readouterr().err
    assert "operator 'Raises' failed at row 'r25': ZeroDivisionError: division by zero (" in told
    assert "ops.py:24)" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_an_error_of_any_kind_arrives_from_another_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe(tmp_path, "Misses")) == UnknownName.exit_code
    assert "no colour named 'gren'. Did you mean 'green'? There are: green, red." in capsys.readouterr().err


def test_errors_survive_pickling() -> None:
    import pickle

    for error in (UnknownName("colour", "gren", ["green"]), MissingExtra("lingua", "data", "language"), DataError("x")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("limit", [1_500, 8_000])
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    limit: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it strikes: in the first shard that is read, or in the card."""
    whole, full = recipe(tmp_path / "whole", workers=1), recipe(tmp_path / "full", workers=1)
    assert run(whole) == 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        status = run(full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr().err
    assert status == 1, told
    assert "cannot write" in told
    assert "Traceback" not in told
    assert run(full) == 0
    assert shards(full.parent) == shards(whole.parent)


def test_what_the_data_hold_of_odd_lines_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Broken encodings, a gigantic row, other schemas and nonsense: each in the books, what is left comes out."""
    path = recipe(tmp_path, "Dies", workers=1)
    turns = [{"role": "user", "content": "x" * 200_000}, {"role": "assistant", "content": "!"}]
    odd = [
        b'{"messages": [{"role": "user", "content": "\xff\xfe"}, {"role": "assistant", "content": "!"}]}',
        json.dumps({"messages": turns}).encode(),
        json.dumps({"messages": [{"role": "user", "content": "y" * (5 << 20)}, turns[1]]}).encode(),
        b'{"prompt": "a", "response": "b"}',
        b'{"messages": "none"}',
        b"[1, 2]",
        b"",
        b'{"messages": [',
    ]
    with (tmp_path / "rows.jsonl").open("ab") as file:
        file.write(b"\n".join(odd) + b"\n")
    assert run(path) == 0
    told = capsys.readouterr().out
    (balance,) = [line for line in told.splitlines() if "books balance" in line]
    contents = json.loads(next((tmp_path / "runs").rglob("data.json")).read_text())
    kept = sum(shard["rows"] for shard in contents["shards"])
    assert kept == 20, balance
    assert balance.startswith("curate: books balance: 47 rows: 20 kept, "), balance
    assert sum(int(part.split()[0]) for part in balance.partition(" rows: ")[2].split(", ")) == 47, balance


def test_nothing_to_curate_and_nothing_left_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(tmp_path, "Dies", workers=1)
    rows = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text(rows[0] + rows[2])
    assert run(path) == 1
    assert "no row is left: of 2 rows Dies left out 2" in capsys.readouterr().err
    for text in ("", "nonsense\n"):
        (tmp_path / "rows.jsonl").write_text(text)
        assert run(path) == 1
        assert "Traceback" not in capsys.readouterr().err


def _rows(count: int = 3) -> list[Row]:
    return [Row(Document(f"d{i}", "text", "here")) for i in range(count)]


class Twice(Operator[Settings]):
    """Drops a row twice."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        for row in rows:
            yield row.drop("a")
            yield row.drop("b")


class Both(Operator[Settings]):
    """Drops a row and keeps it."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        for row in rows:
            yield row.drop("a")
            yield row


class Foreign(Operator[Settings]):
    """Drops a row that it was not given."""

    def apply(self, rows: Iterable[Row], seed: int) -> Iterator[Row | Dropped]:
        yield from list(rows)
        yield Row(Document("else", "", "here")).drop("a")


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (Twice, "dropped row 'd0' twice"),
        (Both, "dropped row 'd0' and kept it"),
        (Foreign, "dropped row 'else', which it was not given"),
    ],
)
def test_accounts_that_do_not_add_up_are_errors(operator: type[Operator[Settings]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        through(_rows(), [("odd", operator(Settings(), None))], 0)  # type: ignore[arg-type]
