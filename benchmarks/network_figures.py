"""Pictures of what benchmarks/networks.py compares."""

from __future__ import annotations

from pathlib import Path

import torch
from cases import Case, parse
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from QSMReconLib.labels import DEEP_NUCLEI

WINDOW_PPM = 0.12
AXES = (("noise", "noise, ppb"), ("tilt", "B0 tilt, °"), ("factor", "χ ×"), ("voxel", "voxel, mm"))
"""What the errors are drawn against: the part of a case's word, and its title."""


def slices(case: Case, maps: dict[str, torch.Tensor], file: Path) -> None:
    """The slice with most of the deep nuclei: truth and maps above, errors below."""
    nuclei = torch.isin(case.labels, torch.tensor(DEEP_NUCLEI, dtype=case.labels.dtype))
    level = int(nuclei.sum((0, 1)).argmax())
    true = case.chi_ppm
    figure = Figure(figsize=(2.1 * (len(maps) + 1), 5.2))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(maps) + 1)
    ratio = case.grid.voxel_size_mm[1] / case.grid.voxel_size_mm[0]
    for column, (name, chi) in enumerate({"truth": true, **maps}.items()):
        for row, volume in enumerate((chi, (chi - true) * case.mask)):
            picture = axes[row, column]
            picture.axis("off")
            if row and not column:
                continue
            picture.imshow(
                volume[:, :, level].T, cmap="gray", vmin=-WINDOW_PPM, vmax=WINDOW_PPM, origin="lower", aspect=ratio
            )
            picture.set_title(name if row == 0 else "error", fontsize=9)
    figure.suptitle(f"χ and its error, ±{WINDOW_PPM:g} ppm", fontsize=9)
    figure.tight_layout(pad=0.3)
    figure.savefig(file, dpi=80)


def curves(table: dict[str, dict[str, dict[str, float]]], file: Path) -> None:
    """NRMSE over noise, tilt, size of χ and voxel size, of the cases that differ from their subject in that only."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (part, title) in zip(figure.subplots(1, len(AXES), sharey=True), AXES, strict=True):
        rows = _rows(table, part)
        for name in sorted({name for _, row in rows for name in row}, key=list(next(iter(table.values()))).index):
            axes.plot(
                [label for label, row in rows if name in row],
                [row[name]["nrmse"] for _, row in rows if name in row],
                marker="o",
                markersize=3,
                linewidth=1,
                label=name,
            )
        axes.set_xlabel(title)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(ScalarFormatter())
    figure.axes[0].set_ylabel("NRMSE, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right", fontsize=8)
    figure.savefig(file, dpi=90)


def _rows(table: dict[str, dict[str, dict[str, float]]], part: str) -> list[tuple[str, dict[str, dict[str, float]]]]:
    """The cases along one axis: those of the table's first subject in which nothing else was changed."""
    subject = parse(next(iter(table)))["subject"]
    found = []
    for described, row in table.items():
        asked = parse(described)
        changed = [name for name, value in asked.items() if name != "subject" and value]
        if asked["subject"] == subject and (not changed or changed == [part]):
            found.append((asked[part] or {"noise": "0", "tilt": "0", "factor": "1", "voxel": "own"}[part], row))
    if part == "voxel":
        return found
    return sorted(found, key=lambda pair: float(pair[0]))
