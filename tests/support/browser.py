"""A page as a real browser shows it: headless Chromium, where there is one."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@dataclass(frozen=True)
class Seen:
    """What a browser found."""

    said: list[str]
    """Errors and messages."""
    outside: list[str]
    """What was asked for beside the page itself."""
    images: list[bool]
    """Whether each image is drawn, and wide enough to be seen."""
    shown: list[str]
    """Which source of each image."""
    overflow: int
    """Pixels by which the page is wider than its window."""
    colors: list[str]
    """Of text and paper."""


def look_at(page: Path, scheme: Any, width: int) -> Seen:
    """Open a page, light or dark, in a window of this width."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            view = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            view.on("console", lambda message: said.append(message.text))
            view.on("pageerror", lambda error: said.append(str(error)))
            view.on("request", lambda request: asked.append(request.url))
            view.goto(page.as_uri())
            drawn = "i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width > 100"
            return Seen(
                said=said,
                outside=[url for url in asked if not url.startswith(("file:", "data:"))],
                images=view.evaluate(f"[...document.images].map(i => {drawn})"),
                shown=view.evaluate("[...document.images].map(i => i.currentSrc)"),
                overflow=view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"),
                colors=view.evaluate("(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"),
            )
        finally:
            browser.close()
