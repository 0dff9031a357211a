"""The conformance kit: what every component promises, as functions that can fail.

One module for each kind, one function for each promise. `aftertrain check-plugin NAME` runs all that apply to a plugin;
a plugin's own tests do the same:

    import pytest
    from aftertrain.testing import Claim, claims

    @pytest.mark.parametrize("claim", claims("acme"), ids=str)
    def test_promise(claim: Claim) -> None:
        claim.check()

A component that cannot be made from its defaults needs an example, and a verifier needs cases of known value: see
`aftertrain.testing.examples`. Importing this module is light; a kind's promises are imported with what they
need when they are asked for.
"""

from __future__ import annotations

from aftertrain.testing.claim import Claim, Finding, claims, findings
from aftertrain.testing.promise import BrokenPromise, Subject, Unchecked

__all__ = ["BrokenPromise", "Claim", "Finding", "Subject", "Unchecked", "claims", "findings"]
