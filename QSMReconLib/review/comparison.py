"""Two lesion tables compared from file to file, as `qsmrecon agreement` does it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import InputError
from ..io.derivatives import RESEARCH_USE, write_json
from .agreement import SCAN, Comparison, Difference, compare, describe
from .registration import rigid

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray


def compare_files(
    first: Path,
    second: Path,
    out: Path | None = None,
    report: Path | None = None,
    *,
    transform: Path | None = None,
    images: tuple[Path, Path] | None = None,
    farthest_mm: float = 5.0,
    who: tuple[str, str] | None = None,
    lesions: Path | None = None,
    tables: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Compare two tables of `qsmrecon lesions` or of readers; write JSON to `out` and a page to `report`.

    `first` and `second` may be folders: with the tables of many scans, or, where `lesions` are given (as
    `pooled.review_scans` takes them), with the maps of many scans, whose lesions are then measured first; their tables
    are kept below `tables`. Of two visits, either `transform` is a text file of the 4×4 matrix that takes places of the
    second to the first (RAS mm), or `images` are what both visits look like, which are registered rigidly. Raises
    InputError for a file that is no table, for an output that is there already, and as `agreement.compare` does.
    """
    for path in (out, report):
        if path is not None and path.exists() and not overwrite:
            raise InputError(f"{path} is there already: choose another name, or add --overwrite.")
    if transform is not None and images is not None:
        raise InputError("Give either --transform or the images of both visits; not both.")
    if tables is not None and lesions is None:
        raise InputError("--tables is for the tables that are made of --lesions: give both.")
    same = second.resolve() == first.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        keep = tables or Path(scratch)
        one, other = (
            _table(path, lesions, keep / name, overwrite, _half(progress, index))
            for index, (name, path) in enumerate((("first", first), ("second", second)))
        )
    other = one if same else other
    if SCAN in one and one[SCAN].nunique() > 1 and (transform is not None or images is not None):
        raise InputError("Several scans cannot be brought to others by one transform: compare them visit by visit.")
    matrix = _matrix(transform) if transform is not None else None
    if images is not None:
        matrix = _registered(*images)
    found = compare(one, other, matrix, farthest_mm, who)
    described = describe(found) | {
        "GeneratedBy": [{"Name": "QSMRecon", "Version": __version__}],
        "IntendedUse": RESEARCH_USE,
        "First": str(first),
        "Second": str(second),
        "Lesions": None if lesions is None else str(lesions),
        "FarthestMm": farthest_mm,
        "Transform": None if matrix is None else np.round(matrix, 6).tolist(),
    }
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, described)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(_render(found, described), encoding="utf-8")
    return found


def _table(path: Path, lesions: Path | None, keep: Path, overwrite: bool, progress: Any) -> pandas.DataFrame:
    from .pooled import pool_tables, review_scans

    if lesions is None:
        return pool_tables(path) if path.is_dir() else read_table(path)
    if not path.is_dir():
        raise InputError(f"{path} is no folder: with --lesions, give two folders of derivatives.")
    return review_scans(path, lesions, keep, overwrite, progress)


def _half(progress: Callable[[float], None] | None, index: int) -> Callable[[float], None] | None:
    """The progress of the first or the second of two equal parts."""
    return None if progress is None else lambda fraction: progress((index + fraction) / 2)


def read_table(path: Path, needs: Sequence[str] = ("label",)) -> pandas.DataFrame:
    """A table of lesions, TSV, or CSV where the name ends so. Raises InputError where it cannot be read as one, lacks a
    column of `needs`, or has a label twice."""
    import pandas

    separator = "," if path.suffix.lower() == ".csv" else "\t"
    try:
        table = pandas.read_csv(path, sep=separator, na_values=["n/a"])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}.") from error
    missing = [name for name in needs if name not in table]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}: is it a table of lesions?")
    if "label" in table and (table["label"].isna().any() or table["label"].duplicated().any()):
        raise InputError(f"{path} has lesions without a label, or one label twice: number every lesion once.")
    return table


def _matrix(path: Path) -> NDArray[np.float64]:
    try:
        matrix = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a matrix of numbers: {error}.") from error
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], (0, 0, 0, 1)):
        raise InputError(f"{path} is no 4×4 transform: its last row must be 0 0 0 1.")
    if not np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=0.05):
        raise InputError(f"{path} is not rigid: it stretches or shears, which lesions of one head do not.")
    return matrix


def _registered(first: Path, second: Path) -> NDArray[np.float64]:
    from ..io.files import load_map

    still, fixed_grid = load_map(first)
    moved, moving_grid = load_map(second)
    return rigid(still.numpy(), fixed_grid, moved.numpy(), moving_grid)


def _render(found: Comparison, described: dict[str, Any]) -> str:
    from jinja2 import Environment

    template = resources.files(__package__).joinpath("agreement.html").read_text("utf-8")
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            found=found,
            first=described["First"],
            second=described["Second"],
            version=__version__,
            time=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            research_use=RESEARCH_USE,
            plots=[(d, bland_altman_svg(d)) for d in found.differences if d.lesions > 1],
            provenance=json.dumps(
                {k: v for k, v in described.items() if k not in ("Classes", "Values", "Pairs")},
                indent=2,
                ensure_ascii=False,
            ),
        )
    )


def bland_altman_svg(difference: Difference) -> str:
    """Differences over means, with the bias and the limits of agreement as lines."""
    width, height, left, bottom, top = 360, 190, 48, 22, 8
    points = np.array(difference.points)
    lines = (difference.bias, difference.lower_limit, difference.upper_limit)
    x0, x1 = float(points[:, 0].min()), float(points[:, 0].max())
    y0, y1 = min(0.0, *lines, float(points[:, 1].min())), max(0.0, *lines, float(points[:, 1].max()))
    x_pad, y_pad = 0.05 * max(x1 - x0, 1e-6), 0.08 * max(y1 - y0, 1e-6)
    x0, x1, y0, y1 = x0 - x_pad, x1 + x_pad, y0 - y_pad, y1 + y_pad

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x0) / (x1 - x0) * (width - left - 8),
            top + (y1 - y) / (y1 - y0) * (height - top - bottom),
        )

    parts = []
    for value, dash in ((0.0, ""), (lines[0], ""), (lines[1], "5 4"), (lines[2], "5 4")):
        (_, y), colour = at(x0, value), "#57606a" if value else "#d0d7de"
        style = f'stroke="{colour}" stroke-dasharray="{dash}"'
        parts.append(f'<line x1="{left}" x2="{width - 8}" y1="{y:.1f}" y2="{y:.1f}" {style}/>')
        if value:
            parts.append(f'<text x="{left - 4}" y="{y + 3:.1f}" text-anchor="end">{value:.3g}</text>')
    for x, y in points:
        px, py = at(float(x), float(y))
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="#0969da" fill-opacity="0.55"/>')
    for value, anchor in ((x0 + x_pad, "start"), (x1 - x_pad, "end")):
        parts.append(f'<text x="{at(value, y0)[0]:.1f}" y="{height - 6}" text-anchor="{anchor}">{value:.3g}</text>')
    parts.append(f'<text x="{(left + width) / 2}" y="{height - 6}" text-anchor="middle">mean of both</text>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'
