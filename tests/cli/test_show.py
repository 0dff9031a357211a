"""`aftertrain show`: it finds what is meant; the tokens that a run trains on, and nothing that steers a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from aftertrain.cli import main

RECIPE = """
name: r
model: {model}
stages:
  first: {{use: train, loss: sft, data: {{use: jsonl, path: talks.jsonl, source: talks}}, optimizer: {{lr: 1.0e-3}},
           batch: {{sequences: 2, max_tokens: 64}}, epochs: 2}}
  second: {{use: train, from: first, loss: dpo, optimizer: {{lr: 1.0e-3}},
            data: {{use: jsonl, path: pairs.jsonl, format: preference, source: pairs}}}}
"""
TALKS = [("a", "Hi", "Ho\x1b[2J"), ("b", "One", "Two"), ("c", "Red", "Blue")]


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two stages, three conversations (one of which would clear the screen), one pair."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": name, "messages": [{"role": "user", "content": ask}, {"role": "assistant", "content": reply}]}
        for name, ask, reply in TALKS
    ]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pair = {"id": "p", "prompt": "Well?", "chosen": "Yes", "rejected": "No"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    (tmp_path / "r.yaml").write_text(RECIPE.format(model=tiny_model))
    return tmp_path / "r.yaml"


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["show", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_learnt_tokens_are_marked_without_a_terminal(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both steps of an epoch together show each row once, its reply and end token in marks."""
    pages = [shown(capsys, recipe, "--step", step) for step in (1, 2)]
    assert pages[0].startswith("first, step 1: 2 segments, ")
    bodies = re.findall(
        r"── (\w) · source talks · \d+ tokens, \d+ learnt · \S*talks.jsonl:\d ─*\n(.*?<eos>⟧)",
        "".join(pages),
        re.DOTALL,
    )
    assert dict(bodies) == {
        "a": "<|user|>\nHi\n<|assistant|>\n⟦Ho\\x1b[2J<eos>⟧",
        "b": "<|user|>\nOne\n<|assistant|>\n⟦Two<eos>⟧",
        "c": "<|user|>\nRed\n<|assistant|>\n⟦Blue<eos>⟧",
    }
    assert "\x1b" not in "".join(pages)


