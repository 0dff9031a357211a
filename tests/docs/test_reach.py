"""The column *reach* of docs/formulas.md: the page's recipe and commands run, and show what they are said to show.

A cell holds items, parted by `; `, each with what reaches the formula before an arrow, and behind it what the output
calls the quantity:

- STAGE: `line` → `name`: a line of the stage in the page's recipe, and a name in that stage's events.
- `aftertrain …` → `text`: a command, run here among the page's files, and a text that it prints.
- [page](link): `code` → `name`: what the examples of another page run (`test_examples.py`), with an assertion there on
  the name.

`VALUES` holds what can be worked out by hand from the recipe.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from aftertrain.cli import main
from aftertrain.core.learning.rollouts import RolloutFile
from tests.docs.test_examples import blocks
from tests.docs.test_formulas import TABLE, rows, targets

ITEM = re.compile(r"(?:(?P<stage>[a-z-]+): |\[[^\]]+\]\((?P<page>[^)]+)\): )?(?P<reached>`.+`) → (?P<shown>`.+`)")
REACHES = {id: row.reach for id, row in rows(TABLE.read_text(encoding="utf-8")).items() if row.reach}


def items(cell: str) -> list[re.Match[str]]:
    found = [ITEM.fullmatch(part) for part in cell.split("; ")]
    assert all(found), f"not of one of the three forms: {cell}"
    return [match for match in found if match is not None]


def leaves(value: Any) -> Iterator[str]:
    """Keys of mappings, at any depth, and the names of metrics of scores."""
    if isinstance(value, Mapping):
        yield from value
        yield from [value["metric"]] if isinstance(value.get("metric"), str) else []
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)


@dataclass(frozen=True)
class Page:
    """The files of docs/formulas.md in a folder, and what its recipe left."""

    folder: Path
    events: list[dict[str, Any]]

    def names(self, stage: str) -> set[str]:
        of_stage = [event for event in self.events if event["stage"] == stage]
        return {event["name"] for event in of_stage} | {name for event in of_stage for name in leaves(event["data"])}

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if (event["stage"], event["name"]) == (stage, "metrics")]

    def stage(self, name: str) -> Path:
        (folder,) = self.folder.glob(f"runs/formulas/stages/{name}-*")
        return folder

    def samples(self, step: int, stage: str = "rlvr") -> list[dict[str, Any]]:
        path = self.stage(stage) / "samples" / f"step-{step:05d}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def command(self, words: str) -> str:
        """What a command prints."""
        screen = TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True)
        with chdir(self.folder), redirect_stdout(screen), redirect_stderr(screen):
            status = main(shlex.split(words)[1:])
        output = screen.detach().getvalue().decode()  # type: ignore[attr-defined]
        found = " contamination " in words and "contaminated\n" in output  # that is status 1
        assert status == int(found), output
        return str(output)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("reach")
    for block in blocks(TABLE.read_text(encoding="utf-8")):
        (folder / str(block.title)).write_text(block.text, encoding="utf-8")
    ready = Page(folder, [])
    ready.command("aftertrain run formulas.yaml")
    lines = (folder / "runs" / "formulas" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ready.events.extend(map(json.loads, lines))
    return ready


@pytest.mark.parametrize("id", REACHES)
def test_it_is_reached_and_shown(page: Page, id: str) -> None:
    recipe = (page.folder / "formulas.yaml").read_text(encoding="utf-8")
    for item in items(REACHES[id]):
        reached, shown = targets(item["reached"]), targets(item["shown"])
        if item["stage"]:
            (lines,) = re.findall(rf"^  {item['stage']}:.*\n(?:    .*\n)*", recipe, re.MULTILINE)
            assert [line for line in reached if line not in lines] == []
            assert set(shown) <= page.names(item["stage"])
        elif item["page"]:
            examples = blocks((TABLE.parent / item["page"]).read_text(encoding="utf-8"))
            assert any(reached[0] in block.text for block in examples if block.language in ("console", "python"))
            assertions = [line for block in examples for line in block.text.splitlines() if line.startswith("assert ")]
            assert all(any(name in line for line in assertions) for name in shown)
        else:
            output = " ".join(page.command(reached[0]).split())
            assert [text for text in shown if text not in output] == []


def one_pair_loss(page: Page, stage: str, gamma: float = 0.0, *, first_step_alone: bool = False) -> None:
    """−log σ(margin − γ) of each step's one pair, or of pairs that all have the margin 0 at the first."""
    for step in page.metrics(stage)[: 1 if first_step_alone else None]:
        assert step["loss"] == pytest.approx(math.log1p(math.exp(gamma - step["margin"])), abs=1e-6)
        assert step["margin"] == pytest.approx(step["reward_chosen"] - step["reward_rejected"], abs=1e-6)


