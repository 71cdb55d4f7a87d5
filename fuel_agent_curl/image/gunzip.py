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

import ast
from collections.abc import Iterator
import io
import re
from typing import cast

from zlib_ng import gzip_ng
from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets

# A member without content (RFC 1952 section 2.3). The reader takes the first
# bytes of a header for a header cut short, and does not tell from where on
# the input is too short. With this behind it, bytes that begin no member are
# told as such, and a member cut short is damaged, but only after the end.
_EMPTY_MEMBER = bytes.fromhex('1f8b0800ffffffff00ff 0300 00000000 00000000')

# What it says where a member should begin: the two bytes that it found.
_NO_MEMBER = re.compile(r"Not a gzipped file \((b(['\"]).*\2)\)$")
_HEADER = 10


# (zlib-ng's type hints have an instance where the class is.)
_DAMAGE = cast(
    'tuple[type[Exception], ...]',
    # The third one is of a header of more than half a mebibyte.
    (EOFError, OSError, OverflowError, zlib_ng.error),
)


class _SourceError(Exception):
    """The chunks ended with this error; no matter of the container.

    What reads would take an interrupted call for one to be repeated, and
    lose what it had unpacked. The error is not kept in ``_Input``: zlib-ng's
    reader hides that from the collector, and it would stay for ever.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _Input(io.RawIOBase):
    """Chunks as a file, and an empty member after them.

    :ivar taken: bytes of the chunks that were read, up to half a mebibyte
        more than were unpacked.
    :ivar ended: all of them were.
    """

    def __init__(self, chunks: Iterator[octets.Buffer]) -> None:
        super().__init__()
        self.taken = 0
        self.ended = False
        self._chunks = chunks
        self._rest = memoryview(b'')
        self._tail = b''

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            if self.ended:
                return 0
            self._rest = self._next()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        if not self.ended:
            self.taken += count
            self._tail = (self._tail + self._rest[:count][-_HEADER:])[
                -_HEADER:
            ]
        self._rest = self._rest[count:]
        return count

    def _next(self) -> memoryview:
        try:
            return memoryview(next(self._chunks))
        except StopIteration:
            self.ended = True
            return memoryview(_EMPTY_MEMBER)
        except BaseException as error:
            raise _SourceError(error) from None

    def release(self) -> None:
        """Let go of the chunks: whoever reads is not seen by the collector."""
        self._chunks = iter(())
        self._rest = memoryview(b'')

    def has_garbage(self, found: bytes) -> bool:
        """Tell whether ``found``, in place of a magic number, is no member.

        Else a member was cut short, and it is of what was put behind it.
        """
        if not self.ended:
            return True
        if found == _EMPTY_MEMBER[:1] * 2:
            # Half a magic number.
            return False
        return any(
            (self._tail[-length:] + _EMPTY_MEMBER).startswith(found)
            for length in range(1, _HEADER)
        )


def members(chunks: Iterator[octets.Buffer], step: int) -> Iterator[bytes]:
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
    held = b''
    try:
        while piece := _step(file, source, step):
            if held:
                yield held
                held = b''
            if source.ended:
                # It may hold what is behind the end: the next step tells.
                held = piece
            else:
                yield piece
    finally:
        source.release()
    if held:
        yield held


def _step(file: gzip_ng.GzipNGFile, source: _Input, step: int) -> bytes:
    try:
        piece: bytes = file.read(step)
        return piece
    except _SourceError as failure:
        cause = failure.error
    except _DAMAGE as error:
        raise _failure(error, source) from error
    try:
        # Not within the clause: its own cause and context stay.
        raise cause
    finally:
        del cause


def _failure(error: Exception, source: _Input) -> errors.ContentError:
    """Return what ``error`` of zlib-ng means."""
    # The first member's magic has been seen.
    found = _NO_MEMBER.match(str(error))
    if found and source.has_garbage(ast.literal_eval(found[1])):
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
