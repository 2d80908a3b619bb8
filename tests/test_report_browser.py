"""What a listener meets in a browser: no error, sound only when asked for, the same place in every version, keys."""

import base64
import contextlib
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from percloss import demo, report
from percloss.measures import TABLE
from percloss.report import Section, Version, Yardstick
from percloss.spec import Spec
from tests.cli.support import folder, noise, run

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None or os.name == "nt", reason="needs chromium on PATH, and pipes 3 and 4"),
]
pytest.importorskip("jinja2", reason="needs percloss[report]")
pytest.importorskip("matplotlib", reason="needs percloss[report]")
pytest.importorskip("soundfile", reason="needs percloss[audio]")

RATES = (44_100, 16_000)
EVIL = "<img src=x onerror=\"throw Error('escaped')\">"
# Every context and gain that the page makes, and where each player begins, is kept where a test can look at it.
SPY = """
window.contexts = []; window.gains = []; window.starts = [];
if (window.AudioContext) {
  window.AudioContext = class extends AudioContext { constructor(...args) { super(...args); contexts.push(this); } };
  window.AudioBufferSourceNode = class extends AudioBufferSourceNode {
    start(when, offset) { starts.push(offset); super.start(when, offset); }
  };
  window.GainNode = class extends GainNode { constructor(...args) { super(...args); gains.push(this); } };
}
"""
# A shell would do, but the smallest ones redirect no descriptor beyond 9.
WITH_PIPES = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(commands, 3), os.dup2(answers, 4), os.close(commands), os.close(answers)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a headless Chromium, driven through its debugging pipe (descriptors 3 and 4, messages end in NUL)."""

    def __init__(self, profile: str) -> None:
        read_commands, write_commands = os.pipe()
        read_answers, write_answers = os.pipe()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", WITH_PIPES, str(read_commands), str(write_answers), CHROMIUM or ""),
                *("--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", f"--user-data-dir={profile}/profile"),
                "--remote-debugging-pipe",
            ],
            pass_fds=(read_commands, write_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        self.commands, self.answers = os.fdopen(write_commands, "wb", 0), os.fdopen(read_answers, "rb", 0)
        self.events: list[dict[str, Any]] = []
        self.unread, self.last, self.session = b"", 0, ""

    def attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self.session = ""
        with contextlib.suppress(OSError, EOFError):
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.commands, self.answers):
            stream.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        self.commands.write(
            json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while (answer := self.read()).get("id") != self.last:
            self.events.append(answer)
        assert "error" not in answer, answer
        return dict(answer["result"])

    def read(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            more = self.answers.read(1 << 16)
            if not more:
                raise EOFError("chromium has gone")
            self.unread += more
        message, _, self.unread = self.unread.partition(b"\0")
        return dict(json.loads(message))

    def open(self, path: Path, *, before: str = SPY) -> None:
        """Load a page in a fresh document, with a script run before its own."""
        script = self.call("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"]
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")
        self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def js(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < deadline, f"never came true: {expression}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """With the mouse, which is a gesture, as a script's click is not."""
        self.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.js(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def press(self, key: str, *, modifiers: int = 0) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
        code = codes.get(key) or ord(key.upper())
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text=text, modifiers=modifiers, windowsVirtualKeyCode=code
            )

    def complaints(self) -> list[Any]:
        """What the console, uncaught errors and the browser's own log (blocked or failed loads) hold."""
        kinds = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def requests(self) -> set[str]:
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return {event["params"]["request"]["url"].split(":")[0] for event in sent}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # What Chromium still writes as it leaves must not fail the test.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started = Browser(folder)
        try:
            started.attach()
            yield started
        finally:
            started.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A section at each of two rates, of two seconds, with versions that a gain tells apart."""
    spec = Spec(name="up", title="Up", unit="dB", better="higher", bounds=(-math.inf, math.inf), perfect=None)
    sections = []
    for rate in RATES:
        wave = 0.1 * torch.sin(440 * 2 * math.pi * torch.arange(2 * rate) / rate)[None, None]
        versions = [
            Version(name, f"{name} {EVIL}", EVIL, gain * wave, {"up": gain})
            for name, gain in (("half", 0.5), ("quarter", 0.25), ("eighth", 0.125))
        ]
        places = {"up": {"half": 10.0, "quarter": 20.0, "eighth": 30.0}}
        yardstick = Yardstick("Place", "dB", 0.0, 40.0, 10.0, places)
        sections.append(Section(f"at{rate}", EVIL, EVIL, rate, wave, versions, {"up": spec}, yardstick=yardstick))
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(path, sections, title=EVIL, lead="Lead.", command="percloss demo", versions={})
    return path


def pressed(browser: Browser) -> list[int]:
    """The version chosen in each section."""
    return list(
        browser.js(
            "[...document.querySelectorAll('section')].map(section => "
            "[...section.querySelectorAll('.choose')].findIndex(each => each.ariaPressed === 'true'))"
        )
    )


def playing(browser: Browser) -> list[str]:
    return list(browser.js("[...document.querySelectorAll('.play')].map(each => each.textContent)"))


def place(browser: Browser) -> float:
    return float(browser.js("document.querySelector('.seek').valueAsNumber"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_without_a_complaint_and_asks_for_nothing(browser: Browser, page: Path, scheme: str) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(page)
    brightness = browser.js("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (brightness > 128) == (scheme == "light")
    assert browser.js("document.querySelector('h1').textContent") == EVIL
    assert browser.js("[...document.images].every(each => each.naturalWidth > 0)")
    assert browser.complaints() == []
    assert browser.requests() <= {"file", "data"}


def test_an_error_in_a_page_would_be_noticed(browser: Browser, page: Path) -> None:
    browser.open(page, before="console.error('here'); fetch('https://example.invalid/').catch(() => {});")
    assert len(browser.complaints()) >= 1


def test_there_is_no_sound_before_a_gesture_and_then_it_is_at_the_files_rate(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.js("contexts.length") == 0
    browser.click("section:nth-of-type(2) .play")
    browser.until("contexts.length === 1 && contexts[0].state === 'running' && gains.length === 4")
    assert browser.js("contexts[0].sampleRate") == RATES[1]
    assert browser.js("gains.map(each => each.gain.value)") == [1, 0, 0, 0]
    assert playing(browser) == ["Play", "Pause"]
    assert browser.complaints() == []


def test_switching_keeps_the_place_and_only_the_chosen_version_is_heard(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(".play")
    browser.until("document.querySelector('.seek').valueAsNumber > 0.3")
    before, started = place(browser), time.monotonic()
    browser.press("2")
    browser.until("gains[2].gain.value > 0.99 && gains[0].gain.value < 0.01")
    after, elapsed = place(browser), time.monotonic() - started
    assert before <= after <= before + elapsed + 0.1
    assert pressed(browser) == [2, 0]
    assert browser.js("gains.length") == 4, "switching must not start the players anew"
    assert browser.js("document.querySelector('.status').textContent").startswith("Playing: quarter")


def test_r_goes_back_and_forth_between_reference_and_version(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click('[data-choose="3"]')
    browser.press("r")
    assert pressed(browser)[0] == 0
    browser.press("r")
    assert pressed(browser)[0] == 3


def test_space_pauses_and_goes_on_from_the_same_place(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(".play")
    browser.until("document.querySelector('.seek').valueAsNumber > 0.2")
    browser.js("document.activeElement.blur()")
    browser.press(" ")
    assert playing(browser)[0] == "Play"
    paused = place(browser)
    assert paused > 0.2
    time.sleep(0.2)
    assert place(browser) == paused
    browser.press(" ")
    browser.until(f"document.querySelector('.seek').valueAsNumber > {paused}")
    assert place(browser) < paused + 1
    assert browser.js("starts") == [0] * 4 + [pytest.approx(paused, abs=0.011)] * 4


def test_only_one_section_plays_at_a_time(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(".play")
    browser.click("section:nth-of-type(2) .play")
    browser.until("contexts.length === 2")
    assert playing(browser) == ["Play", "Pause"]


def test_a_click_into_a_spectrogram_plays_from_there(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(".track:nth-of-type(2) .spectrogram image")
    assert pressed(browser)[0] == 1
    assert place(browser) == pytest.approx(1.0, abs=0.3)


def test_the_chosen_version_is_shown_on_the_yardstick_and_in_the_table(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click('[data-choose="2"]')
    lit = browser.js("[...document.querySelectorAll('section:first-of-type .on')].map(each => each.localName)")
    assert sorted(lit) == ["div", "span", "tr"]


def test_the_keyboard_alone_is_enough_and_its_focus_is_visible(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("window.focus()")
    browser.press("Tab")
    assert browser.js("document.activeElement.className") == "play"
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    browser.until("contexts.length === 1 && contexts[0].state === 'running'")
    browser.press("3")
    assert pressed(browser)[0] == 3
    browser.press("Escape")
    assert playing(browser)[0] == "Play"
    assert place(browser) == 0


def test_every_control_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    kept = [node for node in nodes if not node["ignored"]]
    controls = [node for node in kept if node["role"]["value"] in ("button", "slider", "image", "region")]
    assert len(controls) > 10
    assert [node for node in controls if not node["name"]["value"].strip()] == []


def test_where_playing_in_step_is_impossible_plain_players_are_offered(browser: Browser, page: Path) -> None:
    browser.open(page, before="delete window.AudioContext; window.contexts = [];")
    browser.click(".play")
    browser.until("document.querySelector('.players').open")
    assert "plain players" in browser.js("document.querySelector('.status').textContent")
    assert playing(browser)[0] == "Play"
    loads = (
        "new Promise(done => { const a = document.querySelector('audio'); a.oncanplay = () => done(true); a.load(); })"
    )
    assert browser.js(loads)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_never_wider_than_the_window(browser: Browser, page: Path, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(page)
    assert browser.js("document.documentElement.scrollWidth") <= width
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_the_report_of_the_demo_opens_without_a_complaint_and_plays(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "catalogue", lambda: {name: TABLE[name] for name in ("snr", "mel")})
    sections = [demo.study(given) for given in demo.material(quick=True)]
    browser.open(demo.write_report(tmp_path, sections, snr_db=10.0, command="percloss demo"))
    assert browser.js("document.querySelectorAll('section .track').length") == 18
    browser.click(".play")
    browser.until("document.querySelector('.seek').valueAsNumber > 0.1")
    assert browser.complaints() == []


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``percloss report`` makes of two systems and a mixture, in stereo and long enough for MP3."""
    root, rate = tmp_path_factory.mktemp("studied"), 44_100
    ref = noise(0, samples=6 * rate, channels=2)
    late = np.zeros_like(ref)
    late[4 * rate : 5 * rate] = 3 * noise(1, samples=rate, channels=2)
    for name, wave in {"ref": ref, "mix": ref + noise(2, samples=6 * rate, channels=2), "old": ref + late}.items():
        folder(root / name, {"song": wave, "tune": wave[:rate]}, rate=rate)
    folder(root / "new", {"song": np.clip(12 * ref, -1, 1), "tune": 0.9 * ref[:rate]}, rate=rate)
    (root / "new" / "lost.wav").write_bytes(b"")
    folder(root / "ref", {"lost": ref[:rate]}, rate=rate)
    options = ("--ref", root / "ref", "--mix", root / "mix", "-m", "snr,mel", "-o", root / "page.html")
    result = run("report", root / "old", root / "new", *options)
    assert result.exit_code == 3, result.stderr
    return root / "page.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_study_opens_without_a_complaint(browser: Browser, studied: Path, scheme: str) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(studied)
    assert browser.js("[...document.images].every(each => each.naturalWidth > 0)")
    assert browser.js("document.querySelectorAll('.item').length") == 2
    assert browser.complaints() == []
    assert browser.requests() <= {"file", "data"}


