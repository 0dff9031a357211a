"""The command line as one table: name, group, summary, and where each command is. Nothing is added beside it.

Strings only, so that `--help` imports no command. At most 20 words stand at the top; a new ability is found under one
that is there, or takes the place of one.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A row: the word, the section of `--help` it stands in, its one-line help, and `"module:attribute"`."""

    name: str
    group: str
    summary: str
    path: str


COMMANDS = {
    command.name: command
    for command in (
        Command("run", "Recipes", "Run a recipe, or go on where it was stopped.", "aftertrain.cli.run:run"),
        Command("plan", "Recipes", "Show what a recipe would do: steps, tokens, checks.", "aftertrain.cli.plan:plan"),
        Command("show", "Recipes", "Show a component, a batch, rows, prompts or samples.", "aftertrain.cli.show:show"),
        Command(
            "check-invariants",
            "Recipes",
            "Measure what must not move a recipe's training steps.",
            "aftertrain.cli.check_invariants:check_invariants",
        ),
        Command("report", "Runs", "Write a run's report as one HTML file.", "aftertrain.cli.report:report"),
        Command(
            "lineage", "Runs", "Tell why each stage of a run is reused or redone.", "aftertrain.cli.lineage:lineage"
        ),
        Command("evaluate", "Models", "Evaluate a model, or a run's, on tasks.", "aftertrain.cli.evaluate:evaluate"),
        Command("verify", "Models", "Judge responses with a verifier.", "aftertrain.cli.verify:verify"),
        Command("list", "Components", "List installed components.", "aftertrain.cli.components:list_components"),
        Command(
            "plugins",
            "Components",
            "List plugins with state, version and import time.",
            "aftertrain.cli.plugins:plugins",
        ),
        Command(
            "doctor", "Components", "Check the installation and show what is broken.", "aftertrain.cli.doctor:doctor"
        ),
        Command(
            "schema", "Components", "Write the JSON Schema of recipes, for editors.", "aftertrain.cli.schema:schema"
        ),
        Command("new", "Writing plugins", "Write the beginnings of a plugin package.", "aftertrain.cli.new:new"),
        Command(
            "check-plugin",
            "Writing plugins",
            "Check a plugin against the contract of its kinds.",
            "aftertrain.cli.check_plugin:check_plugin",
        ),
    )
}

OLD = {"show-batch": ("show", "--batch")}
"""Words of earlier versions, with what says the same today."""

ELSEWHERE = {
    "--dry-run": "a run that does nothing is a plan: aftertrain plan RECIPE",
    "--config": "the recipe stands without an option: aftertrain run RECIPE",
    "--config_file": "the recipe stands without an option: aftertrain run RECIPE",
    "--resume": "the same command again goes on where the run was stopped; --restart begins anew",
    "--resume_from_checkpoint": "the same command again goes on where the run was stopped; --restart begins anew",
    "--overwrite_output_dir": "--restart begins every stage anew",
    "--output_dir": "--out DIR is the folder of runs",
    "--output-dir": "--out DIR is the folder of runs",
    "--num_processes": "--nproc N starts so many processes",
    "--nproc_per_node": "--nproc N starts so many processes",
    "--seed": "a setting of the recipe: seed=1 behind its name",
}
"""Options that users of other tools try, with what stands in their place here."""
