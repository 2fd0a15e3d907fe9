"""From contrasts to words, with a probability, and with "undecided" where the data do not say.

The categories, χ_para {hyper, iso, hypo, rim} × χ_dia {hyper, iso, hypo} against normal-appearing white matter, are
named in the χ-sepnet papers; these definitions of them are ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import erf, isnan, nan, sqrt

from ..errors import OptionError

HYPER, ISO, HYPO, RIM, UNDECIDED = "hyper", "iso", "hypo", "rim", "undecided"
BLEED, CALCIFICATION, VESSEL, OTHER = "bleed", "calcification", "vessel", "other"


@dataclass(frozen=True)
class Thresholds:
    """What makes a class. A contrast counts where it exceeds both `floor_ppb` and `sd_factor` times the local SD."""

    floor_ppb: float = 6.0
    sd_factor: float = 0.5
    rim_floor_ppb: float = 6.0
    certainty: float = 0.9
    focal_ppb: float = 150.0
    vessel_elongation: float = 3.0

    def __post_init__(self) -> None:
        if min(self.floor_ppb, self.rim_floor_ppb, self.focal_ppb, self.vessel_elongation) <= 0 or self.sd_factor < 0:
            raise OptionError("Thresholds of lesions must be above zero.")
        if not 0.5 <= self.certainty < 1:
            raise OptionError(f"The certainty of a class is {self.certainty}, but must be from 0.5 to below 1.")

    def to_json(self) -> dict[str, float]:
        """Every threshold by name, to be written beside results."""
        return asdict(self)


@dataclass(frozen=True)
class Contrast:
    """A lesion against its surroundings in one map, ppb: the difference, its standard error, and the local SD."""

    value: float
    error: float
    local_sd: float


def classify(contrast: Contrast, thresholds: Thresholds) -> tuple[str, float]:
    """(class, probability): hyper, iso or hypo where one of them is certain enough, else undecided.

    The threshold is the larger of the floor and of `sd_factor` local SDs. The probability is that of the true contrast
    beyond it, the measured one being normal with its standard error; that of an undecided lesion is its likeliest
    class's.
    """
    if isnan(contrast.value):
        return UNDECIDED, nan
    limit = max(thresholds.floor_ppb, thresholds.sd_factor * contrast.local_sd)
    chances = {
        HYPER: _beyond(contrast.value - limit, contrast.error),
        HYPO: _beyond(-contrast.value - limit, contrast.error),
    }
    chances[ISO] = max(1.0 - sum(chances.values()), 0.0)
    best = max(chances, key=lambda name: chances[name])
    return (best if chances[best] >= thresholds.certainty else UNDECIDED), chances[best]


def classify_para(
    whole: Contrast, rim: Contrast | None, edge: Contrast | None, thresholds: Thresholds
) -> tuple[str, float]:
    """As `classify`, with a rim before all else: an edge above the core (`rim`) and above the surroundings (`edge`)."""
    if rim is None or edge is None:
        return classify(whole, thresholds)
    above_core = _beyond(rim.value - max(thresholds.rim_floor_ppb, thresholds.sd_factor * rim.local_sd), rim.error)
    above_tissue = _beyond(edge.value - max(thresholds.floor_ppb, thresholds.sd_factor * edge.local_sd), edge.error)
    chance = above_core * above_tissue
    if chance >= thresholds.certainty:
        return RIM, chance
    found, probability = classify(whole, thresholds)
    if chance > 1 - thresholds.certainty:
        return UNDECIDED, max(chance, (1 - chance) * probability)
    return found, probability


def classify_focal(
    peak_ppb: float, moment: float, moment_error: float, elongation: float, thresholds: Thresholds
) -> str:
    """bleed, calcification or vessel where the peak (of the map, or as the moment over the volume) is beyond
    `focal_ppb`, other where it is not.

    The sign is that of the moment, which survives blooming; where it is within two standard errors of zero, undecided.
    """
    if abs(peak_ppb) < thresholds.focal_ppb:
        return OTHER
    if abs(moment) < 2 * moment_error:
        return UNDECIDED
    if moment > 0 and elongation > thresholds.vessel_elongation:
        return VESSEL
    return BLEED if moment > 0 else CALCIFICATION


def _beyond(excess: float, error: float) -> float:
    """The probability that a normal variable is above zero."""
    if error <= 0:
        return 1.0 if excess > 0 else 0.0
    return 0.5 * (1 + erf(excess / (error * sqrt(2))))
