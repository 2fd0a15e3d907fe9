"""What flows between stages: tensors with their grid, their unit and their meaning. No algorithms.

Fields and susceptibilities are ppm, times seconds, phase radians, rates Hz, lengths mm, field strength tesla.
Volumes are tensors of shape (X, Y, Z), multi-echo ones (echo, X, Y, Z), and zero outside their mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike
    from typing_extensions import Self

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Storage:
    """How the file held the volume, so that results go back exactly there.

    Inside the library the axes run right, anterior, superior; `axes[i] = (j, sign)` says that the file's axis i is our
    axis j, run backwards where sign is -1.
    """

    axes: tuple[tuple[int, int], ...] = ((0, 1), (1, 1), (2, 1))
    affine: Matrix | None = None
    nifti_header: bytes | None = None


@dataclass(frozen=True)
class Grid:
    """Where the voxels are. Shape (X, Y, Z); `affine` maps voxel indices to RAS mm; `b0_direction` is a unit vector
    along the voxel axes."""

    shape: tuple[int, int, int]
    voxel_size_mm: tuple[float, float, float]
    affine: Matrix
    b0_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    storage: Storage = Storage()

    @classmethod
    def from_affine(
        cls,
        shape: tuple[int, ...],
        affine: ArrayLike,
        b0_direction: tuple[float, ...] | None = None,
        storage: Storage | None = None,
    ) -> Grid:
        """The grid of an affine. B0 is the scanner's z axis unless `b0_direction` (voxel axes) says otherwise.

        Raises InputError for a singular affine or a zero direction.
        """
        matrix = np.asarray(affine, dtype=float)
        columns = matrix[:3, :3]
        voxel = np.linalg.norm(columns, axis=0)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or voxel.min() <= 0 or np.linalg.det(columns) == 0:
            raise InputError("The affine is singular: the file does not say where its voxels are.")
        b0 = np.asarray((columns / voxel)[2] if b0_direction is None else b0_direction, dtype=float)
        length = float(np.linalg.norm(b0))
        if length == 0 or not np.isfinite(length):
            raise InputError("The B0 direction has no length: give three numbers along the voxel axes.")
        if len(shape) != 3:
            raise InputError(f"A volume has three axes; this one has {len(shape)}.")
        return cls(
            shape=(int(shape[0]), int(shape[1]), int(shape[2])),
            voxel_size_mm=(float(voxel[0]), float(voxel[1]), float(voxel[2])),
            affine=tuple(tuple(float(value) for value in row) for row in matrix),
            b0_direction=(float(b0[0] / length), float(b0[1] / length), float(b0[2] / length)),
            storage=storage or Storage(),
        )

    @classmethod
    def centred(
        cls,
        shape: tuple[int, int, int],
        voxel_size_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        b0_direction: tuple[float, float, float] = (0.0, 0.0, 1.0),
    ) -> Grid:
        """An axial grid around the scanner's centre, for arrays that never had a file."""
        affine = np.diag([*voxel_size_mm, 1.0])
        affine[:3, 3] = [-(n - 1) / 2 * v for n, v in zip(shape, voxel_size_mm, strict=True)]
        return cls.from_affine(shape, affine, b0_direction)

    def same_place(self, other: Grid, tolerance_mm: float = 1e-2) -> bool:
        """Whether both grids hold the same voxels at the same places, within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        ends = np.vstack([np.zeros(3), np.diag(np.array(self.shape) - 1.0)])
        corners = np.hstack([ends, np.ones((4, 1))]).T
        apart = np.asarray(self.affine) @ corners - np.asarray(other.affine) @ corners
        return bool(np.abs(apart).max() <= tolerance_mm)


@dataclass(frozen=True)
class Volume:
    """What a tensor of an artifact is, and what its file is called: `bids` in a derivatives dataset (entities and
    suffix), `contract` in a single stage's folder (QSM-CI's names)."""

    title: str
    unit: str
    bids: str
    contract: str
    window: tuple[float, float] | None = None


def volume(
    title: str, unit: str, bids: str, contract: str, window: tuple[float, float] | None = None
) -> dict[str, Volume]:
    """Metadata of a field of an artifact that holds a volume to be written, drawn and loaded."""
    return {"volume": Volume(title, unit, bids, contract, window)}


@dataclass(frozen=True)
class Artifact:
    """Something a stage needs or makes."""

    grid: Grid
    kind: ClassVar[str] = "artifact"

    @classmethod
    def declared_volumes(cls) -> tuple[Volume, ...]:
        """What the volumes worth writing are."""
        return tuple(item.metadata["volume"] for item in fields(cls) if "volume" in item.metadata)

    def volumes(self) -> Iterator[tuple[Volume, torch.Tensor]]:
        """The volumes worth writing, each with what it is; those that were not made (None) are left out."""
        for item in fields(self):
            if "volume" in item.metadata and (tensor := getattr(self, item.name)) is not None:
                yield item.metadata["volume"], tensor

    def to(self, device: torch.device | str) -> Self:
        """The same artifact with its tensors on `device`."""
        tensors = {f.name: value for f in fields(self) if hasattr(value := getattr(self, f.name), "device")}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class GreData(Artifact):
    """A gradient-echo scan: magnitude (arbitrary units) and wrapped phase, both (echo, X, Y, Z)."""

    kind: ClassVar[str] = "gradient-echo scan"
    magnitude: torch.Tensor
    phase_rad: torch.Tensor
    echo_times_s: tuple[float, ...]
    field_strength_t: float


@dataclass(frozen=True)
class SpinEchoData(Artifact):
    """A spin-echo scan, magnitude (echo, X, Y, Z)."""

    kind: ClassVar[str] = "spin-echo scan"
    magnitude: torch.Tensor
    echo_times_s: tuple[float, ...]


@dataclass(frozen=True)
class Mask(Artifact):
    """The brain."""

    kind: ClassVar[str] = "brain mask"
    voxels: torch.Tensor = field(metadata=volume("Brain mask", "1", "desc-brain_mask", "mask", (0.0, 1.0)))


@dataclass(frozen=True)
class PhaseQuality(Artifact):
    """How far the phase of a voxel agrees with its neighbours', 0 to 1."""

    kind: ClassVar[str] = "phase quality"
    quality: torch.Tensor = field(
        metadata=volume("Phase quality", "1", "desc-phasequality_map", "phasequality", (0.0, 1.0))
    )