def test_coded_sound_plays_in_step_and_keeps_its_place(browser: Browser, studied: Path) -> None:
    browser.open(studied)
    assert "MP3" in browser.js("document.querySelector('#section-1 .keys').textContent")
    browser.click("#section-1 .play")
    browser.until("document.querySelector('#section-1 .seek').valueAsNumber > 0.3")
    assert browser.js("gains.length") == 4
    before, started = place(browser), time.monotonic()
    browser.press("1")
    browser.until("gains[1].gain.value > 0.99 && gains[0].gain.value < 0.01")
    after = place(browser)
    assert before <= after <= before + time.monotonic() - started + 0.1
    assert browser.js("gains.length") == 4
    assert browser.complaints() == []


def test_the_worst_second_is_a_button_that_plays_it(browser: Browser, studied: Path) -> None:
    browser.open(studied)
    assert "Play old from 4.0 s" in browser.js("document.querySelector('#section-1 .go').textContent")
    browser.click("#section-1 .go")
    browser.until("starts.length === 4")
    assert browser.js("starts") == [pytest.approx(4.0, abs=0.1)] * 4
    assert pressed(browser)[1] == 1, "the overview has no players"


def test_arrows_move_by_a_second_and_with_shift_by_a_tenth(browser: Browser, studied: Path) -> None:
    browser.open(studied)
    browser.js("document.querySelector('#section-1 .seek').focus()")
    step = browser.js("Math.min(1, Number(document.querySelector('#section-1').dataset.seconds) / 10)")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.press(key)
    assert place(browser) == pytest.approx(step, abs=0.011)
    browser.press("ArrowRight", modifiers=8)
    assert place(browser) == pytest.approx(1.1 * step, abs=0.011)


