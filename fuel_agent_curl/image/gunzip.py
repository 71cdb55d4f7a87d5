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

Its reader is used, as its file object does, and not its decompressor: that
makes each step's bytes by doubling a buffer of 16 KiB, and takes the
interpreter's lock again each time, for which the other threads make it wait.
The reader unpacks all that was asked for at once.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
import errno
import io
import logging
import re
from typing import BinaryIO
from typing import cast

from zlib_ng import gzip_ng
from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets

LOG = logging.getLogger(__name__)

# A member without content (RFC 1952 section 2.3). The reader takes the first
# bytes of a header for a header cut short, and does not tell from where on
# the input is too short. With this behind it, bytes that begin no member are
# told as such, and a member cut short is damaged, but only after the end.
_EMPTY_MEMBER = bytes.fromhex('1f8b0800ffffffff00ff 0300 00000000 00000000')

# What it says where a member should begin: the two bytes that it found.
_NO_MEMBER = re.compile(r"Not a gzipped file \((b(['\"]).*\2)\)$")
_HEADER = 10

# What is read of the chunks at once, in bytes; as the file object does.
_FEED = 512 * octets.KIB

# zlib.h: Z_MEM_ERROR. It comes as the error that damage is told by, too.
_OUT_OF_MEMORY = 'Error -4 '

#: What to do about bytes behind the end.
TRAILING_HINT = (
    'if they belong there, as a signature may, have them left out by'
    ' trailing_data = ignore (--trailing-data ignore)'
)


# (zlib-ng's type hints have an instance where the class is.)
_FAILURES = cast(
    'tuple[type[Exception], ...]',
    # The third one is of a header of more than half a mebibyte.
    (EOFError, OSError, OverflowError, zlib_ng.error, MemoryError),
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

    def drop(self) -> None:
        """Take the rest of the chunks, for nothing."""
        for chunk in self._chunks:
            self.taken += len(chunk)
        self.ended = True

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


def members(
    chunks: Iterator[octets.Buffer], step: int, ignore: bool = False
) -> Iterator[bytes]:
    """Decode member after member (RFC 1952 section 2.2).

    Zero padding may follow each.

    :param chunks: they begin with the magic number of a member.
    :param step: bytes of each piece handed on, but for the last.
    :param ignore: drop what follows a member and begins no other.
    :raises errors.CorruptError: for damage.
    :raises errors.TruncatedError: when the input ends within a member.
    :raises errors.TrailingGarbageError: when something else follows one.
    :raises errors.ResourceError: when there is no memory for it.
    """
    source = _Input(chunks)
    held = b''
    try:
        reader = _Reader(source, step, ignore)
        try:
            while piece := reader.next():
                if held:
                    yield held
                    held = b''
                if source.ended:
                    # It may hold what is behind the end: the next step tells.
                    held = piece
                else:
                    yield piece
        except errors.TrailingGarbageError:
            if not ignore:
                raise
            log_ignored('gzip')
            # What came before it was whole, and its checksum right.
            held += reader.recovered()
            source.drop()
        if held:
            yield held
    finally:
        source.release()


class _Reader:
    """Unpacks step by step.

    :param recover: keep what was unpacked in the same step before an error,
        which costs a copy of everything.
    """

    def __init__(self, source: _Input, step: int, recover: bool) -> None:
        self._source = source
        self._step = step
        self._handed_on = 0
        try:
            raw = gzip_ng._GzipNGReader(cast(BinaryIO, source), _FEED)
            self._raw = cast(io.RawIOBase, raw)
            self._buffered = io.BufferedReader(self._raw)
            self._buffer = memoryview(bytearray(step if recover else 0))
        except MemoryError as error:
            raise out_of_memory('gzip', 0) from error

    def next(self) -> bytes:
        """Return the next bytes, none at the end."""
        try:
            if not self._buffer:
                return self._buffered.read(self._step)
            self._raw.readinto(self._buffer)
            return self.recovered()
        except _SourceError as failure:
            cause = failure.error
        except _FAILURES as error:
            raise _failure(error, self._source) from error
        try:
            # Not within the clause: its own cause and context stay.
            raise cause
        finally:
            del cause

    def recovered(self) -> bytes:
        """Return what the last step unpacked, had it failed or not."""
        count = self._raw.tell() - self._handed_on
        self._handed_on += count
        return bytes(self._buffer[:count])


def log_ignored(container: str) -> None:
    """Say that bytes behind the end are ignored."""
    LOG.warning(
        'what follows the end of the %s container is ignored', container
    )


def out_of_memory(container: str, offset: int) -> errors.ResourceError:
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


def _failure(error: Exception, source: _Input) -> errors.Error:
    """Return what ``error`` of zlib-ng means."""
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error):
        return out_of_memory('gzip', source.taken)
    # The first member's magic has been seen.
    found = _NO_MEMBER.match(str(error))
    if found and source.has_garbage(ast.literal_eval(found[1])):
        return errors.TrailingGarbageError(
            'something that is no gzip follows the end of the image',
            offset=source.taken,
            hint=TRAILING_HINT,
        )
    if source.ended:
        return errors.TruncatedError(
            'the gzip container ends within a member', offset=source.taken
        )
    return errors.CorruptError(
        'the gzip container is damaged: %s' % error, offset=source.taken
    )