@dataclass(frozen=True)
class UnwrappedPhase(Artifact):
    """Phase without 2π jumps in space and from echo to echo, (echo, X, Y, Z)."""

    kind: ClassVar[str] = "unwrapped phase"
    phase_rad: torch.Tensor
    echo_times_s: tuple[float, ...]
    field_strength_t: float


@dataclass(frozen=True)
class FieldNoise(Artifact):
    """The standard deviation of the field map. Voxels whose field cannot be trusted (dephased, wrapped wrong) carry
    a large one, so that whoever weighs by 1/σ leaves them out. Zero outside the mask."""

    kind: ClassVar[str] = "field noise"
    noise_ppm: torch.Tensor = field(
        metadata=volume("Field noise", "ppm", "desc-noise_fieldmap", "fieldnoise", (0.0, 0.02))
    )


@dataclass(frozen=True)
class TotalField(Artifact):
    """The field of everything, in and around the head."""

    kind: ClassVar[str] = "total field"
    field_ppm: torch.Tensor = field(
        metadata=volume("Total field", "ppm", "desc-total_fieldmap", "totalfield", (-1.0, 1.0))
    )


@dataclass(frozen=True)
class LocalField(Artifact):
    """The field of the tissue inside `mask`, which background removal may have shrunk.

    `harmonic_ppm` is the standard deviation of what is smooth and harmonic in it: so much may be background that was
    left.
    """

    kind: ClassVar[str] = "local field"
    field_ppm: torch.Tensor = field(
        metadata=volume("Local field", "ppm", "desc-local_fieldmap", "localfield", (-0.05, 0.05))
    )
    mask: torch.Tensor = field(
        metadata=volume("Mask of the local field", "1", "desc-local_mask", "localmask", (0.0, 1.0))
    )
    harmonic_ppm: float | None = None


