"""Finding the scans in a folder of DICOM files: which slices are which echo and part of which scan.

Slices belong together by study, series, part and echo time; a scan is a magnitude and a phase (or a real and an
imaginary part) of one study, of one series or of two. The part is told by ImageType or ComplexImageComponent, by GE's
own tag (0043,102F) where there is one. Rescale slope and intercept are applied, so that phase comes out in the unit
that the vendor scales it to, which `phase` knows. Enhanced files (many frames in one) and classic ones are read alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .dicom_image import DicomImage, Slice
from .scan import Finding, ScanFiles

PARTS = {"M": "magnitude", "MAGNITUDE": "magnitude", "M_FFE": "magnitude", "P": "phase", "PHASE": "phase"}
PARTS |= {"PHASE MAP": "phase", "R": "real", "REAL": "real", "I": "imag", "IMAGINARY": "imag"}
GE_PARTS = {0: "magnitude", 1: "phase", 2: "real", 3: "imag"}

DERIVED = {"MIP", "MNIP", "MPR", "SWI", "PROJECTION IMAGE", "MIN IP", "LOCALIZER", "MOSAIC", "SCREEN SAVE", "SECONDARY"}
"""Words of ImageType that say that an image is not what the scanner measured."""

UNEVEN = 0.02
"""How far the distances of slices may differ from their median: far more than rounding in the tags."""

_TAGS = (
    "SOPClassUID", "PatientID", "StudyInstanceUID", "StudyDate", "SeriesInstanceUID", "SeriesNumber",
    "SeriesDescription", "ImageType", "ComplexImageComponent", "EchoTime", "MagneticFieldStrength", "ImagingFrequency",
    "ScanningSequence", "EchoPulseSequence", "Rows", "Columns", "SamplesPerPixel", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_GE_PART = (0x0043, 0x102F)


@dataclass(frozen=True)
class _Piece:
    """One slice with everything that decides where it belongs."""

    slice: Slice
    study: str
    series_uid: str
    series: int
    description: str
    subject: str
    date: str
    part: str
    echo_time_s: float | None
    spin_echo: bool
    values: tuple[tuple[str, float], ...]
    rows: int
    columns: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """Every DICOM file below a folder, hidden ones left out, in the order of their names."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here) / name
            if not name.startswith(".") and name != "DICOMDIR" and is_dicom(path):
                yield path


def find_scans(folder: Path, participants: Sequence[str] = ()) -> list[ScanFiles]:
    """Every scan of the DICOM files below `folder`; none if there are no such files.

    A scan of which something is missing is among them: loading it says what. Raises InputError if pydicom is missing,
    for a damaged file, if none of the files can be part of a scan, or if there is no scan of a participant.
    """
    paths = list(dicom_files(folder))
    if not paths:
        return []
    studies: dict[tuple[str, str], list[_Piece]] = {}
    for path in paths:
        for piece in _pieces(path):
            studies.setdefault((piece.subject, piece.study), []).append(piece)
    found = []
    for (subject, _), pieces in studies.items():
        several = sum(other == subject for other, _ in studies) > 1
        found += _scans_of_study(folder, pieces, pieces[0].date if several else "")
    if not found:
        raise InputError(
            f"{folder} holds {len(paths)} DICOM files, but no gradient echo that the scanner measured: export the "
            "magnitude and phase series (or real and imaginary) as they came from the scanner."
        )
    subjects = sorted({scan.subject for scan in found})
    wanted = [label.removeprefix("sub-") for label in participants]
    for label in wanted:
        if label not in subjects:
            raise InputError(f"{folder} holds no scan of the participant {label!r}; it has {', '.join(subjects)}.")
    return sorted((scan for scan in found if not wanted or scan.subject in wanted), key=lambda scan: scan.name)


def _scans_of_study(folder: Path, pieces: list[_Piece], session: str) -> list[ScanFiles]:
    groups: dict[tuple[str, str, bool], list[_Piece]] = {}
    for piece in pieces:
        groups.setdefault((piece.series_uid, piece.part, piece.spin_echo), []).append(piece)
    gradient, spin = [], []
    for (_, part, spin_echo), group in groups.items():
        image = _image(folder, group)
        if not spin_echo:
            gradient.append(image)
        elif part == "magnitude" and len(image.echoes) > 1:
            spin.append(image)
    gradient.sort(key=lambda image: image.series)
    scans = _scans_of(gradient)
    used = [image for scan in scans for image in scan]
    aside = [
        Finding("found", f"{image} was left aside: it is not part of a scan.")
        for image in gradient
        if not any(image is other for other in used)
    ]
    found = []
    for scan in scans:
        name = f"sub-{pieces[0].subject}" + (f"_ses-{session}" if session else "")
        name += f"_acq-series{scan[0].series}" if len(scans) > 1 else ""
        magnitude, phase, real, imag = (tuple(i for i in scan if i.part == part) for part in GE_PARTS.values())
        found.append(
            ScanFiles(
                name,
                pieces[0].subject,
                session,
                magnitude,
                phase,
                real,
                imag,
                spin_echo=tuple(spin[:1]),
                findings=tuple(aside),
            )
        )
    return found


