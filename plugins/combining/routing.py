"""A verifier for each data set: cases go by their record's source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Use
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.combining.parts import Combination, T
from aftertrain.plugins.combining.settings import BySourceSettings


class BySource(Combination[BySourceSettings]):
    """Ground truth: what the source's verifier needs. A source without a route is an error that names it."""

    Config = BySourceSettings

    def _uses(self) -> Sequence[Use[Verifier[Any]]]:
        default = self.settings.default
        return [*self.settings.routes.values(), *([] if default is None else [default])]

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """The verdict of each case's own verifier, which is asked in one batch; its detail begins with the route."""

        def ask(number: int, batch: Sequence[VerificationCase]) -> list[Verdict]:
            verdicts = verdicts_of(self.parts[number], batch)
            return [replace(verdict, detail=f"{self._names[number]}: {verdict.detail}") for verdict in verdicts]

        return self._by_route(cases, ask, lambda error: error)

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """Those of each case's own verifier; a case without a route is one."""
        return self._by_route(
            cases, lambda number, batch: self.parts[number].objections(batch), lambda error: error.detail
        )

    def _by_route(
        self,
        cases: Sequence[VerificationCase],
        ask: Callable[[int, Sequence[VerificationCase]], Sequence[T]],
        refused: Callable[[Verdict], T],
    ) -> list[T]:
        """What `ask` says of each part's cases, in one batch; of a case without a route what `refused` makes of the
        error.
        """
        routes = {source: number for number, source in enumerate(self.settings.routes)}
        default = None if self.settings.default is None else len(routes)
        chosen = [routes.get(case.source, default) for case in cases]
        batches: list[list[VerificationCase]] = [[] for _ in self.parts]
        for case, number in zip(cases, chosen, strict=True):
            if number is not None:
                batches[number].append(case)
        answers = [iter(ask(number, batch)) for number, batch in enumerate(batches)]
        return [
            refused(_no_route(case, routes)) if number is None else next(answers[number])
            for case, number in zip(cases, chosen, strict=True)
        ]


def _no_route(case: VerificationCase, routes: Collection[str]) -> Verdict:
    if not case.source:
        return Verdict.error(
            f"the case has no source, and there is no default route. There are: {', '.join(sorted(routes))}."
        )
    return Verdict.error(unknown("route for a source", case.source, routes))
