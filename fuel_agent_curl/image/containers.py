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

"""The image out of its container: every member, in bounded memory.

A compressed image is one or more members (RFC 1952 2.2; streams in xz,
frames in zstd), after which nothing but zero padding may follow, unless what
else follows is to be ignored. One step hands on at most STEP bytes however
well they compress, and a decoder keeps no more than it is allowed.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import errno
import logging
import lzma
import sys
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import image
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import announced
from fuel_agent_curl.image import blocks
from fuel_agent_curl.image import foreign
from fuel_agent_curl.image import gunzip
from fuel_agent_curl.image import workers
from fuel_agent_curl.image import xz

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LOG = logging.getLogger(__name__)


#: The most that one step hands on, in bytes. The pages of longer ones went
#: back to the system each time, and had to be made anew.
STEP = 512 * octets.KIB

# What a decoder is given at once. It keeps what it could not use yet and
# copies that at every step, so this stays small.
_FEED = 256 * octets.KIB

#: The largest window (zstd) or dictionary (xz) that is taken where nobody
#: says otherwise, in bytes: what ``zstd -d`` takes without being told to.
DECODER_MEMORY = 128 * octets.MIB

# As much of an image as tells of a qcow2 image.
_SECTOR = 512

# The largest that can be allowed: zstd takes no larger one.
_DECODER_MEMORY_MAX = 2 * octets.GIB

# RFC 1950 2.2: deflate, a window of up to 32 KiB, no preset dictionary, and
# the two bytes are a multiple of 31.
_ZLIB_MAGICS = tuple(
    bytes((method, flags))
    for method in range(0x08, 0x80, 0x10)
    for flags in range(256)
    if (method * 256 + flags) % 31 == 0 and not flags & 0x20
)

# What the decoders raise; bz2 raises OSError for damage.
_FAILURES = (
    gunzip.Damaged,
    gunzip.InflateError,
    xz.Damaged,
    lzma.LZMAError,
    zstd.ZstdError,
    OSError,
    EOFError,
    MemoryError,
)

# What to do about bytes behind the end.
_TRAILING_HINT = (
    'if they belong there, as a signature may, have them left out by'
    ' trailing_data = ignore (--trailing-data ignore)'
)

# What is in such an error's text where the memory was not to be had: zlib's
# Z_MEM_ERROR, and zstd's word for it. The others raise MemoryError.
_OUT_OF_MEMORY = ('Error -4 ', 'Allocation error')


class _Decoder(typing.Protocol):
    """Decodes one member; as bz2.BZ2Decompressor does."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: octets.Buffer, max_length: int) -> bytes: ...


def _open_zstd() -> _Decoder:
    # What the frame announces has been compared with what is allowed; zstd
    # itself would refuse a window of which a short image needs only a part.
    window_log_max = zstd.DecompressionParameter.window_log_max
    return zstd.ZstdDecompressor(
        options={window_log_max: window_log_max.bounds()[1]}
    )


@values.dataclass(frozen=True)
class _Codec:
    """One container: how its members begin, and what decodes one.

    :ivar open: makes a decoder; None for xz, whose takes parameters.
    :ivar announced: what the first bytes of a member say; None when there
        have to be more of them.
    :ivar padding: the multiple of zero bytes after which another member may
        follow; 0: none may.
    """

    name: str
    magics: tuple[bytes, ...]
    open: Callable[[], _Decoder] | None = None
    announced: Callable[[bytes], announced.Announced | None] = (
        announced.nothing
    )
    padding: int = 0


_CODECS = (
    _Codec('gzip', (b'\x1f\x8b',), gunzip.Member, padding=1),
    # xz-file-format.txt 2.2: stream padding comes in multiples of four.
    _Codec('xz', (xz.MAGIC,), None, announced.xz, padding=4),
    # RFC 8878 3.1: frames, and skippable frames of sixteen kinds.
    _Codec(
        'zstd',
        (
            b'\x28\xb5\x2f\xfd',
            *(bytes((0x50 + kind,)) + b'\x2a\x4d\x18' for kind in range(16)),
        ),
        _open_zstd,
        announced.zstd,
    ),
    # The digit is the block size; a block or the end follows.
    _Codec(
        'bzip2',
        tuple(b'BZh%d' % n for n in range(1, 10)),
        bz2.BZ2Decompressor,
    ),
)

# fuel-agent's own gunzip takes this, too. Its two bytes are too little to know
# it by, so it has to be asked for.
_ZLIB = _Codec('zlib', _ZLIB_MAGICS, lambda: gunzip.Inflate(15))

_MAGIC_MAX = max(len(m) for codec in _CODECS for m in codec.magics)


