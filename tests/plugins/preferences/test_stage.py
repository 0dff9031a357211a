"""The stage `preferences` from a recipe (F18–F21): models and raters of files beside it say what a table tells them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from aftertrain.cli import main
from aftertrain.plugins.preferences.rating import Rating
from aftertrain.plugins.preferences.weighted import Part, together

PARTS = '''
import json, os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from aftertrain.core.generator import Generator
from aftertrain.core.records import Completion, Verdict
from aftertrain.core.settings import Settings
from aftertrain.core.verifier import Verifier

HERE = Path(__file__).parent


class Table(Generator[Settings]):
    """An endpoint that nobody runs: what it replies to a request stands in a table, else it says the request's id."""

    Config = Settings
    remote: ClassVar[bool] = True

    def __init__(self, settings, builder):
        super().__init__(settings, builder)
        self.queue = []

    @property
    def takes(self):
        return "messages"

    def open(self, model, version=0):
        self.model = model

    def submit(self, requests):
        self.queue += requests

    def collect(self, timeout=None):
        if not self.queue:
            return []
        request = self.queue.pop(0)
        with (HERE / "asked.txt").open("a") as file:
            file.write(request.id + "\\n")
        if (HERE / "dies").exists() and len((HERE / "asked.txt").read_text().splitlines()) > 7:
            os._exit(9)
        table = json.loads((HERE / "table.json").read_text())
        text, finish = table.get(request.id, [f"{request.id} mark=3", "stop"])
        return [Completion(request.id, (), (-1,) * 3, (), (0,) * 3, finish, text, why="withheld")]

    def cancel(self, ids=None):
        self.queue = []

    def update_weights(self, weights, version):
        pass


def mark(response):
    return response.rpartition("mark=")[2]


class Marks(Verifier[Settings]):
    """Reads the mark that a reply gives itself, 1 to 5; na applies to none, and ?? cannot be read."""

    Config = Settings
    isolated: ClassVar[bool] = False
    every_problem: ClassVar[bool] = True

    @property
    def needs_truth(self):
        return False

    def verify(self, cases):
        return [self.one(mark(case.response)) for case in cases]

    def one(self, said):
        if said == "na":
            return Verdict.abstained("n/a")
        return Verdict.scored((float(said) - 1) / 4) if said.isdigit() else Verdict.unparsable("no mark")


class Two(Marks):
    """Rates two aspects: a mark `4,na` is 4 for the first, and nothing for the second."""

    scale: ClassVar[tuple[float, float]] = (1.0, 5.0)

    def aspects_of(self, cases):
        return [dict(zip(("help", "honesty"), map(self.one, mark(case.response).split(",")))) for case in cases]


class First(Marks):
    """Compares two replies, and likes what it is shown first, but for a mark of 5."""

    compares: ClassVar[bool] = True

    def verify(self, cases):
        return [
            Verdict.scored(float(mark(case.ground_truth["other"]) != "5" or mark(case.response) == "5"))
            for case in cases
        ]
