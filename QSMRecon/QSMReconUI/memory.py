"""How much memory a reconstruction of the scan in the table will take, before it is run."""

from __future__ import annotations

from collections.abc import Sequence

from QSMReconLib import memory

from .scan import Echo, chosen, volumes_of


def need_bytes(rows: Sequence[Echo]) -> int | None:
    """The memory that the scan of these rows needs; None without a scan, or where a file does not say its size."""
    return memory.need_bytes((_shape(echo), echo.count) for echo in chosen(rows))


def _shape(echo: Echo) -> tuple[int, ...] | None:
    if not echo.in_scene:
        return memory.shape_of(echo.source)[0]
    image = volumes_of(echo.source)[0].GetImageData() if echo.count else None
    return None if image is None else tuple(image.GetDimensions())
