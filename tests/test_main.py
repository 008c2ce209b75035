"""The list of experiments: python -m jaxmodels."""

from jaxmodels import __main__ as listing


def test_scripts_are_listed_with_their_first_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "bare.py").write_text("main(1)\n")
    (tmp_path / "told.py").write_text('"""Train something.\n\nMore."""\nmain(1)\n')
    (tmp_path / "empty.py").write_text('""""""\nmain(1)\n')
    (tmp_path / "helper.py").write_text("x = 1\n")
    monkeypatch.setattr(listing, "_EXPERIMENTS", tmp_path)
    found = [("bare", ""), ("empty", ""), ("told", "Train something.")]
    assert list(listing.experiments()) == found
    assert listing.main() == 0
    assert "bare" in capsys.readouterr().out