def _found(head: bytes, complete: bool) -> str:
    """Return the container that begins with ``head``, the first bytes.

    A few bytes that are all there is, and end inside a magic number, are a
    container cut short, not an image of two bytes.
    """
    for codec in _CODECS:
        for magic in codec.magics:
            if head.startswith(magic):
                return codec.name
            if complete and len(head) >= 2 and magic.startswith(head):
                return codec.name
    return 'raw'


def kind(head: bytes) -> str:
    """Return which container begins with ``head``, the first bytes."""
    if foreign.is_qcow2(head):
        return 'qcow2'
    return _found(head, False)


@values.dataclass(frozen=True)
class Boundary:
    """A place in a container at which unpacking can begin again.

    :ivar container: its name.
    :ivar offset: of that place in the container, in bytes.
    :ivar image: bytes of the image that are before it.
    :ivar state: printable ASCII; what has to be known of what is before it.
        '': nothing, since a member begins there.
    """

    container: str
    offset: int
    image: int
    state: str = ''


@values.dataclass(frozen=True)
class Unpacked:
    """An image as it comes out of its container.

    :ivar container: one of ``image.CONTAINERS``, or 'zlib'.
    :ivar at_least: the image has no fewer bytes than this, by what its
        container announces; 0 where that says nothing.
    :ivar chunks: the image. Neither a chunk nor any part of it is kept when
        the next one is asked for.
    :ivar boundary: returns the last boundary that unpacking has passed; None:
        there was none, or the image is raw, where every byte is one. It may
        be ahead of the chunks that were handed on, by what was looked at:
        compare ``image``.
    :ivar close: ends the threads that decode; to be called when no more of
        the image is wanted, and no matter after its end.
    """

    container: str
    at_least: int
    chunks: Iterator[octets.Buffer]
    boundary: Callable[[], Boundary | None] = lambda: None
    close: Callable[[], None] = lambda: None


def open_container(
    chunks: Iterable[octets.Buffer],
    container: str = 'auto',
    *,
    decoder_memory: int = DECODER_MEMORY,
    decoder_threads: int = 0,
    ignore_trailing: bool = False,
    at: Boundary | None = None,
    out_of_order: bool = False,
) -> Unpacked:
    """Begin to unpack the image that ``chunks`` are.

    The first bytes are unpacked here: what is damaged from the beginning is
    found out here, and an error of the source can come from here, too.

    :param container: one of ``image.CONTAINERS``, or 'auto' for what the
        first bytes say, where what is known to be no disk image is refused.
        'raw' takes anything as it is, 'zlib' gzip as well.
    :param decoder_memory: the largest window or dictionary, in bytes; xz
        blocks that are decoded at the same time take no more together, what
        they are packed from and unpacked to included.
    :param decoder_threads: the most that decode at the same time; 0: as many
        as there are cores, and 8 at most.
    :param ignore_trailing: drop what follows the last member and begins no
        other, to the end of ``chunks``.
    :param at: what ``Unpacked.boundary`` has returned for the same container:
        ``chunks`` begin at its ``offset``, and the image at its ``image``.
        Then ``container`` does not count, and nothing is refused as no image.
    :param out_of_order: the image may be written out of order: of a qcow2
        image 'auto' says so, and ``chunks`` are the file as it is. Else it is
        no image.
    :raises errors.OptionError: for an unknown container.
    :raises errors.NotAnImage: by 'auto' alone.
    :raises errors.CorruptError: for damage, and when the image is in another
        container.
    :raises errors.TruncatedError: when the input ends within a member, or
        there is nothing to unpack.
    :raises errors.TrailingGarbageError: when something follows the last.
    :raises errors.WindowTooLarge: when a decoder wants too much memory.
    :raises errors.ResourceError: when there is not as much as it may have.
    """
    limits = _Limits(
        decoder_memory,
        decoder_threads or workers.default_threads(),
        ignore_trailing,
    )
    if at is not None:
        return _unpacked(iter(chunks), at.container, limits, at)
    opened = _open(chunks, container, limits)
    if container == 'auto' and opened.container == 'raw' and out_of_order:
        head, _complete, chunks = _peek(
            opened.chunks, lambda head: len(head) >= _SECTOR
        )
        found = 'qcow2' if foreign.is_qcow2(head) else 'raw'
        opened = dataclasses.replace(opened, container=found, chunks=chunks)
    if container == 'auto' and opened.container != 'qcow2':
        return dataclasses.replace(
            opened, chunks=_judged(opened.chunks, opened.container)
        )
    return opened


