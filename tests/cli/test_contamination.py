"""`aftertrain contamination` (F6): planted data, every kind of file, and what is wrong with files."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

ASKED = "Ann has seven red apples and buys four more on Monday. How many apples does Ann have in all?"
OTHER = "A train leaves the station at noon and travels ninety miles in two hours. What is its speed?"


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, texts, strict=False)]


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return lines(tmp_path / "asked.jsonl", [{"id": "q1", "question": ASKED}, {"id": "q2", "question": OTHER}])


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.skipif("AFTERTRAIN_DATA" not in os.environ, reason="needs the shared data")
@pytest.mark.parametrize("rule", ["tulu3", "robust"])
def test_precision_and_recall_are_one_on_the_planted_set(
    rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every planted row is flagged with the item that it holds and with its share, and no other row is."""
    data = Path(os.environ["AFTERTRAIN_DATA"]) / "contamination"
    out, page, certificate = (tmp_path / name for name in ("flagged.jsonl", "hits.html", "certificate.json"))
    words = [str(data / "train.jsonl.gz"), "--against", str(data / "eval_prompts.jsonl"), "--out", str(out)]
    words += ["--rule", rule, "--html", str(page), "--certificate", str(certificate)]
    assert main(["contamination", *words]) == 1  # above 2 % of both sets
    truth = {row["id"]: row for row in read(data / "ground_truth.jsonl")}
    flagged = read(out)
    assert {row["id"]: (row["evaluation"], row["item"]) for row in flagged} == {
        id_: (row["eval_set"], row["eval_id"]) for id_, row in truth.items()
    }
    if rule == "tulu3":
        shares = {row["id"]: row["share"] for row in flagged}
        assert shares == pytest.approx({id_: row["token_coverage_8gram"] for id_, row in truth.items()}, abs=1e-4)
    said = capsys.readouterr().out
    assert "flagged: 60 rows" in said
    assert page.read_text(encoding="utf-8").count("<article") == 60
    facts = json.loads(certificate.read_text(encoding="utf-8"))
    assert {entry["name"]: entry["found"] for entry in facts["result"]["evaluations"]} == {
        "gsm8k_test": 42,
        "ifeval": 18,
    }
    recalls = {entry["edit"]: entry["interval"]["mean"] for entry in facts["result"]["recall"]}
    assert min(recalls.values()) == 1.0 if rule == "robust" else recalls["as a list"] < 1.0


def test_a_flagged_row_says_where_both_texts_are_the_same(tmp_path: Path, asked: Path) -> None:
    given = f"Solve: {ASKED.upper()} Thanks!"
    train = lines(
        tmp_path / "train.jsonl",
        [
            {"id": "clean", "messages": turns("Hi", ASKED)},  # an assistant's turn is not looked at
            {"id": "dirty", "source": "web", "messages": turns("Hi", "Hello", given)},
        ],
    )
    out = tmp_path / "deep" / "flagged.jsonl"
    assert main(["contamination", str(train), "--against", str(asked), "--out", str(out)]) == 1
    [row] = read(out)
    start = given.index("ANN")
    end = given.index("?")
    assert {key: row[key] for key in ("id", "source", "evaluation", "item", "share", "how")} == {
        "id": "dirty",
        "source": "web",
        "evaluation": "asked",
        "item": "q1",
        "share": 1.0,
        "how": "ngrams",
    }
    assert row["spans"] == [{"turn": 2, "start": start, "end": end}]
    assert row["item_spans"] == [{"text": 0, "start": 0, "end": len(ASKED) - 1}]
    assert row["texts"]["2"][start:end].lower() == row["item_texts"][0][: len(ASKED) - 1].lower()


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("a.jsonl", {"messages": turns(ASKED, "11")}),
        ("a.jsonl.gz", {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": "11"}]}),
        ("a.parquet", {"messages": turns(ASKED, "11")}),
        ("a.parquet", {"instruction": "Solve this.", "input": ASKED, "output": "11"}),
        ("a.json", {"prompt": ASKED, "completion": "11"}),
        ("a.jsonl", {"prompt": turns(ASKED), "chosen": turns("11")}),
        ("a.jsonl", {"chosen": turns(ASKED, "11"), "rejected": turns(ASKED, "12")}),
        ("a.csv", {"question": ASKED, "answer": "11"}),
        ("a.jsonl", {"text": f"Long before. {ASKED} Long after."}),
        ("a.txt", {"text": ASKED}),
    ],
)
def test_every_layout_and_kind_of_file_is_read(name: str, row: dict[str, Any], tmp_path: Path, asked: Path) -> None:
    train, rows = tmp_path / name, [row]
    if name.endswith(".parquet"):
        parquet(train, rows)
    elif name.endswith(".csv"):
        train.write_text(f'question,answer\n"{row["question"]}",11\n', encoding="utf-8")
    elif name.endswith(".txt"):
        train.write_text(f"nothing\n\n{row['text']}\n", encoding="utf-8")
    elif name.endswith(".json"):
        train.write_text(json.dumps(rows), encoding="utf-8")
    elif name.endswith(".gz"):
        train.write_bytes(gzip.compress((json.dumps(row) + "\n").encode()))
    else:
        lines(train, rows)
    out = tmp_path / "flagged.jsonl"
    assert main(["contamination", str(train), "--against", str(asked), "--out", str(out), "--planted", "0"]) == 1
    assert [found["item"] for found in read(out)] == ["q1"]


