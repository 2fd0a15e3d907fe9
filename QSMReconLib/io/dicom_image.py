"""One part of a scan, with all its echoes, as DICOM keeps it: slices in files, or frames of one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Grid, Matrix
from ..errors import InputError
from .sidecars import Sidecar

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Slice:
    """Where one slice is: its file and, of an enhanced one, its frame; its values are slope · stored + intercept."""

    path: Path
    frame: int | None = None
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class DicomImage:
    """The slices of every echo, in order, and where they lie: to the readers what a 4D file with its sidecar is.

    `affine` maps (column, row, slice) to RAS mm. `problem` says in a sentence why the slices make no volume; such an
    image cannot be read. `values` are what a sidecar would say (EchoTime, MagneticFieldStrength, ImagingFrequency).
    """

    folder: Path
    series: int
    description: str
    part: str
    echoes: tuple[tuple[Slice, ...], ...]
    shape: tuple[int, int, int]
    affine: Matrix
    values: dict[str, Any] = field(compare=False)
    problem: str = ""

    def __str__(self) -> str:
        about = ", ".join(filter(None, (self.description, {"imag": "imaginary"}.get(self.part, self.part))))
        return f"series {self.series} ({about}) in {self.folder}"

    @property
    def name(self) -> str:
        """As a file might be called."""
        about = self.description.replace(" ", "_")
        return f"series-{self.series}_{about}_{self.part}" if about else f"series-{self.series}_{self.part}"

    @property
    def files(self) -> Iterator[Path]:
        """Every file, once."""
        return iter(dict.fromkeys(piece.path for echo in self.echoes for piece in echo))

    @property
    def sidecar(self) -> Sidecar:
        """The tags that matter, as a sidecar would have them."""
        return Sidecar(self.values, (), Path(str(self)))

    def sha256(self) -> str:
        """Of all files, one after the other."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def array(self, echoes: Sequence[int]) -> NDArray[np.float32]:
        """(column, row, slice, echo) of some echoes, rescaled. Raises InputError as `read` does."""
        if self.problem:
            raise InputError(self.problem)
        pixels = _Pixels()
        values = np.empty((*self.shape, len(echoes)), dtype=np.float32)
        for at, echo in enumerate(echoes):
            for k, piece in enumerate(self.echoes[echo]):
                stored = pixels.of(piece)
                if stored.shape != (self.shape[1], self.shape[0]):
                    raise InputError(f"{piece.path} is not as large as the other slices of {self}: remove it.")
                values[:, :, k, at] = stored.T * np.float32(piece.slope) + np.float32(piece.intercept)
        return values

    def read(self) -> tuple[torch.Tensor, Grid]:
        """(echo, X, Y, Z), float32 in right, anterior, superior order, with its grid, as `nifti.read_volume` has it.

        Raises InputError for slices that make no volume, and for a file that is damaged or compressed in a way that
        cannot be undone here.
        """
        import nibabel

        from .nifti import volume_of

        values = self.array(range(len(self.echoes)))
        image = nibabel.nifti1.Nifti1Image(values, np.asarray(self.affine))
        image.set_sform(np.asarray(self.affine), 1)
        image.set_qform(np.asarray(self.affine), 1)
        image.header.set_xyzt_units("mm", "sec")
        return volume_of(image, values, str(self))


class _Pixels:
    """Reads pixels, and keeps those of the file read last: an enhanced one holds all slices."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._array = np.empty(0)

    def of(self, piece: Slice) -> np.ndarray:
        """(rows, columns), as stored."""
        import pydicom

        if piece.path != self._path:
            try:
                self._array = pydicom.dcmread(piece.path).pixel_array
            except (pydicom.errors.InvalidDicomError, OSError, EOFError) as error:
                raise InputError(f"{piece.path} is damaged or cut short ({error}): copy it again.") from error
            except (AttributeError, ValueError, KeyError) as error:
                raise InputError(f"{piece.path} holds no whole image ({error}): copy it again.") from error
            except (RuntimeError, NotImplementedError, ImportError) as error:
                raise InputError(
                    f"{piece.path} is compressed in a way that cannot be read here ({error}): export it uncompressed, "
                    "or convert the folder with dcm2niix."
                ) from error
            self._path = piece.path
        return self._array if piece.frame is None or self._array.ndim == 2 else self._array[piece.frame]
