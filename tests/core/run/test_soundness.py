"""A finished run against its own sources: what was executed is in the hash, and only what decides redoes work."""

from __future__ import annotations

import ast
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import aftertrain
from aftertrain.core.records import VerificationCase
from aftertrain.core.run import sources
from aftertrain.core.run.graph import build_graph
from aftertrain.core.run.lineage import trace
from aftertrain.core.run.meaning import meaning
from aftertrain.core.sandbox import worker
from aftertrain.core.verification import VerifierPool
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.judging import echo

TELLING = {
    "aftertrain.core.events": "what is told of a stage, written down",
    "aftertrain.core.run": "walks stages, and keeps their records, checkpoints and books",
    "aftertrain.core.learning.rates": "learning rates in the words of a plan",
    "aftertrain.core.learning.alarms": "looks at figures",
    "aftertrain.core.learning.alarm_rules": "what it looks for",
    "aftertrain.core.learning.reward_hacks": "figures of replies, for alarms",
    "aftertrain.plugins.online.recording": "reads rollouts that were written down, for a replay",
    "aftertrain.plugins.online.telling": "tells of a step, and writes its rollouts down",
    "aftertrain.core.text.template_checks": "warnings about chat templates",
    "aftertrain.plugins.evaluation.doubts": "warnings about scores",
    "aftertrain.plugins.evaluation.outlook": "figures of a plan, and whether the disk holds what is saved",
    "aftertrain.plugins.evaluation.speeds": "clocks and costs",
    "aftertrain.plugins.online.plan": "figures of a plan",
    "aftertrain.plugins.training.fit": "refuses rows that the model cannot take",
    "aftertrain.plugins.training.misfits": "refuses parts that do not fit together",
    "aftertrain.plugins.training.picture": "figures for the report",
    "aftertrain.registry": "finds components by their names; what it finds is in the hash",
}
"""Modules, with all below them, that are executed in a stage, cannot change its result, and are not in its hash."""

STAGES = """
name: toy
model: ./model
threads: 1
stages:
  sft:
    use: train
    loss: {use: sft}
    data: {use: quickstart, split: sft, rows: 8}
    validation: {data: {use: quickstart, split: sft, rows: 4, seed: 1}, every: 1}
    optimizer: {lr: 1e-3}
    batch: {sequences: 8, max_tokens: 256}
  sft-eval:
    use: evaluate
    from: sft
    tasks:
      - {use: problems, data: {use: quickstart, split: heldout, rows: 2}, verifier: gsm8k, max_new_tokens: 2}
      - {use: multiple_choice, path: choices.jsonl}
      - {use: perplexity, path: texts.jsonl}
      - use: problems
        name: drawn
        data: {use: quickstart, split: heldout, rows: 2}
        verifier: gsm8k
        max_new_tokens: 2
        samples: 2
        temperature: 0.7
  judge-eval:
    use: evaluate
    from: sft
    tasks:
      - use: problems
        data: {use: quickstart, split: heldout, rows: 2}
        check: gsm8k
        max_new_tokens: 2
        verifier:
          use: judge
          model: ./model
          generator: {use: "./echo.py:Echo"}
          template: "{{ response }}\\ngrade: right"
          chat: false
          parse: {pattern: "grade: ([a-z]+)", labels: {right: 1.0, wrong: 0.0}}
  code-eval:
    use: evaluate
    from: sft
    tasks:
      - use: problems
        data: {use: jsonl, path: programs.jsonl, format: rlvr, verifiers: {code: code}}
        max_new_tokens: 4
        verifier: {use: code, extract: all}
  dpo:
    use: train
    from: sft
    loss: {use: dpo}
    data: {use: quickstart, split: preference, rows: 4}
    optimizer: {lr: 1e-3}
    batch: {sequences: 4, max_tokens: 256}
  theirs:
    use: train
    from: sft
    loss: {use: "./margin.py:Margin"}
    data: {use: jsonl, path: pairs.jsonl, format: preference}
    optimizer: {lr: 1e-3}
    batch: {sequences: 2, max_tokens: 256}
  kto:
    use: train
    from: sft
    loss: {use: kto}
    data: {use: quickstart, split: preference, rows: 2}
    engine: {use: torch, lora: {rank: 2}}
    optimizer: {lr: 1e-3}
    batch: {sequences: 4, max_tokens: 256}
  rm:
    use: train
    from: sft
    loss: {use: reward_model}
    data: {use: quickstart, split: preference, rows: 4}
    optimizer: {lr: 1e-3}
    batch: {sequences: 4, max_tokens: 256}
  rlvr:
    use: online
    from: sft
    critic: rm
    loss: {use: ppo}
    data: {use: quickstart, split: problems, rows: 2}
    rewards: [{use: gsm8k}]
    sampling: {max_new_tokens: 2}
    batch: {prompts: 2, minibatches: 1, updates: 1}
    steps: 1
    optimizer: {lr: 1e-3}
"""
MARGIN = '''"""A stranger's loss."""
from torch.nn.functional import relu
from aftertrain.core.loss import Loss, LossOutput, Needs
from aftertrain.core.settings import Settings

class Margin(Loss[Settings]):
    """max(0, 1 - difference)."""
    @property
    def needs(self):
        return Needs(records=frozenset({"PreferencePair"}), atom="pair", per={"policy": "pair"})
    def __call__(self, batch, scores):
        sums = batch.segment_sum(scores.logprobs)
        return LossOutput({"policy": relu(1.0 - (sums[0::2] - sums[1::2])).sum()}, {})
'''
LIST = """
import contextlib
with contextlib.suppress(OSError), open("{}/sandboxed", "a") as list:
    print(*(name for name in sys.modules if name.startswith("aftertrain.core.sandbox.")), file=list)
"""
"""Of a sandbox's process, its modules. Once behind the walls it cannot write them down."""
Edit = tuple[str, str, str]


