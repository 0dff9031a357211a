"""Models that answer elsewhere: `http://HOST/v1#NAME` in the place of a model's folder. Standard library only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import urlsplit

from aftertrain.core.errors import ModelError
from aftertrain.core.ground.redaction import redacted

FORM = "http://HOST/v1#NAME"
"""How an endpoint's model is written: the address that the API's paths are put behind, and the model's name there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model by the address of its server.

    Attributes:
        address: without a slash at its end, such as `http://localhost:8000/v1`.
        model: its name there.
    """

    address: str
    model: str

    @property
    def digest(self) -> str:
        """SHA-256 of address and name: all that is known of the model from here."""
        return hashlib.sha256(f"endpoint\0{self.address}\0{self.model}".encode()).hexdigest()


def is_endpoint(model: str) -> bool:
    """Whether a model is named by an address.

    >>> is_endpoint("http://localhost:8000/v1#tiny"), is_endpoint("org/model")
    (True, False)
    """
    return model.lower().startswith(("http://", "https://"))


def endpoint_of(model: str) -> Endpoint:
    """What an address names.

    Raises:
        ModelError: it is no address, names no model, or holds a password, which would be written into records.

    >>> endpoint_of("http://localhost:8000/v1/#org/tiny")
    Endpoint(address='http://localhost:8000/v1', model='org/tiny')
    """
    address, _, name = model.partition("#")
    try:
        parts = urlsplit(address)
        host = parts.hostname if is_endpoint(model) else None
        parts.port  # noqa: B018  # an impossible one raises
    except ValueError:
        host = None
    if not host or not name:
        missing = "names no model" if host else "is no address"
        raise ModelError(f"model {redacted(model)!r} {missing}; an endpoint is written {FORM}")
    if "@" in parts.netloc or parts.query:
        raise ModelError(
            f"model {redacted(model)!r}: an address goes into records, so that no password or key may stand in it; "
            "name the environment variable that holds the key (generator.key)"
        )
    return Endpoint(address.rstrip("/"), name)
