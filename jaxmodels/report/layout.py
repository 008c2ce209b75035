"""The frame of a page: heading, links to its sections, the sections, an end."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxmodels import __version__
from jaxmodels.report.html import Html, element


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


def footer() -> Html:
    """Makes the end of a page."""
    return element(
        "footer",
        f"Drawn by jaxmodels {__version__} from the files of the run folder alone."
        " Nothing on this page comes from elsewhere.",
    )
