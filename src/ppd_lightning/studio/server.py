"""The server: the page, what visitors take along, and what nobody may ask for. It runs until the process is stopped."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from ppd_lightning.errors import UserError
from ppd_lightning.light_imports import light_imports
from ppd_lightning.studio.guard import Guarded
from ppd_lightning.studio.pairs import png
from ppd_lightning.studio.studio import Studio

os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")  # read when Gradio is imported

with light_imports():
    import gradio
    import uvicorn
    from fastapi import FastAPI, Response
    from fastapi.responses import PlainTextResponse

    from ppd_lightning.studio.page import look, make_page

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a request under way has when the server ends."""
LAST = 12.0
"""Seconds that a drawing under way has."""
SECONDS = 0.2


class Server(AbstractContextManager["Server"]):
    """Holds the port from the beginning, so that it is known to be free before a model is loaded.

    Raises:
        UserError: it cannot listen there.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        try:
            family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(
                f"studio.host: there is no address {host} ({why}); give a name or an address of this machine, such as "
                "127.0.0.1 for itself alone or 0.0.0.0 for everybody who reaches it"
            ) from None
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UserError(f"studio.host: {host} is no address of this machine") from None
            raise UserError(
                f"studio.port: cannot listen at {host}, port {port} ({error.strerror}); choose another studio.port, or "
                "0 for one that is free"
            ) from None
        self.port: int = self._socket.getsockname()[1]

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def serve(self, studio: Studio) -> None:
        """Serve until the process is stopped; the address is printed when the page is there.

        The networks are loaded meanwhile, for the first visitor has four picks to make.

        Raises:
            UserError: a file of the model is damaged.
        """
        faults: list[BaseException] = []

        def warm_up() -> None:
            try:
                studio.warm_up()
            except BaseException as error:
                faults.append(error)

        quiet: dict[str, Any] = {"log_level": "critical", "access_log": False, "server_header": False}
        asked = uvicorn.Config(app_of(studio, self.host), timeout_graceful_shutdown=int(PATIENCE), **quiet)
        server = uvicorn.Server(asked)
        thread = threading.Thread(target=server.run, args=([self._socket],), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                thread.join(SECONDS)
            if server.started:
                print(f"studio: {self.address}", flush=True)
                threading.Thread(target=warm_up, daemon=True).start()
            while thread.is_alive() and not faults:
                thread.join(SECONDS)
            if faults:
                raise faults[0]
        finally:
            server.should_exit = True
            thread.join(2 * PATIENCE)
            studio.end(LAST)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def app_of(studio: Studio, host: str = "127.0.0.1") -> Guarded:
    """The page and its downloads, for any server."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/take/{token}/{name}")
    def take(token: str, name: str) -> Response:
        try:
            visit = studio.visits.of(token)
            number = name.removesuffix(".png")
            if name == "person.safetensors":
                return _file(studio.people_file(visit), "application/octet-stream", name)
            if name == "choices.zip":
                return _file(studio.choices_file(visit), "application/zip", name)
            if number.isdecimal() and int(number[:9]) in visit.drawn:
                return _file(png(visit.drawn[int(number[:9])].picture), "image/png", name)
        except UserError as error:
            return PlainTextResponse(str(error), 400)
        return PlainTextResponse("There is no such file.", 404)

    gradio.mount_gradio_app(
        app,
        make_page(studio),
        path="/",
        show_error=False,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        max_file_size=1,
        **look(),
    )
    return Guarded(app, host)


def _file(data: bytes, kind: str, name: str) -> Response:
    disposition = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(data, media_type=kind, headers=disposition)
