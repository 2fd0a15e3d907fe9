"""What the numbers of a head segmentation mean: those of the QSM challenge 2.0, and ours from 18 on."""

from __future__ import annotations

from enum import IntEnum


class Label(IntEnum):
    """A tissue."""

    CAUDATE = 1
    PALLIDUM = 2
    PUTAMEN = 3
    RED_NUCLEUS = 4
    DENTATE = 5
    SUBSTANTIA_NIGRA = 6
    THALAMUS = 7
    WHITE_MATTER = 8
    GREY_MATTER = 9
    CSF = 10
    VEIN = 11
    CALCIFICATION = 16
    BLEED = 18

    @property
    def title(self) -> str:
        """As a person writes it."""
        return "CSF" if self is Label.CSF else self.name.lower().replace("_", " ")


DEEP_NUCLEI = tuple(Label(number) for number in range(1, 7))
"""The iron-rich nuclei that the challenge scores together."""
