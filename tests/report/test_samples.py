"""Pictures, texts and sounds of a run on its page."""

import pytest

from jaxmodels.report import write_report
from jaxmodels.report.samples import samples_of
from tests.report.folders import write_lines, write_picture, write_run, write_sound
from tests.report.page import Page


def markup(paths, skip=frozenset(), **limits):
    """Writes the sections of samples as one text."""
    sections = samples_of(sorted(paths), skip, **limits)
    return "".join(part for section in sections for part in section.content if part)


def test_pictures_are_in_the_page_up_to_a_limit(tmp_path):
    samples = write_run(tmp_path / "run") / "samples"
    for step in range(0, 900, 100):
        write_picture(samples / f"step-{step:08d}.png")
    for name in ("misclassified", "confusion"):
        write_picture(samples / f"{name}.png")
    (samples / "broken.png").write_text("no picture")
    paths = sorted(samples.glob("*.png"))
    every = markup(paths)
    assert every.count("<img") == 11 and "broken.png" in every
    # The matrix is a table in the page; its picture would say it twice.
    page = write_report(tmp_path / "run").read_text()
    assert page.count("<img") == 10 and "Most confidently wrong" in page
    size = paths[-1].stat().st_size
    some = markup(paths, {"confusion.png", "broken.png"}, most=4 * size + 50)
    assert some.count("<img") == 4
    for kept in ("800", "0", "400"):
        assert f'data-step="{kept}"' in some
    assert "step-00000100.png" in some and "Left out" in some


def test_texts_are_shown_and_their_rest_is_folded(tmp_path):
    samples = write_run(tmp_path / "run") / "samples"
    samples.mkdir()
    (samples / "short.txt").write_text("To be, or not\nto <be>")
    (samples / "long.txt").write_text("".join(f"line {n}\n" for n in range(100)))
    (samples / "one-line.txt").write_text("x" * 5000)
    (samples / "empty.txt").write_text("")
    page = Page(write_report(tmp_path / "run"))
    text = page.rows()
    assert "Short To be, or not to <be>" in text and "be" not in [tag for tag, _ in page.elements]
    assert "line 11 88 more lines line 12 line 13" in text and "line 99" in text
    assert "3,800 more characters" in text and "Empty empty" in text
    assert ("a", {"href": "#texts"}) in page.elements
    assert [tag for tag, _ in page.elements].count("pre") == 6  # with the command


def test_json_lines_are_shown_field_by_field(tmp_path):
    rows = [{"prompt": "Once", "text": "upon\na <time>", "nats": 1.5}] * 2
    tmp_path.joinpath("samples.jsonl").touch()
    write_lines(tmp_path / "samples.jsonl", rows)
    with open(tmp_path / "samples.jsonl", "a") as file:
        file.write("[1]\nno JSON\n")
    text = markup(tmp_path.iterdir())
    one = "prompt: Once\ntext: upon\na &lt;time&gt;\nnats: 1.5\n"
    assert f"{one}\n{one}\n[1]\nno JSON" in text


def test_only_the_beginning_of_a_large_text_is_in_the_page(tmp_path):
    (tmp_path / "large.txt").write_text("é" * 1_000_000)
    (tmp_path / "large.jsonl").write_text('{"text": "word"}\n' * 100_000)
    text = markup(tmp_path.iterdir())
    assert 20_000 < len(text) < 60_000 and "\ufffd" not in text and '{"' not in text
    assert "The page has the first 20,000 bytes of samples/large.txt." in text
    # An odd limit cuts a character in two, which is left out.
    assert "\ufffd" not in markup([tmp_path / "large.txt"], most=1001)
    assert "Left out" in markup(tmp_path.iterdir(), most=0)


def test_a_series_of_texts_is_a_viewer_and_other_files_are_none(tmp_path):
    for step in (100, 200):
        (tmp_path / f"step-{step:08d}.txt").write_text(f"text of {step}")
        (tmp_path / f"step-{step:08d}.jsonl").write_text(f'{{"of": {step}}}\n')
        write_sound(tmp_path / f"speech-step-{step:08d}.wav")
    (tmp_path / "notes.md").write_text("other")
    text = markup(tmp_path.iterdir())
    assert text.count('type="range"') == 3 and text.count("<figure") == 3
    assert 'data-step="100" hidden' in text and "text of 100" in text and "of: 200" in text
    assert "Speech over training" in text and "other" not in text
    assert "Samples (txt) over training" in text and "Samples (jsonl) over training" in text


def test_sounds_are_in_the_page_up_to_the_limit_that_pictures_leave(tmp_path):
    write_picture(tmp_path / "picture.png")
    write_sound(tmp_path / "tone.wav")
    (tmp_path / "broken.wav").write_text("no sound")
    paths = sorted(tmp_path.iterdir())
    text = markup(paths)
    assert text.count("<audio") == 1 and "controls" in text and 'aria-label="Tone"' in text
    assert "Left out: 1 (broken.wav)" in text
    both = sum((tmp_path / name).stat().st_size for name in ("picture.png", "tone.wav"))
    assert markup(paths, most=both).count("<audio") == 1
    text = markup(paths, most=both - 1)
    assert text.count("<audio") == 0 and text.count("<img") == 1 and "tone.wav" in text


@pytest.mark.parametrize("name", ["picture.PNG", "text.TXT", "sound.WAV"])
def test_the_case_of_a_suffix_does_not_matter(tmp_path, name):
    write_picture(tmp_path / "picture.PNG")
    write_sound(tmp_path / "sound.WAV")
    (tmp_path / "text.TXT").write_text("text")
    text = markup([tmp_path / name])
    assert sum(text.count(part) for part in ("<img", "<pre", "<audio")) == 1


def test_a_text_is_divided_between_two_lines(tmp_path):
    lines = [f"{n} " + "word " * 50 for n in range(10)]
    (tmp_path / "words.txt").write_text("\n".join(lines))
    text = markup([tmp_path / "words.txt"])
    assert "6 more lines" in text and ">4 word" in text and "word</pre>" in text
