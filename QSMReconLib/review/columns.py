"""What the columns of a lesion table mean, as its JSON dictionary says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .maps import CHANNELS
from .measures import PERCENTILES
from .readings import COMMENT, READINGS, computed


def describe(name: str, interval_percent: float = 90.0) -> dict[str, Any]:
    """A column of the table, as BIDS wants it described; the ends of intervals are those of `interval_percent`.

    Raises KeyError for a name that no column has.
    """
    if name in _COLUMNS:
        text, unit = _COLUMNS[name]
        return {"Description": text} | ({"Units": unit} if unit else {})
    levels = {
        "class_para": ("χ_para against normal-appearing white matter", "hyper, iso, hypo, rim, undecided"),
        "class_dia": ("χ_dia against normal-appearing white matter", "hyper, iso, hypo, undecided"),
        "class_focal": ("What a focal lesion is", "bleed, calcification, vessel, other, undecided"),
    }
    if name in READINGS:
        text = f"What the reader says, beside {computed(name)}"
        return {"Description": text, "Levels": ", ".join(READINGS[name])}
    if name == COMMENT:
        return {"Description": "What the reader remarks"}
    if name in levels:
        return {"Description": levels[name][0], "Levels": levels[name][1]}
    if name.startswith("probability_"):
        return {"Description": f"Probability of class_{name.removeprefix('probability_')}"}
    # The longest name first: chi_para's columns begin with chi as well.
    which = next(key for key in sorted(CHANNELS, key=len, reverse=True) if name.startswith(f"{key}_"))
    title, unit, _, _ = CHANNELS[which]
    statistic = name.removeprefix(f"{which}_").rsplit("_", 1)[0]
    return {"Description": f"{title}: {_STATISTICS[statistic].format(interval_percent)}", "Units": unit}


_STATISTICS = {
    "mean": "mean over the lesion",
    "median": "median over the lesion",
    "sd": "standard deviation over the lesion",
    **{f"p{p}": f"{p}th percentile" for p in PERCENTILES},
    "normal": "median of the normal-appearing white matter around",
    "local_sd": "its standard deviation (1.48 times the median absolute deviation)",
    "contrast": "median of the lesion above that of its surroundings",
    "contrast_low": "lower end of the contrast's {:.0f} % interval",
    "contrast_high": "upper end of the contrast's {:.0f} % interval",
    "classed": "the contrast that the class was made of, which without spin echoes is not the map's",
    "classed_low": "lower end of its {:.0f} % interval",
    "classed_high": "upper end of its {:.0f} % interval",
}


_COLUMNS: Mapping[str, tuple[str, str]] = {
    "label": ("Number of the lesion in the label map", ""),
    "segment": ("Label or segment of the input that the lesion is a piece of", ""),
    "proposed": ("Whether the lesion is an automatic proposal", ""),
    "voxels": ("Voxels of the lesion", ""),
    "volume_mm3": ("Volume", "mm^3"),
    "x": ("Centre, to the right", "mm"),
    "y": ("Centre, to the front", "mm"),
    "z": ("Centre, upwards", "mm"),
    "elongation": ("Length over width, from the axes of inertia", ""),
    "shell_voxels": ("Voxels of normal-appearing white matter that the lesion is compared with", ""),
    "moment_ppm_mm3": ("Magnetic moment against the surroundings, as `moment_by` says", "ppm mm^3"),
    "moment_error_ppm_mm3": ("Its standard error", "ppm mm^3"),
    "moment_by": ("Which moment is believed: that of the field (strong sources) or of the χ map", ""),
    "moment_map_ppm_mm3": ("Sum of χ above the surroundings times volume, over the lesion and 2 mm around", "ppm mm^3"),
    "moment_map_error_ppm_mm3": ("Its standard error", "ppm mm^3"),
    "moment_field_ppm_mm3": ("Moment of the dipole that fits the field around the lesion", "ppm mm^3"),
    "moment_field_error_ppm_mm3": ("Its standard error", "ppm mm^3"),
    "chi_equivalent_ppb": ("The moment over the volume: the mean χ that would make it", "ppb"),
    "chi_peak_ppb": ("The tenth of the lesion that deviates most: its χ against the surroundings", "ppb"),
    "distance_ventricle_mm": ("Distance to the nearest ventricle", "mm"),
    "vein_share": ("Share of the lesion's voxels that are vein", ""),
    "rim_contrast_ppb": ("χ_para (or χ) of the outer half against the core", "ppb"),
    "rim_score": ("The same in units of its standard error", ""),
    "flags": ("What to doubt", ""),
}
