"""A recipe with an online stage, run as a user runs it: what `show sample`, the console and the report say of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main

RECIPE = """
name: rl
model: package:aftertrain.plugins.quickstart/model
observers: [html, {use: console, style: plain, every_seconds: 0}]
stages:
  rlvr:
    use: online
    advantages: group
    data: {use: quickstart, split: problems, rows: 4}
    rewards: [{use: gsm8k, extract: strict}]
    sampling: {max_new_tokens: 32}
    batch: {prompts: 4, samples_per_prompt: 4}
    validation: {data: {use: quickstart, split: heldout, rows: 5}, every: 2}
    steps: 3
    optimizer: {lr: 3.0e-4}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the run `rl`, and what the console said."""
    folder, before = tmp_path_factory.mktemp("online"), Path.cwd()
    (folder / "rl.yaml").write_text(RECIPE)
    os.chdir(folder)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            assert main(["run", "rl.yaml"]) == 0
        yield folder, said.getvalue()
    finally:
        os.chdir(before)


def _samples(folder: Path, step: int) -> list[dict[str, Any]]:
    (path,) = folder.glob(f"runs/rl/stages/rlvr-*/samples/step-{step:05d}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_console_tells_each_step(run: tuple[Path, str]) -> None:
    folder, said = run
    samples = _samples(folder, 3)
    mean = sum(float(str(sample["reward"])) for sample in samples) / len(samples)
    lines = said.splitlines()
    place = max(i for i, line in enumerate(lines) if line.startswith("rlvr: 3/3 steps"))
    assert re.match(
        rf"    reward {re.escape(f'{mean:.3g}')}  accuracy \d+ %.*  held-out \d+ % \[\d+, \d+\]$", lines[place + 1]
    )
    assert re.match(r"    KL -?[\d.e-]+  sampled entropy [\d.]+  clipped 0 %  parity [\d.]+e-0\d", lines[place + 2])
    assert any(re.match(r"    [\d.]+ tokens a reply  \d+ % cut  groups of one reward \d+ %", line) for line in lines)
    assert any(
        re.match(r"    [\d.]+ s a step: generate [\d.]+, .*update [\d.]+, .*validate [\d.]+", line) for line in lines
    )


def test_a_reward_is_a_tree(run: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Of the replies of step 2 one that is right, and one without the mark that the strict rule asks for."""
    folder, _ = run
    samples = _samples(folder, 2)
    unread = next(s for s in samples if str(s["response"]).count("####") == 0 and s["finish_reason"] == "stop")
    assert main(["show", "sample", "rl:rlvr", str(unread["id"]), "--step", "2"]) == 0
    page = capsys.readouterr().out
    last = re.findall(r"-?\d+", str(unread["response"]))[-1]
    assert page.startswith(f"rl:rlvr · step 2 · {unread['id']} · quickstart-problems\nalso in step 1, 3 (--step N)\n")
    assert str(unread["prompt"]) in page
    (truth,) = re.findall(r"compared with '(-?\d+)'\n", page)
    for words in (
        "├─ earned 0",
        "│  ├─ gsm8k: unparsable → 0",
        "│  │  ├─ nothing extracted",
        "│  │  ├─ rule: no answer by the strict rule",
        f"│  │  ├─ read with extract=flexible: scored {int(last == truth)}, '{last}'   ← another verdict",
        "│  │  └─ read with equality=string: unparsable\n",
        "│  └─ verification 0\n",
        "made by the weights of version 1\n",
    ):
        assert words in page
    learnt = unread["state"] != "no_signal"
    tokens = unread["tokens"]
    assert f"tokens: {tokens} {'learnt' if learnt else 'no_signal'}\n" in page


def test_a_problem_shows_its_replies_over_the_steps(run: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = run
    problem = str(_samples(folder, 1)[0]["problem"])
    assert main(["show", "sample", "rl", problem]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["step", "id", "reward", "verdict", "tokens", "reply"]
    assert [row.split()[:2] for row in rows] == [
        [str(step), f"{problem}/{number}"] for step in (1, 2, 3) for number in range(4)
    ]
    assert main(["show", "sample", "rl", problem, "--step", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_report_shows_replies_by_token_over_the_steps(run: tuple[Path, str]) -> None:
    """A problem whose replies fared differently: each step that asked it, its rewards, and its tokens in colour."""
    folder, _ = run
    page = (folder / "runs" / "rl" / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="rollouts"') :]
    samples = _samples(folder, 1)
    for problem in {str(sample["problem"]) for sample in samples}:
        shown = section[section.index(f"<code>{problem}</code>") :].partition("</details>")[0]
        assert [f"Step {step}</p>" in shown for step in (1, 2, 3)] == [True] * 3
        for step in (1, 2, 3):
            rewards = sorted((s["reward"] for s in _samples(folder, step) if s["problem"] == problem), reverse=True)
            told = ", ".join(f"{reward:g}" for reward in rewards)
            assert f'<td class="num">{step}</td><td class="num">' in shown
            assert f"<td>{told}</td>" in shown
    paid = next(sample for sample in samples if sample["reward"] == 10 and sample["advantage"])
    (verdict,) = paid["verdicts"]
    assert re.search(
        rf'<mark><span class="adv up l\d" title="advantage \+[\d.]+">{verdict["extracted"]}</span></mark>', section
    )
    assert "Generator and trainer apart" in page
    assert "Verified as right, held out" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("rl:rlvr", "quickstart-problems-0-0/9"),
            "no reply 'quickstart-problems-0-0/9' in any step. Did you mean 'quick",
        ),
        (("rl:rlv", "x"), "no stage with rollouts named 'rlv'. Did you mean 'rlvr'?"),
        (("r", "x"), "no run 'r': it is neither a folder nor a name under runs/. Did you mean 'rl'?"),
    ],
)
def test_what_is_not_there_is_named(
    run: tuple[Path, str], words: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "sample", *words]) == 1
    assert message in capsys.readouterr().err
    assert main(["show", "sample", "rl:rlvr"]) == 2
    assert "aftertrain show sample RUN:STAGE ID" in capsys.readouterr().err


def test_a_reward_of_another_name_than_the_check_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function that judges every reply: the data's check names no reward, and what it was given is shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def short(completions, **columns):\n    return [1.0 / (1 + len(str(c))) for c in completions]\n",
        encoding="utf-8",
    )
    text = RECIPE.replace("{use: gsm8k, extract: strict}", "{use: trl_reward, function: ./mine.py:short}")
    text = text.replace("steps: 3", "steps: 1").replace("    validation:", "    # validation:")
    (tmp_path / "rl.yaml").write_text(text, encoding="utf-8")
    assert main(["run", "rl.yaml"]) == 0
    sample = _samples(tmp_path, 1)[0]
    capsys.readouterr()
    assert main(["show", "sample", "rl", str(sample["id"])]) == 0
    told = capsys.readouterr()
    assert "short" in told.out
    assert "cannot be had" not in told.out
    assert "Traceback" not in told.out + told.err
