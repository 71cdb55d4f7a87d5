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

"""What is on a medium, rather than in the page cache."""

from __future__ import annotations

import os


def reopen(fd: int) -> int:
    """Return a descriptor of its own that reads the file from its medium.

    By O_DIRECT, for which memory, offset and length have to be multiples of
    the sector, and what is clean in the page cache is dropped: not every file
    system has the one, and some that take it read through the cache.

    :param fd: of the file; it may be used by another thread meanwhile.
    :raises OSError: if it cannot be opened.
    """
    path = '/proc/self/fd/%d' % fd
    try:
        own = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        own = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(own, 0, 0, os.POSIX_FADV_DONTNEED)
    except BaseException:
        os.close(own)
        raise
    return own
