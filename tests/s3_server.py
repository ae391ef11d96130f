"""An S3 server in a process of its own: moto's, with a log of requests and with faults on demand.

`python s3_server.py [host]` serves on a free port and prints that. POST /_faults takes a JSON list of faults and
answers when they are in force; GET /_log returns the requests since it was asked last. A fault is
{"method": "PUT", "match": "text in the path", "times": 1, "do": what}, where `do` is one of

    busy     answer 503 SlowDown
    lost     do what was asked and close the connection without an answer
    slow     answer only after /_release
    blind    ignore If-None-Match
"""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app  # type: ignore[import-untyped]
from werkzeug.serving import WSGIRequestHandler, make_server

App = Callable[[dict[str, Any], Any], Iterable[bytes]]

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class FaultyServer:
    """Moto's application with faults in front of it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._faults: list[dict[str, Any]] = []
        self._log: list[str] = []
        self._lock = threading.Lock()
        self._creating = threading.Lock()
        self._released = threading.Event()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/_"):
            return self._control(path, environ, start)
        asked = f"{method} {path}?{environ.get('QUERY_STRING', '')}"
        with self._lock:
            self._log.append(asked)
            fault = next(
                (fault for fault in self._faults if fault["method"] == method and fault["match"] in asked), None
            )
            if fault is not None:
                fault["times"] -= 1
                if fault["times"] == 0:
                    self._faults.remove(fault)
        return self._answer(fault["do"] if fault else "", environ, start)

    def _answer(self, fault: str, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if fault == "busy":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(BUSY)))])
            return [BUSY]
        if fault == "slow":
            self._released.wait()
        if fault == "blind":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if fault == "lost":
            list(self._answered(environ, lambda *_: None))
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            start("500 Lost", [])
            return []
        return self._answered(environ, start)

    def _answered(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        """Do what is asked; one after the other where names are created, as moto looks first and puts later."""
        if "HTTP_IF_NONE_MATCH" not in environ:
            return self._app(environ, start)
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with self._creating:
            return list(self._app(environ, start))

    def _control(self, path: str, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        with self._lock:
            if path == "/_faults":
                self._released.clear()
                self._faults = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            if path == "/_release":
                self._released.set()
            log, self._log = self._log, [] if path == "/_log" else self._log
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(log).encode()]


class QuietHandler(WSGIRequestHandler):
    """Reports nothing: connections that break are what the tests want."""

    def log(self, *_: object) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Handle a request; what its fault broke is no news."""
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True


def main() -> None:
    """Serve until killed."""
    logging.disable()
    host = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
    app = FaultyServer(DomainDispatcherApplication(create_backend_app))
    server = make_server(host, 0, app, threaded=True, request_handler=QuietHandler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
