"""uvicorn's HTTP protocol with a bound on what comes before and after a body.

The pressure: the parser keeps a request line and headers of any length, and so would this process, for a caller who
has shown no token yet: 60 MB of headers cost it a gigabyte. What must stay true: of a request no more than
MAX_HEAD_BYTES and one read from the socket are kept before it is answered; bodies are bounded by whoever reads them.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
_WORDS = f"The request line and headers have over {MAX_HEAD_BYTES} bytes.\n".encode()
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_WORDS), _WORDS)
)


class BoundedHttp(HttpToolsProtocol):
    """The value of uvicorn's setting `http`."""

    _head_bytes = 0  # received of this message without any of its body
    _progress = True  # a body, or the end of a message, came with the last bytes

    def data_received(self, data: bytes) -> None:
        """Parse what came; 431 when a head, or what follows a body, is too long."""
        self._progress = False
        super().data_received(data)
        self._head_bytes = 0 if self._progress else self._head_bytes + len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_REFUSAL)
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._progress = True
        super().on_message_complete()