def _scans_of(images: list[DicomImage]) -> list[list[DicomImage]]:
    """The images of each scan: pairs of parts first; what has no partner only where there is no pair."""
    pairs = [*_pairs(images, "magnitude", "phase"), *_pairs(images, "real", "imag")]
    whole = [pair for pair in pairs if len(pair) == 2]
    # A lone magnitude may be anything, a T1 for example; a lone phase was meant for this.
    lone = [pair for pair in pairs if len(pair) == 1 and pair[0].part != "magnitude"]
    scans: list[list[DicomImage]] = []
    for pair in whole or lone or pairs[:1]:
        series = {image.series for image in pair}
        twin = next((scan for scan in scans if series & {image.series for image in scan}), None)
        # All four parts in one series are one scan.
        if twin is not None and not {image.part for image in twin} & {image.part for image in pair}:
            twin += pair
        else:
            scans.append(list(pair))
    return scans


def _pairs(images: list[DicomImage], first: str, second: str) -> list[list[DicomImage]]:
    """Every image of the second part with the one of the first that fits it best, and what is left over, alone."""
    free = [image for image in images if image.part == first]
    pairs = []
    for image in (image for image in images if image.part == second):
        best = min(free, key=lambda other, image=image: _misfit(other, image), default=None)  # type: ignore[misc]
        free = [other for other in free if other is not best]
        pairs.append([image] if best is None else [best, image])
    return [*pairs, *([image] for image in free)]


def _misfit(one: DicomImage, other: DicomImage) -> tuple[bool, bool, int]:
    """What is wrong with two parts as partners, the gravest first: echo times, place, distance in the examination."""
    times = one.values.get("EchoTime") != other.values.get("EchoTime")
    elsewhere = one.shape != other.shape or not np.allclose(one.affine, other.affine, atol=1e-2)
    return times, elsewhere, abs(one.series - other.series)


def _image(folder: Path, pieces: list[_Piece]) -> DicomImage:
    """The slices of one series and part as a volume for each echo, or with the sentence why they are none."""
    first = pieces[0]
    by_time: dict[float | None, list[_Piece]] = {}
    for piece in pieces:
        by_time.setdefault(piece.echo_time_s, []).append(piece)
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    echoes, problem = [], ""
    for time in sorted(by_time, key=lambda t: t or 0.0):
        echoes.append(sorted(by_time[time], key=lambda piece: float(np.dot(normal, piece.position))))
        # The images of one echo lie where those of the first do, or its problem is theirs.
        problem = problem or _problem(echoes[-1], normal) or _against(echoes[-1], echoes[0])
    stack = echoes[0]
    step = np.subtract(stack[-1].position, stack[0].position) / max(len(stack) - 1, 1)
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.orientation[:3], first.spacing[1])
    affine[:3, 1] = np.multiply(first.orientation[3:], first.spacing[0])
    affine[:3, 2] = step if len(stack) > 1 else normal
    affine[:3, 3] = stack[0].position
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM counts to the left and to the back.
    times = [time for time in sorted(by_time, key=lambda t: t or 0.0) if time is not None]
    image = DicomImage(
        folder=folder,
        series=first.series,
        description=first.description,
        part=first.part,
        echoes=tuple(tuple(piece.slice for piece in echo) for echo in echoes),
        shape=(first.columns, first.rows, len(stack)),
        affine=tuple(tuple(float(value) for value in row) for row in affine),
        values=dict(first.values) | ({"EchoTime": times} if len(times) == len(echoes) else {}),
    )
    return replace(image, problem=f"In {image} {problem}") if problem else image


def _problem(stack: list[_Piece], normal: Any) -> str:
    """Why slices, sorted along their normal, are no volume; the end of a sentence, or ""."""
    first = stack[0]
    if any((piece.rows, piece.columns) != (first.rows, first.columns) for piece in stack):
        return "the slices are not all of one size: two scans were mixed. Export one series."
    if any(not np.allclose(piece.orientation, first.orientation, atol=1e-3) for piece in stack):
        return "the slices lie in different directions: two scans were mixed. Export one series."
    if len(stack) < 2:
        return "there is a single slice: a volume is needed. Export the whole series."
    distances = [
        float(np.dot(normal, np.subtract(after.position, before.position))) for before, after in pairwise(stack)
    ]
    usual = float(np.median(distances))
    if min(distances) < 1e-3 or usual < 1e-3:
        at = stack[int(np.argmin(distances))]
        return (
            f"two images lie at the same place ({at.slice.path.name} is one) with the same echo time: the images of "
            "several coils, repetitions or scans were mixed. Export one, combined, series."
        )
    widest = int(np.argmax(distances))
    if distances[widest] > (1 + UNEVEN) * usual:
        return (
            f"slices are missing after {stack[widest].slice.path.name}: the next is {distances[widest]:.1f} mm away, "
            f"the others {usual:.1f} mm. Copy the series again."
        )
    if min(distances) < (1 - UNEVEN) * usual:
        return f"the slices are {min(distances):.2f} to {max(distances):.2f} mm apart: export a series with even ones."
    return ""


