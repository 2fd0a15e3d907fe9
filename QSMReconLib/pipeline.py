"""Pipelines: stages in a row, checked before any work, and everything they made with how it was made.

What is given is never computed again: a stage whose every product was handed in (somebody's own mask, say) is skipped,
and the record says so. Named pipelines are the JSON files in `pipelines/`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from .data import Artifact
from .errors import InputError, OptionError
from .runtime import Runtime
from .stage import Stage, stage_from_json

Artifacts = dict[type[Artifact], Artifact]


@dataclass(frozen=True)
class Step:
    """A stage in its place. With a note it is passed over: one that runs `if_possible` where its input is missing or
    will not do, one that runs `if_missing` where an earlier stage has made what it makes."""

    stage: Stage
    if_possible: bool = False
    if_missing: bool = False


@dataclass(frozen=True)
class Record:
    """What one stage did: its options, its seconds, and the notes a reader of the results must see."""

    stage: Stage
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    skipped: bool = False


@dataclass(frozen=True)
class Result:
    """Everything there is after a run, given and made, and the record of each stage."""

    artifacts: Artifacts
    records: tuple[Record, ...]
    made_by: dict[type[Artifact], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """Stages to be run in order."""

    name: str
    steps: tuple[Step, ...]
    description: str = ""

    def plan(self, given: Iterable[type[Artifact]]) -> list[tuple[Step, str]]:
        """Each step with the reason why it would be skipped ("" where it runs), for what is given: the kinds alone, or
        the artifacts, which then must also do.

        Raises InputError naming what is missing, and for whom, before any work.
        """
        artifacts = given if isinstance(given, Mapping) else {}
        given = set(given)
        there = set(given)
        planned: list[tuple[Step, str]] = []
        for step in self.steps:
            makes, needs = set(step.stage.makes()), set(step.stage.needs().values())
            missing = sorted(kind.kind for kind in needs - there)
            if makes <= given and not makes & needs:
                why = f"the {' and '.join(sorted(kind.kind for kind in makes))} was given"
            elif step.if_missing and makes <= there:
                why = f"the {' and '.join(sorted(kind.kind for kind in makes))} is there"
            elif missing and step.if_possible:
                why = f"there is no {' and no '.join(missing)}"
            elif missing:
                skipped = "".join(f" {_skipped(earlier.stage, reason)}" for earlier, reason in planned if reason)
                raise InputError(
                    f"The pipeline {self.name} cannot run: {step.stage.name} needs a {' and a '.join(missing)}, "
                    f"which is neither given nor made by an earlier stage.{skipped}"
                )
            elif (why := _obstacle(step.stage, artifacts)) and not step.if_possible:
                raise InputError(f"The pipeline {self.name} cannot run: {why}.")
            elif not why:
                there |= makes
            planned.append((step, why))
        return planned

    def check(self, given: Iterable[type[Artifact]]) -> None:
        """Raises InputError, naming what is missing, if the pipeline cannot run on what is given."""
        self.plan(given)

    def run(self, given: Mapping[type[Artifact], Artifact], runtime: Runtime) -> Result:
        """Run every step on `given`. Raises InputError before any work, Cancelled when the listener says stop."""
        import torch

        planned = self.plan(given)
        artifacts: Artifacts = dict(given)
        made_by: dict[type[Artifact], str] = {}
        records = []
        for step, why in planned:
            stage = step.stage
            if why:
                records.append(Record(stage, notes=(_skipped(stage, why),), skipped=True))
                continue
            own = runtime.at(stage.name)
            own.progress(0.0)
            start = time.perf_counter()
            with torch.inference_mode():
                made = stage.run(artifacts, own)
            for kind, artifact in zip(stage.makes(), made, strict=True):
                artifacts[kind] = artifact
                made_by[kind] = stage.name
            records.append(Record(stage, time.perf_counter() - start, tuple(own.notes)))
            own.progress(1.0)
        return Result(artifacts, tuple(records), made_by)

    def with_option(self, stage: str, name: str, value: Any) -> Pipeline:
        """The same pipeline with one option changed. Raises OptionError if no step has that stage or option."""
        if stage.lower() not in [step.stage.name for step in self.steps]:
            inside = ", ".join(step.stage.name for step in self.steps)
            raise OptionError(f"The pipeline {self.name} has no stage {stage!r}; it has {inside}.")
        changed = []
        for step in self.steps:
            if step.stage.name == stage.lower():
                options = step.stage.to_json()["options"] | {name: value}
                step = replace(step, stage=type(step.stage).with_options(options))
            changed.append(step)
        return replace(self, steps=tuple(changed))

    def to_json(self) -> dict[str, Any]:
        """The pipeline with every option, as `from_json` reads it."""
        steps = [
            s.stage.to_json() | {name: True for name in ("if_possible", "if_missing") if getattr(s, name)}
            for s in self.steps
        ]
        return {"name": self.name, "description": self.description, "stages": steps}

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> Pipeline:
        """The inverse of `to_json`. Raises InputError for what is not a pipeline, OptionError for a wrong option."""
        if not isinstance(described, Mapping) or not isinstance(described.get("stages"), list):
            raise InputError('A pipeline is an object with "name" and a list "stages".')
        steps = []
        for item in described["stages"]:
            if not isinstance(item, Mapping) or not isinstance(item.get("stage"), str):
                raise InputError(f'Each stage of a pipeline is an object with "stage" and "options", not {item!r}.')
            stage = stage_from_json(item)
            steps.append(Step(stage, bool(item.get("if_possible", False)), bool(item.get("if_missing", False))))
        return cls(str(described.get("name", "custom")), tuple(steps), str(described.get("description", "")))


def _skipped(stage: Stage, why: str) -> str:
    """The sentence for whoever misses what the stage makes; `why` may begin with its name."""
    if why.startswith(f"{stage.name} "):
        why = f"it{why.removeprefix(stage.name)}"
    return f"{stage.name} was skipped: {why}."


def _obstacle(stage: Stage, given: Mapping[type[Artifact], Artifact]) -> str:
    """What the stage has against what is given, without the full stop; "" for nothing."""
    try:
        stage.check(given)
    except InputError as error:
        return str(error).rstrip(".")
    return ""


def named_pipelines() -> dict[str, Pipeline]:
    """The pipelines that ship with the library, by name."""
    folder = resources.files(f"{__package__}.pipelines")
    files = sorted(item.name for item in folder.iterdir() if item.name.endswith(".json"))
    found = [Pipeline.from_json(json.loads((folder / name).read_text("utf-8"))) for name in files]
    return {pipeline.name: pipeline for pipeline in found}


def load_pipeline(name_or_file: str | Path) -> Pipeline:
    """A pipeline by its name or from a JSON file. Raises InputError, listing the names there are."""
    known = named_pipelines()
    if str(name_or_file) in known:
        return known[str(name_or_file)]
    path = Path(name_or_file)
    if not path.is_file():
        raise InputError(f"There is no pipeline or file {str(name_or_file)!r}; there are {', '.join(known)}.")
    try:
        return Pipeline.from_json(json.loads(path.read_text("utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not JSON: {error}.") from error