def test_a_task_is_asked_without_its_examples_and_wording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight worked examples stand before each question of GSM8K; a row that has them has no question."""
    questions = lines(tmp_path / "gsm8k.jsonl", [{"question": q, "answer": "#### 11"} for q in (ASKED, OTHER)])
    (tmp_path / "data.yaml").write_text(f"gsm8k: {{file: {questions}}}", encoding="utf-8")
    shots = "There are 15 trees in the grove. Grove workers will plant trees in the grove today. After they are done, "
    shots += "there will be 21 trees. How many trees did the grove workers plant today?"
    rows = [{"id": "shots", "prompt": f"Question: {shots}\nAnswer:"}, {"id": "item", "prompt": ASKED}]
    train, out = lines(tmp_path / "train.jsonl", rows), tmp_path / "flagged.jsonl"
    words = [str(train), "--against", "gsm8k", "--data", str(tmp_path), "--out", str(out), "--planted", "0"]
    assert main(["contamination", *words]) == 1
    [found] = read(out)
    assert (found["id"], found["share"], found["item_texts"]) == ("item", 1.0, [ASKED])
    assert "gsm8k" in capsys.readouterr().out


def test_short_items_are_told_and_never_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = tmp_path / "short.txt"
    items.write_text("Who wrote the novel Dune?\nDune\n", encoding="utf-8")
    train = lines(tmp_path / "train.jsonl", [{"prompt": "who wrote the novel dune"}])
    assert main(["contamination", str(train), "--against", str(items), "--planted", "0"]) == 1  # one of two short ones
    said = capsys.readouterr().out.splitlines()
    header, line = (text.split("  ") for text in said if text.startswith(("evaluation", "short")))
    cells = dict(zip(filter(None, map(str.strip, header)), filter(None, map(str.strip, line)), strict=False))
    assert cells["not testable"] == "100.0%"
    assert cells["share"] == "not testable"
    assert cells["as a whole"] == "1"
    assert cells["C(s), C(D) 8-grams"] == "not testable, 0.0%"
    assert line[-1].strip() == "contaminated"


def test_short_items_do_not_thin_out_the_mean_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One long item that the corpus has whole, and three of few words: C(s) is 100 % of one item, not a quarter."""
    items = lines(tmp_path / "asked.jsonl", [{"question": text} for text in (ASKED, "Dune?", "Why not?", "Six?")])
    train = lines(tmp_path / "train.jsonl", [{"prompt": ASKED}])
    assert main(["contamination", str(train), "--against", str(items), "--planted", "0", "--sizes", "2"]) == 1
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("asked "))
    shares = [cell.strip().rpartition(", ")[0] for cell in line.split("  ") if " of " in cell]
    assert shares == ["50.0% of 2 items", "100.0% of 1 item", "50.0% of 2 items"]


