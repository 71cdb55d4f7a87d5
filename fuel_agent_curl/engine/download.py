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
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import logging
import math
import sys
import time
import types
import typing
import weakref

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.config import prefixes
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import handover
from fuel_agent_curl.engine import parts
from fuel_agent_curl.engine import thread
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import metalink
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import sources

LOG = logging.getLogger(__name__)

Observer = Callable[[events.Event], None]

_Part = typing.TypeVar('_Part', bytes, memoryview)

# Each chunk costs some hundred bytes besides those it holds.
_LEAST_CHUNK = 512

# What a Metalink document is received in, whatever the image may take.
_DOCUMENT_CHUNK = 64 * octets.KIB
_DOCUMENT_WINDOW = octets.MIB


class Download:
    """An iterator over the bytes of a representation; made by ``fetch``.

    Each item is a ``bytes`` of at most ``settings.chunk_size``; the consumer
    may keep it. An ``errors.Error`` is raised where the download fails, and
    again whenever more is asked for; the bytes that came before are right,
    but not all. Leaving the ``with`` block or dropping the last reference
    ends the download, and so does the interpreter's exit.

    One thread at a time reads, whichever it is; another that asks meanwhile,
    or a signal handler that does, gets an ``errors.Error`` and does no harm.
    An exception that comes out of a signal handler while reading loses
    nothing: the next call hands on what that one would have. (In a ``for``
    loop; the builtin ``next`` may have returned already, to nobody.) ``close``
    may be called from anywhere, ``length``, ``stats`` and ``url`` be read.

    In the child of a fork, reading one that was under way is an
    ``errors.Error``; the parent's goes on.

    :ivar url: as it was given, redacted.
    :ivar stats: counters; they go on changing until the end.
    """

    def __init__(
        self,
        engine: thread.NetworkThread,
        url: str,
        checks: Sequence[handover.Check],
        chunk_size: int,
        listener: thread.Listener | None,
        before: Sequence[handover.Check] = (),
    ) -> None:
        self.url = errors.redact(url)
        self.stats = engine.stats
        self._engine = engine
        self._handover = handover.Handover(
            engine.window, checks, chunk_size, before
        )
        # What each call to come raises, or whether all was handed on.
        self._error: errors.Error | None = None
        self._ended = False
        self._reader: dict[str, object] = {}
        # It lives as long as this object, see there.
        self._listener = listener
        # Not self.close: that would keep this object alive.
        self._finalizer = weakref.finalize(self, engine.close)
        # ``thread`` ends all of them together.
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return '<Download of %s, %s bytes>' % (self.url, self.length)

    @property
    def length(self) -> int | None:
        """Complete length in bytes, None where the server states none.

        It may change until the first byte is handed on, where the server
        has another representation by then.
        """
        return self._engine.length

    @property
    def position(self) -> int:
        """Bytes that were handed on."""
        return self._handover.position

    @property
    def received(self) -> int:
        """Bytes that are here or were handed on, a moment ago.

        Each counts once, however often it came: ``stats.received`` is of all.
        Those before the first that is brought are among them.
        """
        return self._engine.brought

    @property
    def found(self) -> tuple[str, answer.Representation] | None:
        """What is brought, and whose answer says so; not redacted."""
        return self._engine.found

    @property
    def checks_all(self) -> bool:
        """What is compared is of all bytes, those that were kept, too.

        They have to ``precede`` then.
        """
        return self._handover.checks_all

    @property
    def checks_before(self) -> bool:
        """What ``precede`` is given is compared with something."""
        return self._handover.checks_before

    def precede(self, view: memoryview) -> None:
        """Have bytes that ``kept`` spoke of pass the checks: see ``fetch``.

        All up to ``position``, in order, before the first is read.

        :raises errors.CannotContinue: if they are not what hashes of pieces
            say.
        """
        self._handover.precede(view)

    @property
    def end_proven(self) -> bool:
        """Something proves that all of it has come when it has ended.

        Its length, how the body is framed, or a checksum. False where the
        server states no length and ends the body by closing the connection
        (HTTP/1.0): a body cut short looks the same. What is known once an
        answer is there may change with the answer to a later attempt; after
        the last byte it does not.
        """
        return self._engine.end_proven

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
        return self._read(bytes)

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
        """Return the next view.

        :raises StopIteration: after the last.
        """
        return self._read(_as_it_is)

    def _read(self, form: Callable[[memoryview], _Part]) -> _Part:
        me = object()
        # Many may ask at the same time, one of them sets it.
        if self._reader.setdefault('', me) is not me and self._is_read():
            raise errors.Error('the download is being read by another call')
        try:
            part = self._peek(form)
        except BaseException:
            self._reader = {}
            raise
        handover = self._handover
        before = handover.position
        after = before + len(part)
        nobody: dict[str, object] = {}
        _let_signals_in()
        # A signal handler's exception comes at a call or a jump back. There
        # is none from here on: either the bytes are returned and counted,
        # or neither. (Out of a trace function one comes at any line.)
        try:
            handover.position = after
            self._reader = nobody
            return part
        except BaseException:
            handover.position = before
            raise

    def _peek(self, form: Callable[[memoryview], _Part]) -> _Part:
        """Return the bytes at ``position``; what has ended stays so."""
        if self._error is not None:
            raise self._error.again()
        if self._ended:
            raise StopIteration
        try:
            view = self._handover.peek()
            if view is not None:
                return form(view)
        except errors.Error as error:
            self._fail(error)
            raise
        except MemoryError as error:
            raise self._fail(errors.no_memory(error)) from error
        self._ended = True
        self._finish()
        raise StopIteration

    def _fail(self, error: errors.Error) -> errors.Error:
        # Not the one that is raised: what that was raised through, and all
        # that is used there, would live as long as this object.
        self._error = error.again()
        self._finish()
        return error

    def _finish(self) -> None:
        self._finalizer()
        self._handover.release()

    def _is_read(self) -> bool:
        """Tell whether any call but this one is within ``_read``.

        One that ended by a signal handler's exception may not have said so.
        """
        calls = 0
        for top in sys._current_frames().values():
            frame: types.FrameType | None = top
            while frame is not None:
                if frame.f_code is Download._read.__code__:
                    calls += frame.f_locals.get('self') is self
                frame = frame.f_back
        return calls > 1

    def close(self, patience: float = 1.0) -> None:
        """End the download, wherever it is; may be called again.

        From any thread, a signal handler and the observer, too. A consumer
        waiting in another thread gets an ``errors.Cancelled``, and so does
        whoever reads on.

        :param patience: how long to wait for the network thread, in seconds;
            that ends at once, but for a name that is being resolved.
        """
        self._finish()
        self._engine.join(patience)


