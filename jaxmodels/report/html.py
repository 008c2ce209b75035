"""Markup that cannot be broken by what is put into it: all text is escaped unless it is markup."""

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Iterator
from importlib import resources

_VOID = {"img", "input", "link", "meta", "wbr"}
_SCRIPTS = ("scale.js", "chart.js", "input.js", "group.js", "page.js")


class Html(str):
    """A text that is markup already. Only `element` and `document` make it of other text."""


def element(tag: str, *children: object, **attributes: object) -> Html:
    """Makes an element. Its children are elements, text or lists of them; None is left out.

    attributes: class_="..." for class, data_step="3" for data-step; True stands alone, None and
    False are left out.
    """
    written = []
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        name = name.strip("_").replace("_", "-")
        written.append(f" {name}" if value is True else f' {name}="{html.escape(str(value))}"')
    opening = f"<{tag}{''.join(written)}>"
    if tag in _VOID:
        return Html(opening)
    return Html(f"{opening}{''.join(_flat(children))}</{tag}>")


BREAK = element("wbr")


def _flat(children: Iterable[object]) -> Iterator[Html | str]:
    """Escapes text that is not markup, and flattens lists."""
    for child in children:
        if isinstance(child, (list, tuple)):
            yield from _flat(child)
        elif child is not None:
            yield child if isinstance(child, Html) else html.escape(str(child))


def number(value: float | None, digits: int = 5) -> Html | str:
    """Writes a number to so many significant digits; None and NaN are "not finite"."""
    if value is None or not math.isfinite(value):
        return element("span", "not finite", class_="absent")
    return plain_number(value, digits)


def plain_number(value: float, digits: int = 5) -> str:
    """Writes a finite number: 12,000 or 0.98611 or 3.2e-07."""
    if abs(value) < 1e15 and float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.{digits}g}" if 1e-4 <= abs(value) < 10**digits else f"{value:.{digits}g}"


def setting(value: object) -> Html | str:
    """Writes a value of a config or record as a person reads it."""
    if value is None or value == "" or value == [] or value == {}:
        return element("span", "none" if value is None else "empty", class_="absent")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and not any(isinstance(v, (list, dict)) for v in value):
        return " ".join(str(part) for part in value)
    return str(value) if isinstance(value, (str, int, float)) else json.dumps(value)


def field(name: str) -> list:
    """Writes the name of a field with places where a line may break."""
    return [piece for part in re.findall(r"[^_./]*[_./]?", name) for piece in (part, BREAK) if part]


def flatten(values: dict, prefix: str = "") -> dict[str, object]:
    """Writes {"a": {"b": 1}} as {"a.b": 1}."""
    flat = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def table(
    header: list | None, rows: list[list], label: str, class_: str = "", numeric: bool = True
) -> Html:
    """Makes a table in a box that scrolls sideways. The first cell of a row is its heading.

    A cell that is no element yet becomes one, aligned to the right if `numeric`.
    """
    kind = "number" if numeric else None
    head = None
    if header:
        first, *others = (cell_of(cell, "th", scope="col") for cell in header)
        head = element("thead", element("tr", first, others))
    body = [
        element("tr", cell_of(first, "th", scope="row"), [cell_of(c, "td", kind) for c in others])
        for first, *others in rows
    ]
    whole = element("table", head, element("tbody", body), class_=class_ or None)
    return scrolling(whole, label)


def cell_of(content: object, tag: str, kind: str | None = None, **attributes: object) -> Html:
    """Makes a cell of the content, unless it is one."""
    if isinstance(content, Html) and content.startswith(("<td", "<th")):
        return content
    return element(tag, content, class_=kind, **attributes)


def scrolling(content: Html, label: str) -> Html:
    """Makes a box that scrolls sideways, by the keyboard too, so that the page need not."""
    return element("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def embedded_json(value: object) -> Html:
    """Writes JSON of which nothing can end a script element or open a comment in it.

    Raises:
      ValueError: a number that is not finite.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(text)


def document(title: str, body: list[Html], data: object) -> str:
    """Writes a whole page, whose policy lets only this script and style run and loads nothing."""
    script = "".join(_file(name) for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    style = _file("style.css")
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src '{_digest(style)}';"
        f" script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(style)),
    )
    scripts = [
        element("script", embedded_json(data), type="application/json", id="data"),
        element("script", Html(script)),
    ]
    return f"<!doctype html>\n{element('html', head, element('body', body, scripts), lang='en')}\n"


def _file(name: str) -> str:
    """Reads a file of this package."""
    return resources.files("jaxmodels.report").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    """Computes the hash by which a policy allows a script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
