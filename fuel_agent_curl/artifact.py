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
import contextvars
import logging
import os
from typing import Any
import weakref

from fuel_agent import errors as fuel_agent_errors
from fuel_agent.utils import artifact
from oslo_config import cfg

from fuel_agent_curl import errors
from fuel_agent_curl import keeping
from fuel_agent_curl import octets
from fuel_agent_curl import pipeline
from fuel_agent_curl.config import opts
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import containers
from fuel_agent_curl.target import writing

LOG = logging.getLogger(__name__)

opts.register(cfg.CONF)

# The downloads of the chain that is processed; None: it keeps nothing.
_kept: contextvars.ContextVar[list[keeping.Kept] | None] = (
    contextvars.ContextVar('kept', default=None)
)


class _Following:
    """An attribute that says what the download says, until it is set."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: HttpUrl, owner: object) -> Any:
        return getattr(instance._download, self._name)


class _Stream(artifact.Target):
    """What ``HttpUrl`` and ``GunzipStream`` have in common."""

    def _is_plain(self) -> bool:
        """Tell whether ``next`` gives what the chunks themselves are.

        Not where a subclass, or whoever has patched one of the methods by
        which a chain asks, may make something else of them.
        """
        asked = (
            type(self).__iter__,
            type(self).__next__,
            getattr(self.next, '__func__', None),
        )
        return asked in _PLAIN


class HttpUrl(_Stream):
    """The bytes of a URL, or of its mirrors in the configuration.

    Nobody has to close it: the download ends when it is exhausted, fails or
    is dropped, when ``target`` returns or raises, or with the interpreter.

    :ivar length: bytes; None where the server states none. It may change
        before the first of them is handed on.
    :ivar processed_bytes: bytes handed on so far.
    :raises fuel_agent.errors.HttpUrlConnectionError: when the download
        fails, here or later; also an ``errors.Error`` of ours.
    :raises fuel_agent.errors.HttpUrlInvalidContentLength: when it does for a
        malformed or ambiguous Content-Length; this one is both of the above.
    """

    length = _Following('length')
    processed_bytes = _Following('position')

    def __init__(self, url: str) -> None:
        self.url = str(url)
        with _as_fuel_agent_errors():
            settings = opts.settings_from(cfg.CONF)
            first, *mirrors = opts.sources(cfg.CONF, self.url)
            self._download = self._begin(first, mirrors, settings)
        # Raw, unless a stage says that it is in a container.
        self._end_matters = not settings.allow_unproven_end
        LOG.debug(
            'The length of %s is %s', errors.redact(self.url), self.length
        )

    def _begin(
        self,
        url: str,
        mirrors: list[str],
        settings: settings_module.Settings,
    ) -> download.Download | keeping.Kept:
        kept, directory = _kept.get(), opts.fuel_agent_spool(cfg.CONF)
        if kept is None or directory is None:
            return download.fetch(url, mirrors=mirrors, settings=settings)
        begun = keeping.fetch(directory, url, mirrors, settings)
        if isinstance(begun, keeping.Kept):
            weakref.finalize(self, begun.close)
            kept.append(begun)
        return begun

    def next(self) -> bytes:
        try:
            # Nothing comes between this and the return: there, an exception
            # out of a signal handler would lose the bytes.
            return self._download.__next__()
        except (errors.Error, StopIteration) as error:
            self.close()
            with _as_fuel_agent_errors():
                if isinstance(error, StopIteration) and self._end_matters:
                    pipeline.check_end(self._download)
                raise

    def views(self) -> Iterator[memoryview]:
        """Iterate over what is left without copying it.

        A view is valid until the next one is asked for.
        """
        try:
            with _as_fuel_agent_errors():
                views = self._download.views()
                if self._end_matters:
                    views = pipeline.proven(views, self._download)
                yield from views
        finally:
            self.close()

    def target(self, filename: str = '/dev/null') -> None:
        """Write what is left to ``filename``, and sync it."""
        before = self._download.position

        def left() -> int | None:
            length = self._download.length
            return None if length is None else length - before

        try:
            if self._is_plain():
                keep = self._download.keep
                _write(self.views(), filename, self.close, left, keep)
            else:
                _write(iter(self), filename, self.close)
        finally:
            self.close()

    def in_container(self) -> None:
        """Say that what the bytes are in has an end of its own."""
        self._end_matters = False

    def close(self) -> None:
        """End the download; nothing where it has ended."""
        self._download.close()


class GunzipStream(_Stream):
    """What is in the gzip, or zlib, container that ``stream`` iterates over.

    :raises fuel_agent.errors.BaseError: for a damaged or truncated one; also
        an ``errors.ContentError`` of ours.
    """

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream
        self._failure: errors.Error | None = None
        chunks: Iterator[octets.Buffer]
        if isinstance(stream, HttpUrl):
            stream.in_container()
        if isinstance(stream, HttpUrl) and stream._is_plain():
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
                if self._failure is not None:
                    raise self._failure.again()
                return bytes(next(self._chunks))
        except BaseException as error:
            self._end()
            if isinstance(error, errors.Error):
                self._failure = error.again()
            elif not isinstance(error, StopIteration):
                # From a signal handler, for one. What unpacks ends with it,
                # and to ask again must not look like the end of the image.
                self._failure = errors.Error('unpacking was interrupted')
            raise

    def target(self, filename: str = '/dev/null') -> None:
        """Write what is left to ``filename``, and sync it."""
        chunks = self._chunks if self._is_plain() else iter(self)
        try:
            _write(chunks, filename, self._end)
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
            and _takes_stream(self.processors[1])
        ):
            self.processors.insert(1, HttpUrl)
        last = self.processors[-1] if self.processors else None
        if not isinstance(last, str) or (os.path.realpath(last) == os.devnull):
            return super().process()
        kept: list[keeping.Kept] = []
        token = _kept.set(kept)
        done = False
        try:
            result = super().process()
            # Not before: whoever wrote it has synced it by now.
            done = True
            return result
        except (errors.ContentError, errors.RepresentationChanged):
            # It would be wrong again.
            done = True
            raise
        finally:
            _kept.reset(token)
            with contextlib.ExitStack() as stack:
                for each in kept:
                    stack.callback(each.settle, done=done)


def _is_url(processor: object) -> bool:
    return isinstance(processor, str) and processor.lower().startswith(
        ('http://', 'https://')
    )


def _takes_stream(processor: object) -> bool:
    """Tell whether it cannot begin with a URL itself, as ``HttpUrl`` does."""
    return isinstance(processor, str) or (
        isinstance(processor, type) and issubclass(processor, _CONTAINERS)
    )


_CONTAINERS = (
    GunzipStream,
    artifact.GunzipStream,
    artifact.TarStream,
    artifact.ForwardFileStream,
)
_PLAIN = {
    (artifact.Target.__iter__, artifact.Target.__next__, kind.next)
    for kind in (HttpUrl, GunzipStream)
}
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
    cancel: Callable[[], None],
    length: Callable[[], int | None] = lambda: None,
    keep: pipeline.Keeper = lambda chunk: None,
) -> None:
    LOG.debug('Writing to %s', filename)
    settings = opts.settings_from(cfg.CONF)
    with _as_fuel_agent_errors():
        written = pipeline.write(
            chunks,
            filename,
            options=writing.Options.chosen(settings),
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
