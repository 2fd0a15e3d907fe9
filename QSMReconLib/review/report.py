"""The report of a lesion review: one HTML file, a summary and a page per lesion, that prints to PDF."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..io.derivatives import RESEARCH_USE
from .lesions import Volume
from .maps import CHANNELS
from .pictures import Column, as_png, columns_of, crops, profile_svg
from .table import Review

SUMMARY = ("label", "volume_mm3", "x", "y", "z", "class_para", "class_dia", "class_focal", "flags")
"""The columns of the summary page."""


def render_report(
    done: Review, title: str, provenance: dict[str, Any] | None = None, progress: Callable[[float], None] | None = None
) -> str:
    """The HTML. `provenance` is shown as it is: the files, the pipeline."""
    from jinja2 import Environment

    template = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    columns = columns_of(done.maps)
    pages = []
    for index, (_, row) in enumerate(done.table.iterrows()):
        pages.append(_page(done, index, row.to_dict(), columns))
        if progress:
            progress((index + 1) / len(done.table))
    names = [name for name in SUMMARY if name in done.table]
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            title=title,
            version=__version__,
            time=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            research_use=RESEARCH_USE,
            remarks=done.remarks,
            counts=_counts(done),
            names=names,
            rows=[[_cell(row[name]) for name in names] for _, row in done.table.iterrows()],
            columns=[column for column, _ in columns],
            pages=pages,
            thresholds=done.thresholds.to_json(),
            provenance=json.dumps(provenance or {}, indent=2, ensure_ascii=False),
        )
    )


def write_report(done: Review, path: Path, title: str, provenance: dict[str, Any] | None = None) -> None:
    """Save the report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(done, title, provenance), encoding="utf-8")


def _page(done: Review, index: int, row: dict[str, Any], columns: list[tuple[Column, Volume]]) -> dict[str, Any]:
    one = done.measured[index]
    affine = np.linalg.inv(np.asarray(done.maps.grid.affine))
    centre = affine[:3, :3] @ [row["x"], row["y"], row["z"]] + affine[:3, 3]
    half = float(np.clip(1.8 * (0.75 * row["volume_mm3"] / np.pi) ** (1 / 3) + 12.0, 18.0, 45.0))
    picture = crops(columns, done.maps.grid, done.lesions.numbers, one.label, centre.tolist(), half)
    return {
        "label": one.label,
        "row": {name: _cell(value) for name, value in row.items()},
        "picture": as_png(picture),
        "profile": profile_svg(one.profile, {name: title for name, (title, *_) in CHANNELS.items()}),
        "maps": [_numbers(name, row) for name in one.contrasts],
    }


def _numbers(name: str, row: dict[str, Any]) -> dict[str, str]:
    """A row of the table of one lesion's maps."""
    title, unit, _, _ = CHANNELS[name]
    value = {
        key: row[f"{name}_{key}_{unit.lower()}"]
        for key in ("median", "normal", "contrast", "contrast_low", "contrast_high")
    }
    interval = f"{_cell(value['contrast_low'])} to {_cell(value['contrast_high'])}"
    return {"title": title, "unit": unit, "interval": interval} | {k: _cell(v) for k, v in value.items()}


def _counts(done: Review) -> list[tuple[str, list[tuple[str, int]]]]:
    titles = {"class_para": "χ_para", "class_dia": "χ_dia", "class_focal": "Focal"}
    return [
        (title, [(str(word), int(n)) for word, n in done.table[column].value_counts().items()])
        for column, title in titles.items()
        if column in done.table
    ]


def _cell(value: Any) -> str:
    """A number as people read it; nothing where there is nothing."""
    if value is None:
        return ""
    if not isinstance(value, float | np.floating):
        return str(value)
    number = float(value)
    if not np.isfinite(number):
        return "–"
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.1f}"
