"""The frame of a page: heading, links to its sections, the sections, an end."""

import shlex
from collections.abc import Sequence, Set
from typing import NamedTuple

from jaxmodels import __version__
from jaxmodels.report.html import Html, element

Tile = tuple[str, object, str]  # label, value, note


class Section(NamedTuple):
    """A part of a page that has a heading."""

    name: str  # of its anchor, for links to it
    title: str
    content: Sequence[object]
    note: str | None = None  # a line of explanation under the heading


def heading(kind: str, title: str, name: str, status: tuple[str, str] | None = None) -> Html:
    """Makes the top of a page."""
    chip = element("span", status[0], class_=f"chip {status[1]}") if status else None
    return element(
        "header",
        element("p", kind, class_="kind"),
        element("h1", title),
        element("p", element("span", name, class_="name"), chip, class_="under"),
    )


def navigated(sections: list[Section]) -> list[Html]:
    """Puts the sections under links to each of them."""
    links = [element("a", part.title, href=f"#{part.name}") for part in sections]
    parts = [
        element(
            "section",
            element("h2", part.title),
            element("p", part.note, class_="note") if part.note else None,
            part.content,
            id=part.name,
        )
        for part in sections
    ]
    return [element("nav", links, aria_label="sections"), element("main", parts)]


def tiles(made: Sequence[Tile], long: Set[str] = frozenset()) -> Html:
    """Shows numbers at a glance. long: the labels of those that are words."""
    return element(
        "dl",
        [
            element(
                "div",
                element("dt", label),
                element("dd", value),
                element("dd", note, class_="note"),
                class_="tile long" if label in long else "tile",
            )
            for label, value, note in made
        ],
        class_="tiles",
    )


def command(title: str, text: str, note: str, first: str = "") -> Html:
    """Shows a command that can be copied.

    first: what is to be done before it, in the same line.
    """
    parts = [element("span", part) for part in [first, *_by_flag(text)] if part]
    spaced = [piece for part in parts for piece in (part, " ")][:-1]
    button = element("button", "Copy", type="button", class_="tool", data_copy="command")
    code = element("pre", element("code", spaced, id="command"), tabindex="0")
    return element(
        "div",
        element("h3", title),
        element("div", code, button, class_="command"),
        element("p", note, class_="note"),
    )


def _by_flag(text: str) -> list[str]:
    """Divides a command where a line is best broken: before each flag."""
    try:
        words = shlex.split(text)
    except ValueError:
        return [text]
    parts: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and parts[-1]:
            parts.append([])
        parts[-1].append(word)
    written = [shlex.join(part) for part in parts]
    return written if " ".join(written) == text else [text]


def footer(origin: str = "the files of the run folder alone") -> Html:
    """Makes the end of a page. origin: of what is on it."""
    return element(
        "footer",
        f"Drawn by jaxmodels {__version__} from {origin}."
        " Nothing on this page comes from elsewhere.",
    )