def test_an_empty_column_gives_way_to_the_next(tmp_path: Path) -> None:
    """No turns, or no text, beside a question."""
    items = lines(tmp_path / "a.jsonl", [{"prompt": [], "question": ASKED}, {"prompt": "", "question": OTHER}])
    train, out = lines(tmp_path / "train.jsonl", [{"prompt": ASKED}, {"prompt": OTHER}]), tmp_path / "flagged.jsonl"
    words = [str(train), "--against", str(items), "--out", str(out), "--planted", "0"]
    assert main(["contamination", *words]) == 1
    assert [row["item_texts"] for row in read(out)] == [[ASKED], [OTHER]]


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = tmp_path / "train.jsonl"
    good = json.dumps({"prompt": "fine"})
    train.write_bytes(f"{good}\n{{broken\n{json.dumps({'x': 1})}\n".encode() + b'{"prompt": "\xff"}\n')
    assert main(["contamination", str(train), "--against", str(asked), "--planted", "0"]) == 0
    said = capsys.readouterr().out
    assert "1 training row," in said
    assert "3 rows could not be read" in said
    assert f"{train}:2: not JSON" in said
    assert f"{train}:3: no turns and no text; it has x" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{t}", "--against", "gsm9k"], "Did you mean 'gsm8k'?"),
        (["{t}", "--against", "{t}", "--rule", "tulu"], "no rule of contamination named 'tulu'. Did you mean 'tulu3'?"),
        (["{t}", "--against", "none.jsonl"], "none.jsonl: cannot be read"),
        (["none.jsonl", "--against", "{t}"], "none.jsonl: cannot be read"),
        (["{x}", "--against", "{t}"], "t.xyz: is read by its name, which must end in .jsonl"),
        (["{t}", "--against", "{t}", "--column", "promt"], "did you mean 'prompt'?"),
        (["{e}", "--against", "{t}"], "no rows"),
        (["{t}", "--against", "{t}", "--sizes", "5;8"], "numbers from 1 to 64"),
        (["{t}", "--against", "{t}", "--against", "{u}"], "evaluation sets need different names"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = lines(tmp_path / "t.jsonl", [{"prompt": ASKED}])
    (tmp_path / "u").mkdir()
    files = {
        "t": train,
        "e": lines(tmp_path / "e.jsonl", []),
        "u": lines(tmp_path / "u" / "t.jsonl", [{"prompt": OTHER}]),
        "x": lines(tmp_path / "t.xyz", [{"prompt": OTHER}]),
    }
    assert main(["contamination", *(word.format(**files) for word in words)]) in (1, 2)
    assert said in capsys.readouterr().err


def test_what_is_looked_for_may_be_misspelt_or_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "One two three four five six seven eight nine ten?", "response": "x"}\n')

    def said(against: str, code: int) -> str:
        assert main(["contamination", str(rows), "--against", against, "--planted", "0"]) == code
        out, err = capsys.readouterr()
        return out + err

    told = said("tulu3-deb", 2)
    assert "error: tulu3-deb: no eval_task named 'tulu3-deb'." in told
    assert "Did you mean the suite 'tulu3-dev'?" in told
    assert "no eval_task named 'gsm9k'. Did you mean 'gsm8k'?" in said("gsm9k", 2)
    for name, text, why in (
        ("a.jsonl", "", "a.jsonl: no rows"),
        ("b.txt", "\n \n", "b.txt: no lines"),
        ("c.jsonl", '{"id": 1, "prompt": null}\n', "c.jsonl:1: no column of prompt, "),
        ("d.jsonl", '{"prompt": 3}\n', "d.jsonl:1: column 'prompt' must be a text or turns, found int"),
    ):
        (tmp_path / name).write_text(text)
        assert why in said(str(tmp_path / name), 1)
    (tmp_path / "e.jsonl").write_text('{"prompt": ""}\n{"prompt": "?!"}\n')
    (row,) = (line for line in said(str(tmp_path / "e.jsonl"), 0).splitlines() if line.startswith("e  "))
    assert row.split()[:6] == ["e", "all", "2", "100.0%", "0", "not"]


def test_a_gigantic_row_is_shown_where_it_matters(tmp_path: Path) -> None:
    """The item stands behind 100,000 other characters, and the file of flagged rows holds a part of both texts."""
    asked = "How many of the seven red apples on the old table are left today?"
    long = "é " * 50_000 + asked + " z" * 50_000
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": long, "response": "x"}) + "\n")
    (tmp_path / "asked.txt").write_text(asked + "\n")
    out, html = tmp_path / "flagged.jsonl", tmp_path / "hits.html"
    words = [str(tmp_path / "rows.jsonl"), "--against", str(tmp_path / "asked.txt"), "--planted", "0"]
    assert main(["contamination", *words, "--out", str(out), "--html", str(html)]) == 1
    row = json.loads(out.read_text())
    [span] = row["spans"]
    assert long[span["start"] : span["end"]] == asked[:-1]
    start = row["cut"]["0"]
    assert row["texts"]["0"] == long[start : start + 20_000]
    assert row["texts"]["0"][span["start"] - start : span["end"] - start] == asked[:-1]
    assert html.read_text().count(f"<mark>{asked[:-1]}</mark>") == 2
