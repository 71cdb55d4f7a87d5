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

"""The records of one copy, from its first to its end."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import logging
import os
import time

from fuel_agent_curl.state import directory
from fuel_agent_curl.state import record as record_module

LOG = logging.getLogger(__name__)


class Journal:
    """Keeps the records of a copy in a file.

    :param path: of the file.
    :param asked: returns the digest of all that was asked for.
    :param url: of the image, redacted.
    :param origin: returns of which representation it is, None where that is
        not known.
    :param before: the record that is gone on with.
    :param spool: returns what tells the spool that belongs to the copy from
        every other; '': there is none.
    :ivar container: what the image comes in.
    :ivar slot: number of the slot that the last record is in.
    """

    def __init__(
        self,
        path: str,
        asked: Callable[[], str],
        url: str,
        origin: Callable[[], record_module.Origin | None],
        before: record_module.Record | None = None,
        spool: Callable[[], str] = str,
    ) -> None:
        self.container = 'raw'
        self.slot = 0
        self._path = path
        self._asked = asked
        self._url = url
        self._origin = origin
        self._last = before
        self._spool = spool
        self._fd: int | None = None
        self._failed = False

    def save(
        self,
        written: record_module.Mark,
        synced: record_module.Mark | None,
        *,
        head: int = 0,
        hidden: Mapping[int, bytes] | None = None,
        old: Mapping[int, bytes] | None = None,
    ) -> bytes | None:
        """Write a record; return it, for the target to have it, too.

        None: there is none. That it cannot be written fails no copy.
        """
        origin = self._origin()
        if origin is None:
            return None
        last, now = self._last, time.time()
        record = record_module.Record(
            copy=self._copy() if last is None else last.copy,
            number=1 if last is None else last.number + 1,
            began=now if last is None else last.began,
            saved=now,
            boot=boot(),
            asked=self._asked(),
            url=self._url,
            container=self.container,
            origin=origin,
            written=written,
            synced=synced,
            head=head,
            hidden=hidden or {},
            old=old or {},
        )
        data = record_module.pack(record)
        if data is None:
            return None
        self._last = record
        self.slot = record.number % record_module.SLOTS
        self._write(data)
        return data

    def _copy(self) -> str:
        # Of the same bytes: what was unpacked from another spool may be
        # something else.
        return self._spool() or os.urandom(16).hex()

    def _write(self, data: bytes) -> None:
        if self._failed:
            return
        try:
            if self._fd is None:
                self._fd = directory.create(self._path)
            os.pwrite(self._fd, data, self.slot * record_module.SLOT)
        except OSError as exc:
            self._failed = True
            LOG.warning(
                '%s cannot be written (%s): a copy that is killed is not gone'
                ' on with',
                self._path,
                exc.strerror,
            )

    def reset(self) -> None:
        """Forget what is not gone on with."""
        self.clear()
        self._last = None

    def close(self) -> None:
        """Close the file; what is in it stays."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def clear(self) -> None:
        """Remove the file: there is nothing to go on with."""
        self.close()
        directory.remove(self._path)


def boot() -> str:
    """Return what tells this boot of the machine from every other."""
    try:
        with open('/proc/sys/kernel/random/boot_id') as file:
            return file.read().strip()
    except OSError:
        return ''
