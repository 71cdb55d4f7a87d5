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

"""The directory of the records, in which nobody else can write."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import zlib

from fuel_agent_curl.state import record as record_module

LOG = logging.getLogger(__name__)

# The longest name of a file is 255 bytes.
_NAME = 200


def default() -> str:
    """Return where the records are kept where nobody says otherwise."""
    home = os.environ.get('XDG_STATE_HOME', '')
    if not home.startswith('/'):
        home = '/var/lib'
        if os.geteuid():
            home = os.path.expanduser('~/.local/state')
    return os.path.join(home, 'fuel-agent-curl')


def path_of(directory: str, what: str) -> str:
    """Return where the record of ``what``, a path, is kept."""
    name = what.strip('/').replace('%', '%25').replace('/', '%2F')
    data = name.encode('utf-8', 'surrogateescape')
    if len(data) > _NAME:
        tail = os.fsdecode(data[-_NAME:])
        name = '%08x%s' % (zlib.crc32(data), tail)
    return os.path.join(directory, name + '.record')


def read(path: str) -> record_module.Record | None:
    """Return the record in a file of ours; None: there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        ):
            LOG.warning('%s is not ours alone, so it is ignored', path)
            return None
        return read_slots(fd, 0, path)
    finally:
        os.close(fd)


def read_slots(fd: int, start: int, path: str) -> record_module.Record | None:
    """Return the newest record of the slots at ``start`` of a file.

    :param path: what it is called, where one is ignored.
    """
    slots = []
    for number in range(record_module.SLOTS):
        at = start + number * record_module.SLOT
        try:
            slots.append(os.pread(fd, record_module.SLOT, at))
        except OSError as exc:
            LOG.warning('%s cannot be read: %s', path, exc.strerror)
    found, faults = record_module.newest(slots)
    for fault in faults:
        LOG.warning('%s: a record is ignored: %s', path, fault)
    return found


def create(path: str) -> int:
    """Make or open a file of ours for a record; return its descriptor.

    :raises OSError: where that cannot be.
    """
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def remove(path: str) -> None:
    """Remove a file of ours, if it is there."""
    with contextlib.suppress(OSError):
        os.unlink(path)
