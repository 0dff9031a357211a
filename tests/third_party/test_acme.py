"""A stranger's package, installed by pip, used by name; and strangers that fail, which take nobody down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aftertrain.testing.model import tiny_model

PACKAGE = Path(__file__).parent / "acme-aftertrain"
Shell = Callable[..., subprocess.CompletedProcess[str]]

RECIPE = """
name: strangers
model: ./model
threads: 1
stages:
  pairs:
    use: train
    loss: {use: acme/margin, margin: 2}
    data: {use: jsonl, path: pairs.jsonl, format: preference}
    optimizer: {lr: 1e-3}
    batch: {sequences: 4, max_tokens: 128}
  scores:
    use: evaluate
    from: pairs
    tasks:
      - acme/capitals
      - {use: acme/capitals, name: strict, verifier: {use: acme/ends_with, strip: ""}, samples: 3}
      - {use: acme/capitals, name: judged, verifier: {use: acme/says_yes, model: ./model}}
      - acme/mottos
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the package."""
    source, target = tmp_path_factory.mktemp("source") / "acme", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(source)]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *install], check=True)
    return target


def shell(*paths: Path, cwd: Path) -> Shell:
    """Runs `aftertrain` in a new process that finds packages in `paths`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])])
        code = "import sys; from aftertrain.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )

    return run


