"""How long the page takes from moving a slider to the new image, in a browser: `python tests/app/latency.py`.

Needs what `pytest -m browser` needs. It means something on a machine that does nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

_MOVES = 40
_MEASURE = """
const [slider, value, done] = arguments, image = document.querySelectorAll("#result .content img")[1];
const begin = performance.now();
new MutationObserver((_, observer) => {
  image.decode().then(() => done(performance.now() - begin));
  observer.disconnect();
}).observe(image, { attributeFilter: ["src"] });
Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, value);
slider.dispatchEvent(new Event("input", { bubbles: true }));
"""


def main() -> None:
    """Prints the median and the slowest of some moves, in milliseconds."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    from conftest import serving  # type: ignore[import-not-found]
    from test_browser import Page, start  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "page").mkdir()
        with serving(folder / "page") as served:
            browser = start(folder / "browser")
            page = Page(browser, served.address)
            page.open_example(0)
            slider = page.element("#edit-smile input[type=range]")
            times = [browser.execute_async_script(_MEASURE, slider, 0.05 * (i % 40 + 1)) for i in range(_MOVES)]
            browser.quit()
    print(f"{_MOVES} moves: median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")


if __name__ == "__main__":
    main()
