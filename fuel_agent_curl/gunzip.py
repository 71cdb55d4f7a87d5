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


"""The image out of gzip members, by zlib-ng.

Its file object is used and not its decompressor: that makes each step's
bytes by doubling a buffer of 16 KiB, and takes the interpreter's lock again
each time, for which the other threads make it wait. The file object unpacks
all that was asked for at once.
"""

from __future__ import annotations

from collections.abc import Iterator
import io
from typing import cast

from zlib_ng import gzip_ng
from zlib_ng import zlib_ng

from fuel_agent_curl import errors

# A member without content (RFC 1952 section 2.3). The reader takes the first
# bytes of a header for a header cut short, and does not tell from where on
# the input is too short. With this behind it, bytes that begin no member are
# told as such, and a member cut short is damaged, but only after the end.
_EMPTY_MEMBER = bytes.fromhex('1f8b0800ffffffff00ff 0300 00000000 00000000')

Buffer = bytes | bytearray | memoryview

# (zlib-ng's type hints have an instance where the class is.)
_DAMAGE = cast(
    'tuple[type[Exception], ...]', (EOFError, OSError, zlib_ng.error)
)


class _Input(io.RawIOBase):
    """Chunks as a file, and an empty member after them.

    :ivar taken: bytes of the chunks that were read.
    :ivar ended: all of them were.
    :ivar error: what the chunks ended with, where that was no end.
    """

    def __init__(self, chunks: Iterator[Buffer]) -> None:
        super().__init__()
        self.taken = 0
        self.ended = False
        self.error: BaseException | None = None
        self._chunks = chunks
        self._rest = memoryview(b'')
        self._last = b''

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            if self.ended:
                return 0
            self._rest = self._next()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        if not self.ended:
            self.taken += count
            self._last = bytes(buffer[count - 1 : count])
        return count

    def _next(self) -> memoryview:
        try:
            return memoryview(next(self._chunks))
        except StopIteration:
            self.ended = True
            return memoryview(_EMPTY_MEMBER)
        except BaseException as error:
            self.error = error
            raise

    def ends_in_magic(self) -> bool:
        """Tell whether the last byte may be the first of a member."""
        return self.ended and self._last == _EMPTY_MEMBER[:1]


def members(chunks: Iterator[Buffer], step: int) -> Iterator[bytes]:
    """Decode member after member (RFC 1952 section 2.2).

    Zero padding may follow each.

    :param chunks: they begin with the magic number of a member.
    :param step: bytes of each piece handed on, but for the last.
    :raises errors.CorruptError: for damage.
    :raises errors.TruncatedError: when the input ends within a member.
    :raises errors.TrailingGarbageError: when something else follows one.
    """
    source = _Input(chunks)
    file = gzip_ng.GzipNGFile(fileobj=source)  # type: ignore[no-untyped-call]
    while piece := _step(file, source, step):
        yield piece


def _step(file: gzip_ng.GzipNGFile, source: _Input, step: int) -> bytes:
    try:
        piece: bytes = file.read(step)
    except _DAMAGE as error:
        if source.error is not None:
            # Not a matter of the container.
            raise source.error from None
        raise _failure(error, source) from error
    return piece


def _failure(error: Exception, source: _Input) -> errors.ContentError:
    """Return what ``error`` of zlib-ng means."""
    # The first member's magic has been seen.
    if str(error).startswith('Not a gzipped file') and (
        not source.ends_in_magic()
    ):
        return errors.TrailingGarbageError(
            'something that is no gzip follows the end of the image',
            offset=source.taken,
        )
    if source.ended:
        return errors.TruncatedError(
            'the gzip container ends within a member', offset=source.taken
        )
    return errors.CorruptError(
        'the gzip container is damaged: %s' % error, offset=source.taken
    )