def test_tab_reaches_everything_that_can_be_used_in_the_order_of_the_page(browser: Browser, studied: Path) -> None:
    browser.open(studied)
    browser.js("document.querySelectorAll('details').forEach(each => { each.open = true; }); window.focus();")
    everything = "[...document.querySelectorAll('a, button, input, summary, audio, [tabindex]')]"
    count = browser.js(f"{everything}.length")
    reached: list[int] = []
    # A player has parts of its own to stop at.
    for _ in range(12 * count):
        browser.press("Tab")
        at = browser.js(f"{everything}.indexOf(document.activeElement)")
        if at == -1:
            break
        if [at] != reached[-1:]:
            reached.append(at)
    assert reached == list(range(count))


def test_every_table_has_a_caption_and_every_cell_its_heads(browser: Browser, studied: Path) -> None:
    browser.open(studied)
    assert browser.js("document.querySelectorAll('table').length") > 5
    assert browser.js("[...document.querySelectorAll('table')].every(each => each.caption?.textContent.trim())")
    assert browser.js("[...document.querySelectorAll('th')].every(each => each.scope)")
    assert browser.js("[...document.querySelectorAll('svg[role=img]')].every(each => each.ariaLabel)")
    levels = browser.js("[...document.querySelectorAll('h1, h2, h3')].map(each => Number(each.localName[1]))")
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


