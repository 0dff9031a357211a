"""The command line: the commands of the table, each imported only when it is used."""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import groupby
from types import TracebackType

import click

from aftertrain.cli.commands import COMMANDS, ELSEWHERE, OLD
from aftertrain.cli.terminal import leave, unread_input
from aftertrain.core.errors import AftertrainError
from aftertrain.core.ground.cleaning import printable
from aftertrain.core.ground.foreign import told
from aftertrain.core.ground.redaction import Redacting, look_again, redacted


class LazyGroup(click.Group):
    """A group that imports a command only to run it or to show its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name in OLD:
            click.echo(f"note: {name!r} is now: {ctx.command_path} {' '.join(OLD[name])}", err=True)
            args = [*OLD[name], *args[1:]]
        elif name and not name.startswith("-") and name not in COMMANDS:
            from aftertrain.core.errors import unknown

            raise click.UsageError(unknown("command", name, COMMANDS), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group, commands in groupby(COMMANDS.values(), key=lambda command: command.group):
            with formatter.section(group):
                formatter.write_dl([(command.name, command.summary) for command in commands], col_max=18)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: aftertrain run quickstart",
)
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
@click.option("--local_rank", type=int, hidden=True, expose_value=False)  # the deepspeed launcher's; LOCAL_RANK says it
@click.version_option(package_name="aftertrain", message="%(package)s %(version)s")
def cli(debug: bool) -> None:
    """Post-training of language models as one recipe: SFT, DPO, RL with verifiable rewards, evaluation."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 good, 1 failed, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # A debugger needs the terminal, and `-` asks for what comes through standard input.
    needs_input = "--debug" in words or "-" in words
    look_again()
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Redacting())
    if arguments is None:
        sys.excepthook = _tell_defect
    with nullcontext() if needs_input else unread_input():
        status = _status(words)
    if arguments is None:
        leave(status)
    return status


def _tell_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A defect's traceback, on standard error, without secrets."""
    click.echo(redacted("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)


def _status(words: list[str]) -> int:
    debug = False
    try:
        with cli.make_context("aftertrain", words) as context:
            debug = bool(context.params["debug"])
            cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption) and error.option_name in ELSEWHERE:
            error = click.UsageError(f"no option {error.option_name}: {ELSEWHERE[error.option_name]}", error.ctx)
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except AftertrainError as error:
        if debug:
            raise
        message = printable(str(error))
        click.echo(f"error: {message}" if "\n" not in message else f"error:\n{message}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of a pipe went away (`aftertrain list | head`): nothing is left to say to anybody.
        sys.stderr.close()
        return 1
    except Exception:
        raise
    except BaseException as error:
        if debug:
            raise
        click.echo(
            f"error: {printable(told(error))} would have ended the command, and nothing of aftertrain raises it",
            err=True,
        )
        return 1
    return 0
