"""The page in a real browser: what a visitor sees and does.

`HYPERSTYLE_SCREENSHOTS` names a folder for screenshots at the sizes of a desktop and a phone.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from PIL import Image

from hyperstyle.images import example_photo
from hyperstyle.inversion.inversion import Inversion
from hyperstyle.inverter import HyperStyleInverter

pytestmark = [
    pytest.mark.browser,
    # Gradio, selenium and what they stand on warn of each other.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = """
--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --enable-unsafe-swiftshader --hide-scrollbars --force-device-scale-factor=1
"""
_SECONDS = 120  # that anything may take on a slow machine


def start(folder: Path, width: int = 1280, height: int = 900, flags: Sequence[str] = ()) -> Any:
    """A browser with an empty profile in `folder`, whose downloads go to `folder`/downloads."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    program = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"needs a browser: one of {', '.join(_PROGRAMS)}")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        *_FLAGS.split(),
        *flags,
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    # Only this machine has a name that can be looked up.
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    preferences = {
        "download.default_directory": str(folder / "downloads"),
        "profile.default_content_setting_values.automatic_downloads": 1,  # clicks by a script are no visitor's
    }
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = shutil.which("chromedriver")
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver) if driver else None)
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    return browser


class Page:
    """The open page: finds, waits, clicks."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        browser.get(address)
        self.wait("document.querySelectorAll('#examples button').length >= 5")

    def js(self, expression: str) -> Any:
        """The value of an expression of JavaScript."""
        return self.browser.execute_script(f"return {expression}")

    def wait(self, expression: str) -> Any:
        """The value of the expression once it is true."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if value := self.js(expression):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true: {expression}")

    def click(self, selector: str) -> None:
        """Clicks an element, which need not be in view."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)

    def element(self, selector: str) -> Any:
        """The element, scrolled into view."""
        self.wait(f"document.querySelector({json.dumps(selector)})")
        element = self.browser.find_element("css selector", selector)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def tab(self, name: str) -> None:
        """Opens the tab of this name."""
        self.click(f"#tools button[role=tab][data-tab-id={name}]")

    def choose_area(self, name: str) -> None:
        """Chooses where the face may change."""
        self.element("#area input").click()
        self.wait("document.querySelectorAll('[role=option]').length >= 6")
        options = self.browser.find_elements("css selector", "[role=option]")
        options[[option.text for option in options].index(name)].click()

    def open_example(self, number: int) -> None:
        """Clicks an example portrait and waits until it can be edited."""
        before = self.js("document.querySelector('#status').textContent")
        self.browser.execute_script("document.querySelectorAll('#examples button')[arguments[0]].click()", number)
        self.wait(
            "document.querySelector('#status').textContent.includes('likeness') && "
            f"document.querySelector('#status').textContent !== {json.dumps(before)} && "
            "!document.querySelector('#edit-age input[type=range]').disabled"
        )

    def result(self) -> str:
        """The address of the image on the right, which depends on its pixels alone."""
        return str(self.wait("document.querySelectorAll('#result .content img')[1]?.src"))

    def next_result(self, before: str) -> str:
        """The same once it is another one."""
        self.wait(f"document.querySelectorAll('#result .content img')[1]?.src !== {json.dumps(before)}")
        return self.result()

    def move(self, edit: str, value: float) -> None:
        """Moves a slider."""
        slider = self.element(f"#edit-{edit} input[type=range]")
        self.browser.execute_script(
            "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(arguments[0], arguments[1]);"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            slider,
            value,
        )

    def hosts(self) -> set[str]:
        """Every host that the pages asked so far."""
        entries = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        urls = [e["params"]["request"]["url"] for e in entries if e["method"] == "Network.requestWillBeSent"]
        return {urlparse(url).hostname or "" for url in urls if urlparse(url).scheme in ("http", "https", "ws", "wss")}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    browser = start(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def downloads(chromium: Any) -> Path:
    """Where downloads of this browser go."""
    return Path(chromium.capabilities["chrome"]["userDataDir"]).parent / "downloads"


@pytest.fixture
def page(chromium: Any, served: Any) -> Page:
    """The page, just opened."""
    return Page(chromium, served.address)


def take_screenshot(browser: Any, name: str) -> None:
    """Writes NAME.png where `HYPERSTYLE_SCREENSHOTS` says."""
    picture = base64.b64decode(browser.get_screenshot_as_base64())
    if folder := os.environ.get("HYPERSTYLE_SCREENSHOTS"):
        (Path(folder) / f"{name}.png").write_bytes(picture)


def downloaded(folder: Path, name: str) -> Path:
    """The file of this name once it is complete."""
    end = time.monotonic() + _SECONDS
    while not (folder / name).exists() and time.monotonic() < end:
        time.sleep(0.1)
    return folder / name


def test_an_example_is_rebuilt_and_nothing_but_this_machine_is_asked(page: Page) -> None:
    page.open_example(0)
    assert page.js("document.querySelector('#outlined img').naturalWidth") > 0
    assert page.js("document.querySelector('#welcome')?.offsetParent ?? null") is None
    page.browser.get_screenshot_as_base64()
    assert page.hosts() == {"127.0.0.1"}
    errors = [entry["message"] for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def test_a_slider_changes_the_face_and_its_reset_gives_it_back(page: Page) -> None:
    page.open_example(0)
    plain = page.result()
    page.move("smile", 2)
    smiling = page.next_result(plain)
    page.click("#edit-smile .reset-button")
    assert page.next_result(smiling) == plain
    page.move("age", -2)
    younger = page.next_result(plain)
    page.click("#reset")
    assert page.next_result(younger) == plain
    assert page.js("document.querySelector('#edit-age input[type=range]').value") == "0"


def test_of_many_positions_the_newest_is_shown_in_the_end(page: Page) -> None:
    page.open_example(0)
    plain = page.result()
    page.move("smile", 1.5)
    expected = page.next_result(plain)
    page.click("#reset")
    page.next_result(expected)
    for step in range(16):
        page.move("smile", step / 10)
    page.wait(f"document.querySelectorAll('#result .content img')[1].src === {json.dumps(expected)}")
    time.sleep(1)
    assert page.result() == expected


def test_changes_are_kept_and_undone(page: Page) -> None:
    page.open_example(0)
    plain = page.result()
    page.move("smile", 1)
    smiling = page.next_result(plain)
    page.click("#keep")
    page.wait("!document.querySelector('#undo').disabled")
    assert page.js("document.querySelector('#edit-smile input[type=range]').value") == "0"
    assert page.result() == smiling
    page.click("#undo")
    assert page.next_result(smiling) == plain


def test_an_area_limits_a_change(page: Page) -> None:
    page.open_example(0)
    plain = page.result()
    page.move("smile", 2)
    everywhere = page.next_result(plain)
    page.choose_area("Mouth only")
    assert page.next_result(everywhere) != plain


def test_points_are_set_by_clicks_or_keys_and_moved(page: Page) -> None:
    from selenium.webdriver import ActionChains

    page.open_example(0)
    plain = page.result()
    page.tab("drag")
    image = page.element("#canvas img")
    page.wait("document.querySelector('#canvas img').naturalWidth === 512")
    time.sleep(1)
    ActionChains(page.browser).move_to_element(image).click().perform()
    field = "(document.querySelector('#moves textarea') ?? document.querySelector('#moves input'))"
    clicked = page.wait(f"{field}.value")
    x, y = (float(number) for number in clicked.split(","))
    assert abs(x - 63.5) < 1
    assert abs(y - 63.5) < 1
    page.click("#clear")
    page.wait(f"{field}.value === ''")
    page.element("#moves textarea, #moves input").send_keys("64,96:64,93")
    page.click("button#drag")
    page.wait("!document.querySelector('#undo').disabled")
    assert page.result() != plain


def test_a_drag_is_cancelled_and_the_next_one_goes_on(page: Page) -> None:
    page.open_example(0)
    plain = page.result()
    page.tab("drag")
    field = page.element("#moves textarea, #moves input")
    field.send_keys("20,20:108,20")  # farther than it gets
    page.click("button#drag")
    page.wait("document.querySelector('#drag-note progress')?.value > 0")
    page.click("#cancel")
    page.wait("!document.querySelector('#drag-note progress')")
    assert page.js("document.querySelector('#undo').disabled")
    page.click("#clear")
    page.wait("(document.querySelector('#moves textarea') ?? document.querySelector('#moves input')).value === ''")
    page.element("#moves textarea, #moves input").send_keys("64,96:64,93")
    page.click("button#drag")
    page.wait("!document.querySelector('#undo').disabled")
    assert page.result() != plain


def test_the_face_goes_back_into_the_photo_and_everything_can_be_saved(
    page: Page, downloads: Path, bundled: HyperStyleInverter
) -> None:
    page.open_example(2)
    face = page.result()
    page.move("smile", 1)
    face = page.next_result(face)
    page.browser.execute_script("document.querySelectorAll('#view input')[1].click()")
    page.next_result(face)
    page.wait("document.querySelectorAll('#result .content img')[1].naturalWidth === 640")
    page.click("#save-photo")
    with Image.open(downloaded(downloads, "example_3_photo.png")) as photo:
        assert photo.size == (640, 800)
    page.click("#save-image")
    with Image.open(downloaded(downloads, "example_3_edited.png")) as image:
        assert image.size == (128, 128)
        saved = image.convert("RGB")
    page.click("#save-inversion")
    inversion = Inversion.load(downloaded(downloads, "example_3.safetensors"), bundled)
    assert inversion.image.tobytes() == saved.tobytes()


def test_a_broken_upload_is_said_in_words_and_the_next_one_works(page: Page, tmp_path: Path, portrait: Path) -> None:
    broken = tmp_path / "<img src=x onerror=alert(1)>.png"
    broken.write_text("no image")
    page.element("#photo input[type=file]").send_keys(str(broken))
    page.wait("document.querySelector('#status').textContent.includes('is not an image')")
    shown = page.wait("document.querySelector('.toast-body, [data-testid=toast-body]')?.textContent")
    assert "is not an image" in shown
    assert "Traceback" not in shown
    assert page.js("document.querySelectorAll('.toast-body img[src=x], #status img').length") == 0
    page.wait("document.querySelector('#photo input[type=file]')")
    page.element("#photo input[type=file]").send_keys(str(portrait))
    page.wait("document.querySelector('#status').textContent.includes('likeness')")


def test_another_face_of_a_photo_is_rebuilt_when_it_is_chosen(page: Page, tmp_path: Path) -> None:
    both = Image.new("RGB", (1280, 800))
    for number in (0, 1):
        both.paste(example_photo(number).resize((640, 800)), (640 * number, 0))
    both.save(tmp_path / "both.png")
    page.element("#photo input[type=file]").send_keys(str(tmp_path / "both.png"))
    page.wait("document.querySelectorAll('#faces input').length === 2")
    page.wait("document.querySelector('#status').textContent.includes('likeness')")
    first = page.result()
    chosen = "Array.from(document.querySelectorAll('#faces input')).findIndex((input) => input.checked)"
    before = page.js(chosen)
    page.browser.execute_script("document.querySelectorAll('#faces input')[arguments[0]].click()", 1 - before)
    page.next_result(first)  # a preview
    page.wait("document.querySelector('#status').textContent.includes('likeness')")
    assert page.js(chosen) == 1 - before
    assert page.result() != first


def test_what_is_painted_limits_a_change(page: Page) -> None:
    from selenium.webdriver import ActionChains

    page.open_example(0)
    plain = page.result()
    page.choose_area("Painted area")
    page.wait("document.querySelector('#painting canvas')?.getBoundingClientRect().height > 100")
    time.sleep(2)  # the editor draws the face
    canvas = page.element("#painting canvas")
    strokes = ActionChains(page.browser).move_to_element_with_offset(canvas, -30, 40).click_and_hold()
    for _ in range(6):
        strokes = strokes.move_by_offset(10, 0)
    strokes.release().perform()
    time.sleep(1)
    page.click("#paint")
    time.sleep(2)
    page.move("smile", 2)
    painted = page.next_result(plain)
    page.choose_area("Everywhere")
    everywhere = page.next_result(painted)
    assert painted != everywhere != plain


def test_a_saved_face_is_opened_again(page: Page, bundled: HyperStyleInverter, tmp_path: Path) -> None:
    bundled.invert(example_photo(3)).save(tmp_path / "dan.safetensors")
    page.click("#advanced button")
    page.wait("document.querySelector('#advanced input[type=file]')")
    page.browser.find_element("css selector", "#advanced input[type=file]").send_keys(str(tmp_path / "dan.safetensors"))
    page.wait("document.querySelector('#edit-smile input[type=range]').disabled === false")
    opened = page.wait("document.querySelectorAll('#result .content img')[1]?.src")
    page.move("smile", 1)
    page.next_result(opened)


def test_the_camera_takes_a_photo(served: Any, tmp_path: Path) -> None:
    with (tmp_path / "film.mjpeg").open("wb") as film:
        for _ in range(30):
            example_photo(0).resize((480, 600)).save(film, "JPEG")
    flags = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    browser = start(tmp_path, flags=(*flags, f"--use-file-for-fake-video-capture={tmp_path / 'film.mjpeg'}"))
    try:
        page = Page(browser, served.address)
        page.click("#photo button[aria-label='Capture from camera']")
        page.click("#photo [title='grant webcam access'] button")
        page.wait("document.querySelector('#photo video')?.videoWidth > 0")
        page.click("#photo .button-wrap button")
        page.wait("document.querySelector('#status').textContent.includes('likeness')")
    finally:
        browser.quit()


def test_two_visitors_do_not_see_each_other(page: Page, served: Any, tmp_path: Path) -> None:
    page.open_example(0)
    first = page.result()
    other = start(tmp_path)
    try:
        second = Page(other, served.address)
        second.open_example(1)
        alone = second.result()
        page.move("smile", 1)
        changed = page.next_result(first)
        assert second.result() == alone != first
        second.move("smile", 1)
        assert second.next_result(alone) != changed
        page.click("#reset")
        assert page.next_result(changed) == first
    finally:
        other.quit()


def test_before_there_is_a_face_tabs_can_be_opened_and_nothing_is_an_error(page: Page) -> None:
    for name in ("drag", "strip", "sliders"):
        page.tab(name)
        time.sleep(1)
    assert page.js("document.querySelectorAll('.toast-body, [data-testid=toast-body]').length") == 0
    tools = [f"#{name}" for name in ("keep", "undo", "start-over", "reset", "clear", "make-strip", "make-animation")]
    assert page.js(f"{json.dumps(tools)}.filter(e => !document.querySelector(e)?.disabled)") == []


def test_sliders_are_found_by_words(page: Page) -> None:
    page.element("#search input, #search textarea").send_keys("hair")
    shown = "Array.from(document.querySelectorAll('.edit')).filter(e => e.offsetParent).map(e => e.id)"
    page.wait(f"{shown}.length === 1")
    assert page.js(shown) == ["edit-hair_color"]


def test_it_can_be_used_by_keys_and_is_described(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open_example(0)
    plain = page.result()
    page.element("#edit-smile input[type=range]").send_keys(Keys.ARROW_RIGHT * 8)
    page.next_result(plain)
    handle = page.element("#result [data-testid=slider]")
    shown = "parseFloat(document.querySelectorAll('#result .content img')[1].style.clipPath.split(' ').at(-1))"
    assert page.wait(shown) == 50
    handle.send_keys(Keys.ARROW_LEFT * 2)
    page.wait(f"Math.abs({shown} - 40) < 1")
    assert handle.get_attribute("aria-valuenow") == "40"
    handle.send_keys(Keys.HOME + Keys.ARROW_LEFT)
    page.wait(f"{shown} === 0")
    handle.send_keys(Keys.END)
    page.wait(f"{shown} > 99")
    images = "Array.from(document.querySelectorAll('img')).filter(e => e.offsetParent)"
    assert page.js(f"{images}.filter(e => !e.alt).map(e => e.src)") == []
    controls = "Array.from(document.querySelectorAll('button, input, textarea')).filter(e => e.offsetParent)"
    names = "(e.ariaLabel || e.title || e.textContent.trim() || e.labels?.length || e.placeholder || e.alt || e.name)"
    nameless = page.js(f"{controls}.filter(e => !{names} && !e.querySelector('img[alt]')).map(e => e.outerHTML)")
    assert nameless == []
    assert page.js("document.documentElement.lang") != ""
    assert page.js("document.querySelector('#status').getAttribute('aria-live')") == "polite"


CONTRAST = """
const luminance = (color) => {
  const parts = color.match(/[\\d.]+/g).map(Number).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const background = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
const low = [];
for (const e of document.querySelectorAll("h1, h2, h3, p, li, label span, summary, .status, #studio button")) {
  if (!e.offsetParent || !e.textContent.trim() || e.disabled || e.closest("button:disabled")) continue;
  const [a, b] = [luminance(getComputedStyle(e).color), luminance(background(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) low.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)}`);
}
return low;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(chromium: Any, served: Any, scheme: str) -> None:
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    try:
        page = Page(chromium, served.address)
        page.open_example(0)
        assert page.js("document.body.classList.contains('dark')") is (scheme == "dark")
        assert page.browser.execute_script(CONTRAST) == []
        take_screenshot(page.browser, f"desktop_{scheme}")
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1280, 900), ("phone", 390, 844)])
def test_it_fits_the_screen(name: str, width: int, height: int, served: Any, tmp_path: Path) -> None:
    browser = start(tmp_path, width, height)
    try:
        page = Page(browser, served.address)
        assert page.js("document.querySelector('#examples button').getBoundingClientRect().bottom") < height
        take_screenshot(browser, f"{name}_empty")
        page.open_example(0)
        before = page.result()
        page.move("smile", 2)
        page.next_result(before)
        time.sleep(1)
        assert page.js("document.documentElement.scrollWidth") <= width
        take_screenshot(browser, f"{name}_open")
    finally:
        browser.quit()