def test_it_shows_what_the_run_trains_on(recipe: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Segments, tokens and micro-batches of every step are those of the run's events."""
    claims = [shown(capsys, recipe, "first", "--step", step).splitlines()[0] for step in (1, 2, 3, 4)]
    capsys.readouterr()
    assert main(["run", str(recipe), "stages.first.on_nonfinite=stop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "r: loading torch and the components of 2 stages"
    models = sorted(tmp_path.glob("runs/r/stages/*/model"))
    told = [f"model of {path.parent.name.partition('-')[0]}: {path}" for path in models]
    assert lines[-4:] == [*told, f"report: aftertrain report {tmp_path / 'runs' / 'r'}", str(tmp_path / "runs" / "r")]
    events = [json.loads(line) for line in (tmp_path / "runs/r/events.jsonl").read_text().splitlines()]
    tokens = [e["data"]["tokens"] for e in events if e["name"] == "metrics" and e["stage"] == "first"]
    assert [int(re.search(r"(\d+) tokens", claim)[1]) for claim in claims] == tokens  # type: ignore[index]
    assert [e["data"]["at"] for e in events if e["name"] == "data_check"] == ["first", "second"]


def test_colours_and_pairs(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, recipe, "second", "--color")
    assert "\x1b[36m── p · chosen · source pairs · " in page
    assert "\x1b[32m\x1b[1mYes<eos>\x1b[0m" in page
    assert "\x1b[2m<|assistant|>\x1b[0m" in page
    assert "⟦" not in page
    assert page.index("chosen") < page.index("rejected")


def test_ids_one_a_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last token of each segment is the end token, id 2, and learnt."""
    page = shown(capsys, recipe, "--ids", "--segments", "1")
    lines = [line.split() for line in page.splitlines() if re.match(r" +\d", line)]
    assert [int(line[0]) for line in lines] == list(range(len(lines)))
    assert lines[-1][1:] == ["2", "learnt", "'<eos>'"]
    assert lines[0][2] == "context"
    assert "… and 1 more segment (-n 0 shows all)" in page


def test_the_old_word_works_and_says_the_new_one(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-batch", str(recipe), "second", "--segments", "1"]) == 0
    said = capsys.readouterr()
    assert said.out == shown(capsys, recipe, "second", "-n", "1")
    assert said.err == "note: 'show-batch' is now: aftertrain show --batch\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dppo"], "no component, recipe or file is named 'dppo'. Did you mean 'dpo'?"),
        (["loss"], "'loss' is a kind: aftertrain list loss shows its components"),
        (["loss", "dppo"], "no loss named 'dppo'. Did you mean 'dpo'?"),
        (["seed=1"], "'seed=1' is an override; the NAME of what to show stands before it"),
        (["gsm8k"], "  aftertrain show verifier gsm8k: "),
        (["gsm8k"], "  aftertrain show eval_task gsm8k: "),
        (["quickstart"], "  aftertrain show quickstart --batch: what the recipe quickstart trains on"),
    ],
)
def test_a_name_of_nothing_or_of_several_is_answered(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_rows_are_shown_as_they_are_read(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, recipe, "first", "--rows", "-n", 2)
    assert re.search(r"── a · Conversation of jsonl · \S*talks.jsonl:1 ─*\n", page)
    assert "messages, user: Hi\nmessages, assistant: Ho\\x1b[2J\nsource: talks\n── b · " in page
    assert "── c" not in page
    assert "chosen, assistant: Yes\nrejected, assistant: No\n" in shown(capsys, recipe, "second", "--rows")


SOLVING = """
name: s
model: {model}
stages:
  rl: {{use: online, loss: ppo, data: &data {{use: jsonl, path: sums.jsonl, format: gsm8k, as: problem}},
        rewards: [gsm8k], steps: 1, optimizer: {{lr: 1.0e-3}}}}
  eval: {{use: evaluate, tasks: [{{use: problems, data: *data, verifier: gsm8k}}]}}
"""


def test_prompts_are_shown_as_the_model_reads_them(
    recipe: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe.parent / "sums.jsonl").write_text('{"id": "q", "question": "2 + 2?", "answer": "#### 4"}\n')
    (recipe.parent / "s.yaml").write_text(SOLVING.format(model=tiny_model))
    for arguments in (["rl"], ["eval"], ["eval", "--prompts"]):
        page = shown(capsys, recipe.parent / "s.yaml", *arguments)
        assert "<|user|>\n2 + 2?" in page
        assert page.endswith("<|assistant|>\n\n")
    assert main(["show", str(recipe), "first", "--prompts"]) == 1
    assert "stage 'first' asks a model nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["third"], "no stage named 'third'. There are: first, second."),
        (["--step", "5"], "stage 'first' has steps 1 to 4, not 5"),
        (["first", "second"], "one STAGE at a time, not first, second"),
        (["stages.first.batch.max_tokens=4"], "no row is left to train on of 3 (overlong: 3)"),
    ],
)
def test_mistakes(recipe: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(recipe), *arguments]) != 0
    assert message in capsys.readouterr().err


def test_overrides_and_streams(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, recipe, "first", "stages.first.batch.sequences=3")
    assert page.startswith("first, step 1: 3 segments, ")
    page = shown(
        capsys,
        recipe,
        "stages.first.stream.window=1",
        "stages.first.max_steps=3",
        "stages.first.batch.sequences=1",
        "--step",
        "2",
    )
    assert "── b · source talks" in page


FEEDBACK = """
name: r
model: {model}
stages:
  kto: {{use: train, loss: kto, optimizer: {{lr: 1.0e-3}}, batch: {{sequences: 5, max_tokens: 64}},
         data: {{use: jsonl, path: feedback.jsonl, format: feedback, source: said}}}}
"""


@pytest.fixture
def feedback(recipe: Path, tiny_model: Path) -> Path:
    """Five replies, the first three of them desirable."""
    rows = [{"id": f"k{i}", "prompt": f"Say {i}", "completion": f"Reply {i}", "label": i < 3} for i in range(5)]
    (recipe.parent / "feedback.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (recipe.parent / "k.yaml").write_text(FEEDBACK.format(model=tiny_model))
    return recipe.parent / "k.yaml"


def test_probes_are_context_and_no_part_of_the_sums(feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A step of KTO with its probes learns what it learns without; they counted twice the replies as learnt."""
    page, bare = (shown(capsys, feedback, "--segments", 0, *more) for more in ([], ["stages.kto.loss.kl=none"]))
    claim, own = page.splitlines()[0], bare.splitlines()[0]
    assert own.startswith("kto, step 1: 5 segments, ")
    assert claim == f"{own}, beside 5 probes"
    assert re.search(r"micro-batch 1 of 1: (\d+) tokens in 5 segments, beside \d+ tokens in 5 probes, no padding", page)
    assert page.count("⟦") == bare.count("⟦") == 5
    learnt = [int(n) for n in re.findall(r"tokens, (\d+) learnt · ", page)]
    assert len(learnt) == 5
    assert f" {sum(learnt)} of them learnt " in claim
    probes = re.findall(
        r"── k\d/probe · probe, for the KL estimate only, not learnt · source said · \d+ tokens ─*\n", page
    )
    assert len(probes) == 5
    assert "beside" not in bare
    assert " · probe" not in bare


@pytest.mark.parametrize("kl", ["mismatched", "none"])
def test_replies_are_shown_with_their_labels(kl: str, feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = shown(capsys, feedback, "--segments", 0, f"stages.kto.loss.kl={kl}")
    assert dict(re.findall(r"── (k\d) · (\w+) · source said · ", page)) == {
        **dict.fromkeys(("k0", "k1", "k2"), "desirable"),
        **dict.fromkeys(("k3", "k4"), "undesirable"),
    }


def test_tokens_of_probes_are_context(feedback: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One a line as well; and what is not shown is counted by kind."""
    page = shown(capsys, feedback, "--ids", "--segments", 2)
    reply, probe = page.split("/probe")
    assert " learnt  " in reply
    assert " learnt  " not in probe
    assert page.endswith("\n… and 4 more segments and 4 probes (-n 0 shows all)\n")


def test_samples_of_a_run_are_the_last_it_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the run's name, or by the recipe that made it."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "r"
    run.mkdir(parents=True)
    verdict = {"verifier": "gsm8k", "outcome": "scored", "value": 0.0, "extracted": "5"}
    lines = [
        {
            "name": "sample",
            "stage": stage,
            "step": step,
            "data": {"prompt": f"{step} + 2?\x1b[2J", "response": "#### 5", "reward": 0.0, "verdicts": [verdict]},
            "attempt": 1,
            "time": 1.0,
        }
        for stage, step in (("rl", 1), ("rl", 2), ("more", 1))
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = shown(capsys, "r", "rl", "--samples", "-n", 1)
    assert page.startswith("── rl · step 2 ─")
    assert page.endswith("\nprompt: 2 + 2?\\x1b[2J\nresponse: #### 5\nreward: 0.0\ngsm8k: scored · 0.0 · 5\n")
    assert shown(capsys, run, "--samples", "--step", 1).count("prompt: 1 + 2?") == 2
    (tmp_path / "made.yaml").write_text(RECIPE.format(model="./m"))
    assert shown(capsys, "made.yaml", "--samples").count("── ") == 3
    assert main(["show", "r", "sft", "--samples"]) == 1
    assert "no such samples; stages that recorded some: rl, more" in capsys.readouterr().err
    assert main(["show", "q", "--samples"]) == 1
    assert "no run 'q'" in capsys.readouterr().err
