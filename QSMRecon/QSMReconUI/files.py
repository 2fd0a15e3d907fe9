"""A scan in files: what a folder holds, as the same rows that the volumes of the scene make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from QSMReconLib.errors import InputError
from QSMReconLib.io.dicom_image import DicomImage
from QSMReconLib.io.find import find_scans
from QSMReconLib.io.scan import Source
from QSMReconLib.io.sidecars import Sidecar, field_strength, read_sidecar, stem

from .scan import PARTS, Echo, chosen, complete_parts, echo_times, metadata_times, part_by_words, scan_name

Corrections = Mapping[str, Sequence[str]]
"""By file name: the part and the echo times in ms that a person has written over what was read."""


@dataclass(frozen=True)
class FileScan:
    """One scan of a folder. `bids` says whether its names do, so that the library finds it by itself."""

    name: str
    folder: Path
    files: tuple[tuple[Source, str], ...]
    bids: bool = True
    root: Path | None = None

    def rows(self, corrections: Corrections) -> list[Echo]:
        """The files with what their sidecars say, as corrected by hand. Raises InputError for a bad sidecar, and for
        DICOM slices that make no volume."""
        found = []
        for path, part in self.files:
            if isinstance(path, DicomImage) and path.problem:
                raise InputError(path.problem)
            part, text = corrections.get(path.name, (part, ""))
            times = echo_times(text) or metadata_times(self._sidecar(path).values)
            found.append(Echo(path, path.name, part, times, _volumes_in(path)))
        return found

    def field_strength_t(self) -> float | None:
        """What the sidecars state. Raises InputError for a field strength that cannot be."""
        return field_strength([self._sidecar(path) for path, part in self.files if part])

    def job(self, corrections: Corrections) -> dict[str, Any]:
        """The keys of a job that name this scan: its folder, or, where somebody has corrected it, every file."""
        own = {path.name for path, _ in self.files}
        if self.bids and not own & corrections.keys():
            return {"input": str(self.folder), "only": [self.name]}
        scan = chosen(self.rows(corrections))
        keys: dict[str, Any] = {}
        if any(isinstance(path, DicomImage) for path, _ in self.files):
            if any(corrections.get(path.name, (part,))[0] != part for path, part in self.files):
                raise InputError(
                    "What a DICOM image is, its tags say: to change it, convert the folder with dcm2niix, choose that."
                )
            keys = {"input": str(self.folder), "only": [self.name]}
        else:
            for echo in scan:
                keys.setdefault(echo.part, []).append(str(echo.source))
        leading = "magnitude" if any(echo.part == "magnitude" for echo in scan) else "real"
        keys["echo_times_s"] = [time for echo in scan if echo.part == leading for time in echo.echo_times_s]
        spin = [time for echo in scan if echo.part == "spin_echo" for time in echo.echo_times_s]
        if spin:
            keys["spin_echo_times_s"] = spin
        return keys

    def _sidecar(self, source: Source) -> Sidecar:
        return source.sidecar if isinstance(source, DicomImage) else read_sidecar(source, self.root)


def scans_in(folder: Path) -> list[FileScan]:
    """The scans of a folder of BIDS or DICOM files, or the NIfTI files of a plain one as a single scan. Raises
    InputError, saying what to do, if there is neither."""
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
        raise error
    guesses = [(path, part_by_words(stem(path), read_sidecar(path).values.get("ImageType") or ())) for path in images]
    wanted = complete_parts(part for _, part in guesses)
    files = tuple((path, part if part in wanted else "") for path, part in guesses)
    return FileScan(scan_name([path.name for path, part in files if part]), folder, files, bids=False)


def _volumes_in(path: Source) -> int:
    """How many volumes an image holds, by its header; one if it cannot be read, which the examination says."""
    if isinstance(path, DicomImage):
        return len(path.echoes)
    import nibabel

    try:
        shape = nibabel.load(path).shape
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
        return 1
    return shape[3] if len(shape) > 3 else 1
