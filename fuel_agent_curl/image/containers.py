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
frames in zstd), after which nothing but zero padding may follow. One step
hands on at most STEP bytes however well they compress.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import logging
import lzma
import sys
import typing
from typing import cast

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import image
from fuel_agent_curl import octets
from fuel_agent_curl.image import gunzip

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LOG = logging.getLogger(__name__)


#: The most that one step hands on, in bytes.
STEP = 1 * octets.MIB

# What a decoder is given at once. It keeps what it could not use yet and
# copies that at every step, so this stays small.
_FEED = 64 * octets.KIB

#: The largest window (zstd) or dictionary (xz) a decoder may ask for. It is
#: what xz -9 uses; a ramdisk has no room for the gigabytes that both allow.
WINDOW_MAX = 64 * octets.MIB

# liblzma counts its own state too: 1 MiB is above what any xz filter needs.
_XZ_MEMLIMIT = WINDOW_MAX + octets.MIB
_ZSTD_WINDOW_LOG_MAX = WINDOW_MAX.bit_length() - 1

# RFC 1950 2.2: deflate, a window of up to 32 KiB, no preset dictionary, and
# the two bytes are a multiple of 31.
_ZLIB_MAGICS = tuple(
    bytes((method, flags))
    for method in range(0x08, 0x80, 0x10)
    for flags in range(256)
    if (method * 256 + flags) % 31 == 0 and not flags & 0x20
)

# What damage makes the decoders raise; bz2 raises OSError. (zlib-ng's type
# hints have an instance where the class is.)
_DAMAGE = cast(
    'tuple[type[Exception], ...]',
    (zlib_ng.error, lzma.LZMAError, zstd.ZstdError, OSError),
)


