"""One scan: what was loaded, from which files, and what a person must know about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union

from ..data import Artifact, Grid
from ..errors import InputError

if TYPE_CHECKING:
    from .dicom_image import DicomImage

Source = Union[Path, "DicomImage"]
"""Where one image of a scan is: a NIfTI file, or the DICOM slices of one part."""

Level = Literal["found", "repaired", "suspicious", "missing", "error"]


@dataclass(frozen=True)
class Finding:
    """Something the reader noticed. What each level means stands in `preflight`."""

    level: Level
    text: str
    file: Source | None = None


@dataclass(frozen=True)
class Given:
    """What a person says about a scan, which overrules its files.

    `b0_direction` is along the file's own voxel axes. `phase_sign` "flip" negates the phase, "keep" takes it as it is,
    "auto" takes it as it is unless it is certainly wrong, which is an error.
    """

    echo_times_s: tuple[float, ...] | None = None
    field_strength_t: float | None = None
    b0_direction: tuple[float, ...] | None = None
    phase_sign: Literal["auto", "keep", "flip"] = "auto"
    spin_echo_times_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.phase_sign not in ("auto", "keep", "flip"):
            raise InputError(f"The phase sign is {self.phase_sign!r}; choose one of auto, keep, flip.")


NOTHING_GIVEN = Given()


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan, each part in the order of its echoes: one file per echo, or one 4D file (or DICOM image).

    Sidecars are inherited from the folders down from `root`. `findings` are about what was left aside.
    """

    name: str
    subject: str
    session: str = ""
    magnitude: tuple[Source, ...] = ()
    phase: tuple[Source, ...] = ()
    real: tuple[Source, ...] = ()
    imag: tuple[Source, ...] = ()
    spin_echo: tuple[Source, ...] = ()
    root: Path | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Scan:
    """A scan in memory. `name` holds its BIDS entities (sub-1_ses-2_run-3), `files` everything that was read."""

    name: str
    subject: str
    session: str
    artifacts: dict[type[Artifact], Artifact]
    findings: tuple[Finding, ...] = ()
    files: tuple[Source, ...] = field(default=())

    @property
    def grid(self) -> Grid:
        """The grid that all artifacts share."""
        return next(iter(self.artifacts.values())).grid

    @property
    def folder(self) -> Path:
        """Where its results go, below the folder of the derivatives."""
        subject = Path(f"sub-{self.subject}")
        return (subject / f"ses-{self.session}" if self.session else subject) / "anat"

    def digests(self) -> Iterator[tuple[Source, str]]:
        """Every file that was read, with its SHA-256; the slices of a DICOM image count as one file."""
        for source in self.files:
            yield source, sha256(source) if isinstance(source, Path) else source.sha256()


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
