#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.


"""fuel-agent's ``HttpUrl`` and ``GunzipStream`` on top of our own parts.

They keep the contract of ``fuel_agent.utils.artifact``: ``Chain`` calls a
processor with the previous one, iterates over it, or has it write itself to
a file by ``target``. ``install`` puts them in the place of fuel-agent's.

Importing this module registers our options with ``oslo_config.cfg.CONF``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import logging
from typing import Any

from fuel_agent import errors as fuel_agent_errors
from fuel_agent.utils import artifact
from oslo_config import cfg

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import pipeline
from fuel_agent_curl.config import opts
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import containers

LOG = logging.getLogger(__name__)

opts.register(cfg.CONF)


class HttpUrl(artifact.Target):
    """The bytes of a URL, or of its mirrors in the configuration.

    Nobody has to close it: the download ends when it is exhausted, fails or
    is dropped, when ``target`` returns or raises, or with the interpreter.

    :ivar length: bytes; None where the server states none.
    :ivar processed_bytes: bytes handed on so far.
    :raises fuel_agent.errors.HttpUrlConnectionError: when the download
        fails, here or later; also an ``errors.Error`` of ours.
    :raises fuel_agent.errors.HttpUrlInvalidContentLength: when it does for a
        malformed or ambiguous Content-Length; this one is both of the above.
    """

    def __init__(self, url: str) -> None:
        self.url = str(url)
        self.processed_bytes = 0
        with _as_fuel_agent_errors():
            settings = opts.settings_from(cfg.CONF)
            first, *mirrors = opts.sources(cfg.CONF, self.url)
            self._download = download.fetch(
                first, mirrors=mirrors, settings=settings
            )
        # Raw, unless a stage says that it is in a container.
        self._end_matters = not settings.allow_unproven_end
        self.length: int | None = self._download.length
        LOG.debug(
            'The length of %s is %s', errors.redact(self.url), self.length
        )

    def next(self) -> bytes:
        try:
            with _as_fuel_agent_errors():
                try:
                    chunk = next(self._download)
                except StopIteration:
                    if self._end_matters:
                        pipeline.check_end(self._download)
                    raise
        except BaseException:
            # StopIteration included: the thread ends with the bytes.
            self.close()
            raise
        self.processed_bytes += len(chunk)
        return chunk

    def views(self) -> Iterator[memoryview]:
        """Iterate over what is left without copying it.

        A view is valid until the next one is asked for.
        """
        try:
            with _as_fuel_agent_errors():
                views = self._download.views()
                if self._end_matters:
                    views = pipeline.proven(views, self._download)
                for view in views:
                    self.processed_bytes += view.nbytes
                    yield view
        finally:
            self.close()

    def target(self, filename: str = '/dev/null') -> None:
        """Write what is left to ``filename``, and sync it."""
        left = None
        if self.length is not None:
            left = self.length - self.processed_bytes
        try:
            _write(
                self.views(), filename, left, self.close, self._download.keep
            )
        finally:
            self.close()

    def in_container(self) -> None:
        """Say that what the bytes are in has an end of its own."""
        self._end_matters = False

    def close(self) -> None:
        """End the download; nothing where it has ended."""
        self._download.close()


class GunzipStream(artifact.Target):
    """What is in the gzip, or zlib, container that ``stream`` iterates over.

    :raises fuel_agent.errors.BaseError: for a damaged or truncated one; also
        an ``errors.ContentError`` of ours.
    """

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream
        chunks: Iterator[octets.Buffer]
        if isinstance(stream, HttpUrl):
            stream.in_container()
            chunks = stream.views()
        else:
            chunks = iter(stream)
        with _as_fuel_agent_errors():
            settings = opts.settings_from(cfg.CONF)
        self._chunks = containers.decompress(
            chunks,
            'zlib',
            ignore_trailing=settings.trailing_data == 'ignore',
        )

    def next(self) -> bytes:
        try:
            with _as_fuel_agent_errors():
                return bytes(next(self._chunks))
        except BaseException:
            self._end()
            raise

    def target(self, filename: str = '/dev/null') -> None:
        """Write what is left to ``filename``, and sync it."""
        try:
            _write(self._chunks, filename, None, self._end)
        finally:
            self._end()

    def _end(self) -> None:
        # The download ends where the container is damaged: it would go on
        # filling the window, and nothing else ends it.
        if isinstance(self._stream, HttpUrl):
            self._stream.close()


class Chain(artifact.Chain):
    """fuel-agent's chain, which also begins with ``https://``.

    fuel-agent's manager appends HttpUrl for ``http://`` alone; a string that
    nothing turned into a stream has no ``target``.
    """

    def process(self) -> Any:
        if (
            len(self.processors) > 1
            and _is_url(self.processors[0])
            and not _takes_url(self.processors[1])
        ):
            self.processors.insert(1, HttpUrl)
        return super().process()


def _is_url(processor: object) -> bool:
    return isinstance(processor, str) and processor.lower().startswith(
        ('http://', 'https://')
    )


def _takes_url(processor: object) -> bool:
    return processor in (
        HttpUrl,
        artifact.HttpUrl,
        _replaced.get('HttpUrl'),
    )


_OURS = {'HttpUrl': HttpUrl, 'GunzipStream': GunzipStream, 'Chain': Chain}
# What ``install`` has replaced; empty while it has not been called.
_replaced: dict[str, Any] = {}


def install() -> None:
    """Put our classes in the place of fuel-agent's.

    ``fuel_agent.manager`` looks them up when it needs them, so it may be
    imported before or after. Doing it twice is no error.
    """
    for name, ours in _OURS.items():
        theirs = getattr(artifact, name)
        if theirs is not ours:
            _replaced[name] = theirs
            setattr(artifact, name, ours)


def uninstall() -> None:
    """Put fuel-agent's classes back; nothing where ours are not in place."""
    for name, theirs in _replaced.items():
        setattr(artifact, name, theirs)
    _replaced.clear()


def _write(
    chunks: Iterator[octets.Buffer],
    filename: str,
    length: int | None,
    cancel: Callable[[], None],
    keep: pipeline.Keeper = lambda chunk: None,
) -> None:
    LOG.debug('Writing to %s', filename)
    settings = opts.settings_from(cfg.CONF)
    with _as_fuel_agent_errors():
        written = pipeline.write(
            chunks,
            filename,
            direct_io=settings.direct_io,
            wipe_leftovers=settings.wipe_leftovers,
            any_sector_size=settings.any_sector_size,
            length=length,
            cancel=cancel,
            keep=keep,
        )
    LOG.debug('%d bytes are on %s', written, filename)


@contextlib.contextmanager
def _as_fuel_agent_errors() -> Iterator[None]:
    """Make every error of ours one of fuel-agent's as well."""
    try:
        yield
    except errors.Error as error:
        if not isinstance(error, fuel_agent_errors.BaseError):
            # Not a copy: fields, cause, notes and traceback are to stay.
            kind = type(error)
            error.__class__ = type(
                kind.__name__,
                (kind, *_counterparts(error)),
                {'__module__': __name__},
            )
        raise


def _counterparts(error: errors.Error) -> tuple[type[Exception], ...]:
    if isinstance(error, (errors.ContentError, errors.DeviceError)):
        return (fuel_agent_errors.BaseError,)
    causes = (error, error.__cause__)
    if any(isinstance(e, errors.ContentLengthError) for e in causes):
        return (
            fuel_agent_errors.HttpUrlInvalidContentLength,
            fuel_agent_errors.HttpUrlConnectionError,
        )
    return (fuel_agent_errors.HttpUrlConnectionError,)
