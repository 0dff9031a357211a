"""`aftertrain compare --prompts` and `--verdicts`: a task of ours held against a file of someone else's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aftertrain.cli.table import echo_safely
from aftertrain.core.ground.wording import counted

if TYPE_CHECKING:
    from aftertrain.api.certificates import Certificate, Finding


def certify_prompts(
    file: Path,
    words: Sequence[str],
    *,
    data: str | None,
    model: str | None,
    where: Sequence[str],
    out: Path | None,
    shown: int,
) -> None:
    """Hold what a task asks against a file of requests; exits with 1 unless each of the file's is the same."""
    from aftertrain.api.certificates import compare_prompts

    names, settings = [w for w in words if "=" not in w], [w for w in words if "=" in w]
    if len(names) != 1:
        raise click.UsageError("one TASK is compared: aftertrain compare --prompts FILE arc_easy formulation=mc")
    _end(compare_prompts(file, names[0], settings, data=data, model=model, where=where), out, shown)


def certify_verdicts(
    file: Path,
    words: Sequence[str],
    *,
    data: str | None,
    columns: Iterable[str],
    metric: str | None,
    where: Sequence[str],
    out: Path | None,
    shown: int,
) -> None:
    """Judge the replies of a file and hold the verdicts against the file's; exits with 1 unless each is the same."""
    from aftertrain.api.verdicts import COLUMNS, compare_verdicts

    named = {}
    for text in columns:
        part, equals, name = text.partition("=")
        if not equals or part not in COLUMNS:
            raise click.UsageError(
                f"{text!r}: --column says what a column is, {', '.join(COLUMNS)}, as in verdict=score"
            )
        named[part] = name
    _end(compare_verdicts(file, list(words), columns=named, metric=metric, data=data, where=where), out, shown)


def _end(certificate: Certificate, out: Path | None, shown: int) -> None:
    _echo(certificate, shown)
    if out is not None:
        text = json.dumps(certificate.facts(), indent=1, ensure_ascii=False)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n", encoding="utf-8", errors="surrogatepass")
    if not certificate.holds:
        click.get_current_context().exit(1)


def _echo(certificate: Certificate, shown: int) -> None:
    c = certificate
    lines = f", of these lines: {', '.join(c.where)}" if c.where else ""
    echo_safely(f"{c.task}, {c.kind} against {c.file} ({c.layout}, SHA-256 {c.sha256[:16]}…{lines})")
    ways = ", ".join(f"{count:,} by {how}" for how, count in c.paired.items())
    click.secho(f"{c.equal:,} equal, {len(c.differing):,} differing, {len(c.missing):,} missing", bold=True)
    if ways:
        echo_safely(f"paired {ways}; {counted(c.rest, 'question')} of the task not in the file")
    for note in c.notes:
        echo_safely(f"note: {note}")
    for label, findings in (("differing", c.differing), ("missing", c.missing), ("not judged", c.unjudged)):
        _list(label, findings, shown)


def _list(label: str, findings: Sequence[Finding], shown: int) -> None:
    for finding in findings[:shown]:
        echo_safely(f"  {label} {finding.id} ({finding.where}): {finding.why}")
    if len(findings) > shown:
        echo_safely(f"  … and {len(findings) - shown:,} more {label}; --flips {len(findings)} lists them")
