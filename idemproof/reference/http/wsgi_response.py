"""The response of a WSGI application, collected before any of it is sent."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from .execution import IncompleteResponseError
from .messages import Response, encoded

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_WITHOUT_BODY = frozenset({204, 304})


class BrokenApplicationError(IncompleteResponseError):
    """The application breaks PEP 3333, so a server could not send its response."""


class Collected(Iterator[bytes]):
    """The response of an application: collected up to a limit, and iterated to send it.

    Parameters
    ----------
    limit
        The number of bytes after which the body is no longer collected. The rest is read when it is sent.
    """

    def __init__(self, limit: int) -> None:
        self.status = ""
        """The status line, such as ``"200 OK"``."""
        self.headers: list[tuple[str, str]] = []
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._limit = limit
        self._rest: Iterator[bytes] | None = None
        self._close: Callable[[], object] | None = None

    def collect(self, app: Application, environ: Environ) -> None:
        """Call ``app``, and collect its response.

        What the application raises is raised here, after its iterable was closed.

        Raises
        ------
        BrokenApplicationError
            It did not call ``start_response`` as PEP 3333 says, or its body is not as long as its headers
            say.
        """
        iterable = app(environ, self._start)
        self._close = getattr(iterable, "close", None)
        try:
            self._rest = iter(iterable)
            while self._rest is not None and self._size <= self._limit:
                self._read()
            self._check()
        except BaseException:
            self.close()
            raise

    @property
    def is_whole(self) -> bool:
        """Whether the body is complete, and within the limit."""
        return self._rest is None and self._size <= self._limit

    def response(self) -> Response:
        """Return the response as plain data; without its body, if that is not whole."""
        return Response(
            int(self.status[:3]), encoded(self.headers), b"".join(self._parts) if self.is_whole else b""
        )

    def close(self) -> None:
        """Call ``close`` of the application's iterable, once."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        while not self._parts:
            if self._rest is None:
                raise StopIteration
            self._read()
        return self._parts.popleft()

    def _start(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """Take status and headers, as ``start_response`` of a server does."""
        if exc_info is not None and self._size:  # a server has sent the headers by then
            try:
                _raise_again(exc_info)
            finally:
                del exc_info  # its traceback refers to this frame
        if exc_info is None and self.status:
            raise BrokenApplicationError("The application called start_response twice, without exc_info.")
        if not (isinstance(status, str) and status[:3].isdecimal() and status[3:4] in ("", " ")):
            raise BrokenApplicationError(f"The application gave start_response the status {status!r}.")
        self.status, self.headers = status, list(headers)
        return self._add

    def _read(self) -> None:
        """Read the next part of the application's iterable."""
        assert self._rest is not None
        try:
            part = next(self._rest)
        except StopIteration:
            self._rest = None
            return
        self._add(part)

    def _add(self, part: bytes) -> None:
        if not isinstance(part, bytes | bytearray | memoryview):
            raise BrokenApplicationError(f"The application sent a {type(part).__name__} instead of bytes.")
        if not self.status:
            raise BrokenApplicationError("The application sent a body without calling start_response.")
        if len(part):
            self._size += len(part)
            self._parts.append(bytes(part))

    def _check(self) -> None:
        """Raise an error if a server could not send what was collected."""
        if not self.status:
            raise BrokenApplicationError("The application ended without calling start_response.")
        stated = [value for name, value in self.headers if name.lower() == "content-length"]
        has_body = int(self.status[:3]) not in _WITHOUT_BODY
        if self.is_whole and has_body and stated and stated != [str(self._size)]:
            raise BrokenApplicationError(
                f"The application stated a Content-Length of {', '.join(stated)}, and sent {self._size} "
                "bytes."
            )


def _raise_again(exc_info: ExcInfo) -> None:
    try:
        raise exc_info[1].with_traceback(exc_info[2])
    finally:
        del exc_info
