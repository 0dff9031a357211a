"""The command line as one table: name, group, summary, and where each command is. Nothing is added beside it.

Strings only, so that `--help` imports no command. At most 20 words stand at the top; a new ability is found under one
that is there, or takes the place of one.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A row: the word, the section of `--help` it stands in, its one-line help, and `"module:attribute"` in this room.

    The command `check-plugin` is `check_plugin` of the module `check_plugin` unless its row says otherwise.
    """

    name: str
    group: str
    summary: str
    path: str = ""

    @property
    def target(self) -> str:
        """Where it is, as `"module:attribute"`."""
        word = self.name.replace("-", "_")
        return f"aftertrain.cli.{self.path or f'{word}:{word}'}"


COMMANDS = {
    command.name: command
    for command in (
        Command("run", "Recipes", "Run a recipe, or go on where it was stopped."),
        Command("plan", "Recipes", "Show what a recipe would do: steps, tokens, checks."),
        Command("show", "Recipes", "Show a component, a batch, rows, prompts or samples."),
        Command("check-invariants", "Recipes", "Measure what must not move a recipe's training steps."),
        Command("report", "Runs", "Write a run's report as one HTML file."),
        Command("lineage", "Runs", "Tell why each stage of a run is reused or redone."),
        Command("compare", "Runs", "Set evaluations side by side, question by question."),
        Command("arena", "Runs", "Have a judge compare the saved replies of evaluations."),
        Command("rescore", "Runs", "Score saved outputs again, without a model."),
        Command("replay", "Runs", "Make a recorded step of online learning again."),
        Command("evaluate", "Models", "Evaluate a model, or a run's, on tasks."),
        Command("verify", "Models", "Judge responses with a verifier."),
        Command("contamination", "Data", "Look for evaluation items in training data."),
        Command("list", "Components", "List installed components.", "components:list_components"),
        Command("plugins", "Components", "List plugins with state, version and import time."),
        Command("doctor", "Components", "Check the installation and show what is broken."),
        Command("schema", "Components", "Write the JSON Schema of recipes, for editors."),
        Command("new", "Writing plugins", "Write the beginnings of a plugin package."),
        Command("check-plugin", "Writing plugins", "Check a plugin against the contract of its kinds."),
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