def curated(page: Page, stage: str, part: str = "rows") -> list[dict[str, Any]]:
    """What a stage of rows kept, or left out."""
    paths = sorted((page.stage(stage) / "data" / part).glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


def passages(page: Page, stage: str) -> dict[str, Any]:
    path = page.stage(stage) / "data" / "funnel.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))["passages"])


def f1(page: Page) -> None:
    """q is a tenth for each word of the reply, 1 at most; of the sums' five words ½, which the threshold leaves out."""
    rows = [*curated(page, "curate"), *curated(page, "curate", "dropped")]
    scores = {row["id"]: json.loads(row["facts"])["quality.score"] for row in rows}
    words = {row["id"]: len(row["messages"][-1]["content"].split()) for row in rows}
    assert scores == pytest.approx({id: min(1, count / 10) for id, count in words.items()})
    assert {row["source"] for row in curated(page, "curate", "dropped")} >= {"sums"}
    mean = sum(scores.values()) / len(scores)
    assert passages(page, "curate")["diversity"]["figures"]["quality"] == pytest.approx(mean, abs=1e-6)


def f2(page: Page) -> None:
    """α = ½ of four real rows and four that two rounds made: all of them, from both rounds."""
    assert passages(page, "curate")["length"]["came"] == {"sums": 4, "quickstart-sft": 4}
    ids = {row["id"] for part in ("rows", "dropped") for row in curated(page, "curate", part)}
    assert {id.split("-")[2] for id in ids if id.startswith("quickstart")} == {"1", "2"}


def f7(page: Page) -> None:
    """α = ¼, V half the balance of the sources, which is 1 of two equal ones, and half the distinct bigrams."""
    figures = passages(page, "curate")["diversity"]["figures"]
    diverse = 0.5 + 0.5 * figures["distinct_2"]
    assert figures["score"] == pytest.approx(0.25 * figures["quality"] + 0.75 * diverse, abs=2e-6)


def f8(page: Page) -> None:
    """Two sources of four rows each."""
    assert passages(page, "curate")["diversity"]["figures"]["source_entropy"] == pytest.approx(math.log(2), abs=1e-6)


def f33(page: Page) -> None:
    """One ground truth that a verifier can judge: V = 1, S = 1, S_max = 3, so that C and Q are ½ and ¾."""
    facts = [json.loads(row["facts"]) for row in curated(page, "problems")]
    assert [(row["rlvr_quality.complexity"], row["rlvr_quality.score"]) for row in facts] == [(0.5, 0.75)] * 4


def f11(page: Page) -> None:
    """λ = ½ times the mean of −H over tokens, on the mean of −log p."""
    for step in page.metrics("sft"):
        assert step["loss"] == pytest.approx(step["nll_per_token"] + 0.5 * step["regularizer"], abs=1e-6)
        assert step["regularizer"] == pytest.approx(-step["entropy"])


def f12(page: Page) -> None:
    """η₀ = 4e-4, t_w half of 4 steps, all batches full: √½, then 1."""
    rates = [step["learning_rate"] for step in page.metrics("sft")]
    assert rates == pytest.approx([4e-4 * math.sqrt(0.5), 4e-4, 4e-4, 4e-4])


def f13(page: Page) -> None:
    """λ = 20: of two sources with four rows each every batch of four takes two and two, of entropy log 2."""
    assert [step["batch_source_entropy"] for step in page.metrics("sft")] == pytest.approx([math.log(2)] * 4)


def f15(page: Page) -> None:
    """log 2 at the first step, where policy and reference are one."""
    one_pair_loss(page, "dpo")
    assert page.metrics("dpo")[0]["loss"] == pytest.approx(math.log(2))


def f16(page: Page) -> None:
    """As F15; five times the mean of no more than 24 tokens is less than the sum."""
    one_pair_loss(page, "dpo-length")
    assert page.metrics("dpo-length")[0]["loss"] == pytest.approx(math.log(2))


def f17(page: Page) -> None:
    """γ = ½; the reward is 2/|y| times the log-prob, |y| a whole number."""
    one_pair_loss(page, "simpo", gamma=0.5)
    for step in page.metrics("simpo"):
        tokens = 2 * step["logps_chosen"] / step["reward_chosen"]
        assert tokens == pytest.approx(round(tokens), abs=1e-3)


def rated_pairs(page: Page) -> list[tuple[float, float, dict[str, Any]]]:
    """Ratings of the chosen and the rejected reply of each pair, and the pair's facts."""
    rows = (page.stage("preferences") / "data" / "rows" / "part-00000.jsonl").read_text(encoding="utf-8").splitlines()
    facts = [json.loads(json.loads(row)["facts"]) for row in rows]
    return [(fact["chosen_rating"], fact["rejected_rating"], fact) for fact in facts]


def told_pairs(page: Page) -> dict[str, Any]:
    """What the stage says of its pairs."""
    (done,) = [e["data"] for e in page.events if (e["stage"], e["name"]) == ("preferences", "stage_done")]
    told: dict[str, Any] = done["artifact"]["details"]["preferences"]["pairs"]
    return told


def f18(page: Page) -> None:
    """Each rating is the mean of the aspects that apply, from 1 to 5; N/A is missing."""
    missing = 0
    for chosen, rejected, facts in rated_pairs(page):
        assert chosen > rejected
        for side, rating in (("chosen", chosen), ("rejected", rejected)):
            aspects = facts[f"{side}_rated"]
            assert len(aspects) == 4
            applied = [value for value in aspects.values() if value is not None]
            missing += 4 - len(applied)
            assert all(value in (1, 2, 3, 4, 5) for value in applied)
            assert rating == pytest.approx(sum(applied) / len(applied))
    assert missing


def f19(page: Page) -> None:
    """τ = ¼."""
    margins = [chosen - rejected for chosen, rejected, _ in rated_pairs(page)]
    assert min(margins) > 0.25
    assert told_pairs(page)["margin"] == pytest.approx(sum(margins) / len(margins))


def f20(page: Page) -> None:
    """(r_w − r_l)/r_w, for all ratings are above 0."""
    strengths = [(chosen - rejected) / chosen for chosen, rejected, _ in rated_pairs(page)]
    told = told_pairs(page)
    assert (told["strength"], told["strength_undefined"]) == (pytest.approx(sum(strengths) / len(strengths)), 0)


def f21(page: Page) -> None:
    """¼·D_div + ¾·D_qual: of one source and two models D_div is the entropy of the replies' models over log 2."""
    pairs = rated_pairs(page)
    models = [facts[f"{side}_model"] for _, _, facts in pairs for side in ("chosen", "rejected")]
    shares = [models.count(name) / len(models) for name in set(models)]
    diversity = -sum(share * math.log(share) for share in shares) / math.log(2)
    quality = sum((chosen - rejected) / chosen for chosen, rejected, _ in pairs) / len(pairs)
    assert told_pairs(page)["mixture_quality"] == pytest.approx(0.25 * diversity + 0.75 * quality)


def f22(page: Page) -> None:
    """β₀ = 0.1, T = 2, L = ½: 0.1·√½·√(½/log 2), for the first step's loss is log 2 under any β."""
    assert page.metrics("dpo")[0]["beta"] == pytest.approx(0.1 * math.sqrt(0.5) * math.sqrt(0.5 / math.log(2)))


def weight(step: int) -> float:
    """λ₀ = 1, T_warm = 4, T_decay = 10."""
    return math.sqrt(step / 4) * math.exp(-step / 10)


def f25(page: Page) -> None:
    """The longer reply of two is preferred; log 2 at the first step, where policy and reference are one."""
    one_pair_loss(page, "oaif", first_step_alone=True)
    assert page.metrics("oaif")[0]["loss"] == pytest.approx(math.log(2))
    for step in (1, 2):
        samples = page.samples(step, "oaif")
        for one, other in zip(samples[::2], samples[1::2], strict=True):
            lengths = [len(reply["response"].strip()) for reply in (one, other)]
            values = [reply["verdicts"][0]["value"] for reply in (one, other)]
            longer = 0.5 if lengths[0] == lengths[1] else float(lengths[0] > lengths[1])
            assert values == [longer, 1 - longer]


def f26(page: Page) -> None:
    """½·base + λ·R_verify with r_pos = 10 and r_neg = −1; a reply without an answer earns 0 (F27)."""
    paid = {1.0: 10.0, 0.0: -1.0, None: 0.0}
    for step in (1, 2):
        for sample in page.samples(step):
            verified = paid[sample["verdicts"][0]["value"]]
            assert sample["earned"] == pytest.approx(0.5 * sample["base"] + weight(step) * verified)


def f28(page: Page) -> None:
    """No distance before the first update, some after it."""
    first, second = page.metrics("rlvr")
    assert first["kl"] == 0
    assert second["kl"] != 0


def f30(page: Page) -> None:
    """The mean of what replies earned."""
    for step, metrics in enumerate(page.metrics("rlvr"), 1):
        earned = [sample["earned"] for sample in page.samples(step)]
        assert metrics["batch_reward"] == pytest.approx(sum(earned) / 8)


def f31(page: Page) -> None:
    assert [step["verification_weight"] for step in page.metrics("rlvr")] == pytest.approx([weight(1), weight(2)])


def f34(page: Page) -> None:
    """γ = λ = 1 and no KL yet: from every token on, the return is the reply's one reward, given at its end."""
    samples = page.samples(1)
    total = sum(sample["tokens"] * sample["reward"] for sample in samples)
    mean = total / sum(sample["tokens"] for sample in samples)
    assert page.metrics("rlvr")[0]["return_mean"] == pytest.approx(mean, abs=1e-5)


def f35(page: Page) -> None:
    """By the running figures of the first step alone its own rewards come to mean 1 and spread 2."""
    first = page.metrics("rlvr")[0]
    assert (first["reward"], first["reward_std"]) == (pytest.approx(1), pytest.approx(2))
    earned = [sample["earned"] for sample in page.samples(1)]
    assert first["running_reward_mean"] == pytest.approx(sum(earned) / 8)


def f36(page: Page) -> None:
    """L_i of the only task is its failures' share in the step before; one task alone weighs 1."""
    first, second = page.metrics("rlvr")
    verified = [sample["verdicts"][0]["value"] == 1.0 for sample in page.samples(1)]
    assert second["task_loss/gsm8k"] == pytest.approx(1 - sum(verified) / 8)
    assert [step["task_weight/gsm8k"] for step in (first, second)] == [1.0, 1.0]


def f40(page: Page) -> None:
    """B₀ = 16 by √(1/16)."""
    assert [step["batch_prompts"] for step in page.metrics("rlvr")] == [4.0, 4.0]
    assert len(page.samples(1)) == 4 * 2


def f37(page: Page) -> None:
    """R_t + γV_{t+1} with γ = 1 and no KL yet: the value after a token, and the reward at the last one."""
    rollouts = RolloutFile(page.stage("actor-critic"), 1).read()
    errors = []
    for sample, reply in zip(rollouts.samples, rollouts.replies, strict=True):
        returns, values, pushes = (reply.columns[name] for name in ("returns", "values", "advantages"))
        assert returns[:-1] == pytest.approx(values[:-1], abs=1e-6)
        assert returns[-1] == pytest.approx(sample.reward, abs=1e-6)
        assert (returns - pushes)[1:] == pytest.approx(values[:-1], abs=1e-5)
        errors += (0.5 * pushes**2).tolist()
    assert page.metrics("actor-critic")[0]["value_loss"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def f38(page: Page) -> None:
    for step in page.metrics("rlvr"):
        parts = step["timing"].keys() - {"seconds", "tokens_per_second"}
        assert {"generate", "verify", "update"} <= parts
        spent = sum(step["timing"][part] for part in parts)
        assert step["timing"]["tokens_per_second"] == pytest.approx(step["response_tokens"] / spent)


VALUES: dict[str, Callable[[Page], None]] = {
    "F1": f1, "F2": f2, "F7": f7, "F8": f8, "F33": f33,
    "F11": f11, "F12": f12, "F13": f13, "F15": f15, "F16": f16, "F17": f17, "F18": f18, "F19": f19, "F20": f20,
    "F21": f21, "F22": f22, "F25": f25,
    "F26": f26, "F27": f26, "F28": f28, "F30": f30, "F31": f31, "F34": f34, "F35": f35, "F36": f36, "F37": f37,
    "F38": f38, "F40": f40,
}  # fmt: skip


@pytest.mark.parametrize("id", VALUES)
def test_its_value_is_right(page: Page, id: str) -> None:
    VALUES[id](page)


def test_items_are_read() -> None:
    stage, command, other = items("sft: `a: 1`, `b` → `x`, `y`; `aftertrain plan r.yaml` → `z`; [p](q.md): `c` → `d`")
    assert (stage["stage"], targets(stage["reached"]), targets(stage["shown"])) == ("sft", ["a: 1", "b"], ["x", "y"])
    assert (command["stage"], command["page"], other["page"]) == (None, None, "q.md")
    with pytest.raises(AssertionError, match="not of one of the three forms: aftertrain plan"):
        items("aftertrain plan")
