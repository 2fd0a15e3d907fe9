"""Do two readings of the same lesions agree: two pipelines, two visits, two readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .classification import UNDECIDED

if TYPE_CHECKING:
    import pandas

CHANNELS = ("para", "dia", "focal")
WHO = ("class", "reader")
"""Whose words a column holds, `class_para` and so on: computed ones, or a reader's."""
SCAN = "scan"
"""The column that says which scan a lesion is of, where a table holds several; labels count within it."""
Name = int | str
"""A lesion by its label, or as scan:label where a table holds several scans."""
VALUES = ("chi_contrast_ppb", "chi_para_contrast_ppb", "chi_dia_contrast_ppb", "r2star_contrast_hz", "moment_ppm_mm3")


@dataclass(frozen=True)
class Agreement:
    """Of one column of classes. `percent` and Cohen's κ leave out lesions that either reading left undecided."""

    column: str
    lesions: int
    undecided: int
    percent: float
    kappa: float
    kappa_low: float
    kappa_high: float
    confusion: pandas.DataFrame


@dataclass(frozen=True)
class Difference:
    """Bland and Altman's of one measured column: second reading minus first, with limits that hold 95 %."""

    column: str
    lesions: int
    bias: float
    bias_low: float
    bias_high: float
    lower_limit: float
    upper_limit: float
    points: tuple[tuple[float, float], ...] = ()
    """(mean, difference) of every lesion."""


@dataclass(frozen=True)
class Comparison:
    """Two tables of lesions compared: who was matched with whom, and what they say."""

    pairs: tuple[tuple[Name, Name], ...]
    only_first: tuple[Name, ...]
    only_second: tuple[Name, ...]
    agreements: tuple[Agreement, ...]
    differences: tuple[Difference, ...]
    matched_by: str = "place"


def compare(
    first: pandas.DataFrame,
    second: pandas.DataFrame,
    transform: ArrayLike | None = None,
    farthest_mm: float = 5.0,
    who: tuple[str, str] | None = None,
) -> Comparison:
    """Match two lesion tables and compare every class and value that both have.

    Lesions are matched by place: `transform` (4×4, RAS mm) takes places of the second to those of the first; those
    farther apart than `farthest_mm`, or than half the first one's diameter where that is more, are not the same. A
    table without places, as readers write them, is matched by its labels. `who` says whose words count in each table,
    "class" or "reader"; without it the computed ones where there are any. Where tables hold several scans (a column
    `scan`), only lesions of the same one are matched. Raises InputError for a table without labels, and where the two
    have no class or value in common.
    """
    for table in (first, second):
        if "label" not in table:
            raise InputError("A lesion table has no column label: give tables of `qsmrecon lesions`, or a reader's.")
    by_place = all(name in table for table in (first, second) for name in "xyz")
    if not by_place and transform is not None:
        raise InputError("A table has no places (x, y, z), so it cannot be brought to the other visit.")
    rows = []
    for here, there in _scans(first, second):
        one, other = first.iloc[here], second.iloc[there]
        found = _matched(one, other, transform, farthest_mm) if by_place else _same_label(one, other)
        rows += [(int(here[i]), int(there[j])) for i, j in found]
    a, b = first.iloc[[i for i, _ in rows]], second.iloc[[j for _, j in rows]]
    labels = list(zip(_names(a), _names(b), strict=True))
    words = who or (_whose(first), _whose(second))
    agreements = []
    for name in CHANNELS:
        one, other = (f"{prefix}_{name}" for prefix in words)
        if one in first and other in second:
            title = one if one == other else f"{one} and {other}"
            agreements.append(agreement(title, _said(a[one]), _said(b[other])))
    same_table = first is second
    differences = [
        bland_altman(name, a[name].to_numpy(float), b[name].to_numpy(float))
        for name in VALUES
        if name in first and name in second and not same_table
    ]
    if not agreements and not differences:
        raise InputError(f"The tables have nothing in common to compare: no {words[0]}_… beside {words[1]}_….")
    return Comparison(
        tuple(labels),
        tuple(v for v in _names(first) if v not in {x for x, _ in labels}),
        tuple(v for v in _names(second) if v not in {y for _, y in labels}),
        tuple(agreements),
        tuple(differences),
        "place" if by_place else "label",
    )