class _Decoder(typing.Protocol):
    """Decodes one member; as bz2.BZ2Decompressor does."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: octets.Buffer, max_length: int) -> bytes: ...


class _Inflate:
    """One zlib container, as bz2's class does it.

    zlib-ng has such a class too, but only as a private one.
    """

    def __init__(self) -> None:
        self._zlib = zlib_ng.decompressobj()
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: octets.Buffer, max_length: int) -> bytes:
        out: bytes = self._zlib.decompress(
            data if self.needs_input else self._zlib.unconsumed_tail,
            max_length,
        )
        # A full step may have left more inside zlib, without a tail.
        self.needs_input = len(out) < max_length
        return out


def _open_xz() -> _Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMLIMIT)


def _open_zstd() -> _Decoder:
    return zstd.ZstdDecompressor(
        options={
            zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG_MAX
        }
    )


@dataclasses.dataclass(frozen=True)
class _Codec:
    """One container: how its members begin, and what decodes one.

    :ivar open: None for gzip, which ``gunzip`` decodes.
    :ivar padding: the multiple of zero bytes after which another member may
        follow; 0: none may.
    """

    name: str
    magics: tuple[bytes, ...]
    open: Callable[[], _Decoder] | None = None
    padding: int = 0


_CODECS = (
    _Codec('gzip', (b'\x1f\x8b',)),
    # xz-file-format.txt 2.2: stream padding comes in multiples of four.
    _Codec('xz', (b'\xfd7zXZ\x00',), _open_xz, padding=4),
    # RFC 8878 3.1: frames, and skippable frames of sixteen kinds.
    _Codec(
        'zstd',
        (
            b'\x28\xb5\x2f\xfd',
            *(bytes((0x50 + kind,)) + b'\x2a\x4d\x18' for kind in range(16)),
        ),
        _open_zstd,
    ),
    # The digit is the block size; a block or the end follows.
    _Codec(
        'bzip2', tuple(b'BZh%d' % n for n in range(1, 10)), bz2.BZ2Decompressor
    ),
)

# fuel-agent's own gunzip takes this, too. Its two bytes are too little to know
# it by, so it has to be asked for.
_ZLIB = _Codec('zlib', _ZLIB_MAGICS, _Inflate)

# The longest magic: as much is looked at before deciding.
_PEEK = max(len(m) for codec in _CODECS for m in codec.magics)


def _found(head: bytes) -> str:
    """Return the container that begins with ``head``, the first bytes.

    A few bytes that are all there is, and end inside a magic number, are a
    container cut short, not an image of two bytes.
    """
    for codec in _CODECS:
        for magic in codec.magics:
            if head.startswith(magic):
                return codec.name
            if 2 <= len(head) < _PEEK and magic.startswith(head):
                return codec.name
    return 'raw'


def open_container(
    chunks: Iterable[octets.Buffer], container: str = 'auto'
) -> tuple[str, Iterator[octets.Buffer]]:
    """Return the name of the container and an iterator over the image.

    Takes from ``chunks`` what is needed to look at the first bytes, so an
    error of the source can come from here. Neither keeps a chunk, nor any
    part of it, when the next one is asked for.

    :param container: one of ``image.CONTAINERS``, or 'auto' for what the
        first bytes say. 'raw' takes anything as it is, 'zlib' gzip as well.
    :raises errors.OptionError: for an unknown container.
    :raises errors.CorruptError: when the image is in another container.
    :raises errors.TruncatedError: when there is nothing to unpack.
    """
    if container not in ('auto', 'zlib', *image.CONTAINERS):
        raise errors.OptionError(
            'the container is one of auto, %s, not %r'
            % (', '.join(image.CONTAINERS), container)
        )
    head, chunks = _peek(iter(chunks))
    found = _found(head)
    if container == 'auto' or (container, found) == ('zlib', 'gzip'):
        container = found
    elif container == 'raw':
        if found != 'raw':
            LOG.warning(
                'The image starts like %s; it is written as it is', found
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
    for codec in (*_CODECS, _ZLIB):
        if codec.name == container:
            if codec.open is None:
                return container, gunzip.members(chunks, STEP)
            return container, _members(chunks, codec, codec.open)
    return container, chunks


def decompress(
    chunks: Iterable[octets.Buffer], container: str = 'auto'
) -> Iterator[octets.Buffer]:
    """Iterate over the image in ``chunks``; see ``open_container``.

    :raises errors.CorruptError: for damage.
    :raises errors.TruncatedError: when the input ends within a member.
    :raises errors.TrailingGarbageError: when something follows the last.
    :raises errors.WindowTooLarge: when a decoder wants too much memory.
    """
    yield from open_container(chunks, container)[1]


def _peek(
    chunks: Iterator[octets.Buffer],
) -> tuple[bytes, Iterator[octets.Buffer]]:
    """Return the first bytes, and all chunks from the first on."""
    head = b''
    for chunk in chunks:
        if not head and len(chunk) >= _PEEK:
            # The usual case: nothing is copied but the first bytes.
            return bytes(chunk[:_PEEK]), _prepend(chunk, chunks)
        head += chunk
        if len(head) >= _PEEK:
            break
    return head[:_PEEK], _prepend(head, chunks)


def _prepend(
    first: octets.Buffer, chunks: Iterator[octets.Buffer]
) -> Iterator[octets.Buffer]:
    if first:
        yield first
    del first
    yield from chunks


class _Gap:
    """What comes between two members: zero padding, or the next magic."""

    def __init__(self, codec: _Codec) -> None:
        self._codec = codec
        self._magic_length = len(codec.magics[0])
        self._head = b''
        self._padding = 0

    def feed(self, piece: octets.Buffer, offset: int) -> bytes:
        """Return the start of the next member, b'' while there is none.

        :param offset: where ``piece`` ends in the input, for the error.
        :raises errors.TrailingGarbageError: for anything else.
        """
        rest = self._head + bytes(piece)
        if not self._head:
            stripped = rest.lstrip(b'\0')
            self._padding += len(rest) - len(stripped)
            rest = stripped
        if not rest:
            return b''
        self._head = b''
        allowed = not self._padding or (
            self._codec.padding and self._padding % self._codec.padding == 0
        )
        if not allowed or not self._could_start(rest):
            raise errors.TrailingGarbageError(
                'something that is no %s follows the end of the image'
                % self._codec.name,
                offset=offset - len(rest),
            )
        if len(rest) < self._magic_length:
            self._head = rest
            return b''
        self._padding = 0
        return rest

    def _could_start(self, rest: bytes) -> bool:
        start = rest[: self._magic_length]
        return any(m.startswith(start) for m in self._codec.magics)

    def finish(self, offset: int) -> None:
        """Say that the input has ended here, at ``offset``."""
        if self._head:
            raise errors.TruncatedError(
                'the %s container ends within the first bytes of a member'
                % self._codec.name,
                offset=offset,
            )


def _members(
    chunks: Iterator[octets.Buffer],
    codec: _Codec,
    begin: Callable[[], _Decoder],
) -> Iterator[octets.Buffer]:
    """Decode member after member."""
    gap = _Gap(codec)
    decoder: _Decoder | None = None
    taken = 0
    for chunk in chunks:
        for start in range(0, len(chunk), _FEED):
            piece: octets.Buffer = memoryview(chunk)[start : start + _FEED]
            taken += len(piece)
            while piece:
                if decoder is None:
                    piece = gap.feed(piece, taken)
                    if not piece:
                        break
                    decoder = begin()
                out = _step(decoder, piece, codec, taken)
                while not decoder.eof and not decoder.needs_input:
                    yield out
                    out = _step(decoder, b'', codec, taken)
                if out:
                    yield out
                piece = b''
                if decoder.eof:
                    piece = decoder.unused_data
                    decoder = None
    if decoder is not None:
        raise errors.TruncatedError(
            'the %s container ends within a member' % codec.name, offset=taken
        )
    gap.finish(taken)


def _step(
    decoder: _Decoder, data: octets.Buffer, codec: _Codec, offset: int
) -> bytes:
    """One step of ``decoder``; the only place where its errors are mapped.

    ``offset`` is how much of the input was taken so far: the damage is
    before it, by at most one feed.
    """
    try:
        return decoder.decompress(data, STEP)
    except _DAMAGE as exc:
        text = str(exc)
        if 'Memory usage limit' in text or 'too much memory' in text:
            raise errors.WindowTooLarge(
                'unpacking the %s container takes a window above %d MiB'
                % (codec.name, WINDOW_MAX // octets.MIB),
                offset=offset,
                hint='compress the image with a smaller window (dictionary)',
            ) from exc
        raise errors.CorruptError(
            'the %s container is damaged: %s' % (codec.name, text),
            offset=offset,
        ) from exc
