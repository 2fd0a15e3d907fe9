"""The pictures of the documentation, drawn without the desktop application:

    python Testing/GUI/screenshots.py BIDS_FOLDER DERIVATIVES/sub-…/anat LESIONS.tsv NUMBERED.nii.gz

`BIDS_FOLDER` holds one scan; the second folder its maps (χ, χ_para, χ_dia, R2*). The last two are what
`qsmrecon lesions … -o LESIONS.tsv --numbered NUMBERED.nii.gz` has made of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

from standins import application  # noqa: E402
from standins.mrml import View  # noqa: E402

LARGE, SMALL = 540, 270
PANEL_WIDTH = 430


def review_layout(scene: Any) -> dict[str, Any]:
    """The five views of the review layout."""
    from QSMReconUI.review import CHI_VIEW, OVERLAY_VIEWS, R2STAR_VIEW

    names = (*OVERLAY_VIEWS, CHI_VIEW, R2STAR_VIEW)
    return {name: View(scene, scene.view(name), (LARGE if name == "Red" else SMALL,) * 2) for name in names}


def compose(views: dict[str, Any]) -> Image.Image:
    """Their pictures side by side."""
    red, green, yellow, chi, r2star = (view.picture() for view in views.values())
    right = np.vstack([np.hstack([green, yellow]), np.hstack([chi, r2star])])
    return Image.fromarray(np.hstack([red, right]))


def panel(widget: Any) -> Image.Image:
    """The module's panel at its full height."""
    widget.parent.setFixedWidth(PANEL_WIDTH)
    application.pump(0.1)
    widget.parent.setFixedHeight(widget.parent.layout().totalHeightForWidth(PANEL_WIDTH))
    application.pump(0.1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panel.png"
        widget.parent.grab().save(str(file))
        return Image.open(file).convert("RGB")


def lesions(widget: Any, views: dict[str, Any], table: Path, numbered: Path) -> Image.Image:
    """The lesion panel while lesions are read, beside the views on one with a rim."""
    import slicer

    from QSMReconUI.exchange import read_nifti
    from QSMReconUI.lesions import make_table

    parameters = widget.logic.getParameterNode()
    made = make_table(slicer.mrmlScene, "lesions", table, read_nifti(numbered)[0].astype(np.int16), parameters.chi)
    parameters.lesionTable = made.node
    application.pump(0.2)
    reading = widget.window.lesions
    for _ in range(3):
        reading.step(1)
        reading.agree()
    rim = next(label for label in made.labels if made.text(label, "class_para") == "rim")
    reading.choose(rim)
    reading.say("reader_para", "rim")
    reading._comment_typed("thin rim, open to the front")
    application.pump(0.2)
    for name in ("setup", "scan", "reconstruction", "review"):
        getattr(widget.ui, f"{name}Collapsible").setProperty("collapsed", True)
    side = panel(widget)
    layout = compose(views)
    height = max(side.height, layout.height)
    picture = Image.new("RGB", (side.width + layout.width, height), side.getpixel((0, 0)))
    picture.paste(side, (0, 0))
    picture.paste(layout, (side.width, 0))
    return picture


def save(picture: Image.Image, path: Path) -> None:
    """Small: a panel in 256 colours; maps keep theirs, or a scale would get steps, but for the last bit, mere noise."""
    if picture.width == PANEL_WIDTH:
        picture.quantize(256).save(path, optimize=True)
    else:
        Image.fromarray(np.array(picture) & 0xFE).save(path, optimize=True)


def main() -> None:
    """Draw and save."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("scan", type=Path)
    arguments.add_argument("maps", type=Path)
    arguments.add_argument("lesions", type=Path)
    arguments.add_argument("numbered", type=Path)
    arguments.add_argument("-o", "--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    given = arguments.parse_args()
    application.install()
    with tempfile.TemporaryDirectory() as temporary:
        scene = application.start(Path(temporary))
        import QSMRecon

        QSMRecon.QSMRecon(SimpleNamespace(path=str(ROOT / "QSMRecon" / "QSMRecon.py")))
        widget = QSMRecon.QSMReconWidget()
        widget.parent.show()
        # Slice logics take the size of their view when they get their layers.
        widget.window.review.start()
        views = review_layout(scene)
        fill(widget, given.scan, given.maps)
        widget.ui.reviewButton.click()
        given.output.mkdir(parents=True, exist_ok=True)
        save(compose(views), given.output / "review.png")
        save(panel(widget), given.output / "module.png")
        widget.ui.advancedCollapsible.setProperty("collapsed", False)
        save(panel(widget), given.output / "advanced.png")
        widget.ui.advancedCollapsible.setProperty("collapsed", True)
        save(lesions(widget, views, given.lesions, given.numbered), given.output / "lesions.png")
        for view in views.values():
            view.close()
        widget.cleanup()


def fill(widget: Any, scan: Path, maps: Path) -> None:
    """The scan's echoes and the maps into the scene, as a run would leave them."""
    import slicer

    from QSMReconUI.exchange import load_results, read_nifti
    from QSMReconUI.files import scans_in
    from QSMReconUI.review import CHI, DIA, PARA, R2STAR, Maps
    from QSMReconUI.scan import assign, bare_name

    found = scans_in(scan)[0]
    nodes = []
    for echo in found.rows({}):
        if echo.part == "spin_echo":
            continue
        voxels, affine = read_nifti(echo.source)
        nodes.append(slicer.util.addVolumeFromArray(voxels, affine, bare_name(echo.name)))
        assign(nodes[-1], echo.part, echo.echo_times_s)
    files = sorted(maps.glob("*.nii.gz"))
    loaded = load_results(slicer.mrmlScene, files, found.name, nodes[0]).maps
    magnitudes = [node for node in nodes if node.GetAttribute("QSMRecon.Part") == "magnitude"]
    parameters = widget.logic.getParameterNode()
    parameters.fieldStrength = found.field_strength_t() or 3.0
    chosen = Maps(magnitudes[len(magnitudes) // 2], *(loaded.get(bids) for bids in (PARA, DIA, CHI, R2STAR)))
    widget.window.review.take(chosen)
    application.pump(0.1)


if __name__ == "__main__":
    main()
