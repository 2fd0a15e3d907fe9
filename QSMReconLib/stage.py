"""Stages: one method each, declared once.

A stage is a class whose fields are its options and whose `apply` is its contract: the artifacts among the parameters
are what it needs (those that default to None are used when there), the annotated return type is what it makes.
Command line, forms, JSON and documentation are generated from that, and nothing writes an option twice.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from .data import Artifact
from .errors import OptionError
from .runtime import Runtime

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:
        return lambda cls: cls


STAGE_PACKAGES = (
    "masking", "fieldmap", "weighting", "relaxometry", "background", "inversion", "referencing", "separation",
)  # fmt: skip

_registry: dict[str, type[Stage]] = {}


@dataclass(frozen=True)
class Option:
    """One option, as clients show it. `type` is float, int, bool, str or "floats"."""

    name: str
    type: str
    default: Any
    text: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare an option: its default, what it means (a tooltip), its unit, and its closed range or its choices."""
    declared = {"text": text, "unit": unit, "minimum": ge, "maximum": le, "choices": choices}
    return field(default=default, metadata=declared)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option,))
class Options:
    """Base of what a person can choose. A subclass becomes a frozen dataclass whose fields are checked as declared."""

    name: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)
        cls.name = cls.__name__.lower()

    def __post_init__(self) -> None:
        for declared in self.options():
            object.__setattr__(self, declared.name, _checked(self.name, declared, getattr(self, declared.name)))

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """The declared options, in the order of declaration."""
        return _options(cls)  # type: ignore[arg-type] # Classes are hashable; mypy sees their instances' __hash__.

    @classmethod
    def with_options(cls, options: Mapping[str, Any]) -> Self:
        """One with `options` by name, values as objects or as text. Raises OptionError, naming what there is."""
        known = [declared.name for declared in cls.options()]
        for name in options:
            if name not in known:
                raise OptionError(f"{cls.name} has no option {name!r}; it has {', '.join(known) or 'none'}.")
        return cls(**options)


