"""The report of a lesion review: one HTML file, a summary and a page per lesion, that prints to PDF."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..io.derivatives import RESEARCH_USE
from .lesions import Volume
from .maps import CHANNELS
from .pictures import Column, as_png, columns_of, crops, overview, profile_svg
from .table import Review

SUMMARY = {
    "label": "Lesion",
    "volume_mm3": "mm³",
    "x": "R",
    "y": "A",
    "z": "S",
    "class_para": "χ_para",
    "chi_para_classed_ppb": "ppb",
    "class_dia": "χ_dia",
    "chi_dia_classed_ppb": "ppb",
    "class_focal": "Focal",
    "moment_ppm_mm3": "ppm·mm³",
    "flags": "To be doubted",
}
"""The columns of the summary page, with their heads."""

COLOURS = {
    "hyper": "#cf222e", "rim": "#8250df", "hypo": "#0969da", "iso": "#57606a", "undecided": "#9a6700",
    "bleed": "#cf222e", "calcification": "#0969da", "vessel": "#8250df", "other": "#57606a",
}  # fmt: skip
"""Of the words, on paper."""


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
            heads=SUMMARY,
            colours=COLOURS,
            rows=[[_cell(row[name]) for name in names] for _, row in done.table.iterrows()],
            overview=_overview(done),
            proposed=done.lesions.proposed,
            measures=asdict(done.measures),
            interval=f"{done.measures.interval_percent:.0f} %",
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
        "vein": _percent(row["vein_share"]),
        "maps": [_numbers(name, row) for name in CHANNELS if name in one.contrasts],
        "classes": [
            (title, row[f"class_{key}"], _percent(row.get(f"probability_{key}")), row.get(f"reader_{key}") or "")
            for key, title in (("para", "χ_para"), ("dia", "χ_dia"), ("focal", "focal"))
            if f"class_{key}" in row
        ],
    }


def _overview(done: Review) -> list[tuple[str, str, float, list[tuple[float, float, int, str]]]]:
    """(view, picture, height over width, spots) of the brain; a spot is (x, y, number, colour of its class)."""
    column = next((name for name in ("class_para", "class_focal") if name in done.table), None)
    words = done.table[column].astype(str).tolist() if column else [""] * len(done.table)
    if column == "class_para" and "class_focal" in done.table:
        words = [
            f if f not in ("other", "undecided") else w for w, f in zip(words, done.table["class_focal"], strict=True)
        ]
    pictures = overview(done.maps, done.table[["x", "y", "z"]].to_numpy(float).tolist())
    return [
        (
            view,
            picture,
            ratio,
            [
                (100 * x, 100 * y, int(label), COLOURS.get(word, "#57606a"))
                for (x, y), label, word in zip(spots, done.table["label"], words, strict=True)
            ],
        )
        for view, (picture, ratio, spots) in zip(("axial", "coronal", "sagittal"), pictures, strict=True)
    ]


def _percent(value: Any) -> str:
    return f"{100 * float(value):.0f} %" if value is not None and np.isfinite(float(value)) else ""


def _numbers(name: str, row: dict[str, Any]) -> dict[str, str]:
    """A row of the table of one lesion's maps."""
    title, unit, _, _ = CHANNELS[name]
    value = {
        key: row[f"{name}_{key}_{unit.lower()}"]
        for key in ("median", "p5", "p95", "normal", "contrast", "contrast_low", "contrast_high")
    }
    interval = f"{_cell(value['contrast_low'])} to {_cell(value['contrast_high'])}"
    spread = f"{_cell(value['p5'])} to {_cell(value['p95'])}"
    return {"title": title, "unit": unit, "interval": interval, "spread": spread} | {
        k: _cell(v) for k, v in value.items()
    }


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
    # Nothing is less than nothing: what rounds to zero has no sign.
    return f"{number:.0f}" if abs(number) >= 100 else f"{round(number, 1) + 0.0:.1f}"
