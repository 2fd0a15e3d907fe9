"""The lesions of many scans in one table: tables that lie in a folder, or reviews of every scan of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .agreement import SCAN
from .comparison import read_table
from .files import review_files
from .maps import find_scans

if TYPE_CHECKING:
    import pandas


def pool_tables(folder: Path) -> pandas.DataFrame:
    """Every table of lesions below a folder in one. Raises InputError if there is none."""
    import pandas

    tables = []
    for path in sorted(folder.glob("**/*.tsv")):
        try:
            table = read_table(path)
        except InputError:
            continue  # Datasets hold other tables, too.
        tables.append(table.assign(**{SCAN: path.relative_to(folder).with_suffix("").as_posix()}))
    if not tables:
        raise InputError(
            f"{folder} holds no table of lesions: give the folder with the tables, or --lesions to measure its maps."
        )
    return pandas.concat(tables, ignore_index=True)


def review_scans(
    derivatives: Path,
    lesions: Path,
    tables: Path,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> pandas.DataFrame:
    """The lesions of every scan of a derivatives dataset, measured on its maps, in one table; each scan's own goes into
    the folder `tables`.

    `lesions` is the label map of the only scan, or a folder with one of each, whose name begins with the scan's.
    Raises InputError where one is missing, and as `review_files` does.
    """
    import pandas

    found, pooled = find_scans(derivatives), []
    drawn = {scan: _lesions_of(lesions, scan, len(found)) for scan in found}
    for done, scan in enumerate(found):

        def part(fraction: float, before: int = done) -> None:
            if progress:
                progress((before + fraction) / len(found))

        where = tables / f"{scan}_lesions.tsv"
        made = review_files(where, drawn[scan], derivatives, scan=scan, overwrite=overwrite, progress=part)
        pooled.append(made.table.assign(**{SCAN: scan}))
    return pandas.concat(pooled, ignore_index=True)


def _lesions_of(lesions: Path, scan: str, scans: int) -> Path:
    if lesions.is_file():
        if scans > 1:
            raise InputError(f"{lesions} cannot be the lesions of {scans} scans: give a folder with those of each.")
        return lesions
    named = sorted(lesions.glob(f"**/{scan}_*.nii*")) or sorted(lesions.glob(f"**/{scan}.nii*"))
    if not named:  # Lesions may be drawn once for all scans of a subject.
        named = sorted(lesions.glob(f"**/{scan.split('_')[0]}_*.nii*"))
    if len(named) > 1:
        named = [path for path in named if "lesion" in path.name.lower()]
    if len(named) != 1:
        raise InputError(
            f"There {'is no label map' if not named else 'are several label maps'} of the lesions of {scan} below "
            f"{lesions}: give one whose name begins with {scan}."
        )
    return named[0]
