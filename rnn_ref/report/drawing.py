"""Draw with matplotlib, and make SVG that is part of a page: it takes on the page's colours.

A figure is drawn at the width of a phone, so that its words stay readable there. Text and
lines are drawn in INK, which becomes `currentColor`; all else is transparent.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

WIDTH = 4.3  # inches: of a phone's page

INK = "#010203"
"""What stands for the page's own colour of text while matplotlib draws: no other thing has it."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
"""Okabe and Ito's colours that are seen on white as well as on black."""

SERIES = (BLUE, VERMILLION, GREEN, PURPLE)
HATCHES = ("", "////", "....", "xxxx")

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, selected and read aloud
    "svg.hashsalt": "rnn_ref",  # the same figure has the same ids, whenever it is drawn
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "text.parse_math": False,  # a name with $ is a name
    "axes.unicode_minus": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "hatch.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HREF = f"{{{XLINK}}}href"
REFERENCE = re.compile(r"url\(#([^)]+)\)")


OWN = "id-of-rnn-ref-"
"""How ids of a figure begin until its place in the page is known: two figures may be the same."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: SVG, its title, and what it shows in words."""

    svg: Markup
    title: str
    caption: str

    def at(self, place: int) -> Markup:
        """Give the SVG ids that no figure at another place has."""
        return self.svg.replace(OWN, f"f{place}-")


def draw(title: str, caption: str, height: float, plot: Callable[[Figure], None]) -> Drawing:
    """Draw a figure of a height in inches, with what `plot` puts into it."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of signs that matplotlib's font lacks: the page's may not
        figure = Figure(figsize=(WIDTH, height))
        plot(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return Drawing(inline(file.getvalue(), title), title, caption)


def inline(text: str, title: str) -> Markup:
    """Make SVG that stands inside HTML, of SVG that is a file: with a title, without metadata.

    Ids that nothing refers to are left out, and the others begin with OWN.
    """
    root = ET.fromstring(text)  # noqa: S314 - matplotlib wrote it
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{{{SVG}}}metadata":
                parent.remove(child)
    used = {name for element in root.iter() for name in references(element)}
    for element in root.iter():
        settle(element, used)
    for size in ("width", "height"):  # the page decides
        root.attrib.pop(size)
    root.attrib.update({"role": "img", "aria-label": title})
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - it is escaped XML


def settle(element: ET.Element, used: set[str]) -> None:
    """Give an element the page's colour in place of INK, and ids that begin with OWN."""
    name = element.attrib.pop("id", None)
    for key, value in list(element.attrib.items()):
        inked = value.replace(INK, "currentColor")
        element.attrib[key] = REFERENCE.sub(rf"url(#{OWN}\1)", inked)
    if link := linked(element):
        element.attrib[HREF] = f"#{OWN}{link}"
    if name in used:
        element.attrib["id"] = f"{OWN}{name}"


def linked(element: ET.Element) -> str:
    """Return the id that an element repeats; empty if it repeats none."""
    link = element.attrib.get(HREF, "")
    return link[1:] if link.startswith("#") else ""


def references(element: ET.Element) -> list[str]:
    """List the ids that an element refers to."""
    values = element.attrib.values()
    return [linked(element)] + [name for value in values for name in REFERENCE.findall(value)]
