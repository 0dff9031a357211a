"""Runs a job: rank 0 walks the recipe's graph and keeps every record, the others follow its orders."""

from __future__ import annotations

from aftertrain.core.book import Book
from aftertrain.core.errors import RankLost, RunError
from aftertrain.core.events.diary import EventLog
from aftertrain.core.learning.deadline import on_deadline
from aftertrain.core.learning.processes import Processes, joined
from aftertrain.core.learning.seeding import use_determinism
from aftertrain.core.ranks import Ranks
from aftertrain.core.rows.made import find_rows
from aftertrain.core.run.base_model import base_type
from aftertrain.core.run.checkpoint import Checkpoints
from aftertrain.core.run.failure import write_failure
from aftertrain.core.run.fanout import Fanout
from aftertrain.core.run.folder import RunFolder
from aftertrain.core.run.graph import Node, build_graph
from aftertrain.core.run.job import Job, RunResult
from aftertrain.core.run.launched import Line, linger, own_words
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.run.orders import Lead, follow
from aftertrain.core.run.session import Session
from aftertrain.core.run.signals import StopSignals
from aftertrain.core.run.walk import Walk
from aftertrain.core.stage import StageContext


def run_job(job: Job) -> RunResult:
    """Run a recipe to its end.

    Raises:
        RecipeError: the stages do not form a graph. Nothing has been written.
        Interrupted: the user asked to stop; the same command goes on from there.
        AftertrainError: anything a user can mend; `run_failed` is in the events.
    """
    nodes = build_graph(job.recipe.stages, job.builder, job.locate, base_type(job.recipe.model))
    line = Line()
    with joined() as ranks:
        if not isinstance(ranks, Processes) or ranks.first:
            return _lead(job, nodes, ranks, line)
        with own_words(job.folder, ranks, line):
            try:
                return _follow(job, nodes, ranks)
            except RankLost:
                linger(line)
                raise


def _lead(job: Job, nodes: tuple[Node, ...], ranks: Ranks, line: Line) -> RunResult:
    with RunFolder(job.folder) as folder, StopSignals(job.on_stop, ranks.size > 1) as stopping:
        lead = Lead(ranks)
        fanout = Fanout(job.observers)
        fanout.open(folder.path)
        log = EventLog(folder.events, fanout)
        token = on_deadline.set(lambda message: write_failure(log, RunError(message)))
        line.listener = lambda message: write_failure(log, RankLost(message))
        try:
            result = Walk(Session(job, folder, log, stopping, ranks, lead), nodes, line).all()
            lead.give(None)
            return result
        finally:
            on_deadline.reset(token)
            fanout.close()
            log.close()


def _follow(job: Job, nodes: tuple[Node, ...], ranks: Processes) -> RunResult:
    """Run the stages that rank 0 shares, as it says, and leave every record to it."""
    use_determinism(job.recipe.threads)
    by_name = {node.name: node for node in nodes}
    with StopSignals(lambda: None, True) as stopping:
        for order in follow(ranks):
            node, ledger = by_name[order.stage], Ledger(Book(), ranks)
            folder = order.folder / "checkpoints"
            context = StageContext(
                name=node.name,
                folder=order.folder,
                seed=job.recipe.seed_of(node.name),
                inputs=order.inputs,
                builder=job.builder,
                checkpoints=Checkpoints(folder, ranks=ranks, start=order.checkpoint, beside=ledger.save),
                emit=lambda event, step=None: None,  # the same events as rank 0's, which alone tells them
                stopping=stopping,
                chat_template=job.recipe.chat_template,
                book=ledger.book,
                ranks=ranks,
                cache=job.folder.absolute() / "cache",
            )
            by_stage = {parent.stage: order.inputs[parent.role] for parent in node.inputs}
            find_rows(node.use.settings, by_stage.get)
            with node.at_work():
                node.stage.run(context)
            ledger.close(node.name)
    return RunResult(job.folder.absolute(), {})
