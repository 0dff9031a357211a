"""A verifier for each data set: cases go by their record's source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from aftertrain.core.errors import unknown
from aftertrain.core.records import Verdict, VerificationCase
from aftertrain.core.settings import Use
from aftertrain.core.verifier import Verifier, verdicts_of
from aftertrain.plugins.combining.parts import Combination
from aftertrain.plugins.combining.settings import BySourceSettings


class BySource(Combination[BySourceSettings]):
    """Ground truth: what the source's verifier needs. A source without a route is an error that names it."""

    Config = BySourceSettings

    def _uses(self) -> Sequence[Use[Verifier[Any]]]:
        default = self.settings.default
        return [*self.settings.routes.values(), *([] if default is None else [default])]

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        """The verdict of each case's own verifier, which is asked in one batch; its detail begins with the route."""
        routes, chosen = self.settings.routes, self._chosen(cases)
        verdicts = {number: iter(self._batch(part, number, cases, chosen)) for number, part in enumerate(self.parts)}
        return [
            _no_route(case, routes) if number is None else next(verdicts[number])
            for case, number in zip(cases, chosen, strict=True)
        ]

    def objections(self, cases: Sequence[VerificationCase]) -> list[str | None]:
        """Those of each case's own verifier; a case without a route is one."""
        routes, chosen = self.settings.routes, self._chosen(cases)
        told = {
            number: iter(part.objections([case for case, where in zip(cases, chosen, strict=True) if where == number]))
            for number, part in enumerate(self.parts)
        }
        return [
            _no_route(case, routes).detail if number is None else next(told[number])
            for case, number in zip(cases, chosen, strict=True)
        ]

    def _chosen(self, cases: Sequence[VerificationCase]) -> list[int | None]:
        """The number of each case's part; None where there is no route."""
        routes = {source: number for number, source in enumerate(self.settings.routes)}
        default = None if self.settings.default is None else len(routes)
        return [routes.get(case.source, default) for case in cases]

    def _batch(
        self, part: Verifier[Any], number: int, cases: Sequence[VerificationCase], chosen: Sequence[int | None]
    ) -> list[Verdict]:
        batch = [case for case, where in zip(cases, chosen, strict=True) if where == number]
        verdicts = verdicts_of(part, batch) if batch else []
        if len(verdicts) != len(batch):
            raise ValueError(f"{part!r} gave {len(verdicts)} verdicts on {len(batch)} cases")
        name = self._names[number]
        return [replace(verdict, detail=f"{name}: {verdict.detail}") for verdict in verdicts]


def _no_route(case: VerificationCase, routes: Collection[str]) -> Verdict:
    if not case.source:
        return Verdict.error(
            f"the case has no source, and there is no default route. There are: {', '.join(sorted(routes))}."
        )
    return Verdict.error(unknown("route for a source", case.source, routes))