def agreement(column: str, first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Percent agreement, Cohen's κ (1960) with its 95 % interval (Fleiss, Cohen and Everitt 1969,
    doi:10.1037/h0028106), and the table of who said what, undecided included."""
    import pandas

    # A lesion that either did not read is none that they could agree on.
    pairs = [(x, y) for x, y in zip(first, second, strict=True) if x and y]
    words = sorted({word for pair in pairs for word in pair}, key=lambda word: (word == UNDECIDED, word))
    counts = pandas.DataFrame(0, index=pandas.Index(words, name="first"), columns=pandas.Index(words, name="second"))
    for x, y in pairs:
        counts.loc[x, y] += 1
    decided = [(x, y) for x, y in pairs if UNDECIDED not in (x, y)]
    kappa, error = cohen_kappa(decided)
    same = float(np.mean([x == y for x, y in decided])) if decided else np.nan
    low, high = kappa - 1.96 * error, kappa + 1.96 * error
    return Agreement(column, len(pairs), len(pairs) - len(decided), 100 * same, kappa, low, min(high, 1.0), counts)


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """(κ, standard error). NaN where both say the same one word throughout: chance alone would do that."""
    words = sorted({word for pair in pairs for word in pair})
    if len(words) < 2:
        return np.nan, np.nan
    shares = np.zeros((len(words), len(words)))
    for x, y in pairs:
        shares[words.index(x), words.index(y)] += 1 / len(pairs)
    rows, columns = shares.sum(1), shares.sum(0)
    observed, chance = float(np.trace(shares)), float(rows @ columns)
    kappa = (observed - chance) / (1 - chance)
    # Fleiss et al. 1969, equation 13.
    diagonal = np.diag(shares) * ((1 - (rows + columns) * (1 - kappa)) ** 2)
    beside = shares * (columns[:, None] + rows[None, :]) ** 2 * (1 - kappa) ** 2
    np.fill_diagonal(beside, 0.0)
    spread = diagonal.sum() + beside.sum() - (kappa - chance * (1 - kappa)) ** 2
    return kappa, sqrt(max(spread, 0.0) / len(pairs)) / (1 - chance)


def bland_altman(column: str, first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Mean difference with its 95 % interval, and the limits of agreement (doi:10.1016/S0140-6736(86)90837-8)."""
    from scipy.stats import t

    difference = (second - first)[np.isfinite(first) & np.isfinite(second)]
    n = difference.size
    mean = tuple(float(v) for v in ((first + second) / 2)[np.isfinite(first) & np.isfinite(second)])
    points = tuple(zip(mean, (float(v) for v in difference), strict=True))
    if n < 2:
        return Difference(column, n, np.nan, np.nan, np.nan, np.nan, np.nan, points)
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    reach = float(t.ppf(0.975, n - 1)) * sd / sqrt(n)
    return Difference(column, n, bias, bias - reach, bias + reach, bias - 1.96 * sd, bias + 1.96 * sd, points)


def describe(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON."""
    return {
        "Matched": len(comparison.pairs),
        "MatchedBy": comparison.matched_by,
        "Pairs": [list(pair) for pair in comparison.pairs],
        "OnlyFirst": list(comparison.only_first),
        "OnlySecond": list(comparison.only_second),
        "Classes": {
            a.column: {
                "Lesions": a.lesions,
                "Undecided": a.undecided,
                "PercentAgreement": a.percent,
                "Kappa": a.kappa,
                "Kappa95": [a.kappa_low, a.kappa_high],
                "Confusion": {str(row): a.confusion.loc[row].to_dict() for row in a.confusion.index},
            }
            for a in comparison.agreements
        },
        "Values": {
            d.column: {
                "Lesions": d.lesions,
                "Bias": d.bias,
                "Bias95": [d.bias_low, d.bias_high],
                "LimitsOfAgreement": [d.lower_limit, d.upper_limit],
            }
            for d in comparison.differences
        },
    }


def _whose(table: pandas.DataFrame) -> str:
    computed, read = WHO
    return computed if any(f"{computed}_{name}" in table for name in CHANNELS) else read


def _said(column: pandas.Series) -> list[str]:
    """The words of a column; nothing where there is none."""
    return ["" if word in ("", "n/a", "nan", "None") else word for word in map(str, column)]


def _scans(first: pandas.DataFrame, second: pandas.DataFrame) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The rows of both tables, scan by scan."""
    if SCAN not in first or SCAN not in second:
        yield np.arange(len(first)), np.arange(len(second))
        return
    for scan in dict.fromkeys(first[SCAN]):
        yield np.flatnonzero(first[SCAN] == scan), np.flatnonzero(second[SCAN] == scan)


def _names(table: pandas.DataFrame) -> list[Name]:
    labels = [int(label) for label in table["label"]]
    if SCAN not in table:
        return list(labels)
    return [f"{scan}:{label}" for scan, label in zip(table[SCAN], labels, strict=True)]


def _same_label(first: pandas.DataFrame, second: pandas.DataFrame) -> list[tuple[int, int]]:
    there = {int(label): j for j, label in enumerate(second["label"])}
    return [(i, there[int(label)]) for i, label in enumerate(first["label"]) if int(label) in there]


def _matched(
    first: pandas.DataFrame, second: pandas.DataFrame, transform: ArrayLike | None, farthest_mm: float
) -> list[tuple[int, int]]:
    from scipy.optimize import linear_sum_assignment

    here, there = (table[["x", "y", "z"]].to_numpy(float) for table in (first, second))
    if transform is not None:
        matrix = np.asarray(transform, dtype=float)
        there = there @ matrix[:3, :3].T + matrix[:3, 3]
    if not len(here) or not len(there):
        return []
    apart = np.linalg.norm(here[:, None] - there[None], axis=2)
    limit = np.full(len(here), farthest_mm)
    if "volume_mm3" in first:
        limit = np.maximum(limit, (0.75 * first["volume_mm3"].to_numpy(float) / np.pi) ** (1 / 3))
    allowed = apart <= limit[:, None]
    # What may not be matched costs more than all that may, so that it is only ever chosen for want of a partner.
    rows, columns = linear_sum_assignment(np.where(allowed, apart, 1e6))
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
