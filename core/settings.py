"""Settings of components, and `Use[...]`, the field type that names another component.

Validation of a `Use` needs a `Resolver` (implemented by the registry), handed to pydantic as the validation context
under the key `"resolver"`. Without it only an already built `Use` is accepted: settings stay plain data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Protocol, Self, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError, ValidationError, core_schema

from aftertrain.core.ground.usage import Unused, declared, unused_findings, written

T = TypeVar("T", bound="Kinded")

IGNORED_BY_HASH = "aftertrain_ignored_by_hash"
SCHEMA_MARK = "x-aftertrain-kind"
"""In a JSON Schema, stands for any component of that kind; `registry.schema` replaces it by a reference."""


@dataclasses.dataclass(frozen=True)
class Listed:
    """What a user is told of something that a setting may name.

    Attributes:
        shown: a few facts by name, which all that is listed has: a row of a table.
        more: what is told of it alone.
    """

    shown: Mapping[str, str]
    more: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Settings(BaseModel):
    """Base of every component's settings: unknown keys are errors, values are frozen, every field is described."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        validate_by_name=True,
        validate_by_alias=True,
        # A number that is none makes weights that are none; a field that means infinity declares it by itself.
        allow_inf_nan=False,
    )

    def affecting(self) -> dict[str, Any]:
        """The settings that affect the result, as plain data: what a stage's hash is computed from."""
        data: dict[str, Any] = _affecting(self)
        return data

    def without_use(self) -> dict[str, Unused]:
        """What does nothing beside the other settings, set or not, by dotted path of field names.

        By default the fields whose `UsedIf` does not hold; a subclass adds what several settings decide together.
        """
        return declared(self)

    @classmethod
    def listing(cls) -> Mapping[str, Listed]:
        """What a setting may name, by name, for `aftertrain show`: known data sets, say. By default nothing."""
        return {}

    @model_validator(mode="after")
    def _refuse_what_is_set_and_not_used(self) -> Self:
        if findings := unused_findings(self, self.without_use()):
            raise ValidationError.from_exception_data(type(self).__name__, findings)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Defaults that do nothing are not written: read again, they would be settings that somebody set."""
        data: dict[str, Any] = handler(self)
        for path in self.without_use():
            *owners, name = path.split(".")
            there, settings = data, self
            for owner in owners:
                there = there.get(owner) or there.get(written(type(settings), owner)) or {}
                settings = getattr(settings, owner)
            for key in (name, written(type(settings), name)):
                there.pop(key, None)
        return data


def unhashed(default: Any = ..., **options: Any) -> Any:
    """A pydantic `Field` for a setting that cannot change the result (a log interval, a folder, a worker count)."""
    return Field(default, json_schema_extra={IGNORED_BY_HASH: True}, **options)


class Kinded(Protocol):
    """What a `Use` may name: a component, whose interface says its kind."""

    kind: ClassVar[str]

    def __init__(self, settings: Any, builder: Builder) -> None: ...


class Resolver(Protocol):
    """Turns `{use: name, ...}` of one kind into a validated `Use`. Implemented by the registry."""

    def resolve(self, kind: str, value: Mapping[str, Any]) -> Use[Any]:
        """Look up `value["use"]`, validate the other keys as its settings.

        Raises:
            PydanticCustomError: the name is unknown, broken or blocked.
            pydantic.ValidationError: the settings do not fit; locations are relative to `value`.
        """


class Builder(Protocol):
    """Constructs components. Implemented by the registry, handed to every component."""

    def build(self, use: Use[T]) -> T:
        """Import and construct the component that `use` names."""


class Use(Generic[T]):
    """A chosen component: kind, name and validated settings. Written `{use: name, key: value, ...}` in a recipe.

    As a field type, `Use[Loss]` accepts such a mapping, a bare name (`loss: sft`), or a `Use`. Not a dataclass, because
    pydantic would take its fields for the schema.
    """

    __slots__ = ("kind", "name", "settings")
    itself: ClassVar[bool] = True
    """Whether it names a component; false where it stands for those in its settings (a suite of tasks)."""

    def __init__(self, kind: str, name: str, settings: Settings) -> None:
        self.kind, self.name, self.settings = kind, name, settings

    def _parts(self) -> tuple[str, str, Settings]:
        return self.kind, self.name, self.settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Use) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __repr__(self) -> str:
        return f"Use{self._parts()!r}"

    def dump(self) -> dict[str, Any]:
        """Plain data that validates to an equal `Use`."""
        return {"use": self.name, **self.settings.model_dump(mode="json", by_alias=True)}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        (interface,) = get_args(source)
        kind: str = (get_origin(interface) or interface).kind

        def validate(value: Any, info: ValidationInfo) -> Use[Any]:
            if isinstance(value, Use):
                if value.kind != kind:
                    raise PydanticCustomError("wrong_kind", f"a {kind} is needed, {value.name!r} is a {value.kind}")
                return value
            if isinstance(value, str):
                value = {"use": value}
            if not isinstance(value, Mapping):
                raise PydanticCustomError("use_type", f"a {kind} is written as a name or as a mapping with 'use:'")
            resolver: Resolver | None = (info.context or {}).get("resolver")
            if resolver is None:
                raise PydanticCustomError("no_resolver", "components are looked up by aftertrain.load_recipe")
            return resolver.resolve(kind, value)

        return core_schema.with_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda use: use.dump()),
            metadata={"pydantic_js_functions": [lambda schema, inner: {SCHEMA_MARK: kind}]},
        )


def components(use: Use[Any]) -> Iterator[Use[Any]]:
    """A component and all those nested in its settings, without the ones that cannot change the result."""
    if use.itself:
        yield use
    yield from nested(use.settings)


def nested(value: Any) -> Iterator[Use[Any]]:
    """All components that settings, or a value of them, name, without the ones that cannot change the result."""
    if isinstance(value, Use):
        yield from components(value)
        return
    if isinstance(value, BaseModel):
        value = dict(_hashed(value))
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from nested(item)


def _hashed(settings: BaseModel) -> Iterator[tuple[str, Any]]:
    """Each setting that can change the result, by its name in a recipe."""
    for name, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        if not (isinstance(extra, dict) and extra.get(IGNORED_BY_HASH)):
            yield field.alias or name, getattr(settings, name)


def _affecting(value: Any) -> Any:
    if isinstance(value, Use):
        return {**({"use": value.name} if value.itself else {}), **_affecting(value.settings)}
    if isinstance(value, BaseModel):
        value = dict(_hashed(value))
    if isinstance(value, Mapping):
        return {str(key): _affecting(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_affecting(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_affecting(item) for item in value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _beside_recipe(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base_folder")
    path = Path(value).expanduser()
    return str(path if path.is_absolute() or base is None else Path(base) / path)


LocalPath = Annotated[str, AfterValidator(_beside_recipe)]
"""A file or folder; relative ones are taken from the recipe's folder (context key `base_folder`)."""
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