@values.dataclass(frozen=True)
class _Limits:
    """What unpacking may take.

    :ivar memory: the largest window or dictionary, in bytes.
    :ivar threads: that decode at the same time.
    :ivar ignore: drop what follows the last member.
    """

    memory: int
    threads: int
    ignore: bool


def _open(
    chunks: Iterable[octets.Buffer], container: str, limits: _Limits
) -> Unpacked:
    if container not in ('auto', 'zlib', *image.CONTAINERS):
        raise errors.OptionError(
            'the container is one of auto, %s, not %r'
            % (', '.join(image.CONTAINERS), container)
        )
    if container == 'qcow2':
        raise errors.OptionError('a qcow2 image is not unpacked in order')
    head, complete, chunks = _peek(
        iter(chunks), lambda head: len(head) >= _MAGIC_MAX
    )
    found = _found(head, complete)
    if container == 'auto' or (container, found) == ('zlib', 'gzip'):
        container = found
    elif container == 'raw':
        if found != 'raw':
            LOG.warning(
                'the image starts like %s; it is written as it is', found
            )
    elif not head:
        raise errors.TruncatedError(
            'the image is empty, not in a %s container' % container, offset=0
        )
    elif container != found and not (
        container == 'zlib' and head.startswith(_ZLIB.magics)
    ):
        raise errors.CorruptError(
            'the image is not in a %s container: it starts like %s'
            % (container, found),
            offset=0,
            hint='leave the container to be found out, or name the right one',
        )
    if container == 'raw':
        return Unpacked(container, 0, chunks)
    return _unpacked(chunks, container, limits, Boundary(container, 0, 0))


def _unpacked(
    chunks: Iterator[octets.Buffer],
    container: str,
    limits: _Limits,
    at: Boundary,
) -> Unpacked:
    (codec,) = (c for c in (*_CODECS, _ZLIB) if c.name == container)
    unpacker = _Unpacker(codec, limits, at)
    unpacked = unpacker.unpack(chunks)
    first = next(unpacked, b'')
    return Unpacked(
        container,
        unpacker.at_least,
        _prepend(first, unpacked),
        lambda: unpacker.boundary,
        unpacked.close,
    )


def decompress(
    chunks: Iterable[octets.Buffer],
    container: str = 'auto',
    *,
    decoder_memory: int = DECODER_MEMORY,
    decoder_threads: int = 0,
    ignore_trailing: bool = False,
) -> Iterator[octets.Buffer]:
    """Iterate over what is in ``chunks``; see ``open_container``.

    It may be anything. Nothing is taken before the first is asked for.
    """
    limits = _Limits(
        decoder_memory,
        decoder_threads or workers.default_threads(),
        ignore_trailing,
    )
    yield from _open(chunks, container, limits).chunks


def _judged(
    chunks: Iterator[octets.Buffer], container: str
) -> Iterator[octets.Buffer]:
    """Return ``chunks``, from the first on, if they are an image.

    :raises errors.NotAnImage: for what is known to be something else.
    """
    head, complete, chunks = _peek(chunks, foreign.enough)
    kind = foreign.find(head, complete)
    what = 'this'
    if container != 'raw':
        what = 'what is in the %s container' % container
        inner = _found(head, complete)
        if kind is None and inner != 'raw':
            kind = foreign.Kind(
                'a file packed by %s' % inner, 'unpack one of the two first'
            )
    if kind is None:
        return chunks
    raise errors.NotAnImage(
        '%s is no disk image: it looks like %s' % (what, kind.name),
        hint='%s; --container %s writes it all the same'
        % (kind.advice, container),
    )


def _peek(
    chunks: Iterator[octets.Buffer], enough: Callable[[bytes], bool]
) -> tuple[bytes, bool, Iterator[octets.Buffer]]:
    """Look at the first bytes until there are ``enough``.

    :returns: at most ``foreign.LOOKED_AT`` of them, whether that is all there
        is, and all chunks from the first on.
    """
    first: octets.Buffer = b''
    for chunk in chunks:
        # The usual case: nothing is copied but the first bytes.
        first = bytes(first) + bytes(chunk) if first else chunk
        head = bytes(first[: foreign.LOOKED_AT])
        if enough(head):
            return head, False, _prepend(first, chunks)
        first = bytes(first)
    return bytes(first), True, _prepend(first, chunks)


def _prepend(
    first: octets.Buffer, chunks: Iterator[octets.Buffer]
) -> Iterator[octets.Buffer]:
    if first:
        yield first
    del first
    yield from chunks