@dataclass(frozen=True)
class ChiMap(Artifact):
    """Magnetic susceptibility inside `mask`, against `reference`."""

    kind: ClassVar[str] = "susceptibility map"
    chi_ppm: torch.Tensor = field(metadata=volume("χ", "ppm", "Chimap", "chimap", (-0.1, 0.1)))
    mask: torch.Tensor
    reference: str = "none: the mean over the padded volume is zero"
    std_ppm: torch.Tensor | None = field(
        default=None,
        metadata=volume("Uncertainty of χ", "ppm", "desc-uncertainty_Chimap", "chimap_std", (0.0, 0.05)),
    )


@dataclass(frozen=True)
class SeparatedChi(Artifact):
    """Paramagnetic and diamagnetic susceptibility; both positive, χ = χ_para - χ_dia."""

    kind: ClassVar[str] = "separated susceptibility"
    chi_para_ppm: torch.Tensor = field(metadata=volume("χ_para", "ppm", "desc-para_Chimap", "chi_para", (0.0, 0.1)))
    chi_dia_ppm: torch.Tensor = field(metadata=volume("χ_dia", "ppm", "desc-dia_Chimap", "chi_dia", (0.0, 0.1)))


@dataclass(frozen=True)
class R2StarMap(Artifact):
    """The decay rate of gradient echoes."""

    kind: ClassVar[str] = "R2* map"
    r2star_hz: torch.Tensor = field(metadata=volume("R2*", "Hz", "R2starmap", "r2star", (0.0, 50.0)))
    field_strength_t: float
    std_hz: torch.Tensor | None = field(
        default=None,
        metadata=volume("Standard error of R2*", "Hz", "desc-uncertainty_R2starmap", "r2star_std", (0.0, 5.0)),
    )


@dataclass(frozen=True)
class R2Map(Artifact):
    """The decay rate of spin echoes."""

    kind: ClassVar[str] = "R2 map"
    r2_hz: torch.Tensor = field(metadata=volume("R2", "Hz", "R2map", "r2", (0.0, 30.0)))
    field_strength_t: float
    std_hz: torch.Tensor | None = field(
        default=None,
        metadata=volume("Standard error of R2", "Hz", "desc-uncertainty_R2map", "r2_std", (0.0, 5.0)),
    )


@dataclass(frozen=True)
class R2PrimeMap(Artifact):
    """The reversible part of the decay, R2* - R2, never negative."""

    kind: ClassVar[str] = "R2′ map"
    r2prime_hz: torch.Tensor = field(metadata=volume("R2′", "Hz", "R2primemap", "r2prime", (0.0, 20.0)))
    field_strength_t: float
    guessed: bool = False
    """True where it was not measured, but guessed from R2*."""
    std_hz: torch.Tensor | None = field(
        default=None,
        metadata=volume("Standard error of R2′", "Hz", "desc-uncertainty_R2primemap", "r2prime_std", (0.0, 5.0)),
    )


@dataclass(frozen=True)
class VesselMask(Artifact):
    """The veins, whose decay says little of the tissue's iron."""

    kind: ClassVar[str] = "vessel mask"
    voxels: torch.Tensor = field(metadata=volume("Vessel mask", "1", "desc-vessels_mask", "vesselmask", (0.0, 1.0)))


@dataclass(frozen=True)
class CsfMask(Artifact):
    """Cerebrospinal fluid in the ventricles: neither iron nor myelin, the natural zero of χ."""

    kind: ClassVar[str] = "CSF mask"
    voxels: torch.Tensor = field(metadata=volume("CSF mask", "1", "desc-csf_mask", "csfmask", (0.0, 1.0)))


@dataclass(frozen=True)
class LabelMap(Artifact):
    """Numbered regions of the brain, somebody's own; 0 is none."""

    kind: ClassVar[str] = "label map"
    numbers: torch.Tensor


@dataclass(frozen=True)
class SwiImages(Artifact):
    """The susceptibility-weighted image, in the magnitude's units, and its minimum-intensity projection."""

    kind: ClassVar[str] = "susceptibility-weighted image"
    swi: torch.Tensor = field(metadata=volume("SWI", "a.u.", "swi", "swi"))
    minip: torch.Tensor = field(metadata=volume("SWI, minimum-intensity projection", "a.u.", "minIP", "minip"))
