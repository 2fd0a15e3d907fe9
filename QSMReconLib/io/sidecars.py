"""What the JSON sidecars say: echo times, field strength, the direction of B0.

Sidecars are inherited as BIDS has it: every JSON file from the dataset's root down to the image's own folder counts if
its suffix is the image's and its entities are among the image's; the deeper and the more specific wins.

`EchoTime` is in seconds; for a 4D file it is a list. `MagneticFieldStrength` is in tesla; `ImagingFrequency` in MHz
stands in for it. `B0Direction` (or `B0_dir`) is a vector along the image file's own voxel axes; without it B0 is the
scanner's z axis by the affine. `Units` is what a map is in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..physics.constants import GAMMA_HZ_PER_T

MILLISECONDS = 1.0
"""Echo times above one second must be milliseconds: nothing is left of a gradient or a spin echo by then."""

LATE_S = 0.25

STRONGEST_T = 25.0


@dataclass(frozen=True)
class Sidecar:
    """The merged metadata of one image, and where it came from. `where` names the file to be mended."""

    values: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    where: Path = Path()

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """A number or a list of numbers, or None where there is none. Raises InputError for anything else."""
        value = self.values.get(key)
        if value is None:
            return None
        items = value if isinstance(value, list) else [value]
        if not items or any(isinstance(item, bool) or not isinstance(item, int | float) for item in items):
            raise InputError(f"{key} in {self.where} is {json.dumps(value)}: write a number, or a list of numbers.")
        return tuple(float(item) for item in items)


def stem(path: Path) -> str:
    """The name of an image without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def split_name(name: str) -> tuple[dict[str, str], str]:
    """The entities of a BIDS name without extension, and its suffix."""
    *pairs, suffix = name.split("_")
    entities = {}
    for pair in pairs:
        key, dash, value = pair.partition("-")
        if dash:
            entities[key] = value
    return entities, suffix


def read_sidecar(image: Path, root: Path | None = None) -> Sidecar:
    """The metadata of an image: inherited from `root` down, or, without a root, from the JSON beside it alone.

    Raises InputError for a file that is not JSON.
    """
    own = image.with_name(f"{stem(image)}.json")
    files = [own] if own.is_file() else []
    if root is not None:
        files = _inherited(image, root)
    values: dict[str, Any] = {}
    for file in files:
        values |= read_json(file)
    return Sidecar(values, tuple(files), files[-1] if files else own)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises InputError for anything else."""
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): mend or remove it.") from error
    if not isinstance(values, dict):
        raise InputError(f'{path} holds no JSON object: a sidecar looks like {{"EchoTime": 0.005}}.')
    return values


def check_echo_times(times_s: Sequence[float], where: str) -> None:
    """Raises InputError for echo times that are not positive, not increasing, or in milliseconds."""
    listed = ", ".join(f"{time:g}" for time in times_s)
    if any(not time > 0 for time in times_s):
        raise InputError(f"The echo times in {where} are {listed}: they must be positive, in seconds.")
    if max(times_s) > MILLISECONDS:
        inside = ", ".join(f"{time / 1000:g}" for time in times_s)
        raise InputError(
            f"The echo times in {where} are {listed}, which must be milliseconds: write seconds ({inside})."
        )
    if any(later <= earlier for earlier, later in pairwise(times_s)):
        raise InputError(
            f"The echo times in {where} are {listed}, which do not increase: put the echoes in order, with their times."
        )


def field_strength(sidecars: Sequence[Sidecar]) -> float | None:
    """The field strength in tesla, or None where no sidecar has it. Raises InputError for what cannot be tesla."""
    for sidecar in sidecars:
        stated = sidecar.numbers("MagneticFieldStrength")
        if stated is not None:
            check_field_strength(stated[0], f"MagneticFieldStrength in {sidecar.where}")
            return stated[0]
    for sidecar in sidecars:
        megahertz = sidecar.numbers("ImagingFrequency")
        if megahertz is not None and 0 < megahertz[0] * 1e6 / GAMMA_HZ_PER_T <= STRONGEST_T:
            return megahertz[0] * 1e6 / GAMMA_HZ_PER_T
    return None


def check_field_strength(tesla: float, where: str) -> None:
    """Raises InputError for a field strength that cannot be tesla."""
    if not 0 < tesla <= STRONGEST_T:
        raise InputError(f"{where} is {tesla:g}: give the field strength in tesla, for example 3.")


def b0_direction(sidecars: Sequence[Sidecar]) -> tuple[float, ...] | None:
    """B0 along the file's voxel axes as the sidecars have it, or None. Raises InputError for what is no direction."""
    for sidecar in sidecars:
        for key in ("B0Direction", "B0_dir"):
            direction = sidecar.numbers(key)
            if direction is not None:
                if len(direction) != 3 or not any(direction):
                    raise InputError(f"{key} in {sidecar.where} is no direction: write three numbers, not all zero.")
                return direction
    return None


def _inherited(image: Path, root: Path) -> list[Path]:
    entities, suffix = split_name(stem(image))
    folders = [image.parent]
    while folders[0] != root and root in folders[0].parents:
        folders.insert(0, folders[0].parent)
    found: list[Path] = []
    for folder in folders:
        fitting = []
        for path in folder.glob(f"*{suffix}.json"):
            its_entities, its_suffix = split_name(path.stem)
            if its_suffix == suffix and its_entities.items() <= entities.items():
                fitting.append((len(its_entities), path.name, path))
        found += [path for _, _, path in sorted(fitting)]
    return found
