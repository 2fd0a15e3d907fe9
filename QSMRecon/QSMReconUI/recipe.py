"""What a person has chosen to run: a named pipeline, other methods in its steps, other options. No widgets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from QSMReconLib.errors import OptionError
from QSMReconLib.pipeline import Pipeline, Step, named_pipelines
from QSMReconLib.stage import Stage, stages

PREFERRED = ("clinical", "classical")
"""Which named pipeline is offered first."""


@cache
def library_pipelines() -> Mapping[str, Pipeline]:
    """The library's named pipelines, the preferred one first."""
    known = named_pipelines()
    order = sorted(known, key=lambda name: (PREFERRED.index(name) if name in PREFERRED else len(PREFERRED), name))
    return {name: known[name] for name in order}


@cache
def library_stages() -> Mapping[str, type[Stage]]:
    """The library's stages by name."""
    return stages()


def alternatives(stage: type[Stage]) -> list[type[Stage]]:
    """The methods that make the same from the same kind of step, `stage` among them."""
    makes = set(stage.makes())
    return [other for other in library_stages().values() if other.group == stage.group and set(other.makes()) == makes]


@dataclass(frozen=True)
class Recipe:
    """A pipeline and what was changed in it: `methods` by the number of the step, `options` by stage and name. Only
    differences are kept, so that better defaults of a later version are not held back by an old scene."""

    pipeline: str = ""
    methods: Mapping[int, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_text(cls, pipeline: str, text: str) -> Recipe:
        """What `to_text` has written; what is not readable any more is left out."""
        try:
            changes = json.loads(text or "{}")
            methods = {int(step): str(name) for step, name in changes.get("methods", {}).items()}
            options = {str(stage): dict(values) for stage, values in changes.get("options", {}).items()}
        except (ValueError, TypeError, AttributeError):
            return cls(pipeline)
        return cls(pipeline, methods, options)

    def to_text(self) -> str:
        """The changes as JSON, for the parameter node; empty if there are none."""
        options = {stage: dict(values) for stage, values in self.options.items() if values}
        changes = {"methods": {str(step): name for step, name in self.methods.items()}, "options": options}
        return json.dumps(changes) if self.methods or options else ""

    def steps(self) -> list[Step]:
        """The steps with their methods, with the options that the named pipeline gives them."""
        known = library_pipelines().get(self.pipeline)
        found = []
        for number, step in enumerate(known.steps if known is not None else ()):
            name = self.methods.get(number, step.stage.name)
            if name != step.stage.name and name in library_stages():
                step = replace(step, stage=library_stages()[name]())
            found.append(step)
        return found

    def resolved(self) -> Pipeline:
        """The pipeline to run. Raises OptionError with a sentence for an option out of its range."""
        known = library_pipelines().get(self.pipeline)
        if known is None:
            raise OptionError(
                f"There is no pipeline {self.pipeline!r}; there are {', '.join(library_pipelines()) or 'none'}."
            )
        steps = []
        for step in self.steps():
            changed = self.options.get(step.stage.name, {})
            options = step.stage.to_json()["options"] | dict(changed)
            steps.append(replace(step, stage=type(step.stage).with_options(options)))
        return Pipeline(known.name, tuple(steps), known.description)

    def with_method(self, number: int, name: str) -> Recipe:
        """The same with another method in one step."""
        known = library_pipelines()[self.pipeline].steps[number].stage.name
        methods = {step: method for step, method in self.methods.items() if step != number}
        return replace(self, methods=methods if name == known else methods | {number: name})

    def with_option(self, stage: str, name: str, value: Any) -> Recipe:
        """The same with another value of one option; None forgets the change."""
        values = {key: kept for key, kept in self.options.get(stage, {}).items() if key != name}
        if value is not None:
            values[name] = value
        return replace(self, options={**self.options, stage: values})

    @property
    def changed(self) -> bool:
        """Whether anything differs from the named pipeline."""
        return bool(self.to_text())
