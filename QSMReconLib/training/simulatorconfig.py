"""How varied the heads of the simulator are, and what their scans suffer from."""

from __future__ import annotations

from dataclasses import dataclass

from ..separation.relaxivity import DR_HZ_PER_PPM


@dataclass(frozen=True)
class SimulatorConfig:
    """How varied the samples are. Probabilities from 0 to 1, lengths in mm, fields in ppb."""

    sizes: tuple[int, ...] = (64, 64, 64, 80, 96)
    """Edge of the region in voxels, where voxels are isotropic: one of these."""
    one_mm: float = 0.5
    thick_slices: float = 0.3
    low_mm: tuple[float, ...] = ()
    high_mm: tuple[float, ...] = ()
    """Where given, all voxels have edges between these, drawn so that the next batch's are far from the last one's."""
    slices: int = 0
    """Of such a region; 0: as many as make it, at the usual thickness, about a cube."""
    axial: float = 0.6
    any_orientation: float = 0.1
    folded: float = 0.5
    """Heads whose cortex has sulci, which the mean of many heads that they are made of has lost."""
    geometric: float = 0.15
    solids: float = 0.0
    """Heads with spheres, ellipsoids, cuboids and cylinders of random χ in them, up to `solids_ppm`."""
    solids_ppm: float = 2.0
    contrast: float = 0.0
    """Heads whose χ_para and χ_dia have their contrast changed: linear, gamma, log or sigmoid."""
    noise_free: float = 0.3
    noise_ppb: tuple[float, float] = (0.3, 4.0)
    known_noise: float = 0.5
    harmonic: float = 0.3
    harmonic_ppb: float = 1.5
    residue: float = 0.0
    """Fields with what background removal left near the edge of the mask, of about `residue_ppb` over it."""
    residue_ppb: float = 3.0
    wrapped: float = 0.05
    eroded: float = 0.2
    scaled: float = 0.25
    flipped: float = 0.15
    padding_mm: float = 20.0
    dr_hz_per_ppm: float = DR_HZ_PER_PPM
    dr_varies: float = 0.08
    """Of R2′ per ppm, of either source, over 25 mm; by half of that also from head to head."""
    decay_noise_hz: tuple[float, float] = (0.3, 3.0)
    decay_noise_free: float = 0.1