CONTRAST = """
(() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    const parts = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
    const linear = parts.map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  return PAIRS.map((pair) => {
    const [dark, bright] = pair.map(light).sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  });
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, studied: Path, scheme: str) -> None:
    """By 4.5 to 1, as the Web Content Accessibility Guidelines 2.1 ask, criterion 1.4.3."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(studied)
    pairs = [(text, behind) for text in ("--ink", "--soft", "--accent") for behind in ("--page", "--card")]
    pairs += [("--best", "--best-wash"), ("--worst", "--worst-wash"), ("--on-accent", "--accent"), ("--ink", "--wash")]
    ratios = browser.js(CONTRAST.replace("PAIRS", json.dumps(pairs)))
    assert {pair: ratio for pair, ratio in zip(pairs, ratios, strict=True) if ratio < 4.5} == {}


@pytest.mark.parametrize("width", [360, 400, 1280])
def test_the_page_of_a_study_is_never_wider_than_the_window(browser: Browser, studied: Path, width: int) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(studied)
    assert browser.js("document.documentElement.scrollWidth") <= width
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_on_paper_no_table_is_cut_off_and_nothing_is_left_to_click(browser: Browser, studied: Path) -> None:
    # A4 less its margins, at 96 dots an inch.
    browser.call("Emulation.setDeviceMetricsOverride", width=703, height=1000, deviceScaleFactor=1, mobile=False)
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.open(studied)
    assert browser.js(
        "[...document.querySelectorAll('.scroll')].every(each => each.scrollWidth <= each.clientWidth + 1)"
    )
    hidden = "[...document.querySelectorAll('.play, .go, .seek, nav')].every(each => each.offsetParent === null)"
    assert browser.js(hidden)
    browser.call("Emulation.setEmulatedMedia", media="")
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert base64.b64decode(browser.call("Page.printToPDF")["data"]).startswith(b"%PDF")