class Ran:
    """Which functions of which files each stage called."""

    def __init__(self) -> None:
        self.stage = ""
        self.codes: dict[str, set[CodeType]] = {}
        self.modules: dict[CodeType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and self.stage and frame.f_code not in self.codes[self.stage]:
            self.codes[self.stage].add(frame.f_code)
            self.modules[frame.f_code] = frame.f_globals.get("__name__", "")

    def during(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method of a stage, noting whose it is."""

        def noted(stage: Any, context: Any, *rest: Any) -> Any:
            self.stage = context.name
            self.codes.setdefault(self.stage, set())
            before = sys.gettrace()
            threading.settrace(self)
            sys.settrace(self)
            try:
                return method(stage, context, *rest)
            finally:
                sys.settrace(before)
                threading.settrace(None)  # type: ignore[arg-type]

        return noted

    def judging(self, stream: Callable[..., Any]) -> Callable[..., Any]:
        """A pool's `stream`, once the same has been judged in this process, where calls can be seen."""

        def noted(pool: VerifierPool, verifier: Verifier[Any], cases: Sequence[VerificationCase]) -> Any:
            verifier.warm_up()
            verifier.verify(cases)
            verifier.close()
            return stream(pool, verifier, cases)

        return noted

    def files(self, stage: str, folder: Path) -> set[str]:
        """Ours by module, those of the recipe's folder by file name."""
        return {
            self.modules[code] if self.modules[code].startswith("aftertrain.") else Path(code.co_filename).name
            for code in self.codes[stage]
            if self.modules[code].startswith("aftertrain.") or Path(code.co_filename).parent == folder
        }


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    (folder / "model").symlink_to(tiny_model)
    (folder / "recipe.yaml").write_text(STAGES)
    (folder / "margin.py").write_text(MARGIN)
    question = {"question": "1 + 1?", "choices": ["2", "3"], "answer": 0}
    (folder / "choices.jsonl").write_text(f"{json.dumps(question)}\n")
    (folder / "texts.jsonl").write_text('{"text": "The sky is blue."}\n')
    (folder / "echo.py").write_text(Path(echo.__file__).read_text())
    program = {"messages": [{"role": "user", "content": "x"}], "ground_truth": '["assert True"]', "dataset": "code"}
    (folder / "programs.jsonl").write_text(f"{json.dumps(program)}\n")
    user, two, three = (
        {"role": role, "content": text} for role, text in (("user", "1 + 1?"), ("assistant", "2"), ("assistant", "3"))
    )
    pairs = [{"chosen": [user, two], "rejected": [user, three]}, {"chosen": [user, three], "rejected": [user, two]}]
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    return folder


@pytest.fixture(scope="module")
def ran(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The run, its calls noted."""
    from aftertrain.plugins.evaluation.evaluate import Evaluate
    from aftertrain.plugins.online.stage import Online
    from aftertrain.plugins.training.train import Train

    ran = Ran()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AFTERTRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        for stage in (Train, Online, Evaluate):
            for name in ("run", "check_data"):
                patch.setattr(stage, name, ran.during(getattr(stage, name)))
        patch.setattr(VerifierPool, "stream", ran.judging(VerifierPool.stream))
        patch.setattr(worker, "BOOT", worker.BOOT.replace("zygote.main(", f"{LIST.format(folder)}zygote.main("))
        aftertrain.run(folder / "recipe.yaml", out=folder / "runs", console=False)
    return ran


def _digests(folder: Path) -> dict[str, dict[str, str]]:
    """The code in the hash of each stage, by stage, with that of the stages before it."""
    from aftertrain.api.runs import make_job

    job = make_job(folder / "recipe.yaml", out=folder / "runs")
    nodes = build_graph(job.recipe.stages, job.builder, job.locate)
    hashes = dict.fromkeys(("base", *job.recipe.stages), "")
    codes: dict[str, dict[str, str]] = {}
    for node in nodes:  # parents first: their digests are in the hash, and stand for their code
        codes[node.name] = dict(trace(node, job.recipe, job.builder, hashes).code)
        for parent in node.parents:
            codes[node.name] |= codes[parent]
    return codes


def test_what_a_stage_executes_is_in_its_hash_or_only_tells(ran: Ran, folder: Path) -> None:
    digests = _digests(folder)
    told: set[str] = set()
    missing: set[str] = set()
    for stage, code in digests.items():
        modules = {name.partition(":")[0] for name in code}
        for module in ran.files(stage, folder) - modules:
            telling = [name for name in TELLING if f"{module}.".startswith(f"{name}.")]
            missing |= set() if telling else {f"{module} is executed by stage {stage!r} and is not in its hash"}
            told.update(telling)
    assert missing == set()
    assert told == TELLING.keys(), "this list is longer than it need be"
    assert "margin.py" in ran.files("theirs", folder)
    assert "aftertrain.plugins.training.tokenising" in ran.files("sft", folder)
    assert {"aftertrain.plugins.losses.kto", "aftertrain.plugins.torch_engine.lora"} <= ran.files("kto", folder)
    assert {"echo.py", "aftertrain.core.asking.asker"} <= ran.files("judge-eval", folder)
    assert {"aftertrain.plugins.code.fence", "aftertrain.core.sandbox.worker"} <= ran.files("code-eval", folder)


def test_what_a_sandbox_imports_is_in_the_hash_of_its_stage(ran: Ran, folder: Path) -> None:
    imported = set((folder / "sandboxed").read_text().split())
    assert {f"aftertrain.core.sandbox.{name}" for name in ("zygote", "examiner", "candidate")} <= imported
    assert imported <= _digests(folder)["code-eval"].keys()


NOTHING: tuple[Edit, ...] = (
    ("plugins/training/outlook.py", "one model at a time", "one model at once"),
    ("plugins/evaluation/doubts.py", "could not be judged (", "were not judged ("),
    ("plugins/evaluation/summary.py", "to what a reader sees", "to what readers see"),
    ("plugins/losses/settings.py", "Kahneman-Tversky opt", "Kahneman-Tversky, opt"),
    ("plugins/losses/settings.py", "Positive = Field(2.0", "Positive = Field(2.5"),
    ("plugins/losses/settings.py", "Assumed share of pairs", "The share of pairs"),
    ("plugins/evaluation/settings.py", "PositiveInt = Field(512", "PositiveInt = Field(640"),
    ("margin.py", '"""max(0, 1 - difference)."""', '"""The hinge."""  # of scores'),
)
"""A word of a plan, of a warning, of a docstring; a comma in KTO's, a default of SimPO's, a description of DPO's; a
default of another task; a stranger's docstring and comment."""
DECIDING: tuple[Edit, ...] = (
    ("plugins/losses/settings.py", "Smoothing = Field(\n        0.0", "Smoothing = Field(\n        0.1"),
    ("plugins/losses/settings.py", 'Field(\n        "mismatched"', 'Field(\n        "none"'),
    ("plugins/losses/dpo.py", "logsigmoid(beta * h)", "logsigmoid(beta / h)"),
    ("core/text/numeral.py", "import re", "import re\nimport math"),
    ("margin.py", "relu(1.0 -", "relu(2.0 -"),
)
"""Two defaults, an operator, an imported helper, and a stranger's constant."""


@pytest.fixture
def edited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Edit]], None]:
    """Changes source files, as their next reader finds them."""
    read, root = sources.read_source, Path(__file__).parents[3]

    def edit(edits: Sequence[Edit]) -> None:
        texts: dict[Path, str] = {}
        for file, old, new in edits:
            path = next(path.resolve() for path in (root / file, folder / file) if path.is_file())
            text = texts.get(path, path.read_text(encoding="utf-8"))
            assert old in text
            texts[path] = text.replace(old, new)

        def reader(path: Path, name: str) -> sources.Source:
            text = texts.get(path.resolve())
            return read(path, name) if text is None else sources.source_of(path, name, text.encode())

        monkeypatch.setattr(sources, "read_source", reader)

    return edit


