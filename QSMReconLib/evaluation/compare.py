"""A folder of results against a folder of truth: one table over subjects and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import ChiMap, LocalField, Mask, R2Map, R2PrimeMap, R2StarMap, SeparatedChi, TotalField, Volume
from ..errors import InputError
from ..io.nifti import describe_grid, read_volume
from .metrics import challenge_metrics, correlation, dice, map_metrics, nrmse, nrmse_detrended

if TYPE_CHECKING:
    import pandas
    import torch

    from ..data import Grid

EROSION_VOXELS = 2
"""Total fields are scored this far inside the brain: at its very edge phase says more about the mask than the field."""

_MASK, _LOCAL_MASK, _LABELS = "desc-brain_mask", "desc-local_mask", "dseg"


@dataclass(frozen=True)
class _Map:
    """A map of one scan beside the truth, both on the grid, and where it is scored."""

    found: torch.Tensor
    true: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor | None


Score = Callable[[_Map], "dict[str, float]"]


def evaluate(derivatives: Path, truth: Path, participants: Sequence[str] = ()) -> pandas.DataFrame:
    """Score every map of `derivatives` that `truth` knows, both BIDS derivatives; one row per scan and map.

    Each map is scored where it was made: in the true brain and in the mask of the local field, which is the same for
    every map after background removal (`kept` says how much of the brain that is). Columns that do not apply are NaN.
    `offset` is the median difference and `median_error` the median size of what is left without it, in the unit of the
    row. Only the subjects of `participants` are scored, where there are any.

    Raises InputError if a folder holds nothing to compare, or maps are on different grids.
    """
    import pandas

    derivatives, truth = Path(derivatives), Path(truth)
    wanted = {label.removeprefix("sub-") for label in participants}
    rows: list[dict[str, Any]] = []
    for scan, files in _scans(derivatives):
        entities = dict(part.split("-", 1) for part in scan.split("_") if "-" in part)
        if wanted and entities.get("sub") not in wanted:
            continue
        true_files = _true_files(truth, entities)
        if true_files:
            rows += _rows(scan, files, true_files)
    if not rows:
        raise InputError(
            f"No map in {derivatives} has its truth in {truth}: check both folders and the subjects' names."
        )
    return pandas.DataFrame(rows)


def write_table(table: pandas.DataFrame, path: Path) -> None:
    """Save as tab-separated values, with n/a for what does not apply, as BIDS has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g")


def _rows(scan: str, files: dict[str, Path], true_files: dict[str, Path]) -> Iterator[dict[str, Any]]:
    if _MASK not in true_files:
        raise InputError(f"There is no {_MASK} beside {next(iter(true_files.values()))}: maps are scored inside it.")
    brain, grid = read_volume(true_files[_MASK])
    brain = brain > 0.5
    labels = _read(true_files[_LABELS], grid) if _LABELS in true_files else None
    kept = brain
    if _MASK in files:
        mask = _read(files[_MASK], grid) > 0.5
        yield {"scan": scan, "map": "brain mask", "unit": "1", "voxels": int(mask.sum()), "dice": dice(mask, brain)}
        kept = kept & mask
    where = {TotalField: kept & _eroded(brain), R2StarMap: kept, R2Map: kept, R2PrimeMap: kept}
    if _LOCAL_MASK in files:
        kept = kept & (_read(files[_LOCAL_MASK], grid) > 0.5)
    for kind in (TotalField, LocalField, ChiMap, SeparatedChi, R2StarMap, R2Map, R2PrimeMap):
        for volume in kind.declared_volumes():
            true = _truth_of(volume, true_files, grid)
            if volume.bids not in files or true is None or volume.bids == _LOCAL_MASK:
                continue
            mask = where.get(kind, kept)
            pair = _Map(_read(files[volume.bids], grid), true, mask, labels)
            row: dict[str, Any] = {
                "scan": scan,
                "map": volume.title,
                "unit": "ppb" if volume.unit == "ppm" else volume.unit,
            }
            row |= {"voxels": int(mask.sum()), "kept": float(mask.sum()) / max(float(brain.sum()), 1.0)}
            yield row | _SCORES.get(kind, _score_rate)(pair) | _errors(pair, 1e3 if volume.unit == "ppm" else 1.0)


