"""How soon the studio is there, and how soon pictures are after the fourth pick, in the embedded world.

    python experiments/bench/studio.py          (make bench; needs playwright and Debian's chromium)

Starts `ppd studio` on a free port. In turn: seconds from the command to the page that a browser shows with its first
pair; from the click on the fourth picture to the sheet of four pictures beside the base's, for several visitors of a
page that is warm; the same for a sheet drawn anew with other noise, where the base's pictures are drawn too. The least
and the median of some rounds. Prints and writes outputs/bench/studio.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    args = parser.parse_args()
    (args.output / "bench").mkdir(parents=True, exist_ok=True)
    seconds: dict[str, list[float]] = {"page": [], "fourth pick": [], "other noise": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        browser.new_page().goto("about:blank")
        begun = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "ppd_lightning", "studio", "studio.port=0"], stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                address = next(filter(None, (re.match(r"studio: (http\S+)", line) for line in process.stdout)))[1]
                printed = time.perf_counter() - begun
                for number in range(args.rounds):
                    page = browser.new_context().new_page()
                    page.goto(address)
                    page.wait_for_selector("#picks .choice")
                    if not number:
                        seconds["page"].append(time.perf_counter() - begun)
                    for place in range(3):
                        pick(page, place % 2)
                    before = time.perf_counter()
                    page.locator("#picks .choice").nth(1).click()
                    page.wait_for_selector("#drawn .sheet")
                    seconds["fourth pick"].append(time.perf_counter() - before)
                    shown = page.locator("#drawn").inner_html()
                    before = time.perf_counter()
                    page.get_by_role("button", name="Another try").click()
                    page.wait_for_function(
                        "old => !old.includes(document.querySelector('#drawn .sheet img').src)", arg=shown
                    )
                    seconds["other noise"].append(time.perf_counter() - before)
                    page.context.close()
            finally:
                process.send_signal(signal.SIGTERM)
        browser.close()
    report = {
        name: {"least": round(min(found), 2), "median": round(statistics.median(found), 2)}
        for name, found in seconds.items()
    }
    about = {"address printed": round(printed, 2), "load": round(os.getloadavg()[0], 1), "rounds": args.rounds}
    text = json.dumps(report | about, indent=2)
    print(text)
    (args.output / "bench" / "studio.json").write_text(text + "\n")


def pick(page: Page, place: int) -> None:
    before = page.locator("#picks .state").inner_text()
    page.locator("#picks .choice").nth(place).click()
    page.wait_for_function("before => document.querySelector('#picks .state').innerText !== before", arg=before)


if __name__ == "__main__":
    main()
