"""Hosts that are silent, fail, or stop in the middle: a sentence says so, and nothing passes for the whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from tests.data.handmade import jpeg

from ppd_lightning.data import hosts
from ppd_lightning.data.folder_files import read_own
from ppd_lightning.data.pickapic import source_files
from ppd_lightning.data.table_images import TableImages
from ppd_lightning.data.table_parts import open_table
from ppd_lightning.errors import UserError

TABLE = b"caption,image_0,image_1,choice,user\n" + b"a red cat,a.jpg,b b.jpg,0,ann\n" * 2000
PICTURES = {"a.jpg": jpeg("one"), "b%20b.jpg": jpeg("two")}


class Host(BaseHTTPRequestHandler):
    """The first folder of a path says how it behaves."""

    protocol_version = "HTTP/1.1"
    waiting = threading.Event()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        how, name = self.path.partition("?")[0].split("/")[1:]
        body = next((data for end, data in PICTURES.items() if name == end), TABLE)
        if how == "silent":
            self.waiting.wait()
        self.send_response({"circle": 302, "403": 403, "404": 404, "503": 503}.get(how, 200))
        self.send_header("Location", self.path)
        if how not in ("no_length", "silent"):
            self.send_header("Content-Length", str(0 if how.isdigit() or how == "circle" else len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET" and how in ("whole", "no_length", "middle", "stalled"):
            self.wfile.write(body if how in ("whole", "no_length") else body[:5000])
            if how == "stalled":
                self.waiting.wait()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(hosts, "SILENCE", 0.1)
    monkeypatch.setattr(fsspec.config, "conf", {})
    Host.waiting.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Host.waiting.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("silent", "the host did not answer within"),
        ("stalled", "the host did not answer within"),
        ("middle", "the host stopped in the middle of it"),
        ("circle", "in a circle"),
        ("403", "the host refuses access (403)"),
        ("503", "the host answers with the error 503"),
        ("404", "there is no file"),
    ],
)
def test_what_a_host_does_wrong_is_said(host: str, how: str, said: str) -> None:
    for name in ("pairs.csv?a=b", "pairs.parquet") if how not in ("middle", "stalled") else ("pairs.csv",):
        with pytest.raises(UserError) as refused:
            read_own(f"{host}/{how}/{name}", 0.0)
        assert said in str(refused.value)


@pytest.mark.parametrize("how", ["whole", "no_length"])
def test_a_table_and_its_images_are_read_from_a_web_server(host: str, how: str) -> None:
    url = f"{host}/{how}/pairs.csv?key=1"
    read = read_own(url, 0.0)
    assert (len(read.choices), read.faults) == (2000, [])
    content, faults = TableImages(open_table(url, "data.table"), read).of(read.choices[:1])
    assert (sorted(content.values()), faults) == (sorted(PICTURES.values()), {})


def test_a_folder_of_a_web_server_is_refused_with_what_can_be_read(host: str) -> None:
    with pytest.raises(UserError, match="what a web server has cannot be listed"):
        source_files(f"{host}/whole/")
