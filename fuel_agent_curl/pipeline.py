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

"""Source, stages, sink: an image on its way to a target.

The source is iterated over, and unpacked, in the calling thread; other
threads hash and write. The order at the end is what makes a success true:
the source has ended well (its own checksum compared), every byte is written,
length and digest are right; only then may the target look complete.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import threading
import time
import types
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import digest
from fuel_agent_curl.state import journal as journal_module
from fuel_agent_curl.state import record as record_module
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import relay
from fuel_agent_curl.target import sink as sink_module
from fuel_agent_curl.target import storage
from fuel_agent_curl.target import writing

if typing.TYPE_CHECKING:
    from fuel_agent_curl.image import bmap as bmap_module
    from fuel_agent_curl.image import containers
    from fuel_agent_curl.image import mapping
    from fuel_agent_curl.image import reuse
    from fuel_agent_curl.image import scatter

LOG = logging.getLogger(__name__)

#: Called with the sink once it is open: for its counters and its state.
Observer = Callable[[sink_module.Sink], None]

#: As ``download.Download.keep``: returns what gives a buffer back.
Keeper = Callable[[object], Callable[[], None] | None]

_Task = Callable[[memoryview], None]

# That tells what an image comes in, at the most.
_MAGIC = octets.KIB
_DEFAULTS = writing.Options()


def _nothing() -> None:
    """Do nothing."""


_Chunk = typing.TypeVar('_Chunk')


class Source(typing.Protocol):
    """What ``copy`` needs of a ``download.Download``."""

    @property
    def length(self) -> int | None: ...

    @property
    def end_proven(self) -> bool: ...

    def views(self) -> Iterator[memoryview]: ...

    def keep(self, view: object) -> Callable[[], None] | None: ...

    def close(self) -> None: ...


class PartedSource(Source, typing.Protocol):
    """A source that can be read out of order, too: a qcow2 image has to be."""

    def parts(self) -> contextlib.AbstractContextManager[mapping.Parts]:
        """Return what reads parts; ``views`` begins anew after that."""


class ReusedSource(Source, typing.Protocol):
    """A source of a raw image, of which parts are on the target already.

    :ivar hashes: of its parts.
    :ivar checks: what all of it, as it is on the wire, is compared with; not
        changed here.
    :ivar is_checked: whoever reads all views is told whether they are right.
    """

    @property
    def hashes(self) -> reuse.Hashes: ...

    @property
    def checks(self) -> Sequence[digest.Digest]: ...

    @property
    def is_checked(self) -> bool: ...

    def begin(self) -> bytes:
        """Ask for the first bytes, and return them.

        :raises errors.NoRanges: if no server serves parts.
        :raises errors.ContentError: if it is of another length.
        """

    def use(
        self,
        missing: Sequence[reuse.Span],
        read: Callable[[int, int], Iterator[memoryview]],
    ) -> None:
        """Have ``views`` fetch what is missing, and read the rest."""


class Cancellation:
    """How a copy is cancelled: from any thread, or a signal handler.

    :ivar is_asked: somebody has asked for it.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._ends: list[Callable[[], None]] = []

    def ask(self) -> None:
        """Cancel; does not wait."""
        # Before those are looked at that ``ending`` has put there: one of the
        # two sees the other.
        self.is_asked = True
        for end in list(self._ends):
            end()

    @contextlib.contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Have ``end`` called when it is asked for, during the block.

        It may still be called when the block has just been left.

        :raises errors.Cancelled: if it was asked for before.
        """
        self._ends.append(end)
        try:
            self.check()
            yield
        finally:
            self._ends.remove(end)

    def check(self) -> None:
        """Raise if it was asked for.

        :raises errors.Cancelled: then.
        """
        if self.is_asked:
            raise cancelled()


def cancelled() -> errors.Cancelled:
    """Return the error of a copy that was cancelled."""
    return errors.Cancelled('the copy was cancelled')


@values.dataclass(frozen=True)
class Result:
    """What ``copy`` did.

    :ivar written: length of the image on the target, in bytes.
    :ivar container: what it came in: one of ``image.CONTAINERS``.
    :ivar mapped: bytes of it that hold data by its block map, which alone
        were written; None without one.
    :ivar checked: ranges whose checksum, in the block map, was compared.
    :ivar verified: all that was written was read back from the medium, and
        compared.
    :ivar length: of the image in bytes, where that is known before it is
        unpacked. This one and the next are of a dry run alone.
    :ivar target: what the target is.
    """

    written: int
    container: str
    mapped: int | None = None
    checked: int = 0
    verified: bool = False
    length: int | None = None
    target: sink_module.Description | None = None


@values.dataclass(frozen=True)
class Left:
    """What an earlier run has left on the target, to be gone on with.

    :ivar head: returns the first mebibyte of the image, which is not there.
    :ivar precede: takes what is there of the representation, where that is
        the image itself, up to ``position``: for the digest of all.
    :ivar position: returns where the source begins, in bytes; not behind
        what is there.
    :ivar compared: called when what is there has been found to be right.
    """

    record: record_module.Record
    head: Callable[[], octets.Buffer]
    precede: Callable[[memoryview], None]
    position: Callable[[], int]
    compared: Callable[[], None]


def copy(
    download: Source,
    target: str | os.PathLike[str],
    *,
    container: str = 'auto',
    decoder_memory: int = 128 * octets.MIB,
    decoder_threads: int = 0,
    trailing_data: str = 'error',
    allow_unproven_end: bool = False,
    image_checksum: str | None = None,
    options: writing.Options = _DEFAULTS,
    deadline: float | None = None,
    bmap: bmap_module.BlockMap | None = None,
    journal: journal_module.Journal | None = None,
    left: Left | None = None,
    worth: Callable[[str], bool] = lambda container: True,
    observe: Observer | None = None,
    vouch: Callable[[], None] = _nothing,
    cancellation: Cancellation | None = None,
) -> Result:
    """Unpack ``download`` and write it to ``target``.

    On return every byte is on the target, synced, and has been checked. An
    exception, KeyboardInterrupt included, leaves nothing that looks complete,
    and says what it leaves: its ``target_state`` is 'untouched', 'blank',
    'incomplete' or 'complete'. The download is closed if the target fails, or
    else left to the caller.

    :param container: see ``containers.open_container``, as for the next
        three.
    :param decoder_memory: the largest window of a decoder, in bytes.
    :param decoder_threads: that decode at the same time, at most; 0: as many
        as there are cores, and 8 at most.
    :param trailing_data: 'ignore' leaves out what is behind the end of the
        container; 'error' does so only with ``image_checksum``.
    :param allow_unproven_end: take a raw image whose end nothing proves.
    :param image_checksum: 'ALGORITHM:HEX' of the image, unpacked; None for
        no check.
    :param options: how the target is written. Of a dry run, return when the
        target, the first answer, the container and the first mebibyte have
        been found to be fit.
    :param deadline: monotonic time until which all of that has to be done,
        the target's part included; None: no such time.
    :param bmap: write its ranges alone, each compared with its checksum, and
        leave the rest of the target as it is. What that is known by is gone
        until the end, though, and after a copy that failed.
    :param journal: keeps the records by which another run can go on, should
        this one not come to its end; None: nothing is recorded.
    :param left: what is gone on with; the source begins there.
    :param worth: asked, with what the image comes in, whether records are any
        use.
    :param observe: called once, with the sink: what it has written, and what
        the target is like, can be looked at from any thread.
    :param vouch: called when all of the image is there, but for a dry run;
        what it raises keeps the target from looking complete.
    :param cancellation: by which another thread can end all of this. Whoever
        does that ends the download, too.
    :raises errors.CannotContinue: if what was left is not what it should be;
        nothing of it stays.
    :raises errors.OptionError: for a checksum or a container that is none.
    :raises errors.ContentError: for an image that is not what it should be.
    :raises errors.DeviceError: for a target that cannot be used, or fails.
    :raises errors.DeadlineExceeded: as said.
    :raises errors.Cancelled: likewise.
    """
    cancellation = cancellation or Cancellation()
    with (
        _Target(download.close, deadline, cancellation, vouch) as opened,
        contextlib.ExitStack() as stack,
    ):
        tasks: list[_Task] = []
        check = None
        if image_checksum is not None:
            check = digest.Digest(digest.parse(image_checksum), 'image')
            tasks.append(check.update)
        if container == 'qcow2' and bmap is not None:
            raise errors.OptionError(
                'a block map is of an image that comes in order, not of qcow2'
            )
        options = dataclasses.replace(
            options,
            mapped=bmap is not None,
            resumed=left is not None,
            reused=_is_reused(download),
        )
        sink = opening.open_target(
            target, options, deadline=deadline, check=cancellation.check
        )
        opened.sink = sink
        if left is not None:
            if not isinstance(sink, storage.Storage):
                raise errors.CannotContinue(
                    '%s is no device and no file any more' % sink.path
                )
            sink.go_on(left.record, left.compared)
        if _is_reused(download):
            # It is written when it is known what there is of it.
            pass
        elif bmap is None:
            tasks.append(sink.write)
        else:
            # Here: few images have one.
            from fuel_agent_curl.image import bmap as bmap_module

            assert isinstance(sink, storage.Storage)
            tasks.append(bmap_module.Check(bmap).update)
            cutter = bmap_module.Cutter(bmap)
            tasks.append(functools.partial(_write_mapped, sink, cutter))
        if observe is not None:
            observe(sink)
        if bmap is not None:
            sink.check_length(bmap.length)
            sink.check_space(bmap.mapped)
        if _is_reused(download):
            return _copy_reused(
                *(download, sink, opened, bmap, container, tasks, check),
                options,
            )
        if container == 'qcow2':
            worth(container)
            return _copy_qcow2(
                *(download, sink, opened, check, options),
                decoder_memory,
                decoder_threads,
            )
        # This makes the first request, if there was none. What is needed only
        # for what it brings is imported while that comes.
        packed = download.length
        if bmap is None and packed is not None:
            if container == 'raw':
                sink.check_length(packed)
            # What it is unpacked to may be longer for its zeros alone, which
            # become holes: that is not known before.
            sink.check_space(packed)
        try:
            from fuel_agent_curl.image import containers
        except ImportError as error:
            raise errors.shortage(error) or error from error

        # Where a checksum says what the image is, that decides.
        ignore = trailing_data == 'ignore' or image_checksum is not None
        open_container = functools.partial(
            containers.open_container,
            decoder_memory=decoder_memory,
            decoder_threads=decoder_threads,
            ignore_trailing=ignore,
        )
        found: str
        chunks: Iterator[octets.Buffer]
        if left is not None:
            assert isinstance(sink, storage.Storage)
            found = left.record.container
            unpacked = _rest(left, sink, download.views(), open_container)
        else:
            unpacked = open_container(
                download.views(),
                container,
                out_of_order=bmap is None and _is_parted(download),
            )
            found = unpacked.container
        # A traceback would keep its threads until it is dropped.
        stack.callback(unpacked.close)
        if found == 'qcow2':
            worth(found)
            return _copy_qcow2(
                *(download, sink, opened, check, options),
                decoder_memory,
                decoder_threads,
            )
        sink.check_length(unpacked.at_least)
        chunks = unpacked.chunks
        if (
            isinstance(sink, storage.Storage)
            and worth(found)
            and journal is not None
        ):
            journal.container = found
            sink.keep_records(journal, anywhere=found == 'raw')
            if found != 'raw':
                chunks = _marked(unpacked, sink)
        if left is not None:
            assert isinstance(sink, storage.Storage)
            chunks = _all(left, sink, chunks, container)
        # A container has an end of its own, a block map the length.
        if found == 'raw' and not (
            allow_unproven_end or image_checksum is not None or bmap
        ):
            chunks = proven(chunks, download)
        # What is in another container has a length that nobody knows yet.
        length = download.length if found == 'raw' else None
        if bmap is not None:
            _compare_lengths(length, bmap.length)
            length = bmap.length
        image = _Image(chunks, download.keep, length)
        if options.dry_run:
            described = sink.describe()
            _try(image, sink, opened)
            mapped = None if bmap is None else bmap.mapped
            return Result(0, found, mapped, length=length, target=described)
        _move(_first(image, sink, opened), image, sink, opened, tasks, check)
    if bmap is None:
        return Result(sink.written, found, verified=options.verify)
    return Result(
        sink.written, found, bmap.mapped, bmap.checked, options.verify
    )


# What another run would fail with as well.
_LASTING = (
    errors.ContentError,
    errors.DeviceError,
    errors.OptionError,
    errors.CannotContinue,
    errors.RepresentationChanged,
)


def _is_passing(error: BaseException) -> bool:
    """Tell whether another run may go on where this one has failed."""
    if isinstance(error, errors.Error):
        return not isinstance(error, _LASTING)
    # A signal; any other exception is a bug.
    return not isinstance(error, Exception)


class _Target:
    """Aborts its sink if the block fails, and says what that has left.

    Whatever is let out has ``target_state``, the sink's ``state``; it is
    'untouched' where no target was opened.

    :param cancel: ends the wait for the source, from another thread.
    :param deadline: as of ``copy``; what the source says after it, when it
        has been cancelled, is not the cause.
    :param cancellation: likewise.
    :param vouch: as of ``copy``.
    :ivar is_idle: no thread is in a call on the sink. Else it is neither
        cleared nor closed: that call may still do what it was made for.
    """

    def __init__(
        self,
        cancel: Callable[[], None],
        deadline: float | None = None,
        cancellation: Cancellation | None = None,
        vouch: Callable[[], None] = _nothing,
    ) -> None:
        self.sink: sink_module.Sink | None = None
        self.is_idle = True
        self.cancel = cancel
        self.deadline = deadline
        self.cancellation = cancellation or Cancellation()
        self.vouch = vouch
        self._aborting: relay.Call | None = None
        self._timer: threading.Timer | None = None
        self._is_late = False

    def __enter__(self) -> _Target:
        if self.deadline is not None:
            left = max(0.0, self.deadline - time.monotonic())
            self._timer = threading.Timer(left, self._ring)
            self._timer.daemon = True
            try:
                with errors.shortages():
                    self._timer.start()
            except errors.ResourceError as error:
                self._tell(error)
                raise
        return self

    def _ring(self) -> None:
        self._is_late = True
        self.cancel()

    def check(self) -> None:
        """Raise if the source may have ended for one of these alone.

        :raises errors.Cancelled: for that, and likewise:
        :raises errors.DeadlineExceeded:
        """
        self.cancellation.check()
        if self._is_late:
            raise errors.DeadlineExceeded(
                'the deadline has passed, and not all of the image is here'
            )

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> bool:
        try:
            if self._timer is not None:
                self._timer.cancel()
                self._timer.join()
            if exc is None:
                return False
            if self.sink is not None:
                self.sink.keeps = _is_passing(exc)
            self._abort()
            if (
                isinstance(exc, (errors.DeadlineExceeded, errors.Cancelled))
                and self._state == 'complete'
            ):
                # In the last moment, all was done.
                return True
            # What the target says has no other cause.
            if isinstance(exc, errors.Error) and not isinstance(
                exc, (errors.DeadlineExceeded, errors.DeviceError)
            ):
                self.check()
        except BaseException as error:
            if not isinstance(error, Exception):
                # A signal came in between: what was begun is done.
                with contextlib.suppress(BaseException):
                    self._abort()
            self._tell(error)
            raise
        self._tell(exc)
        return False

    def _abort(self) -> None:
        sink = self.sink
        if sink is None:
            return
        if self.is_idle:
            seconds = relay.patience(self.deadline)
            if self._aborting is None:
                self._aborting = relay.Call(sink.abort, sink.path)
            # After a signal, what was begun is waited for: two of them would
            # close what the other one writes to.
            self.is_idle = self._aborting.run(seconds)
        if not self.is_idle:
            LOG.warning(
                '%s: the kernel has not given back a call, so it is left as it'
                ' is, and may still change',
                sink.path,
            )

    @property
    def _state(self) -> str:
        return 'untouched' if self.sink is None else self.sink.state

    def _tell(self, error: BaseException) -> None:
        # Only an error of ours declares it.
        setattr(error, 'target_state', self._state)  # noqa: B010
        if self.sink is not None and self.sink.continues_at is not None:
            at = self.sink.continues_at
            setattr(error, 'continues_at', at)  # noqa: B010


def _rest(
    left: Left,
    sink: storage.Storage,
    views: Iterator[memoryview],
    open_container: Callable[..., containers.Unpacked],
) -> containers.Unpacked:
    """Return the image from where the source begins, or can be unpacked.

    :raises errors.CannotContinue: if that is not known.
    """
    from fuel_agent_curl.image import containers

    container, mark = left.record.container, sink.before
    assert mark is not None
    if container == 'raw':
        return containers.Unpacked(container, 0, views)
    before = mark.wire - left.position()
    at = containers.Boundary(container, mark.wire, mark.image, mark.state)
    try:
        return open_container(_without(before, views), at=at)
    except ValueError as error:
        if isinstance(error, errors.Error):
            raise
        raise errors.CannotContinue(
            'its record says what cannot be'
        ) from error


def _without(count: int, views: Iterator[memoryview]) -> Iterator[memoryview]:
    """Iterate over all but the first ``count`` bytes."""
    for view in views:
        piece = view[count:]
        count -= len(view) - len(piece)
        if piece:
            yield piece


def _marked(
    unpacked: containers.Unpacked, sink: storage.Storage
) -> Iterator[octets.Buffer]:
    """Iterate over what is unpacked; tell where that can begin again."""
    last = None
    for chunk in unpacked.chunks:
        boundary = unpacked.boundary()
        if boundary is not None and boundary != last:
            last = boundary
            sink.can_begin(boundary.offset, boundary.image, boundary.state)
        yield chunk
        del chunk


def _all(
    left: Left,
    sink: storage.Storage,
    rest: Iterator[octets.Buffer],
    container: str,
) -> Iterator[octets.Buffer]:
    """Iterate over an image, of which the first bytes are there.

    :param rest: what the source brings of it.
    :param container: that was asked for.
    """
    at, position = 0, left.position()
    is_raw = left.record.container == 'raw'
    if not is_raw:
        # It begins behind all that is there.
        assert sink.before is not None
        position = sink.before.image
    head = memoryview(left.head())
    if is_raw and container == 'auto':
        from fuel_agent_curl.image import containers

        # A record on a disk may be anybody's, and a checksum of the download
        # does not tell whether it is to be unpacked.
        if containers.kind(bytes(head[:_MAGIC])) != 'raw':
            raise errors.CannotContinue(
                'its record says raw, and the image is packed'
            )
    # What the source brings once more: the digest of all is of that, so it
    # has to be what is there.
    twice = bytearray()
    for piece in itertools.chain((head,), sink.read_before()):
        if at < position and is_raw:
            left.precede(piece[: position - at])
        twice += piece[max(0, position - at) :]
        at += len(piece)
        yield piece
    for view in rest:
        if twice:
            again = memoryview(view)[: len(twice)]
            if again != twice[: len(again)]:
                raise errors.CannotContinue(
                    'the server sends other bytes than are on %s' % sink.path
                )
            del twice[: len(again)]
            view = memoryview(view)[len(again) :]
            if not view:
                continue
        yield view


def _copy_qcow2(
    download: Source,
    sink: sink_module.Sink,
    opened: _Target,
    check: digest.Digest | None,
    options: writing.Options,
    memory: int,
    threads: int,
) -> Result:
    """As ``copy``, of an image that is in the order of its file.

    :param check: of the virtual disk; it is read back for that.
    :param memory: bytes that its mapping may take, with what is decoded at
        the same time.
    :param threads: that decode at the same time, at most; 0: as many as there
        are cores.
    """
    # Here: it is not needed for any other image.
    from fuel_agent_curl.image import mapping
    from fuel_agent_curl.image import scatter
    from fuel_agent_curl.image import workers

    if not isinstance(sink, storage.Storage):
        raise errors.TargetUnsuitable(
            '%s is written in order, which a qcow2 image is not' % sink.path,
            hint='write it to a device or a file',
        )
    if not _is_parted(download):
        raise errors.NoRanges('a qcow2 image has to be read out of order')
    with download.parts() as reading:
        found = mapping.load(
            reading, memory, lambda header: sink.check_length(header.length)
        )
    opened.check()
    sink.check_space(found.allocated)
    length = found.header.length
    if options.dry_run:
        described = sink.describe()
        sink.abort()
        return Result(0, 'qcow2', length=length, target=described)
    scattered = scatter.Scatter(
        found, memory - found.memory, threads or workers.default_threads()
    )
    pieces = _Pieces(download, scattered, sink)
    sink.scatter(None if check is None else functools.partial(_inspect, check))
    image = _Image(pieces, pieces.keep, None)
    with contextlib.closing(scattered):
        _move(pieces, image, sink, opened, [pieces.write], None, pieces.finish)
    return Result(sink.written, 'qcow2', verified=options.verify)


def _copy_reused(
    download: ReusedSource,
    sink: sink_module.Sink,
    opened: _Target,
    bmap: bmap_module.BlockMap | None,
    container: str,
    tasks: list[_Task],
    check: digest.Digest | None,
    options: writing.Options,
) -> Result:
    """As ``copy``, of a raw image of which parts are there already.

    :param tasks: what is done with all bytes before they are written.
    """
    from fuel_agent_curl.image import containers
    from fuel_agent_curl.image import reuse

    assert isinstance(sink, storage.Storage)
    length = download.hashes.length
    sink.check_length(length)
    first = download.begin()
    found = containers.kind(first)
    if 'raw' not in (container, found):
        raise errors.OptionError(
            'what is on a target is reused for a raw image alone, and this one'
            ' is packed: %s' % found
        )
    checks = list(download.checks) + ([] if check is None else [check])
    missing = _survey(download.hashes, sink, opened, checks)
    spans = download.hashes.spans
    mapped = None if bmap is None else bmap.mapped
    checked = 0 if bmap is None else bmap.checked
    download.use(missing, sink.read_old)
    if options.dry_run:
        described = sink.describe()
        if sink.kind == 'device':
            # A partition table, if there is one, is in it.
            sink.write(first)
            sink.judge()
        sink.abort()
        return Result(0, 'raw', mapped, length=length, target=described)
    if not missing and sink.is_as_long(length):
        if download.is_checked:
            for _view in download.views():
                opened.check()
        opened.vouch()
        sink.accept(length)
    else:
        if bmap is None:
            sink.check_space(length)
        else:
            from fuel_agent_curl.image import bmap as bmap_module

            tasks.append(bmap_module.Check(bmap).update)
        cut = reuse.Cutter(spans), reuse.Cutter(missing)
        tasks.append(functools.partial(_write_reused, sink, *cut))
        unpacked = containers.open_container(download.views(), container)
        image = _Image(unpacked.chunks, download.keep, length)
        _move(_first(image, sink, opened), image, sink, opened, tasks, check)
    return Result(sink.written, 'raw', mapped, checked, options.verify)


def _survey(
    hashes: reuse.Hashes,
    sink: storage.Storage,
    opened: _Target,
    checks: Sequence[digest.Digest],
) -> Sequence[reuse.Span]:
    """Return what of an image is not on the target.

    Where all of it is there, it is compared with the checksums, too.

    :raises errors.DigestMismatch: if one is of something else.
    """
    from fuel_agent_curl.image import reuse

    survey = reuse.Survey(hashes)
    checks = [each.copy() for each in checks]
    there = sink.old_length
    at = 0
    sink.phase = 'comparing'
    for start, stop in hashes.spans:
        _add(checks, reuse.zeros(start - at))
        at = start
        for view in sink.read_old(start, min(stop, there)):
            opened.check()
            survey.update(view)
            at += len(view)
            sink.verified += len(view)
            if survey.missing:
                checks = []
            _add(checks, (view,))
        if at < stop:
            break
    survey.finish()
    if not survey.missing:
        _add(checks, reuse.zeros(hashes.length - at))
        for each in checks:
            each.verify()
    sink.phase, sink.verified = 'copying', 0
    return survey.missing


def _add(checks: Sequence[digest.Digest], views: Iterable[memoryview]) -> None:
    if checks:
        for view in views:
            for each in checks:
                each.update(view)


def _write_reused(
    sink: storage.Storage,
    spans: reuse.Cutter,
    missing: reuse.Cutter,
    view: memoryview,
) -> None:
    for inside, piece in spans.cut(view):
        for fetched, part in missing.cut(piece):
            if fetched:
                sink.write(part)
            elif inside:
                sink.stay(part)
            else:
                sink.skip(len(part))


def _is_reused(download: Source) -> typing.TypeGuard[ReusedSource]:
    return hasattr(download, 'hashes')


def _is_parted(download: Source) -> typing.TypeGuard[PartedSource]:
    return hasattr(download, 'parts')


def _inspect(check: digest.Digest, image: Iterator[memoryview]) -> None:
    for view in image:
        check.update(view)
    check.verify()


class _Pieces:
    """The pieces of a virtual disk, on their way to where they belong.

    Who iterates over it gets those with data, in the order in which ``write``
    has to take them, from another thread.
    """

    def __init__(
        self,
        download: Source,
        scattered: scatter.Scatter,
        sink: storage.Storage,
    ) -> None:
        self._download = download
        self._scattered = scattered
        self._sink = sink
        # Start and length of those with data that were not written yet, and
        # start and stop of the others.
        self._data: collections.deque[tuple[int, int]] = collections.deque()
        self._zeros: collections.deque[tuple[int, int]] = collections.deque()
        self._release: Callable[[], None] | None = None
        # Where the next view goes, and how many bytes follow it there.
        self._start = self._left = 0

    def __iter__(self) -> Iterator[octets.Buffer]:
        try:
            for view in self._download.views():
                yield from self._of(self._scattered.take(view), view)
            yield from self._of(self._scattered.finish())
        except (errors.Cancelled, errors.DeadlineExceeded):
            # Whoever has ended it does not wait for what is decoded.
            raise
        except errors.Error:
            # What is found depends on neither time nor the number of threads.
            self._scattered.settle()
            raise

    def _of(
        self, pieces: Iterator[scatter.Piece], view: memoryview | None = None
    ) -> Iterator[octets.Buffer]:
        """Iterate over those with data.

        :param view: that they are parts of, if they are lent.
        """
        release: Callable[[], None] | None = None
        last: scatter.Piece | None = None
        for piece in pieces:
            if piece.view is None:
                self._zeros.append((piece.start, piece.stop))
                continue
            if last is not None and last.view is not None:
                # The view goes back when the last piece of all is written.
                is_kept = release is not None or not last.lent
                self._release = _nothing if is_kept else None
                yield last.view
            elif piece.lent and view is not None:
                # Those that are parts of the view come before all others.
                release = self._download.keep(view)
            self._data.append((piece.start, len(piece.view)))
            last = piece
        if last is not None and last.view is not None:
            is_lent = release is not None or last.lent
            self._release = release if is_lent else _nothing
            yield last.view

    def keep(self, piece: object) -> Callable[[], None] | None:
        """Return what is called when the last piece is done with."""
        return self._release

    # In the thread of the sink.

    def write(self, view: memoryview) -> None:
        """Put the next bytes where they belong."""
        self._write_zeros()
        if not self._left:
            self._start, self._left = self._data.popleft()
        self._sink.write_at(self._start, view)
        self._start += len(view)
        self._left -= len(view)

    def finish(self) -> None:
        """There are no more."""
        self._write_zeros()
        self._sink.finish()

    def _write_zeros(self) -> None:
        while self._zeros:
            self._sink.zero(*self._zeros.popleft())


def _write_mapped(
    sink: storage.Storage, cutter: bmap_module.Cutter, view: memoryview
) -> None:
    for inside, piece in cutter.cut(view):
        if inside is None:
            sink.skip(len(piece))
        else:
            sink.write(piece)


def proven(chunks: Iterator[_Chunk], download: Source) -> Iterator[_Chunk]:
    """Iterate over ``chunks`` of a download whose end something proves.

    :raises errors.UnprovenEnd: before the first of them where nothing does;
        after the last where another answer was the last to come.
    """
    check_end(download)
    yield from chunks
    check_end(download)


def check_end(download: Source) -> None:
    """Refuse what may be cut short without anybody knowing.

    :raises errors.UnprovenEnd: if nothing proves the end of ``download``.
    """
    if not download.end_proven:
        raise errors.UnprovenEnd(
            'the server states no length and ends by closing the connection:'
            ' an image cut short would look complete',
            hint='give a checksum, a compressed image, or'
            ' allow_unproven_end (--allow-unproven-end)',
        )


def _compare_lengths(length: int | None, expected: int) -> None:
    """Refuse a block map of another image before anything is written."""
    if length is None or length == expected:
        return
    cls = errors.ImageTooShort if length < expected else errors.ImageTooLong
    raise cls(
        'the image has %d bytes, not the %d of its block map'
        % (length, expected),
        hint='check that both belong together',
    )


def write(
    chunks: Iterable[octets.Buffer],
    target: str | os.PathLike[str],
    *,
    options: writing.Options = _DEFAULTS,
    length: Callable[[], int | None] = lambda: None,
    cancel: Callable[[], None] = lambda: None,
    keep: Keeper = lambda chunk: None,
) -> int:
    """Write ``chunks`` to ``target``; return how many bytes that was.

    As ``copy``, without its checks. A chunk is not used any more when the
    next one is asked for, unless ``keep`` allowed it.

    :param length: asked when the first chunk is there, for what they have to
        add up to; None: whatever comes.
    :param cancel: called, from another thread, if the target fails: to end
        the wait for the next chunk.
    :param keep: asked for each chunk whether it may be used for longer.
    """
    with _Target(cancel) as opened:
        sink = opening.open_target(target, options)
        opened.sink = sink
        image = _Image(_begun(iter(chunks)), keep, length())
        if image.length is not None:
            sink.check_space(image.length)
        chunks = _first(image, sink, opened)
        _move(chunks, image, sink, opened, [sink.write], None)
    return sink.written


def _begun(chunks: Iterator[octets.Buffer]) -> Iterator[octets.Buffer]:
    """Return the chunks when the first of them is there."""
    return itertools.chain(list(itertools.islice(chunks, 1)), chunks)


@values.dataclass(frozen=True)
class _Image:
    """What is to be written, and how long it has to be, if that is known."""

    chunks: Iterable[octets.Buffer]
    keep: Keeper
    length: int | None


def _first(
    image: _Image, sink: sink_module.Sink, opened: _Target
) -> Iterator[octets.Buffer]:
    """Return the chunks when there is a byte of the image.

    A source without a usable byte leaves the target as it was.
    """
    if image.length is not None:
        sink.check_length(image.length)
    chunks = iter(image.chunks)
    for first in chunks:
        if first:
            return itertools.chain((first,), chunks)
    opened.check()
    raise errors.ImageTooShort(
        'the image is empty',
        hint='check the URL: an empty image is hardly what is meant',
    )


def _try(image: _Image, sink: sink_module.Sink, opened: _Target) -> None:
    """Have the sink judge the first mebibyte, as far as it holds that back."""
    left = storage.FIRST if sink.kind == 'device' else 0
    for chunk in _first(image, sink, opened):
        piece = memoryview(chunk)[:left]
        if piece:
            sink.write(piece)
        left -= len(piece)
        if not left:
            break
    opened.check()
    sink.judge()
    sink.abort()


def _move(
    chunks: Iterable[octets.Buffer],
    image: _Image,
    sink: sink_module.Sink,
    opened: _Target,
    tasks: Sequence[_Task],
    check: digest.Digest | None,
    finish: Callable[[], None] | None = None,
) -> None:
    taken = 0

    def verify() -> None:
        opened.check()
        if image.length is not None and taken < image.length:
            raise errors.ImageTooShort(
                'the image has %d bytes, not the %d announced'
                % (taken, image.length),
                offset=taken,
            )
        if check is not None:
            check.verify()
        opened.vouch()

    # Whatever waits for the medium is done in the sink's thread, where neither
    # a signal nor the deadline has to wait for it.
    buffers = relay.Relay(
        tasks, opened.cancel, sink.idle, opened.deadline, sink.path
    )
    try:
        with opened.cancellation.ending(lambda: buffers.cancel(cancelled())):
            for chunk in chunks:
                taken += len(chunk)
                if image.length is not None and taken > image.length:
                    raise errors.ImageTooLong(
                        'the image goes on past the %d bytes announced'
                        % image.length,
                        offset=image.length,
                    )
                buffers.write(chunk, image.keep(chunk))
            buffers.finish(verify, finish or sink.finish)
    except BaseException as error:
        # What interrupts that wait does not end the call that it is for.
        opened.is_idle = False
        opened.is_idle = buffers.abort(sink.interrupt)
        if buffers.error is None or not isinstance(error, Exception):
            raise
        # The source may have failed only because it was cancelled.
        raise buffers.error from buffers.error.__cause__
