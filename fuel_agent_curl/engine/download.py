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

"""A download: one representation, brought in order to one consumer."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import logging
import math
import random
import threading
import time
import types
import weakref

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.config import prefixes
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import exchange
from fuel_agent_curl.engine import handover
from fuel_agent_curl.engine import multi
from fuel_agent_curl.engine import plan
from fuel_agent_curl.engine import window as window_module
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import metalink
from fuel_agent_curl.rules import budget
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import sources

LOG = logging.getLogger(__name__)

Observer = Callable[[events.Event], None]

# How long closing waits for the network thread, in seconds. It ends at once,
# but for a resolver that libcurl waits for; that may go on by itself.
_CLOSE_WAIT = 1.0

# Each chunk costs some hundred bytes besides those it holds.
_LEAST_CHUNK = 512

# Piece hashes of a 1 TiB image in 1 MiB pieces fit easily.
_DOCUMENT_MAX = 128 * octets.MIB


class _Engine:
    """What the network thread owns; it knows nothing of the Download."""

    def __init__(
        self,
        urls: Sequence[str],
        settings: settings_module.Settings,
        checksum: bool,
        expected: int | None,
        pieces: metalink.Pieces | None,
        observe: Observer | None,
    ) -> None:
        self.stats = events.Stats()
        self._answered = threading.Event()
        self._usable = False
        self._loop = multi.Loop()
        self.window = window_module.Window(
            settings.window,
            _chunk_size(settings, pieces),
            self._loop.wake,
            pieces,
        )
        self._observe = observe
        self._closing = False
        self._began = time.monotonic()
        sources_ = []
        for url in urls:
            # Those that differ by what is redacted are counted together.
            mirror = self.stats.mirrors.setdefault(
                errors.redact(url), events.MirrorStats()
            )
            sources_.append(sources.Source(url, mirror))
        self._context = exchange.Context(
            settings=settings,
            window=self.window,
            loop=self._loop,
            sources=sources.Sources(sources_, joined=checksum),
            expected=expected,
            stats=self.stats,
            budget=budget.Budget(settings.max_recv_speed, self._began),
            checksum=checksum,
            deadline=(
                self._began + settings.deadline
                if settings.deadline
                else math.inf
            ),
            random=random.random,
            observe=self._happened,
        )
        # A daemon: the interpreter's exit never waits for the network.
        self._thread = threading.Thread(
            target=self._run, name='fuel-agent-curl', daemon=True
        )
        self._thread.start()

    @property
    def length(self) -> int | None:
        return self._context.length

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.window.fail(error)
        finally:
            self.stats.seconds = time.monotonic() - self._began
            self._answered.set()
            self._loop.close()

    def _work(self) -> None:
        moving = plan.Plan(self._context)
        while not self._closing:
            wait = moving.tick(time.monotonic())
            self.stats.seconds = time.monotonic() - self._began
            if moving.done:
                self.window.finish(self._context.length or 0)
                return
            for attempt, code, text in self._loop.turn(wait):
                moving.finished(attempt, code, text)

    def _happened(self, event: events.Event) -> None:
        if event.kind == 'started':
            self._usable = True
            self._answered.set()
        if self._observe is not None:
            self._observe(event)

    def wait(self) -> None:
        """Wait for the first usable answer.

        What fails after it is raised where the bytes are read, never here:
        it would depend on which thread came first.
        """
        self._answered.wait()
        if not self._usable:
            self.window.check()

    def close(self) -> None:
        """End everything; from any thread, any number of times."""
        self._closing = True
        self.window.fail(errors.Error('the download was closed'))
        self._loop.wake()
        if self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_WAIT)


class Download:
    """An iterator over the bytes of a representation; made by ``fetch``.

    Each item is a ``bytes`` of at most ``settings.chunk_size``; the consumer
    may keep it. An ``errors.Error`` is raised where the download fails; the
    bytes that came before are right, but not all. Leaving the ``with`` block
    or dropping the last reference ends the download.

    :ivar url: as it was given, redacted.
    :ivar stats: counters; they go on changing until the end.
    """

    def __init__(
        self,
        engine: _Engine,
        url: str,
        check: digest.Digest | None,
        chunk_size: int,
    ) -> None:
        self.url = errors.redact(url)
        self.stats = engine.stats
        self._engine = engine
        self._handover = handover.Handover(engine.window, check, chunk_size)
        self._error: errors.Error | None = None
        # Not self.close: that would keep this object alive.
        self._finalizer = weakref.finalize(self, engine.close)

    def __repr__(self) -> str:
        return '<Download of %s, %s bytes>' % (self.url, self.length)

    @property
    def length(self) -> int | None:
        """Complete length in bytes, None where the server states none."""
        return self._engine.length

    def __enter__(self) -> Download:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return bytes(self.next_view())

    def views(self) -> Iterator[memoryview]:
        """Iterate without a copy: each view is valid until the next.

        Or until it is given back, where ``keep`` is called for it.
        """
        return iter(self.next_view, None)

    def keep(self, view: object) -> Callable[[], None] | None:
        """Have ``view``, the last that was handed on, stay valid.

        :returns: what gives it back, from any thread; each has to be, but
            where the download is closed. None where it cannot be kept.
        """
        return self._handover.keep(view)

    def next_view(self) -> memoryview:
        """Return the next view; what ended in an error never just ends.

        :raises StopIteration: after the last.
        """
        if self._error is not None:
            raise self._error
        try:
            return next(self._handover)
        except StopIteration:
            raise
        except errors.Error as error:
            self._error = error
            raise
        except BaseException:
            # Ctrl-C, for one. The generator is exhausted by it.
            self._error = errors.Error('reading was interrupted')
            raise

    def close(self) -> None:
        """End the download, wherever it is; may be called again.

        A consumer waiting in another thread gets an ``errors.Error``.
        """
        self._finalizer()


def _chunk_size(
    settings: settings_module.Settings, pieces: metalink.Pieces | None
) -> int:
    """Return the chunk size in the window; the consumer's may be smaller.

    It is whole pieces, where those are to be checked. Each chunk is brought
    by one transfer: it goes into a segment without a rest, where that makes
    it not much shorter; else ``Plan`` makes the segments whole chunks.
    """
    size = max(settings.chunk_size, _LEAST_CHUNK)
    if pieces is not None:
        return max(1, size // pieces.size) * pieces.size
    if settings.connections > 1 and settings.segment % size:
        segment = settings.segment
        power = min(1 << (size.bit_length() - 1), segment & -segment)
        return power if power * 16 >= size else min(size, segment)
    return size


def fetch(
    url: str,
    *,
    mirrors: Sequence[str] = (),
    checksum: str | None = None,
    settings: settings_module.Settings | None = None,
    observe: Observer | None = None,
) -> Download:
    """Begin to download what ``url`` names; return when it is answered.

    :param url: http or https. One that ends in .meta4 is a Metalink 4
        document (RFC 5854): its mirrors, length, checksum and piece hashes
        are used.
    :param mirrors: further URLs of the same bytes, to fail over to. Bytes
        of two are joined only where a checksum is given; otherwise what was
        handed on is read again and compared.
    :param checksum: 'ALGORITHM:HEX' of the bytes on the wire; compared
        before the last chunk is handed on.
    :param settings: None for the defaults.
    :param observe: called with each ``events.Event`` on the network thread;
        it has to return quickly.
    :raises errors.OptionError: for a URL or a checksum that cannot be used.
    :raises errors.Error: for whatever ends the download before its first
        usable answer: a permanent error at once, a transient one when the
        attempts are used up.
    """
    settings = settings or settings_module.Settings()
    urls = list(dict.fromkeys([url, *mirrors]))
    for each in urls:
        address.read(each)
    if prefixes.is_metalink(url):
        try:
            said = metalink.parse(_document(url, settings))
        except errors.ContentError as error:
            error.url = error.url or errors.redact(url)
            raise
        return _begin(
            list(dict.fromkeys([*said.urls, *mirrors])),
            settings,
            checksum or said.checksum,
            observe,
            said.length,
            said.pieces,
        )
    return _begin(urls, settings, checksum, observe)


def _document(url: str, settings: settings_module.Settings) -> bytes:
    """Return a small document."""
    with _begin([url], settings, None, None) as download:
        document = gather(download, _DOCUMENT_MAX)
    if len(document) > _DOCUMENT_MAX:
        raise errors.ContentError(
            'a Metalink document of more than %d bytes is refused'
            % _DOCUMENT_MAX,
            url=url,
        )
    return document


def gather(chunks: Iterable[bytes], most: int) -> bytes:
    """Return all chunks joined; of more than ``most`` bytes, not all."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        if len(gathered) > most:
            break
    return bytes(gathered)


def _begin(
    urls: Sequence[str],
    settings: settings_module.Settings,
    checksum: str | None,
    observe: Observer | None,
    expected: int | None = None,
    pieces: metalink.Pieces | None = None,
) -> Download:
    check = digest.Digest(digest.parse(checksum)) if checksum else None
    if pieces and _chunk_size(settings, pieces) > settings.window // 4:
        LOG.info('Pieces of %d bytes are too large to check', pieces.size)
        pieces = None
    engine = _Engine(
        urls,
        settings,
        check is not None or pieces is not None,
        expected,
        pieces,
        observe,
    )
    try:
        engine.wait()
    except BaseException:
        engine.close()
        raise
    return Download(engine, urls[0], check, settings.chunk_size)