class Stage(Options):
    """Base of every method. A subclass becomes a frozen dataclass and is registered under its name in lower case."""

    group: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.group = ("." + cls.__module__).split(".")[-2]
        known = _registry.get(cls.name)
        if known is not None and known.__module__ != cls.__module__:
            raise TypeError(f"Two stages are called {cls.name}: in {known.__module__} and in {cls.__module__}.")
        _registry[cls.name] = cls

    # apply(self, <artifacts>, runtime: Runtime) -> artifact or tuple of artifacts: every stage's own signature.
    apply: ClassVar[Any]

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        """Raises InputError where what is given is of the right kind and yet cannot be used (two echoes for a decay).

        A pipeline asks before any work; `apply` says the same of what an earlier stage has made.
        """

    @classmethod
    def needs(cls) -> dict[str, type[Artifact]]:
        """What `apply` cannot do without, by parameter name."""
        return {name: kind for name, (kind, optional) in cls._parameters().items() if not optional}

    @classmethod
    def uses(cls) -> dict[str, type[Artifact]]:
        """What `apply` takes when it is there, by parameter name."""
        return {name: kind for name, (kind, optional) in cls._parameters().items() if optional}

    @classmethod
    def makes(cls) -> tuple[type[Artifact], ...]:
        """What `apply` returns."""
        returned = get_type_hints(cls.apply)["return"]
        return get_args(returned) if get_origin(returned) is tuple else (returned,)

    @classmethod
    def _parameters(cls) -> dict[str, tuple[type[Artifact], bool]]:
        hints = get_type_hints(cls.apply)
        found = {}
        for name in inspect.signature(cls.apply).parameters:
            if name in ("self", "runtime"):
                continue
            kinds = [kind for kind in get_args(hints[name]) or (hints[name],) if kind is not type(None)]
            found[name] = (kinds[0], len(get_args(hints[name])) > 1)
        return found

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the docstring: what the method is and where it comes from."""
        return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")

    def run(self, artifacts: Mapping[type[Artifact], Artifact], runtime: Runtime) -> tuple[Artifact, ...]:
        """Apply to whatever of `artifacts` the stage asks for; always returns a tuple, in the order of `makes()`."""
        arguments = {name: artifacts[kind] for name, kind in self.needs().items()}
        arguments |= {name: artifacts[kind] for name, kind in self.uses().items() if kind in artifacts}
        made = self.apply(**arguments, runtime=runtime)
        return made if isinstance(made, tuple) else (made,)

    def to_json(self) -> dict[str, Any]:
        """The stage with every option, as `stage_from_json` reads it."""
        return {"stage": self.name, "options": asdict(self)}


def stages() -> dict[str, type[Stage]]:
    """Every stage there is, by name: each file of the stage packages is imported."""
    for package in STAGE_PACKAGES:
        module = importlib.import_module(f"{__package__}.{package}")
        for found in pkgutil.iter_modules(module.__path__):
            importlib.import_module(f"{module.__name__}.{found.name}")
    ours = {name: cls for name, cls in _registry.items() if cls.__module__.startswith(f"{__package__}.")}
    return dict(sorted(ours.items(), key=lambda pair: (STAGE_PACKAGES.index(pair[1].group), pair[0])))


def find_stage(name: str) -> type[Stage]:
    """The stage called `name`. Raises OptionError, listing those there are."""
    known = stages()
    if name.lower() not in known:
        raise OptionError(f"There is no stage {name!r}; there are {', '.join(known)}.")
    return known[name.lower()]


def stage_from_json(described: Mapping[str, Any]) -> Stage:
    """The inverse of `Stage.to_json`; options left out keep their defaults."""
    return find_stage(described["stage"]).with_options(described.get("options", {}))


@cache
def _options(cls: type[Options]) -> tuple[Option, ...]:
    """Read once: evaluating annotations takes milliseconds, and forms ask for them at every click."""
    hints = get_type_hints(cls)
    return tuple(_describe(item, hints[item.name]) for item in fields(cls) if "text" in item.metadata)  # type: ignore[arg-type]


def _describe(item: Any, hint: Any) -> Option:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kind = next(k for k in kinds if k is not type(None))
    default = None if item.default is MISSING else item.default
    name = "floats" if get_origin(kind) is tuple else kind.__name__
    return Option(name=item.name, type=name, default=default, optional=type(None) in kinds, **item.metadata)


def _checked(owner: str, declared: Option, value: Any) -> Any:
    """The value as its declared type, or OptionError with the remedy."""
    where = f"{owner}.{declared.name}"
    if value is None or (declared.optional and value in ("", "none", "auto")):
        if declared.optional:
            return None
        raise OptionError(f"{where} needs a value.")
    try:
        converted = _CONVERT[declared.type](value)
    except (ValueError, TypeError) as error:
        raise OptionError(f"{where} is {value!r}, but must be {_WORDS[declared.type]}.") from error
    if declared.choices and converted not in declared.choices:
        raise OptionError(f"{where} is {value!r}; choose one of {', '.join(declared.choices)}.")
    for number in converted if isinstance(converted, tuple) else (converted,):
        low, high = declared.minimum, declared.maximum
        if (low is not None and not number >= low) or (high is not None and not number <= high):
            unit = f" {declared.unit}" if declared.unit else ""
            span = (
                f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
            )
            raise OptionError(f"{where} is {value}, but must be {span}{unit}.")
    return converted


def _bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        return value.lower() in ("true", "yes", "on", "1")
    if isinstance(value, bool):
        return value
    raise ValueError


def _int(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def _float(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or number != number:
        raise ValueError
    return number


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _floats(value: Any) -> tuple[float, ...]:
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(_float(part) for part in parts)


_CONVERT = {"bool": _bool, "int": _int, "float": _float, "str": _str, "floats": _floats}
_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "floats": "numbers separated by spaces",
}