def _score_chi(pair: _Map) -> dict[str, float]:
    return challenge_metrics(pair.found, pair.true, pair.mask, pair.labels)


def _score_map(pair: _Map) -> dict[str, float]:
    return map_metrics(pair.found, pair.true, pair.mask)


def _score_rate(pair: _Map) -> dict[str, float]:
    """Without the similarities, whose constants are made for ppm."""
    scores = {"nrmse": nrmse, "nrmse_detrend": nrmse_detrended, "correlation": correlation}
    return {name: score(pair.found, pair.true, pair.mask) for name, score in scores.items()}


_SCORES: dict[type, Score] = {
    ChiMap: _score_chi,
    SeparatedChi: _score_map,
    LocalField: _score_map,
    TotalField: _score_map,
}


def _errors(pair: _Map, scale: float) -> dict[str, float]:
    difference = scale * (pair.found - pair.true)[pair.mask].double().numpy()
    if difference.size == 0:
        return {"median_error": np.nan, "offset": np.nan}
    offset = np.median(difference)
    return {"median_error": float(np.median(np.abs(difference - offset))), "offset": float(offset)}


def _truth_of(volume: Volume, files: dict[str, Path], grid: Grid) -> torch.Tensor | None:
    if volume.bids in files:
        return _read(files[volume.bids], grid)
    parts = [kind.declared_volumes()[0].bids for kind in (R2Map, R2PrimeMap)]
    if volume.bids == R2StarMap.declared_volumes()[0].bids and all(part in files for part in parts):
        return _read(files[parts[0]], grid) + _read(files[parts[1]], grid)
    return None


def _read(path: Path, grid: Grid) -> torch.Tensor:
    volume, found = read_volume(path)
    if not found.same_place(grid):
        raise InputError(f"{path} ({describe_grid(found)}) is not on the grid of the truth ({describe_grid(grid)}).")
    return volume


def _eroded(mask: torch.Tensor) -> torch.Tensor:
    import torch
    from scipy.ndimage import binary_erosion

    return torch.from_numpy(binary_erosion(mask.numpy(), iterations=EROSION_VOXELS))


def _scans(derivatives: Path) -> Iterator[tuple[str, dict[str, Path]]]:
    """The scans in a folder of derivatives by name (all entities but desc), each with its files by what they are."""
    if not derivatives.is_dir():
        raise InputError(f"There is no folder {derivatives}: check its name.")
    scans: dict[str, dict[str, Path]] = {}
    known = {v.bids for k in (Mask, TotalField, LocalField, ChiMap, SeparatedChi) for v in k.declared_volumes()}
    known |= {v.bids for k in (R2StarMap, R2Map, R2PrimeMap) for v in k.declared_volumes()} | {_LABELS}
    for path in sorted(derivatives.glob("sub-*/**/*.nii*")):
        parts = path.name.split(".nii")[0].split("_")
        which = [part for part in parts if part.startswith("desc-")]
        what = "_".join([*which, parts[-1]])
        if what in known:
            name = "_".join(part for part in parts[:-1] if not part.startswith("desc-"))
            scans.setdefault(name, {})[what] = path
    yield from scans.items()


def _true_files(truth: Path, entities: dict[str, str]) -> dict[str, Path]:
    """The truth of the same subject and session, whatever else names it."""
    for name, files in _scans(truth):
        found = dict(part.split("-", 1) for part in name.split("_"))
        if all(found.get(key) == entities.get(key) for key in ("sub", "ses")):
            return files
    return {}
