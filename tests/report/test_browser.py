"""The pages in a real browser: they load nothing, run nothing but their own, and fit a phone."""

import pytest

from jaxmodels.report import write_comparison, write_report
from tests.report import browser as chromium
from tests.report.folders import ATTACK, CLOSING, QUOTES, hostile_run, write_run

pytestmark = pytest.mark.browser

if chromium.find() is None:
    reason = f"no browser is installed (any of {', '.join(chromium.NAMES)})"
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with chromium.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of one run and one of two, with markup wherever a name may stand."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [hostile_run(folder / name, source=name) for name in ("one<i>", "two")]
    report = write_report(runs[0], folder / "report.html")
    return {"one": report, "several": write_comparison(runs, folder / "several.html")}


def centre(browser, selector: str) -> tuple[float, float, float, float]:
    """Middle and size of an element, scrolled into sight."""
    script = """(() => {
      const node = document.querySelector(SELECTOR);
      node.scrollIntoView({block: "center"});
      const box = node.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2, box.width, box.height];
    })()"""
    return tuple(browser.value(script.replace("SELECTOR", repr(selector))))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["one", "several"])
def test_a_page_runs_no_name_loads_nothing_and_fits(browser, pages, name, dark, width):
    browser.open(pages[name], width, dark=dark)
    assert browser.value("document.title") != "hacked"
    text = browser.value("document.body.innerText")
    for attack in (ATTACK, CLOSING, QUOTES):
        assert attack in text
    assert browser.complaints() == []
    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.value("document.scripts.length") == 2
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("document.querySelectorAll('.curve').length") > 3
    # Every picture is there and could be decoded.
    assert browser.value("[...document.images].every((image) => image.naturalWidth > 0)")
    # Every sound is there and could be decoded: the policy lets them.
    durations = """Promise.all([...document.querySelectorAll("audio")].map((sound) =>
      new Promise((done) => {
        if (sound.readyState > 0 || sound.error) done(sound.duration);
        sound.addEventListener("loadedmetadata", () => done(sound.duration));
        sound.addEventListener("error", () => done(null));
      })))"""
    assert browser.value(durations) == ([0.25] * 4 if name == "one" else [])
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    shade = sum(int(part) for part in background.strip("rgb()").split(","))
    assert (shade < 150) == dark


def test_nothing_from_elsewhere_would_be_loaded_or_run(browser, pages):
    browser.open(pages["one"])
    browser.value("document.body.insertAdjacentHTML('beforeend', '<img src=\"https://a.test/x\">')")
    inserted = """(() => {
      const script = document.createElement("script");
      script.textContent = "document.title = 'hacked'";
      document.body.append(script);
      return document.title;
    })()"""
    assert browser.value(inserted) != "hacked"
    assert any("Content Security Policy" in text for text in browser.complaints())


@pytest.fixture
def plain(browser, tmp_path):
    """A plain run's page, shown."""
    browser.open(write_report(write_run(tmp_path / "run")))
    return browser


def test_hovering_shows_the_values_of_all_lines_at_a_step(plain):
    x, y, width, _ = centre(plain, "[data-group=curves] [data-chart='1'] svg")
    tip = "document.querySelector(\"[data-group=curves] [data-chart='1'] .tip\")"
    plain.mouse("mouseMoved", x + 0.47 * width, y)
    assert plain.value(f"{tip}.hidden") is False
    words = plain.value(f"{tip}.innerText").split()
    assert words[:2] == ["step", "100"]
    assert words[2:] == [
        *("train", "0.000079684" if "0.000079684" in words else "7.97e-5"),
        *("validation", "0.00010625"),
        *("test", "0.5"),
    ]
    plain.mouse("mouseMoved", 5, 5)
    assert plain.value(f"{tip}.hidden") is True


def test_dragging_zooms_all_charts_and_a_double_click_shows_all_again(plain):
    labels = "document.querySelectorAll(\"[data-group=curves] [data-chart='0'] svg text\")"
    steps = f"[...{labels}].map((label) => label.textContent)"
    everything = plain.value(steps)
    reset = "document.querySelector('[data-zoom=reset]').disabled"
    assert plain.value(reset) is True
    x, y, width, _ = centre(plain, "[data-group=curves] [data-chart='1'] svg")
    plain.mouse("mousePressed", x, y, clicks=1)
    plain.mouse("mouseMoved", x + 0.2 * width, y)
    plain.mouse("mouseReleased", x + 0.2 * width, y, clicks=1)
    zoomed = plain.value(steps)
    assert zoomed != everything and "100" not in zoomed and plain.value(reset) is False
    for clicks in (1, 2):
        plain.mouse("mousePressed", x, y, clicks=clicks)
        plain.mouse("mouseReleased", x, y, clicks=clicks)
    assert plain.value(steps) == everything
    assert plain.complaints() == []


