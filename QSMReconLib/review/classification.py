"""From contrasts to words, with a probability, and with "undecided" where the data do not say.

The categories, χ_para {hyper, iso, hypo, rim} × χ_dia {hyper, iso, hypo} against normal-appearing white matter, are
named in the χ-sepnet papers; these definitions of them are ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import erf, isnan, nan, sqrt

from ..stage import Options, option

HYPER, ISO, HYPO, RIM, UNDECIDED = "hyper", "iso", "hypo", "rim", "undecided"
BLEED, CALCIFICATION, VESSEL, OTHER = "bleed", "calcification", "vessel", "other"


class Thresholds(Options):
    """What makes a class. A contrast counts where it exceeds both `floor_ppb` and `sd_factor` times the local SD."""

    floor_ppb: float = option(6.0, "Contrasts below this are iso", unit="ppb", ge=0.1, le=1000)
    sd_factor: float = option(0.5, "Contrasts of fewer standard deviations of the tissue around are iso", ge=0, le=10)
    rim_floor_ppb: float = option(6.0, "A rim exceeds the core by more than this", unit="ppb", ge=0.1, le=1000)
    certainty: float = option(0.8, "A class less probable than this is undecided", ge=0.5, le=0.999)
    focal_ppb: float = option(150.0, "Lesions of a stronger χ are bleeds, calcifications or vessels", unit="ppb", ge=1)
    vessel_elongation: float = option(3.0, "Positive focal lesions longer than this many widths are vessels", ge=1)

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
    peak_ppb: float, moment: float, moment_error: float, elongation: float, volume_mm3: float, thresholds: Thresholds
) -> tuple[str, float]:
    """(class, probability): bleed, calcification or vessel where the peak (of the map, or as the moment over the
    volume) is beyond `focal_ppb`, other where it is not.

    The sign is that of the moment, which survives blooming; where it is within two standard errors of zero, undecided.
    The probability is that of the sign, and for other ones that of a peak below the threshold, which errs as the moment
    over the volume does.
    """
    if abs(peak_ppb) < thresholds.focal_ppb:
        return OTHER, _beyond(thresholds.focal_ppb - abs(peak_ppb), 1e3 * moment_error / max(volume_mm3, 1e-9))
    sign = _beyond(abs(moment), moment_error)
    if abs(moment) < 2 * moment_error:
        return UNDECIDED, sign
    if moment > 0 and elongation > thresholds.vessel_elongation:
        return VESSEL, sign
    return (BLEED if moment > 0 else CALCIFICATION), sign


def _beyond(excess: float, error: float) -> float:
    """The probability that a normal variable is above zero."""
    if error <= 0:
        return 1.0 if excess > 0 else 0.0
    return 0.5 * (1 + erf(excess / (error * sqrt(2))))