class _Gap:
    """What comes between two members: zero padding, or the next one's head.

    :param ignore: what is neither is dropped, with all that follows it.
    """

    def __init__(self, codec: _Codec, ignore: bool) -> None:
        self._codec = codec
        self._ignore = ignore
        self._magic_length = len(codec.magics[0])
        self._head = b''
        self._padding = 0
        self._dropping = False

    def feed(self, piece: octets.Buffer, offset: int) -> bytes:
        """Return the start of the next member, b'' while there is none.

        It is long enough for all that the member announces.

        :param offset: where ``piece`` ends in the input, for the error.
        :raises errors.TrailingGarbageError: for anything else.
        """
        if self._dropping:
            return b''
        rest = self._head + bytes(piece)
        if not self._head:
            stripped = rest.lstrip(b'\0')
            self._padding += len(rest) - len(stripped)
            rest = stripped
        if not rest:
            return b''
        self._head = b''
        start = rest[: self._magic_length]
        if not any(magic.startswith(start) for magic in self._codec.magics):
            if not self._ignore:
                raise errors.TrailingGarbageError(
                    'something that is no %s follows the end of the image'
                    % self._codec.name,
                    offset=offset - len(rest),
                    hint=_TRAILING_HINT,
                )
            LOG.warning(
                'what follows the end of the %s container is ignored',
                self._codec.name,
            )
            self._dropping = True
            return b''
        if self._padding and (
            not self._codec.padding or self._padding % self._codec.padding
        ):
            # Never dropped: it may well be of the image.
            raise errors.TrailingGarbageError(
                'what begins like %s follows %d zero bytes, where none may'
                % (self._codec.name, self._padding),
                offset=offset - len(rest),
            )
        if len(start) < self._magic_length or not self._codec.announced(rest):
            self._head = rest
            return b''
        self._padding = 0
        return rest

    def finish(self, offset: int) -> None:
        """Say that the input has ended here, at ``offset``."""
        if self._head:
            raise errors.TruncatedError(
                'the %s container ends within the first bytes of a member'
                % self._codec.name,
                offset=offset,
            )