def _let_signals_in() -> None:
    """Have those dealt with that came while another thread was running.

    The interpreter does when a function begins; a caller of ``next`` would
    find them raised, and what that returned lost.
    """


def _as_it_is(view: memoryview) -> memoryview:
    return view


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
        size = min(size, settings.window // 4)
        return max(1, size // pieces.size) * pieces.size
    if settings.connections > 1 and settings.segment % size:
        segment = settings.segment
        power = min(1 << (size.bit_length() - 1), segment & -segment)
        return power if power * 16 >= size else min(size, segment)
    return size


@errors.shortages()
def fetch(
    url: str,
    *,
    mirrors: Sequence[str] = (),
    checksum: str | None = None,
    settings: settings_module.Settings | None = None,
    observe: Observer | None = None,
    begun: Callable[[Download], None] | None = None,
    kept: sources.Kept | None = None,
) -> Download:
    """Begin to download what ``url`` names; return when it is answered.

    It may be called from any thread, and for many downloads at once: each
    has a thread of its own, some descriptors, and what ``settings`` allow of
    memory, until it ends.

    :param url: http or https. One that ends in .meta4 is a Metalink 4
        document (RFC 5854): its mirrors, length, checksum and piece hashes
        are used. ``settings.deadline`` is for both together.
    :param mirrors: further URLs of the same bytes, to fail over to. Bytes
        of two are joined only where a checksum is given; otherwise what was
        handed on is read again and compared.
    :param checksum: 'ALGORITHM:HEX' of the bytes on the wire; compared
        before the last chunk is handed on.
    :param settings: None for the defaults.
    :param observe: called with each ``events.Event`` on the network thread;
        it has to return quickly. It may hold the ``Download``, and close it.
        What it raises ends the download: reading it is an ``errors.Error``
        then, with that as its cause.
    :param begun: called with the download before its first request, so that
        another thread can close it before this returns. Where ``url`` names
        a Metalink document, called with the download of that one first.
    :param kept: the bytes before an offset are there, of an earlier download
        of the same URL: the others are brought, from ``position`` on, which
        may be a little before that. What a checksum is of has to
        ``precede``. None: all is.
    :raises errors.CannotContinue: if the server does not prove that it goes
        on there, also while reading.
    :raises errors.OptionError: for a URL or a checksum that cannot be used.
    :raises errors.ResourceError: when there is no more memory, or no more
        descriptors or threads.
    :raises errors.Error: for whatever ends the download before its first
        usable answer: a permanent error at once, a transient one when the
        attempts are used up.
    """
    settings = settings or settings_module.Settings()
    deadline = _deadline(settings)
    asked = _resolve(url, mirrors, checksum, settings, deadline, begun)
    return _begin(asked, settings, deadline, observe, begun, kept)


@errors.shortages()
def fetch_asked(
    asked: Asked,
    *,
    settings: settings_module.Settings,
    observe: Observer | None = None,
    begun: Callable[[Download], None] | None = None,
    kept: sources.Kept | None = None,
) -> Download:
    """Begin to download what ``resolve`` has returned.

    The parameters and the errors are those of ``fetch``.
    """
    deadline = _deadline(settings)
    return _begin(asked, settings, deadline, observe, begun, kept)


@errors.shortages()
def read_parts(
    url: str,
    *,
    mirrors: Sequence[str] = (),
    checksum: str | None = None,
    settings: settings_module.Settings | None = None,
    begun: Callable[[Download], None] | None = None,
) -> parts.Parts:
    """Return what reads parts of what ``url`` names, by ranges.

    The parameters and the errors are those of ``fetch``; but nothing is
    compared with the checksum.
    """
    settings = settings or settings_module.Settings()
    deadline = _deadline(settings)
    asked = _resolve(url, mirrors, checksum, settings, deadline, begun)
    return parts_of(asked, settings, deadline=deadline)


@values.dataclass(frozen=True)
class Asked:
    """What is to be downloaded.

    :ivar checksum: 'ALGORITHM:HEX' of all of it.
    :ivar expected: its length in bytes, None where that is not known yet.
    :ivar pieces: hashes of its pieces.
    :ivar named: as of ``thread.NetworkThread``.
    :ivar decided: whoever reads it compares all with a checksum.
    """

    urls: Sequence[str]
    checksum: str | None = None
    expected: int | None = None
    pieces: metalink.Pieces | None = None
    named: Container[redirects.Origin] | None = None
    decided: bool = False


@errors.shortages()
def resolve(
    url: str,
    *,
    mirrors: Sequence[str] = (),
    checksum: str | None = None,
    settings: settings_module.Settings,
    begun: Callable[[Download], None] | None = None,
) -> Asked:
    """Return what ``url`` names; a Metalink document is fetched for that.

    The parameters and the errors are those of ``fetch``.
    """
    deadline = _deadline(settings)
    return _resolve(url, mirrors, checksum, settings, deadline, begun)


@errors.shortages()
def parts_of(
    asked: Asked,
    settings: settings_module.Settings,
    *,
    deadline: float | None = None,
    queue: parts.Asked | None = None,
    checked: bool = False,
    observe: Observer = lambda event: None,
) -> parts.Parts:
    """Return what reads parts of what is asked for.

    :param deadline: monotonic time; None: by ``settings``, from now on.
    :param queue: as ``asked`` of ``parts.Parts``.
    :param checked: compare with the hashes of the pieces.
    """
    return parts.Parts(
        asked.urls,
        settings,
        expected=asked.expected,
        deadline=_deadline(settings) if deadline is None else deadline,
        named=asked.named,
        pieces=asked.pieces if checked else None,
        asked=queue,
        observe=observe,
    )


def _deadline(settings: settings_module.Settings) -> float:
    """Return the time for all, the Metalink document included."""
    if settings.deadline:
        return time.monotonic() + settings.deadline
    return math.inf


def _resolve(
    url: str,
    mirrors: Sequence[str],
    checksum: str | None,
    settings: settings_module.Settings,
    deadline: float,
    begun: Callable[[Download], None] | None,
) -> Asked:
    """Return what is asked for; a Metalink document is read for that."""
    urls = list(dict.fromkeys([url, *mirrors]))
    named = frozenset(address.read(each).origin for each in urls)
    if not prefixes.is_metalink(url):
        return Asked(urls, checksum)
    try:
        said = _document(url, settings, deadline, begun)
        _refuse_unchecked(said, checksum)
        proven = checksum or said.checksum or said.pieces
        found = _mirrors(said, address.read(url), bool(proven))
    except errors.ContentError as error:
        error.url = error.url or errors.redact(url)
        raise
    return Asked(
        list(dict.fromkeys([*found, *mirrors])),
        checksum or said.checksum,
        said.length,
        said.pieces,
        named,
    )


def _document(
    url: str,
    settings: settings_module.Settings,
    deadline: float,
    begun: Callable[[Download], None] | None,
) -> metalink.Metalink:
    """Return what a Metalink document says."""
    settings = dataclasses.replace(
        settings,
        connections=1,
        chunk_size=_DOCUMENT_CHUNK,
        window_size=_DOCUMENT_WINDOW,
    )
    with _begin(Asked([url]), settings, deadline, None, begun) as download:
        return metalink.parse(download)


def _refuse_unchecked(said: metalink.Metalink, checksum: str | None) -> None:
    """Refuse hashes that nothing is compared with.

    Where all is compared with another hash, they are not needed.
    """
    if not said.unused:
        return
    message = 'the Metalink document has %s: nothing can be compared with' % (
        ' and '.join(said.unused)
    )
    if not (checksum or said.checksum or said.pieces):
        raise errors.ContentError(
            message, hint='give a checksum, or a document with SHA-256'
        )
    LOG.warning('%s', message)


def _mirrors(
    said: metalink.Metalink, document: redirects.Address, proven: bool
) -> list[str]:
    """Return the URLs of the image that are as trustworthy as the document.

    :param proven: a checksum decides what they bring.
    :raises errors.ContentError: if there is none.
    """
    found = []
    for url in said.urls:
        try:
            scheme = address.read(url).origin.scheme
        except errors.OptionError:
            continue
        if proven or document.origin.scheme in ('http', scheme):
            found.append(url)
    if not found:
        raise errors.ContentError(
            'the Metalink document has no hash, and none of its URLs is as '
            'safe as its own',
            hint='give a checksum',
        )
    return found


def gather(chunks: Iterable[bytes], most: int) -> bytes:
    """Return all chunks joined; of more than ``most`` bytes, not all."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        if len(gathered) > most:
            break
    return bytes(gathered)


def _begin(
    asked: Asked,
    settings: settings_module.Settings,
    deadline: float,
    observe: Observer | None,
    begun: Callable[[Download], None] | None,
    kept: sources.Kept | None = None,
) -> Download:
    urls, checksum, pieces = asked.urls, asked.checksum, asked.pieces
    checks: list[handover.Check] = []
    before: list[handover.Check] = []
    if checksum:
        checks.append(digest.Digest(digest.parse(checksum)))
    joined = bool(checks) or pieces is not None or asked.decided
    if pieces is not None and pieces.size > settings.window // 4:
        # Too large to be held until they are complete, and brought again if
        # they are wrong: they are compared as they are handed on.
        checks.append(metalink.Check(pieces))
        joined, pieces = bool(checksum) or asked.decided, None
    elif pieces is not None and kept is not None:
        # It has whole pieces, as what is brought is whole chunks.
        before.append(metalink.Check(pieces))
    listener = thread.Listener(observe) if observe else None
    engine = thread.NetworkThread(
        urls,
        settings,
        checksum=joined,
        expected=asked.expected,
        pieces=pieces,
        listener=listener,
        deadline=deadline,
        chunk_size=_chunk_size(settings, pieces),
        named=asked.named,
        kept=kept,
    )
    # Before it starts: from then on, whatever comes, there is somebody whose
    # end ends it.
    download = Download(
        *(engine, urls[0], checks, settings.chunk_size, listener, before)
    )
    try:
        if begun is not None:
            begun(download)
        engine.start()
        engine.wait()
    except BaseException:
        download.close()
        raise
    return download
