"""A web server on this machine, for data sets that are fetched."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """Sends the files of `folder`; `asked` holds the paths that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                if self.path not in asked:
                    asked.append(self.path)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def send(self, name: str, content: bytes) -> str:
        """Offer a file; its address."""
        (self.folder / name).write_bytes(content)
        return self.url(name)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server of the files of `folder` that runs meanwhile."""
    made = Server(folder)
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.http.shutdown()
        thread.join()
        made.http.server_close()