class _Unpacker:
    """Decodes member after member.

    :param at: where in the container the chunks begin.
    :ivar at_least: bytes announced by the members begun so far.
    """

    def __init__(self, codec: _Codec, limits: _Limits, at: Boundary) -> None:
        self.at_least = 0
        self._codec = codec
        self._limits = limits
        self._gap = _Gap(codec, limits.ignore)
        self._decoder: _Decoder | None = None
        #: Where the member began that is being decoded; None: none has.
        self._began: Boundary | None = None
        self._at = at
        # Bytes of the container that were looked at, and those of the image
        # that came out of it.
        self._taken = at.offset
        self._image = at.image

    @property
    def boundary(self) -> Boundary | None:
        """See ``Unpacked``."""
        began = self._began
        inside = None
        if isinstance(self._decoder, blocks.Stream):
            inside = self._decoder.boundary
        if began is None or inside is None:
            return began
        offset, length, state = inside
        return Boundary(self._codec.name, offset, began.image + length, state)

    def unpack(
        self, chunks: Iterator[octets.Buffer]
    ) -> Generator[octets.Buffer, None, None]:
        """Iterate over the image in ``chunks``."""
        try:
            if self._at.state:
                self._decoder = self._resumed(self._at)
            for out in self._outs(chunks):
                self._image += len(out)
                yield out
        finally:
            if isinstance(self._decoder, blocks.Stream):
                self._decoder.close()

    def _outs(self, chunks: Iterator[octets.Buffer]) -> Iterator[bytes]:
        while True:
            try:
                chunk = next(chunks)
            except StopIteration:
                break
            except Exception:
                # What came before has been taken: it is the first in order.
                yield from self._drain()
                raise
            for start in range(0, len(chunk), _FEED):
                yield from self._feed(memoryview(chunk)[start : start + _FEED])
            del chunk
        yield from self._drain()
        if self._decoder is None:
            self._gap.finish(self._taken)
        if self._decoder is not None or self._began is None:
            raise errors.TruncatedError(
                'the %s container ends within a member' % self._codec.name,
                offset=self._taken,
            )

    def _feed(self, piece: octets.Buffer) -> Iterator[bytes]:
        self._taken += len(piece)
        while piece:
            if self._decoder is None:
                piece = self._gap.feed(piece, self._taken)
                if not piece:
                    return
                self._begin(bytes(piece))
            decoder = self._decoder
            assert decoder is not None
            out = self._step(decoder, piece)
            while not decoder.eof and not decoder.needs_input:
                if out:
                    yield out
                out = self._step(decoder, b'')
            if out:
                yield out
            piece = b''
            if decoder.eof:
                piece = self._end(decoder)

    def _drain(self) -> Iterator[bytes]:
        """Iterate over what threads have yet to decode, at the end."""
        decoder = self._decoder
        if isinstance(decoder, blocks.Stream):
            decoder.finish()
            while not decoder.needs_input:
                out = self._step(decoder, b'')
                if out:
                    yield out

    def _end(self, decoder: _Decoder) -> bytes:
        """Return what is behind the member that ``decoder`` is done with."""
        if isinstance(decoder, blocks.Stream):
            decoder.close()
        self._decoder = None
        return decoder.unused_data

    def _begin(self, head: bytes) -> None:
        """Begin to decode the member that begins with ``head``."""
        said = self._codec.announced(head)
        assert said is not None
        self.at_least += said.length
        if said.needs is not None:
            raise self._unusable('it takes %s' % said.needs, self._taken)
        if said.window > self._limits.memory:
            raise self._too_large(said.window, self._taken)
        offset = self._taken - len(head)
        try:
            if self._codec.open is None:
                self._decoder = blocks.Stream(
                    self._limits.memory, self._limits.threads, offset
                )
            else:
                self._decoder = self._codec.open()
        except MemoryError as exc:
            raise _out_of_memory(self._codec.name, self._taken) from exc
        self._began = Boundary(self._codec.name, offset, self._image)

    def _resumed(self, at: Boundary) -> _Decoder:
        """Return a decoder for the member within which ``at`` is."""
        self._began = dataclasses.replace(at)
        return blocks.Stream(
            self._limits.memory, self._limits.threads, at.offset, at.state
        )

    def _step(self, decoder: _Decoder, data: octets.Buffer) -> bytes:
        """One step of ``decoder``; the only place where its errors are mapped.

        Damage is before what was taken so far, by at most one feed.
        """
        try:
            return decoder.decompress(data, STEP)
        except blocks.Failed as failed:
            if not isinstance(failed.cause, _FAILURES):
                raise failed.cause from None
            raise self._failure(failed.cause, failed.taken) from failed.cause
        except _FAILURES as exc:
            raise self._failure(exc, self._taken) from exc

    def _failure(self, error: BaseException, taken: int) -> errors.Error:
        """Return what ``error`` of a decoder means.

        :param taken: bytes of the container that it had been given.
        """
        text = str(error)
        if isinstance(error, MemoryError) or any(
            sign in text for sign in _OUT_OF_MEMORY
        ):
            return _out_of_memory(self._codec.name, taken)
        if 'Memory usage limit' in text:
            # In a block that is not the first one of its stream.
            return self._too_large(None, taken)
        if 'unsupported options' in text:
            # liblzma says so where the check value was right: no damage.
            return self._unusable(
                'it takes a filter, or an option of one, that this liblzma'
                ' does not have',
                taken,
            )
        return errors.CorruptError(
            'the %s container is damaged: %s' % (self._codec.name, text),
            offset=taken,
        )

    def _unusable(self, why: str, taken: int) -> errors.ContentError:
        return errors.ContentError(
            'the %s container cannot be unpacked here: %s'
            % (self._codec.name, why),
            offset=taken,
            hint='compress the image without it',
        )

    def _too_large(
        self, window: int | None, taken: int
    ) -> errors.WindowTooLarge:
        """Return the error of a window of so many bytes; None: not known."""
        wanted = 'more than'
        advice = 'allow more by decoder_memory (--decoder-memory)'
        if window is not None:
            mib = -(-window // octets.MIB)
            wanted = '%d MiB, above' % mib
            advice = (
                'allow it by decoder_memory = %d (--decoder-memory %dM)'
                % (
                    mib * octets.MIB,
                    mib,
                )
            )
            if window > _DECODER_MEMORY_MAX:
                advice = 'decoder_memory cannot allow more than %d' % (
                    _DECODER_MEMORY_MAX
                )
        return errors.WindowTooLarge(
            'unpacking the %s container takes a window of %s the %d MiB'
            ' allowed'
            % (self._codec.name, wanted, self._limits.memory // octets.MIB),
            offset=taken,
            hint='%s, or compress the image with a smaller window (dictionary)'
            % advice,
        )


def _out_of_memory(container: str, offset: int) -> errors.ResourceError:
    """Return the error of a decoder that did not get the memory it asked for.

    :param offset: bytes of the container that it was given.
    """
    error = errors.ResourceError(
        'out of memory (ENOMEM) while unpacking the %s container' % container,
        offset=offset,
        hint='free memory, or raise the limit, and run it again',
    )
    error.os_errno = errno.ENOMEM
    return error
