"""Pictures of the studio's page, in a headless Chromium, for docs/studio.md and to look at.

    python experiments/studio/screenshots.py          (needs playwright and Debian's chromium)

Opens `ppd studio` on a free port, picks, draws, blends, tests, and writes a picture of each state, 1200 and 375 pixels
wide, light and dark, into outputs/studio/screenshots; with --docs those that the documentation shows into docs/images.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parents[2] / "docs/images"
CHROMIUM = "/usr/bin/chromium"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/studio/screenshots"))
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--address", help="of a studio that runs already")
    parser.add_argument("--only", nargs="*", default=["1200-light", "1200-dark", "375-light", "375-dark"])
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with serving(args.address) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in args.only:
            width, scheme = name.split("-")
            page = browser.new_page(
                viewport={"width": int(width), "height": 900}, color_scheme=scheme, device_scale_factor=1
            )
            page.set_default_timeout(120_000)
            page.on("console", lambda message: print(message.text) if message.type == "error" else None)
            page.goto(address)
            walk(page, args.output, name)
            page.close()
        browser.close()
    if args.docs:
        for_docs(args.output)


def for_docs(folder: Path) -> None:
    """Small pictures of the page: from its top to the visitor's pictures, and two states on a phone."""
    with Image.open(folder / "2-drawn-1200-light.png") as page:
        small(page.convert("RGB").crop((40, 30, 1160, 1110)), "studio.png")
    sheet = Image.new("RGB", (2 * 375 + 24, 900), "white")
    for place, (name, begin) in enumerate((("3-blind-375-light", 1660), ("5-blend-375-dark", 1640))):
        with Image.open(folder / f"{name}.png") as page:
            begin = min(begin, page.height - 900)
            sheet.paste(page.convert("RGB").crop((0, begin, 375, begin + 900)), (place * 399, 0))
    small(sheet, "studio-phone.png")


def small(picture: Image.Image, name: str) -> None:
    """Write it with few colours."""
    picture.quantize(160, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


@contextmanager
def serving(address: str | None) -> Iterator[str]:
    """The address of a studio, which is started where none is given."""
    if address is not None:
        yield address
        return
    command = [sys.executable, "-m", "ppd_lightning", "studio", "studio.port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, (re.match(r"studio: (http\S+)", line) for line in process.stdout)))
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)


def walk(page: Page, folder: Path, name: str) -> None:
    """Through everything that the page can do, with a picture of each state."""

    def shoot(state: str) -> None:
        page.mouse.move(0, 0)
        page.wait_for_timeout(400)
        page.screenshot(path=folder / f"{state}-{name}.png", full_page=True)

    page.wait_for_selector("#picks .choice")
    shoot("1-open")
    for number in range(4):
        page.locator("#picks .choice").nth(number % 2).click()
        page.wait_for_function(f"document.querySelector('#picks .state').innerText.includes('{number + 1}')")
    page.wait_for_selector("#drawn .sheet")
    shoot("2-drawn")
    for heart in page.locator("#drawn .heart").all()[:3]:
        heart.click()
    page.get_by_role("tab", name="Blind test").click()
    page.get_by_role("button", name="Is it really mine?").click()
    page.wait_for_selector("#blind .choice")
    shoot("3-blind")
    for number in range(1, 6):
        page.locator("#blind .choice").first.click()
        if number < 5:
            page.wait_for_function(f"document.querySelector('#blind .state').innerText.includes('Round {number + 1}')")
    page.wait_for_selector("#blind .verdict")
    shoot("4-verdict")
    page.get_by_role("tab", name="Blend").click()
    page.locator("#corners button").nth(4).click()
    page.wait_for_selector("#blended .sheet")
    shoot("5-blend")
    page.get_by_role("tab", name="Like you").click()
    page.get_by_role("button", name="Show them").click()
    page.wait_for_selector("#nearest .person")
    shoot("6-people")
    page.get_by_role("tab", name="Keep").click()
    page.wait_for_timeout(300)
    shoot("7-keep")


if __name__ == "__main__":
    main()