'''
RECIPE = """
name: prefs
stages:
  prefs:
    use: preferences
    data: {{use: jsonl, path: rows.jsonl, format: {format}, as: {as_}}}
    models:
      - {{model: "http://nowhere/v1#one", samples: 2}}
      - {{model: "http://nowhere/v1#two", samples: 2}}
    generator: ./parts.py:Table
    rating: {rating}
    block: 2
{more}
"""


def make(
    folder: Path, table: dict[str, list[str]], rating: str, more: str = "", n: int = 5, as_: str = "problem"
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "parts.py").write_text(PARTS, encoding="utf-8")
    (folder / "table.json").write_text(json.dumps(table), encoding="utf-8")
    rows = [{"id": f"p{i}", "question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(n)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "recipe.yaml"
    text = RECIPE.format(
        rating=rating, more="".join(f"    {line}\n" for line in more.splitlines()), format="gsm8k", as_=as_
    )
    path.write_text(text, encoding="utf-8")
    return path


def run(path: Path) -> Path:
    assert main(["run", str(path), "--out", str(path.parent / "runs")]) == 0
    return artifact(path.parent)


def artifact(folder: Path) -> Path:
    (found,) = (folder / "runs" / "prefs" / "stages").glob("prefs-*/data")
    return found


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted((folder / kind).iterdir()) for line in file.read_text().splitlines()]


def marked(id: str, mark: str, finish: str = "stop") -> list[str]:
    return [f"{id} mark={mark}", finish]


def table(*entries: tuple[str, str]) -> dict[str, list[str]]:
    return {id: marked(id, mark) for id, mark in entries}


JUDGED = "{judge: ./parts.py:Marks, scale: [1, 5]}"


def test_dropped_replies_in_the_middle_shift_no_neighbour_f18(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One reply is withheld, one empty, one cut, one unreadable to the judge, a prompt ties: every pair is its own."""
    best = {f"p{i}/two/1": marked(f"p{i}/two/1", "5") for i in range(5)}
    worst = {f"p{i}/one/1": marked(f"p{i}/one/1", "1") for i in range(5)}
    dropped = {
        "p1/one/0": ["", "refused"],
        "p1/two/0": ["", "stop"],
        "p2/one/0": marked("p2/one/0", "4", "length"),
        "p2/two/0": marked("p2/two/0", "??"),
        **table(*((f"p3/{model}/{n}", "2") for model in ("one", "two") for n in (0, 1))),
    }
    folder = run(make(tmp_path, {**best, **worst, **dropped}, JUDGED))
    pairs = lines(folder, "rows")
    assert [pair["id"] for pair in pairs] == ["p0/pair", "p1/pair", "p2/pair", "p4/pair"]
    for pair in pairs:
        facts, prompt = json.loads(pair["facts"]), pair["id"].split("/")[0]
        number = int(prompt[1:])
        assert pair["prompt"][0]["content"].startswith(f"What is {number} + 1?")
        assert pair["chosen"][0]["content"] == f"{prompt}/two/1 mark=5"
        assert pair["rejected"][0]["content"].split("/")[0] == prompt
        mark = float(pair["rejected"][0]["content"].rpartition("=")[2])
        assert (facts["chosen_rating"], facts["rejected_rating"]) == (5.0, mark)
        assert pair["margin"] == 5.0 - mark
        assert facts["strength"] == pytest.approx((5.0 - mark) / 5.0)
        assert pair["origin"] == [prompt]
    assert json.loads(pairs[1]["facts"])["rejected_reply"] == "p1/one/1"
    assert json.loads(pairs[2]["facts"])["rejected_reply"] == "p2/one/1"
    ends = {line["id"]: line["state"] for line in lines(folder, "replies")}
    assert len(ends) == 5 * 4
    assert ends["p1/one/0"] == "dropped: refused"
    assert ends["p1/two/0"] == "dropped: empty"
    assert ends["p2/one/0"] == "dropped: cut"
    assert ends["p2/two/0"] == "dropped: unrated: unparsable"
    assert ends["p3/one/0"] == "set_aside"
    (left,) = lines(folder, "dropped")
    assert (left["id"], left["reason"]) == ("p3", "tie")
    told = "".join(capsys.readouterr())
    assert "9 rows: 4 kept, 4 replaced, 1 dropped: tie" in told
    assert "20 responses: 4 chosen, 4 rejected, 8 set aside, 1 dropped: cut, 1 dropped: empty" in told
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"] == [pair["id"] for pair in pairs]


def test_an_aspect_that_does_not_apply_is_missing_f18(tmp_path: Path) -> None:
    """4 and N/A are 4, more than 3 and 4; with −1 for N/A it would be 1½. Margins are on the judge's own scale."""
    replies = {
        f"p{i}/{model}/{n}": marked("x", mark)
        for i in range(5)
        for (model, n), mark in zip(
            (("one", 0), ("one", 1), ("two", 0), ("two", 1)), ("4,na", "3,4", "3,4", "na,na"), strict=True
        )
    }
    replies = {id: [f"{id} {text[0]}", "stop"] for id, text in replies.items()}
    folder = run(make(tmp_path, replies, "{judge: ./parts.py:Two}"))
    pairs = lines(folder, "rows")
    assert len(pairs) == 5
    for pair in pairs:
        facts = json.loads(pair["facts"])
        assert facts["chosen_reply"].endswith("/one/0")
        assert (facts["chosen_rating"], facts["rejected_rating"]) == (4.0, 3.5)
        assert facts["chosen_rated"] == {"help": 4.0, "honesty": None}
    ends = {line["id"]: line["state"] for line in lines(folder, "replies")}
    assert ends["p0/two/1"] == "dropped: unrated: abstained"


def test_margin_filters_and_the_card_tells_the_mixture_f19_f21(tmp_path: Path) -> None:
    """Ratings 3, 3, 3 and 3 + i for prompt i: of the margins 0, 1 and 2 there is a tie, and τ = 1 keeps the last."""
    replies = table(*((f"p{i}/two/1", str(3 + i)) for i in range(3)))
    folder = run(make(tmp_path, replies, JUDGED, "margin: 1\nrejected: lowest\ndiversity_weight: 0.25", n=3))
    (pair,) = lines(folder, "rows")
    assert pair["margin"] == 2.0
    assert {line["id"]: line["reason"] for line in lines(folder, "dropped")} == {"p0": "tie", "p1": "margin"}
    figures = json.loads((folder / "preferences.json").read_text())
    pairs = figures["pairs"]
    assert pairs["strength"] == pytest.approx(2 / 5)
    models = {json.loads(pair["facts"])[f"{side}_model"] for side in ("chosen", "rejected")}
    assert pairs["diversity"] == (1.0 if len(models) == 2 else 0.0)
    assert pairs["mixture_quality"] == pytest.approx(0.25 * pairs["diversity"] + 0.75 * 2 / 5)
    assert "Mixture quality (F21)" in (folder / "README.md").read_text()


def test_a_judge_of_pairs_rates_by_wins_and_its_bias_of_place_is_told(tmp_path: Path) -> None:
    """It prefers what stands first, but for a 5: each prompt's 5 wins all, and half of the comparisons follow place."""
    folder = run(make(tmp_path, table(*((f"p{i}/one/1", "5") for i in range(5))), "{judge: ./parts.py:First}"))
    pairs = lines(folder, "rows")
    assert len(pairs) == 5
    for pair in pairs:
        facts = json.loads(pair["facts"])
        assert facts["chosen_reply"].endswith("/one/1")
        assert facts["chosen_rating"] == 1.0
        assert facts["rejected_rating"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    order = json.loads((folder / "preferences.json").read_text())["order"]
    assert order == {"comparisons": 30, "first": 0.5, "second": 0.0, "neither": 0.5}
    assert "shown first, whichever it was, in 50.0 %" in (folder / "README.md").read_text()


def test_the_best_of_n_are_conversations_and_all_replies_are_rows(tmp_path: Path) -> None:
    replies = {f"p{i}/two/0": [f"{i} + 1 = {i + 1}\n#### {i + 1}", "stop"] for i in range(3)}
    verifiers = "{verifiers: [{use: gsm8k, extract: strict}]}"
    folder = run(make(tmp_path / "best", replies, verifiers, "output: best"))
    rows = lines(folder, "rows")
    assert [row["id"] for row in rows] == ["p0/two/0", "p1/two/0", "p2/two/0"]
    assert [row["messages"][-1] for row in rows] == [
        {"role": "assistant", "content": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(3)
    ]
    reasons = {line["id"]: line["reason"] for line in lines(folder, "dropped")}
    assert reasons == {"p3": "below the bound", "p4": "below the bound"}
    folder = run(make(tmp_path / "rows", replies, verifiers, "output: rows"))
    rows = lines(folder, "rows")
    assert len(rows) == 20
    ratings = {row["id"]: json.loads(row["facts"])["rating"] for row in rows}
    assert {id for id, rating in ratings.items() if rating == 1.0} == set(replies)


def test_a_kill_loses_no_reply_that_was_paid_and_changes_no_byte(tmp_path: Path) -> None:
    """Killed at its eighth request, in the middle of a block: the seven replies before it are not asked for again."""
    replies = table(*((f"p{i}/two/1", "5") for i in range(5)), ("p2/one/1", "1"))
    path = make(tmp_path / "killed", replies, JUDGED)
    (path.parent / "dies").touch()
    command = [sys.executable, "-m", "aftertrain.cli", "run", str(path), "--out", str(path.parent / "runs")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 9
    (path.parent / "dies").unlink()
    killed = run(path)
    asked = (path.parent / "asked.txt").read_text().split()
    assert len(asked) == 21
    assert len(set(asked)) == 20
    whole = run(make(tmp_path / "whole", replies, JUDGED))
    for kind in ("rows", "replies", "dropped"):
        files = [[(f.name, f.read_bytes()) for f in sorted((folder / kind).iterdir())] for folder in (killed, whole)]
        assert files[0] == files[1]
    assert (killed / "preferences.json").read_bytes() == (whole / "preferences.json").read_bytes()


def test_what_was_left_out_is_shown_row_by_row_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = table(*((f"p{i}/two/1", str(3 + i)) for i in range(3)))
    path = make(tmp_path, replies, JUDGED, "margin: 1\nrejected: lowest", n=3)
    path.write_text(f"{path.read_text(encoding='utf-8')}observers: [html]\n", encoding="utf-8")
    run(path)
    capsys.readouterr()
    assert main(["show", "rows", f"{tmp_path / 'runs' / 'prefs'}:prefs", "--dropped", "preferences"]) == 0
    told = capsys.readouterr().out
    assert "What is 1 + 1?" in told
    assert "margin" in told
    page = (tmp_path / "runs" / "prefs" / "report.html").read_text(encoding="utf-8")
    for words in ("mixture quality", "mean rating of two", "preferences: margin", "whose chosen reply is longer"):
        assert words in page


WEIGHTED = """
      weighted:
        - {weight: 0.5, judge: ./parts.py:Two}
        - {weight: 0.25, name: first, judge: ./parts.py:Marks, scale: [0, 10]}
        - {weight: 3, verifiers: [{use: gsm8k, extract: strict}]}
"""


def test_several_raters_are_weighed_and_each_of_them_is_told(tmp_path: Path) -> None:
    """By hand, to prompt 0 (whose answer is 1): Two reads 4 as one aspect, 1 + 4·¾; Marks the same mark on 0 to 10;
    the answer is right. ½·4 + ¼·7.5 + 3·1 = 6.875. A reply without an answer is the lowest for gsm8k, 0: one marked 5
    comes to ½·5 + ¼·10 + 0 = 5. One that a judge cannot read has no rating, whatever the others say."""
    ids = [f"p{i}/{model}/{n}" for i in range(2) for model in ("one", "two") for n in (0, 1)]
    said = table(*((id, "na") for id in ids))
    said |= {
        "p0/one/0": ["#### 1 mark=4", "stop"],
        "p0/one/1": ["none mark=5", "stop"],
        "p0/two/0": ["#### 1 mark=x", "stop"],
    }
    folder = run(make(tmp_path, said, WEIGHTED, "unjudgeable: drop", n=2))
    (pair,) = lines(folder, "rows")
    facts = json.loads(pair["facts"])
    assert (facts["chosen_reply"], facts["rejected_reply"]) == ("p0/one/0", "p0/one/1")
    assert (facts["chosen_rating"], facts["rejected_rating"]) == (6.875, 5.0)
    parts = {"judge": 4.0, "judge.help": 4.0, "first": 7.5, "verifiers": 1.0, "verifiers.gsm8k": 1.0}
    assert facts["chosen_rated"] == parts
    states = {line["id"]: line for line in lines(folder, "replies")}
    assert states["p0/two/0"]["rating"] is None
    assert states["p0/two/0"]["state"] == "dropped: unrated: judge: unparsable"
    assert json.loads(states["p0/two/0"]["rated"])["verifiers"] == 1.0
    verdicts = json.loads((folder / "preferences.json").read_text())["verdicts"]
    assert verdicts["judge.help"]["scored"] == 2
    assert verdicts["verifiers.gsm8k"]["scored"] >= 2


def test_a_rater_named_like_its_verifier_keeps_its_own_rating() -> None:
    """A rating is by the rater's name and what its verifier says is a fact of it, whatever the two are called."""
    rating = Rating(2.0, facts={"gsm8k": 1.0, "steps": 0.5})
    found = together([(Part("gsm8k", 3.0, None), rating)])  # type: ignore[arg-type]
    assert found.value == 6.0
    assert found.facts == {"gsm8k": 2.0, "gsm8k.gsm8k": 1.0, "gsm8k.steps": 0.5}


def test_what_was_known_of_a_prompt_stays_with_what_is_made_of_it(tmp_path: Path) -> None:
    """Facts of operators and the history of the row that was asked, on pairs and on prompts that made none."""
    best = {f"p{i}/two/1": marked(f"p{i}/two/1", "5") for i in range(5)}
    ties = table(*((f"p3/{model}/{n}", "2") for model in ("one", "two") for n in (0, 1)))
    path = make(tmp_path, {**best, **ties}, JUDGED)
    text = path.read_text(encoding="utf-8")
    head, tail = text.split("  prefs:\n")
    data = tail.splitlines()[1]
    (tmp_path / "ops.py").write_text(EDIT, encoding="utf-8")
    curate = f"  curate:\n    use: curate\n{data}\n    operators: [length, ./ops.py:Louder]\n"
    path.write_text(head + curate + "  prefs:\n" + tail.replace(data, "    data: {use: stage, from: curate}"))
    folder = run(path)
    pairs, (left,) = lines(folder, "rows"), lines(folder, "dropped")
    assert len(pairs) == 4
    for pair in pairs:
        facts = json.loads(pair["facts"])
        assert facts["length.words"] == 5
        assert facts["chosen_rating"] == 5.0
        assert pair["history"] == ["Louder", "preferences"]
        assert pair["source"] == "rows"
    assert json.loads(left["facts"])["length.words"] == 5


EDIT = """
from dataclasses import replace
from aftertrain.core.operator import Change
from aftertrain.core.settings import Settings


class Louder(Change[Settings]):
    def changed(self, row):
        first, *rest = row.record.prompt
        return replace(row.record, prompt=(replace(first, content=first.content + "!"), *rest))
"""


def test_conversations_are_asked_up_to_their_last_reply(tmp_path: Path) -> None:
    path = make(tmp_path, table(*((f"p{i}/two/1", "5") for i in range(5))), JUDGED, as_="conversation")
    pairs = lines(run(path), "rows")
    assert [[turn["role"] for turn in pair["prompt"]] for pair in pairs] == [["user"]] * 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{judge: ./parts.py:Marks, scale: [1, 5]}", "{}"), "name one of verifiers, judge, reward_model and weighted"),
        ((JUDGED, "{weighted: [{judge: string}, {judge: string}]}"), "weighted: judge stands there more than once"),
        (
            (JUDGED, "{weighted: [{name: a, judge: string}, {name: a.b, judge: string}]}"),
            "weighted: a.b reads like a fact of a",
        ),
        ((JUDGED, "{weighted: [{weight: 2}]}"), "name one of verifiers, judge and reward_model, not none"),
        ((JUDGED, "{weighted: [{judge: string}], scale: [1, 5]}"), "set, and not used: each rater has its own"),
        ((JUDGED, "{weighted: [{verifiers: [math]}, {judge: ./parts.py:Marks}]}"), "no reward named 'gsm8k'"),
        (("#two", "#one"), "models: one stands there more than once"),
        (("generator: ./parts.py:Table", "generator: transformers"), "is an endpoint: set generator: openai"),
        (("{judge: ./parts.py:Marks, scale: [1, 5]}", "{verifiers: [math]}"), "no reward named 'gsm8k'"),
        (("{judge: ./parts.py:Marks, scale: [1, 5]}", "{reward_model: rm}"), "no stage named 'rm'"),
        (("block: 2", "at_least: 3"), "it is for output: best"),
        (("block: 2", "output: pears"), "output"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], said: str
) -> None:
    path = make(tmp_path, {}, JUDGED)
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    assert main(["plan", str(path)]) != 0
    assert said in "".join(capsys.readouterr())


def test_a_models_name_may_begin_with_anothers_and_a_dot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Unlike a rater's: no fact is named after a model."""
    path = make(tmp_path, {}, JUDGED)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("#one", "#v1").replace("#two", "#v1.1"), encoding="utf-8")
    assert main(["plan", str(path)]) == 0, "".join(capsys.readouterr())


def test_where_no_row_comes_out_it_is_said_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, {}, JUDGED, n=2)
    assert main(["run", str(path), "--out", str(tmp_path / "runs")]) != 0
    assert "no row came out of 2 prompts (2 tie); of their replies 8 set_aside" in "".join(capsys.readouterr())
