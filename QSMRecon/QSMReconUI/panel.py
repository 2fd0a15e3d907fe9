"""What the panels of the module's window share."""

from __future__ import annotations

import functools
import html
import logging
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from QSMReconLib.errors import QsmReconError

Method = TypeVar("Method", bound=Callable[..., Any])

COLOURS = {"error": "#c0392b", "suspicious": "#b9770e", "repaired": "#2471a3", "missing": "#2471a3", "found": "#6c7a89"}
"""Of a finding, by its level: legible on Slicer's light and on its dark theme."""


@dataclass
class Shared:
    """What every panel may use: the widgets of the .ui file, the logic, the parameter node, the log.

    `changed` is to be called when something that other panels show has changed without the parameter node.
    """

    ui: Any
    logic: Any
    log: Callable[[str], None]
    changed: Callable[[], None] = lambda: None
    parameters: Any = None
    panels: list[Panel] = field(default_factory=list)

    def obstacle(self) -> str:
        """Why nothing can be run now, in a sentence; "" if it can."""
        return next(filter(None, (panel.obstacle() for panel in self.panels)), "")


class Panel:
    """One section of the window. Everything it shows is derived from the scene and the parameter node by `refresh`."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.ui = shared.ui
        self.status = shared.ui.statusLabel
        """Where sentences about what was clicked in this panel go."""

    @property
    def parameters(self) -> Any:
        """The parameter node; None while the scene is being closed."""
        return self.shared.parameters

    def refresh(self) -> None:
        """Show what the scene and the parameter node say. Called often: only what has changed may cost anything."""

    def obstacle(self) -> str:
        """Why nothing can be run, as far as this panel knows; "" if it can."""
        return ""

    def scene_closes(self) -> None:
        """The scene's nodes are about to go."""

    def scene_loaded(self) -> None:
        """A scene has come in."""

    def cleanup(self) -> None:
        """The window goes away."""


def guarded(method: Method) -> Method:
    """For everything that a click or a timer calls: what goes wrong becomes a sentence, and the traceback goes into the
    log, where whoever looks for it finds it."""

    @functools.wraps(method)
    def call(self: Panel, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except QsmReconError as error:
            show_sentence(self.status, str(error), "error")
        except Exception as error:
            logging.debug("QSMRecon", exc_info=True)
            self.shared.log(traceback.format_exc())
            sentence = f"Something unforeseen went wrong ({type(error).__name__}: {error}). The log has the details."
            show_sentence(self.status, sentence, "error")
        return None

    return call  # type: ignore[return-value]


def show_sentence(label: Any, text: str, level: str = "") -> None:
    """Write a sentence into a label, coloured by the level of a finding; an empty one takes no room."""
    colour = COLOURS.get(level)
    escaped = html.escape(text).replace("\n", "<br>")
    label.setText(f'<span style="color:{colour}">{escaped}</span>' if colour else escaped)
    label.setVisible(bool(text))


def as_list(findings: Iterable[Any]) -> str:
    """Findings as rich text, the gravest first."""
    order = list(COLOURS)
    items = sorted(findings, key=lambda finding: order.index(finding.level))
    marks = {"error": "✖", "suspicious": "?", "repaired": "~", "missing": "–", "found": "·"}
    return "<br>".join(
        f'<span style="color:{COLOURS[item.level]}">{marks[item.level]}&nbsp;{html.escape(item.text)}</span>'
        for item in items
    )
