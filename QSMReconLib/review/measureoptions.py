"""How lesions are measured."""

from __future__ import annotations

from math import erf, sqrt

from ..errors import OptionError
from ..stage import Options, option


class Measures(Options):
    """How lesions are measured."""

    shell_mm: tuple[float, float] = option(
        (1.5, 4.5), "Between these distances from a lesion lies what it is compared with", unit="mm", ge=0, le=50
    )
    least_voxels: int = option(60, "With fewer voxels in the shell, it reaches twice as far", ge=3)
    independent_mm3: float = option(
        8.0, "Neighbouring voxels err together: so much of a map is one measurement", unit="mm3", ge=0.01
    )
    blooming_mm: float = option(2.0, "How far around a lesion its moment is summed", unit="mm", ge=0, le=20)
    confidence_z: float = option(1.645, "Of the table's intervals, in standard errors: 1.645 is 90 %", ge=0.1, le=5)
    strong_ppb: float = option(
        75.0, "Above this mean χ the moment is that of the field around, below that of the map", unit="ppb", ge=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shell_mm) != 2 or self.shell_mm[0] >= self.shell_mm[1]:
            raise OptionError(f"measures.shell_mm is {self.shell_mm}, but must be two distances, the nearer one first.")

    @property
    def interval_percent(self) -> float:
        """How much the intervals of `confidence_z` hold."""
        return 100 * erf(self.confidence_z / sqrt(2))
