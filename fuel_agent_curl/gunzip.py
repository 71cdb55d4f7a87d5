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

Buffer = bytes | bytearray | memoryview

# (zlib-ng's type hints have an instance where the class is.)
_DAMAGE = cast(
    'tuple[type[Exception], ...]', (EOFError, OSError, zlib_ng.error)
)


class _Input(io.RawIOBase):
    """Chunks as a file.

    :ivar taken: bytes that were read.
    :ivar error: what the chunks ended with, where that was no end.
    """

    def __init__(self, chunks: Iterator[Buffer]) -> None:
        super().__init__()
        self.taken = 0
        self.error: BaseException | None = None
        self._chunks = chunks
        self._rest = memoryview(b'')

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
            except BaseException as error:
                self.error = error
                raise
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self.taken += count
        return count


def members(chunks: Iterator[Buffer], step: int) -> Iterator[bytes]:
    """Decode member after member (RFC 1952 section 2.2).

    Zero padding may follow each. Anything else that is shorter than the
    header of a member is taken for the beginning of one.

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
        raise _failure(error, source.taken) from error
    return piece


def _failure(error: Exception, offset: int) -> errors.ContentError:
    """Return what ``error`` of zlib-ng means; it is before ``offset``."""
    if isinstance(error, EOFError):
        return errors.TruncatedError(
            'the gzip container ends within a member', offset=offset
        )
    # The first member's magic has been seen.
    if str(error).startswith('Not a gzipped file'):
        return errors.TrailingGarbageError(
            'something that is no gzip follows the end of the image',
            offset=offset,
        )
    return errors.CorruptError(
        'the gzip container is damaged: %s' % error, offset=offset
    )
