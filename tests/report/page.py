"""A page as tests read it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements with their attributes, and the text outside of script and style."""

    def __init__(self, path):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text, self.scripts, self._inside = "", [], None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data + " "

    def rows(self) -> str:
        return " ".join(self.text.split())