@pytest.fixture
def aftertrain(site: Path, tmp_path: Path) -> Shell:
    """The command line where acme is installed."""
    return shell(site, cwd=tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that names acme's components, with its data and a tiny model."""
    tiny_model(tmp_path / "model")
    rows = [
        {
            "id": str(i),
            "chosen": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": f"{i}!"}],
            "rejected": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": "No."}],
        }
        for i in range(8)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.slow
def test_it_is_listed_with_its_origin(aftertrain: Shell) -> None:
    listed = aftertrain("list", "loss")
    assert "hinge on the log-odds of a preference pair [acme-aftertrain 1.2.0]" in listed.stdout
    assert listed.stderr == ""
    shown = aftertrain("show", "loss", "acme/margin")
    assert "acme (acme-aftertrain 1.2.0)" in shown.stdout
    assert "Nats by which the chosen reply must lead." in shown.stdout
    (line,) = [line for line in aftertrain("plugins").stdout.splitlines() if line.startswith("acme")]
    assert line.split()[:4] == ["acme", "ok", "acme-aftertrain", "1.2.0"]
    assert "needs nothing of this machine" in aftertrain("doctor").stdout


@pytest.mark.slow
def test_it_keeps_every_promise(aftertrain: Shell) -> None:
    checked = aftertrain("check-plugin", "acme")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.endswith(" promises kept, 0 broken, 0 could not be checked.\n")


@pytest.mark.slow
def test_a_recipe_uses_it_by_name(aftertrain: Shell, recipe: Path, tmp_path: Path) -> None:
    done = aftertrain("run", str(recipe))
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "strangers"
    manifest = json.loads((run / "manifest.json").read_text())
    assert "acme-aftertrain" in json.dumps(manifest)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    metrics = [event["data"] for event in events if event["name"] == "metrics"]
    assert len(metrics) == 2
    assert all(0 <= data["inside_margin"] <= 1 for data in metrics)
    (scores,) = [event["data"]["scores"] for event in events if event["name"] == "scores"]
    assert [(score["task"], score["metric"], score["temperature"], score["n"]) for score in scores] == [
        ("acme/capitals", "right", 0.0, 4),
        ("strict", "right", 0.8, 4),
        ("strict", "pass@3", 0.8, 4),
        ("judged", "right", 0.0, 4),
        ("acme/mottos", "bits_per_byte", None, 3),
    ]
    assert 0 < scores[-1]["low"] < scores[-1]["mean"] < scores[-1]["high"]


@pytest.mark.slow
def test_its_suite_is_scored_by_name(aftertrain: Shell, recipe: Path, tmp_path: Path) -> None:
    done = aftertrain("evaluate", "./model", "acme/mini", "reference=acme-1b", "--out", "scored")
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line.split() for line in done.stdout.partition("\nacme/mini\n")[2].splitlines()]
    assert table[1][0] == "mini"
    assert "1 of 3 rows" in " ".join(table[1])
    assert table[2][0] == "capitals::mini"
    assert "75.0" in table[2]
    assert table[3][:2] == ["judged::mini", "missing"]
    assert "no judge: its setting 'model'" in " ".join(table[3])
    assert table[4][:2] == ["hub::mini", "missing"]
    assert table[5][0] == "mottos::mini"
    assert "acme's own suite [acme-aftertrain 1.2.0]" in aftertrain("list", "suite").stdout


CARELESS = """
from acme_aftertrain.short import Short


class Careless(Short):
    def rows(self):
        return list(super().rows())[1:]
"""


@pytest.mark.slow
def test_its_stage_keeps_books(aftertrain: Shell, tmp_path: Path) -> None:
    """Of five rows two are short, two are long, one is none; one that forgets a row is not done."""
    tiny_model(tmp_path / "model")
    replies = ["No.", "Yes.", "That depends on what is meant.", "It is hard to say, is it not?"]
    rows = [
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]} for text in replies
    ]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "no JSON\n")
    (tmp_path / "careless.py").write_text(CARELESS)
    stages = "stages: {short: {use: acme/short, data: {use: jsonl, path: talks.jsonl}}}"
    (tmp_path / "recipe.yaml").write_text(f"name: shorts\nmodel: ./model\nthreads: 1\n{stages}\n")
    done = aftertrain("run", "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    balance = "short: books balance: 5 rows: 2 kept, 1 dropped: not json, 2 dropped: too long"
    assert balance in done.stdout.splitlines()
    events = [json.loads(line) for line in (tmp_path / "runs/shorts/events.jsonl").read_text().splitlines()]
    (ledger,) = [event["data"] for event in events if event["name"] == "ledger"]
    assert ledger["row"]["states"] == {"kept": 2, "dropped: not_json": 1, "dropped: too long": 2}
    failed = aftertrain(
        "run",
        "recipe.yaml",
        "name=careless",
        "stages.short.use=./careless.py:Careless",
        "stages.short.data={use: jsonl, path: talks.jsonl}",
    )
    assert failed.returncode == 1
    assert "stage 'short' ended with books that do not balance, and is not done: row: 5 owed, 4 ended" in failed.stderr
    assert not list((tmp_path / "runs/careless").rglob("done.json"))


@pytest.mark.slow
def test_its_operator_curates(aftertrain: Shell, tmp_path: Path) -> None:
    """In two processes, which find it by its name; of five rows two are shouted."""
    texts = ["Yes!!", "No.", "Yes!", "Oh!!!", "So."]
    rows = [{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": t}]} for t in texts]
    (tmp_path / "talks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = "{use: curate, data: {use: jsonl, path: talks.jsonl}, operators: [acme/sober], shard_rows: 2, workers: 2}"
    (tmp_path / "recipe.yaml").write_text(f"name: sober\nstages: {{curate: {stage}}}\n")
    done = aftertrain("run", "recipe.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    balance = "curate: books balance: 5 rows: 3 kept, 2 dropped: acme/sober: shouted"
    assert balance in done.stdout.splitlines()
    shards = sorted(tmp_path.rglob("rows/part-*.jsonl"))
    kept = [json.loads(line) for shard in shards for line in shard.read_text().splitlines()]
    assert [row["messages"][1]["content"] for row in kept] == ["No.", "Yes!", "So."]


@pytest.mark.slow
def test_its_mistakes_are_told_with_its_package(aftertrain: Shell, recipe: Path) -> None:
    told = aftertrain("plan", str(recipe), "stages.pairs.loss.marign=1", "stages.scores.tasks.0.use=acme/capitols")
    assert told.returncode == 2
    setting, name = told.stderr.splitlines()[1:]
    assert setting == (
        "command line stages.pairs.loss.marign: not a setting of loss 'acme/margin' (acme-aftertrain 1.2.0); "
        "it has margin. Did you mean 'margin'?"
    )
    asked, _, there = name.partition(" There are: ")
    assert asked == (
        "command line stages.scores.tasks.0.use: no eval_task named 'acme/capitols'. Did you mean 'acme/capitals'?"
    )
    assert there.startswith("acme/capitals, acme/mottos, agieval_english, ")


@pytest.mark.slow
def test_a_blocked_plugin_is_missing_only_to_recipes_that_name_it(aftertrain: Shell, recipe: Path) -> None:
    told = aftertrain("plan", str(recipe), AFTERTRAIN_BLOCK="acme")
    assert told.returncode == 2
    assert "plugin 'acme' (acme-aftertrain 1.2.0, " in told.stderr
    assert "is blocked" in told.stderr
    assert "acme/margin" not in aftertrain("list", "loss", AFTERTRAIN_BLOCK="*").stdout
    assert aftertrain("plan", str(recipe), "plugins.block=[acme]").returncode == 2


def stranger(folder: Path, source: str) -> Path:
    """A package `odd` with the metadata that pip would write."""
    (folder / "odd").mkdir(parents=True)
    (folder / "odd" / "__init__.py").write_text(source)
    info = folder / "odd_plugin-3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plugin\nVersion: 3\n")
    (info / "entry_points.txt").write_text("[aftertrain.plugins]\nodd = odd\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "state"),
    [
        ("import no_such_xyz", "broken"),
        ("AFTERTRAIN_API = 7", "incompatible"),
        ("raise SystemExit('I quit')", "broken"),
        ("import time; time.sleep(1.1); AFTERTRAIN_API = 7", "incompatible"),
    ],
)
def test_a_stranger_that_fails_is_a_note(source: str, state: str, tmp_path: Path) -> None:
    command = shell(stranger(tmp_path / "site", source), cwd=tmp_path)
    listed = command("list", "loss")
    assert listed.returncode == 0
    assert "dpo" in listed.stdout
    assert listed.stderr.startswith(f"note: plugin 'odd' (odd-plugin 3) is {state}: ")
    examined = command("doctor")
    assert examined.returncode == 1
    assert f"odd is {state}" in examined.stdout
    assert ("Traceback" in examined.stdout) == (state == "broken")
    assert "AFTERTRAIN_BLOCK=odd" in examined.stdout
    assert command("list", "loss", AFTERTRAIN_BLOCK="odd").stderr == ""
    checked = command("check-plugin", "odd")
    assert checked.returncode == 2
    assert f"plugin 'odd' (odd-plugin 3, {tmp_path}/site/odd/__init__.py) is {state}" in checked.stderr


@pytest.mark.slow
def test_a_stranger_that_hangs_names_itself_and_can_be_blocked(tmp_path: Path) -> None:
    site = stranger(tmp_path / "site", "import threading; threading.Event().wait()")
    code = "from aftertrain.cli import main; main(['list'])"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    try:
        assert child.stderr is not None
        said = child.stderr.readline()
    finally:
        child.kill()
        child.communicate()
    assert said == (
        f"plugin 'odd' (odd-plugin 3, {site}/odd/__init__.py) has been importing for 5 seconds; "
        "if it hangs, block it: AFTERTRAIN_BLOCK=odd\n"
    )
    assert shell(site, cwd=tmp_path)("list", "loss", AFTERTRAIN_BLOCK="odd").returncode == 0


@pytest.mark.slow
def test_two_packages_of_one_name_are_both_named(site: Path, tmp_path: Path, recipe: Path) -> None:
    rival = tmp_path / "rival"
    shutil.copytree(site / "acme_aftertrain", rival / "acme_rival")
    module = rival / "acme_rival" / "__init__.py"
    module.write_text(module.read_text().replace("acme_aftertrain.", "acme_rival."))
    info = rival / "acme_rival-4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rival\nVersion: 4\n")
    (info / "entry_points.txt").write_text("[aftertrain.plugins]\nacme = acme_rival\n")
    command = shell(site, rival, cwd=tmp_path)
    told = command("plan", str(recipe))
    assert told.returncode == 2
    assert "loss 'acme/margin' has two owners: plugin 'acme' (acme-aftertrain 1.2.0, " in told.stderr
    assert "and plugin 'acme' (acme-rival 4, " in told.stderr
    good = command("plan", str(recipe), AFTERTRAIN_BLOCK="acme-rival")
    assert good.returncode == 0, good.stderr
