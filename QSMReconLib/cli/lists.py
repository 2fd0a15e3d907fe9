"""`qsmrecon stages` and `qsmrecon pipelines`: what there is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from ..pipeline import named_pipelines
from ..stage import Option, Options, Stage, stages
from .console import say, table


def add_to(commands: Any) -> None:
    """Add both commands."""
    for name, command, text in (
        ("stages", list_stages, "list every stage with its options, defaults, ranges, units and sources"),
        ("pipelines", list_pipelines, "list the named pipelines with their stages"),
    ):
        added = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        added.add_argument("--json", action="store_true", help="as JSON, for programs")
        added.set_defaults(command=command)


def list_stages(args: argparse.Namespace) -> int:
    """Print every stage."""
    if args.json:
        say(json.dumps([describe(stage) for stage in stages().values()], indent=2, ensure_ascii=False))
        return 0
    for stage in stages().values():
        say(f"\n{stage.name}  ({stage.group})\n  {stage.summary()}")
        needs = ", ".join(kind.kind for kind in stage.needs().values())
        uses = ", ".join(kind.kind for kind in stage.uses().values())
        makes = ", ".join(kind.kind for kind in stage.makes())
        say(f"  needs {needs}{f'; uses {uses}' if uses else ''}; makes {makes}")
        show_options(stage)
    return 0


def list_pipelines(args: argparse.Namespace) -> int:
    """Print every named pipeline."""
    known = named_pipelines()
    if args.json:
        say(json.dumps([pipeline.to_json() for pipeline in known.values()], indent=2, ensure_ascii=False))
        return 0
    rows = [(name, p.description, " → ".join(step.stage.name for step in p.steps)) for name, p in known.items()]
    table("", ("pipeline", "for", "stages"), rows)
    return 0


def show_options(of: type[Options]) -> None:
    """A table of the options, if there are any."""
    rows = [(o.name, o.default, span(o), o.unit, o.text) for o in of.options()]
    if rows:
        table("", ("option", "default", "range", "unit", "meaning"), rows)


def describe(stage: type[Stage]) -> dict[str, Any]:
    """A stage as JSON: what forms, documentation and other programs are made from."""
    return {
        "name": stage.name,
        "group": stage.group,
        "summary": stage.summary(),
        "needs": [kind.__name__ for kind in stage.needs().values()],
        "uses": [kind.__name__ for kind in stage.uses().values()],
        "makes": [kind.__name__ for kind in stage.makes()],
        "options": [asdict(declared) for declared in stage.options()],
    }


def span(declared: Option) -> str:
    """An option's range in a few characters."""
    if declared.choices:
        return " | ".join(declared.choices)
    low, high = declared.minimum, declared.maximum
    if low is None and high is None:
        return declared.type
    return f"{'' if low is None else f'{low:g}'} … {'' if high is None else f'{high:g}'}"