def test_charts_can_be_read_with_the_keyboard(plain):
    plain.value("document.querySelector(\"[data-group=curves] [data-chart='0'] svg\").focus()")
    tip = "document.querySelector(\"[data-group=curves] [data-chart='0'] .tip\").innerText"
    for key, expected in (("ArrowRight", "step 20"), ("ArrowRight", "step 40"), ("+", "step 40")):
        plain.press(key)
        assert plain.value(tip).startswith(expected)
    reset = "document.querySelector('[data-zoom=reset]').disabled"
    assert plain.value(reset) is False
    plain.press("Escape")
    assert plain.value(reset) is True


def test_a_line_is_hidden_by_its_name_in_the_legend(plain):
    count = "document.querySelectorAll('[data-group=curves] .line.train .curve').length"
    assert plain.value(count) == 1
    plain.value("document.querySelector('[data-group=curves] [data-series=train]').click()")
    assert plain.value(count) == 0
    plain.value("document.querySelector('[data-group=curves] [data-series=train]').click()")
    assert plain.value(count) == 1


def test_the_slider_goes_through_the_steps(browser, pages):
    browser.open(pages["one"])
    shown = """(() => {
      const slider = document.querySelector(".viewer input");
      slider.value = VALUE;
      slider.dispatchEvent(new Event("input"));
      const images = [...document.querySelectorAll(".viewer img")];
      return [document.querySelector(".viewer output").textContent,
              images.filter((image) => !image.hidden).map((image) => image.dataset.step)];
    })()"""
    assert browser.value(shown.replace("VALUE", "0")) == ["step 20", ["20"]]
    assert browser.value(shown.replace("VALUE", "2")) == ["step 60", ["60"]]


@pytest.mark.parametrize("section", ["texts", "sounds"])
def test_the_sliders_of_texts_and_sounds_do_as_well(browser, pages, section):
    browser.open(pages["one"])
    shown = """(() => {
      const viewer = document.querySelector("#SECTION .viewer");
      const slider = viewer.querySelector("input");
      slider.value = VALUE;
      slider.dispatchEvent(new Event("input"));
      const frames = [...viewer.querySelectorAll("[data-step]")];
      const seen = frames.filter((frame) => frame.offsetHeight > 20);
      return [viewer.querySelector("output").textContent, seen.map((frame) => frame.dataset.step)];
    })()""".replace("SECTION", section)
    assert browser.value(shown.replace("VALUE", "0")) == ["step 20", ["20"]]
    assert browser.value(shown.replace("VALUE", "2")) == ["step 60", ["60"]]
    assert browser.complaints() == []


def test_a_sound_pauses_when_the_slider_hides_it(browser, pages):
    browser.open(pages["one"])
    script = """(async () => {
      const viewer = document.querySelector("#sounds .viewer");
      const sound = viewer.querySelector("audio:not([hidden])");
      sound.muted = true;
      sound.loop = true;
      await sound.play();
      const played = !sound.paused;
      const slider = viewer.querySelector("input");
      slider.value = 0;
      slider.dispatchEvent(new Event("input"));
      return [played, sound.paused];
    })()"""
    assert browser.value(script) == [True, True]


def test_the_rest_of_a_text_unfolds(browser, pages):
    browser.open(pages["one"])
    rest = "document.querySelector('#texts .viewer .text:not([hidden]) details')"
    seen = f"{rest}.querySelector('pre').checkVisibility()"
    assert browser.value(seen) is False
    browser.value(f"{rest}.querySelector('summary').click()")
    assert browser.value(seen) is True
    assert browser.value(f"{rest}.querySelector('pre').offsetHeight") > 100


def test_charts_of_scores_that_do_not_change_are_drawn_when_unfolded(browser, tmp_path):
    folder = write_run(tmp_path / "run")
    with open(folder / "metrics.jsonl", "a") as file:
        file.writelines(f'{{"step": {s}, "split": "train", "rate": 0.1}}\n' for s in (110, 120))
    browser.open(write_report(folder))
    fold = "document.querySelector('[data-group=curves] details')"
    curves = f"[...{fold}.querySelectorAll('.curve')]"
    count = f"{curves}.filter((curve) => curve.checkVisibility()).length"
    assert browser.value(f"{fold}.innerText") == "1 chart that does not change"
    assert browser.value(count) == 0
    browser.value(f"{fold}.querySelector('summary').click()")
    browser.value("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    assert browser.value(count) == 1
    assert browser.complaints() == []
