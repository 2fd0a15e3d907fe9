"""A scan in files: what a folder holds, as the same rows that the volumes of the scene make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from QSMReconLib.errors import InputError
from QSMReconLib.io.bids import find_scans
from QSMReconLib.io.sidecars import field_strength, read_sidecar, stem

from .scan import PARTS, Echo, chosen, complete_parts, echo_times, metadata_times, part_by_words, scan_name

Corrections = Mapping[str, Sequence[str]]
"""By file name: the part and the echo times in ms that a person has written over what was read."""


@dataclass(frozen=True)
class FileScan:
    """One scan of a folder. `bids` says whether its names do, so that the library finds it by itself."""

    name: str
    folder: Path
    files: tuple[tuple[Path, str], ...]
    bids: bool = True
    root: Path | None = None

    def rows(self, corrections: Corrections) -> list[Echo]:
        """The files with what their sidecars say, as corrected by hand. Raises InputError for a bad sidecar."""
        found = []
        for path, part in self.files:
            part, text = corrections.get(path.name, (part, ""))
            times = echo_times(text) or metadata_times(read_sidecar(path, self.root).values)
            found.append(Echo(path, path.name, part, times, _volumes_in(path)))
        return found

    def field_strength_t(self) -> float | None:
        """What the sidecars state. Raises InputError for a field strength that cannot be."""
        return field_strength([read_sidecar(path, self.root) for path, part in self.files if part])

    def job(self, corrections: Corrections) -> dict[str, Any]:
        """The keys of a job that name this scan: its folder, or, where somebody has corrected it, every file."""
        own = {path.name for path, _ in self.files}
        if self.bids and not own & corrections.keys():
            return {"input": str(self.folder), "only": [self.name]}
        scan = chosen(self.rows(corrections))
        keys: dict[str, Any] = {}
        for echo in scan:
            keys.setdefault(echo.part, []).append(str(echo.source))
        leading = "magnitude" if "magnitude" in keys else "real"
        keys["echo_times_s"] = [time for echo in scan if echo.part == leading for time in echo.echo_times_s]
        return keys


def scans_in(folder: Path) -> list[FileScan]:
    """The scans of a BIDS folder, or the NIfTI files of a plain one as a single scan. Raises InputError, saying what to
    do, if there is neither."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: choose one.")
    try:
        scans = find_scans(folder)
    except InputError as error:
        return [_plain_scan(folder, error)]
    return [
        FileScan(
            scan.name,
            folder,
            tuple((path, part) for part in PARTS if part for path in getattr(scan, part)),
            root=scan.root,
        )
        for scan in scans
    ]


def _plain_scan(folder: Path, error: InputError) -> FileScan:
    names = sorted(path for path in folder.iterdir() if path.is_file())
    images = [path for path in names if path.name.endswith((".nii", ".nii.gz"))]
    if not images:
        if any(_is_dicom(path) for path in names[:5]):
            sentence = (
                f"{folder} holds DICOM files, which are not read yet: convert them with dcm2niix and choose its folder."
            )
            raise InputError(sentence) from error
        raise error
    guesses = [(path, part_by_words(stem(path), read_sidecar(path).values.get("ImageType") or ())) for path in images]
    wanted = complete_parts(part for _, part in guesses)
    files = tuple((path, part if part in wanted else "") for path, part in guesses)
    return FileScan(scan_name([path.name for path, part in files if part]), folder, files, bids=False)


def _volumes_in(path: Path) -> int:
    """How many volumes a NIfTI file holds, by its header; one if it cannot be read, which the examination says."""
    import nibabel

    try:
        shape = nibabel.load(path).shape
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
        return 1
    return shape[3] if len(shape) > 3 else 1


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