def _redone(folder: Path) -> dict[str, tuple[str, ...]]:
    """Why stages would be run again."""
    stages = aftertrain.plan(folder / "recipe.yaml", out=folder / "runs").stages
    return {stage.name: stage.why for stage in stages if stage.state != "reuse"}


def test_edits_that_decide_nothing_redo_nothing(ran: Ran, folder: Path, edited: Callable[..., None]) -> None:
    edited(NOTHING)
    assert _redone(folder) == {}


def test_edits_that_decide_redo_what_they_must_and_are_named(
    ran: Ran, folder: Path, edited: Callable[..., None]
) -> None:
    edited(DECIDING)
    numeral = ("code of aftertrain.core.text.numeral changed",)
    assert _redone(folder) == {
        "sft-eval": numeral,
        "dpo": (
            "code of aftertrain.plugins.losses.dpo changed",
            "code of aftertrain.plugins.losses.settings:DPOSettings changed",
        ),
        "theirs": ("code of margin.py changed",),
        "kto": ("code of aftertrain.plugins.losses.settings:KTOSettings changed",),
        "rlvr": numeral,
    }


def test_two_stages_that_differ_in_beta_train_on_one_order(folder: Path) -> None:
    from aftertrain.api.runs import make_job
    from aftertrain.core.stage import PlanContext

    (before, rest) = STAGES.split("  dpo:\n")
    dpo = "  dpo:\n" + rest.split("  theirs:\n")[0].replace("rows: 4", "rows: 16")
    other = dpo.replace("  dpo:\n", "  milder:\n").replace("use: dpo", "use: dpo, beta: 0.01")
    other_seed = dpo.replace("  dpo:\n", "  reseeded:\n    seed: 7\n")
    (folder / "betas.yaml").write_text(before + dpo + other + other_seed)
    job = make_job(folder / "betas.yaml")
    orders = {}
    for node in build_graph(job.recipe.stages, job.builder, job.locate):
        if node.name in {"dpo", "milder", "reseeded"}:
            stage: Any = node.stage
            context = PlanContext(node.name, str(folder / "model"), job.recipe.seed_of(node.name), job.builder)
            orders[node.name] = [[batch.sample_ids for batch in stage.batches(context, step)] for step in range(1, 5)]
    assert orders["dpo"] == orders["milder"] != orders["reseeded"]


def test_a_mutation_of_any_digested_module_counts(folder: Path) -> None:
    """A number that is one more, a < that is <=, or a sum that is a difference."""
    root = Path(__file__).parents[3]
    modules = {name.partition(":")[0] for code in _digests(folder).values() for name in code if "/" not in name}
    files = [
        root.joinpath(*module.split(".")[1:]).with_suffix(".py")
        for module in modules
        if module.startswith("aftertrain.")
    ]
    for path in (file if file.is_file() else file.with_suffix("") / "__init__.py" for file in files):
        tree = ast.parse(path.read_bytes())
        whole = meaning(tree)
        if (node := next(filter(_mutated, ast.walk(tree)), None)) is not None:
            assert meaning(tree) != whole, f"{path}:{getattr(node, 'lineno', 0)}"


def _mutated(node: ast.AST) -> bool:
    """Whether there was something to mutate."""
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        node.value = node.value + type(node.value)(1)  # type: ignore[operator]
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt):
        node.ops[0] = ast.LtE()
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        node.op = ast.Sub()
    else:
        return False
    return True
