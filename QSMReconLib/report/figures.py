"""The pictures of a report: three mid-slices in a fixed grey window with its scale, and a histogram."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK, PAPER, ACCENT = "#d7dce2", "#101418", "#58a6ff"


def centre_of(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel in the middle of the mask's box, or of the volume where the mask is empty."""
    if not mask.any():
        mask = np.ones_like(mask)
    found = [np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    x, y, z = (int(axis[0] + axis[-1]) // 2 for axis in found)
    return x, y, z


def slices(
    values: NDArray[np.float32],
    voxel_size_mm: Sequence[float],
    centre: tuple[int, int, int],
    window: tuple[float, float],
    unit: str,
) -> Figure:
    """Axial, coronal and sagittal slices of (X, Y, Z) in RAS order through `centre`, as radiologists look at them (the
    patient's right on the left), with a scale."""
    from matplotlib.figure import Figure

    planes = [
        (values[::-1, :, centre[2]], voxel_size_mm[0], voxel_size_mm[1], "axial"),
        (values[::-1, centre[1], :], voxel_size_mm[0], voxel_size_mm[2], "coronal"),
        (values[centre[0], :, :], voxel_size_mm[1], voxel_size_mm[2], "sagittal"),
    ]
    widths = [plane.shape[0] * across for plane, across, _, _ in planes]
    heights = [plane.shape[1] * up for plane, _, up, _ in planes]
    wide = 11.0
    figure = Figure(figsize=(wide, wide * max(heights) / sum(widths) * 0.92 + 0.1), facecolor=PAPER)
    axes = figure.subplots(1, 3, width_ratios=widths)
    for axis, (plane, across, up, name) in zip(axes, planes, strict=True):
        shown = axis.imshow(
            plane.T,
            origin="lower",
            cmap="gray",
            vmin=window[0],
            vmax=window[1],
            extent=(0, plane.shape[0] * across, 0, plane.shape[1] * up),
            interpolation="nearest",
        )
        axis.set_axis_off()
        axis.text(3, 3, name, color=INK, fontsize=8, alpha=0.8)
    for axis, side in zip(axes, "RRP", strict=True):
        axis.text(0.01, 0.5, side, color=INK, fontsize=9, transform=axis.transAxes, va="center")
    axes[0].plot([6, 56], [14, 14], color=INK, linewidth=2)
    axes[0].text(31, 17, "5 cm", color=INK, fontsize=7, ha="center")
    figure.subplots_adjust(0.005, 0.01, 0.925, 0.99, 0.02)
    bar = figure.colorbar(shown, cax=figure.add_axes((0.94, 0.15, 0.012, 0.7)))
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.set_title("" if unit == "1" else unit, color=INK, fontsize=8)
    return figure


def histogram(values: NDArray[np.float32], window: tuple[float, float], unit: str) -> Figure:
    """How often each value occurs, over a span somewhat wider than the window."""
    from matplotlib.figure import Figure

    low, high = window
    margin = 0.25 * (high - low)
    span = (low if low == 0 else low - margin, high + margin)
    figure = Figure(figsize=(3.4, 1.7), facecolor=PAPER)
    axis = figure.subplots()
    axis.set_facecolor(PAPER)
    axis.hist(values, bins=100, range=span, color=ACCENT, histtype="stepfilled", alpha=0.85)
    axis.set_yticks([])
    axis.tick_params(colors=INK, labelsize=7)
    axis.set_xlabel(unit, color=INK, fontsize=8)
    for name, spine in axis.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(INK)
    figure.subplots_adjust(0.03, 0.28, 0.97, 0.98)
    return figure


def as_png(figure: Figure) -> str:
    """A figure as the text of an <img> source."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor=figure.get_facecolor())
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
