"""The page in a real Chromium: from opening it to what one takes along, and what may go wrong on the way."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.studio.test_collection import rows
from tests.studio.test_studio import studio

CHROMIUM = shutil.which("chromium") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")
playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")

Opens = Callable[..., Any]


@pytest.fixture(scope="module")
def opens() -> Iterator[Opens]:
    """Opens a page of a browser of its own, and fails where the page asks somebody else for anything."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        elsewhere: list[str] = []

        def open_page(address: str, **settings: Any) -> Any:
            page = browser.new_context(accept_downloads=True, **settings).new_page()
            page.set_default_timeout(120_000)
            page.on("request", lambda request: elsewhere.append(request.url) if outside(request.url, address) else None)
            page.goto(address)
            page.wait_for_selector("#picks .choice")
            return page

        yield open_page
        browser.close()
    assert elsewhere == []


def outside(url: str, address: str) -> bool:
    return not url.startswith((f"{address}/", "data:", "blob:"))


@contextmanager
def served(room: Any) -> Iterator[str]:
    """A studio of colours in this process."""
    import uvicorn

    from ppd_lightning.studio.server import Server, app_of

    with Server("127.0.0.1", 0) as held:
        app = app_of(room, held.host)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([held._socket],), daemon=True)
        thread.start()
        try:
            yield held.address
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def command(folder: Path, *settings: str, app: Path | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`ppd studio` with the embedded world, or the app of an export."""
    words = ["-m", "ppd_lightning", "studio", "studio.port=0", f"output={folder / 'out'}", *settings]
    run = [sys.executable, *([str(app)] if app else words)]
    environment = os.environ | {"GRADIO_SERVER_PORT": "0"}
    with subprocess.Popen(
        run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, (re.match(r"studio: (http\S+)", line) for line in process.stdout)), None)
            assert found is not None, process.stderr.read() if process.stderr else ""
            yield found[1], process
        finally:
            process.kill()


def pick(page: Any, count: int = 4, *, by_key: bool = False) -> None:
    for _ in range(count):
        before = page.locator("#picks .state").inner_text()
        if by_key:
            page.keyboard.press("ArrowLeft")
        else:
            page.locator("#picks .choice").first.click()
        page.wait_for_function("before => document.querySelector('#picks .state').innerText !== before", arg=before)


def taken(page: Any, click: Callable[[], None]) -> bytes:
    with page.expect_download() as info:
        click()
    return Path(info.value.path()).read_bytes()


def test_four_picks_by_keys_and_the_visitors_own_pictures(opens: Opens, tmp_path: Path) -> None:
    room = studio(tmp_path)
    with served(room) as address:
        page = opens(address)
        pick(page, by_key=True)
        page.wait_for_selector("#drawn .sheet")
        assert page.locator("#drawn figure").count() == 4
        assert page.locator("img:not([alt])").count() == 0
        page.get_by_role("tab", name="Keep").click()
        choices = taken(page, page.get_by_text("Your choices", exact=True).click)
        assert "choices.csv" in zipfile.ZipFile(io.BytesIO(choices)).namelist()
        page.keyboard.press("Backspace")
        page.wait_for_selector("#picks .state:has-text('3 of 4')")
        content = page.content() + page.request.get(f"{address}/config").text()
        assert [path for path in (str(Path.cwd()), sys.prefix, str(Path.home()) + "/") if path in content] == []
        page.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("world")
    with command(folder, f"studio.collect={folder / 'kept/choices.csv'}") as (address, _):
        yield address, folder


@pytest.mark.long
@pytest.mark.parametrize("width", [1200, 375])
def test_everything_from_opening_to_download(opens: Opens, world: tuple[str, Path], width: int) -> None:
    page = opens(world[0], viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    pick(page)
    page.wait_for_selector("#drawn .sheet")
    page.get_by_label("Draw something else").fill("a red <b>dragon</b>")
    page.get_by_label("Draw something else").press("Enter")
    page.wait_for_selector("#drawn figcaption:has-text('dragon')")
    assert page.locator("#drawn figcaption").first.text_content() == "a red <b>dragon</b>"
    page.locator("#drawn .heart").first.click()

    page.get_by_role("button", name="Is it really mine?").click()
    for number in range(1, 6):
        page.wait_for_selector(f"#blind .state:has-text('Round {number} of 5')")
        page.locator("#blind .choice").first.click()
    page.wait_for_selector("#blind .verdict")
    assert re.search(r"\d+%", page.locator("#blind .number").inner_text())

    page.get_by_role("tab", name="Blend").click()
    page.get_by_label("range slider for How far").press("ArrowRight")
    page.wait_for_selector("#blended .sheet")
    before = page.locator("#blended").inner_html()
    page.locator("#corners button").first.press("Enter")
    page.wait_for_function("before => document.querySelector('#blended').innerHTML !== before", arg=before)

    page.get_by_role("tab", name="Like you").click()
    page.get_by_role("button", name="Show them").click()
    page.wait_for_selector("#nearest .person")
    assert page.locator("#nearest .person").count() == 3

    page.get_by_role("tab", name="Keep").click()
    assert taken(page, page.locator("#gallery .save").click).startswith(b"\x89PNG")
    vector = taken(page, page.get_by_text("Your vector").click)
    (world[1] / "somebody.safetensors").write_bytes(vector)
    from ppd_lightning.users.people_file import DescribedPeople

    (name,) = DescribedPeople.open(world[1] / "somebody.safetensors").vectors
    assert name.startswith("visitor-")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.long
def test_two_visitors_at_once_and_one_who_closes_the_tab(opens: Opens, world: tuple[str, Path]) -> None:
    one, other, gone = opens(world[0]), opens(world[0]), opens(world[0])
    for page in (one, other, gone):
        pick(page, 3)
    for page in (gone, one, other):
        page.locator("#picks .choice").last.click()
    gone.close()
    for page in (one, other):
        page.wait_for_selector("#drawn .sheet")
        page.get_by_role("tab", name="Keep").click()
        page.get_by_label("Your name, if you like").fill("Zoë")
        page.get_by_label(re.compile("Keep my choices")).check()
        page.wait_for_timeout(500)
    table = world[1] / "kept/choices.csv"
    users = [row["user"] for row in rows(table)]
    assert len(users) == 8
    assert len(set(users)) == 2, "two of one name stay two"
    for page in (one, other):
        page.close()


@pytest.mark.long
def test_what_is_refused_is_said_and_the_page_goes_on(opens: Opens, world: tuple[str, Path]) -> None:
    page = opens(world[0])
    page.get_by_role("tab", name="Like you").click()
    page.get_by_role("button", name="Show them").click()
    page.get_by_text("Pick 4 more first.").wait_for()
    page.get_by_label("Draw something else").fill("   ")
    page.get_by_label("Draw something else").press("Enter")
    page.get_by_text("Write a caption first.").wait_for()
    for path, code in {
        "/gradio_api/upload": 404,
        "/gradio_api/file=/etc/hostname": 404,
        "/openapi.json": 404,
        "/take/guess/person.safetensors": 400,
        "/take/../../etc/passwd": 404,
    }.items():
        answer = page.request.get(f"{world[0]}{path}")
        assert answer.status == code
        assert "/" not in answer.text().replace("</", "")
    large = page.request.post(f"{world[0]}/gradio_api/queue/join", data="x" * 200_000)
    assert large.status == 413
    assert page.request.get(world[0], headers={"host": "example.com"}).status == 421
    pick(page)
    page.wait_for_selector("#drawn .sheet")
    page.close()


@pytest.mark.long
def test_a_killed_server_loses_nothing_that_was_collected(opens: Opens, tmp_path: Path) -> None:
    table = tmp_path / "kept/choices.csv"
    with command(tmp_path, f"studio.collect={table}") as (address, process):
        page = opens(address)
        page.get_by_role("tab", name="Keep").click()
        page.get_by_label(re.compile("Keep my choices")).check()
        page.wait_for_timeout(500)
        pick(page, 3)
        os.kill(process.pid, signal.SIGKILL)
        page.close()
    assert len(rows(table)) == 3
    with command(tmp_path, f"studio.collect={table}") as (address, process):
        page = opens(address)
        page.get_by_role("tab", name="Keep").click()
        page.get_by_label(re.compile("Keep my choices")).check()
        page.wait_for_timeout(500)
        pick(page, 1)
        page.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 143
        assert process.stderr is not None
        assert "every choice that was collected is kept" in process.stderr.read()
    assert len(rows(table)) == 4


@pytest.mark.long
def test_the_app_of_an_export_opens_and_draws(opens: Opens, tmp_path: Path) -> None:
    from ppd_lightning.commands.studio import place
    from ppd_lightning.config.compose import compose
    from ppd_lightning.model_card.drawing_files import studio_files

    space = tmp_path / "it's a space"
    shipped = place(str(compose().studio.of))
    space.mkdir()
    for name in ("adapter.safetensors", "describer.safetensors", "users.safetensors", "pairs.parquet"):
        shutil.copyfile(shipped / name, space / name)
    for name, text in studio_files(["a cat", "a boat", "a house", "a tree"]).items():
        (space / name).write_text(text)
    with command(tmp_path, app=space / "app.py") as (address, _):
        page = opens(address)
        pick(page)
        page.wait_for_selector("#drawn figcaption:has-text('a boat')")
        page.close()