def _against(stack: list[_Piece], first: list[_Piece]) -> str:
    """Why an echo does not go with the first one; the end of a sentence, or ""."""
    if len(stack) != len(first):
        times = " and ".join(f"{1e3 * (echo[0].echo_time_s or 0):.4g}" for echo in (first, stack))
        return f"the echoes at {times} ms have {len(first)} and {len(stack)} slices: copy the series again."
    if not np.allclose([p.position for p in stack], [p.position for p in first], atol=1e-2):
        return "the echoes do not lie at the same place: two scans were mixed. Export one series."
    return ""


def _pieces(path: Path) -> Iterator[_Piece]:
    """The slices of a file that the scanner has measured. Raises InputError for a damaged file."""
    try:
        import pydicom
    except ImportError as error:
        raise InputError("Reading DICOM needs pydicom: pip install pydicom.") from error
    try:
        wanted = [pydicom.tag.Tag(name) for name in (*_TAGS, _GE_PART)]
        tags = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        frames = tags.get("PerFrameFunctionalGroupsSequence")
        for index in range(len(frames)) if frames else [None]:
            piece = _piece(path, tags, index)
            if piece is not None:
                yield piece
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): copy or export it again.") from error


def _piece(path: Path, tags: Any, frame: int | None) -> _Piece | None:
    """One slice, or None for what is no slice of a measured image."""
    look = _Look(tags, frame)
    position, orientation = look("ImagePositionPatient"), look("ImageOrientationPatient")
    spacing = look("PixelSpacing")
    words = [str(word).upper() for word in look("FrameType") or look("ImageType") or ()]
    if None in (position, orientation, spacing) or DERIVED & set(words) or int(tags.get("SamplesPerPixel", 1)) != 1:
        return None
    component = str(look("ComplexImageComponent") or "").upper()
    part = next((PARTS[word] for word in [component, *words[2:]] if word in PARTS), "magnitude")
    own = tags.get(_GE_PART)
    if own is not None and str(own.value).isdigit():
        part = GE_PARTS.get(int(own.value), part)
    echo_time_ms = look("EffectiveEchoTime") or look("EchoTime")
    sequence = str(look("ScanningSequence") or "").upper() + str(look("EchoPulseSequence") or "").upper()
    numbers = {name: tags.get(name) for name in ("MagneticFieldStrength", "ImagingFrequency")}
    slope, intercept = look("RescaleSlope"), look("RescaleIntercept")
    return _Piece(
        slice=Slice(path, frame, 1.0 if slope is None else float(slope), float(intercept or 0.0)),
        study=str(tags.get("StudyInstanceUID", "")),
        series_uid=str(tags.get("SeriesInstanceUID", "")),
        series=int(tags.get("SeriesNumber") or 0),
        description=str(tags.get("SeriesDescription") or "").strip(),
        subject=re.sub(r"[^A-Za-z0-9]", "", str(tags.get("PatientID") or "")) or "scan",
        date=re.sub(r"\D", "", str(tags.get("StudyDate") or "")) or "unknown",
        part=part,
        echo_time_s=round(float(echo_time_ms) * 1e-3, 7) if echo_time_ms else None,
        spin_echo="SE" in sequence or "SPIN" in sequence,
        values=tuple((name, float(value)) for name, value in numbers.items() if value),
        rows=int(tags.get("Rows", 0)),
        columns=int(tags.get("Columns", 0)),
        position=tuple(float(v) for v in position),
        orientation=tuple(float(v) for v in orientation),
        spacing=tuple(float(v) for v in spacing),
    )


class _Look:
    """Looks a tag up where it may stand: in the frame's own groups, in those of all frames, or in the file itself."""

    def __init__(self, tags: Any, frame: int | None) -> None:
        groups = []
        if frame is not None:
            groups = [tags.PerFrameFunctionalGroupsSequence[frame], *tags.get("SharedFunctionalGroupsSequence", [])]
        self._places = [item for group in groups for element in group if element.VR == "SQ" for item in element.value]
        self._places.append(tags)

    def __call__(self, name: str) -> Any:
        return next((place.get(name) for place in self._places if place.get(name) not in (None, "")), None)
