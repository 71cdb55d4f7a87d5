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

"""Opening a target: what it is, and whether it may be written to.

Everything that can be known before a byte is written is found out here.
"""

from __future__ import annotations

from collections.abc import Sequence
import errno
import fcntl
import logging
import os
import stat

from fuel_agent_curl import errors
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import holders
from fuel_agent_curl.target import oserrors
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import storage
from fuel_agent_curl.target import targets

LOG = logging.getLogger(__name__)

# Each turn lost means that the file was removed or made by somebody else in
# that very moment.
_TURNS = 10


def open_target(
    path: str | os.PathLike[str],
    *,
    direct_io: bool = True,
    verify: bool = False,
) -> sink.Sink:
    """Return the sink that writes to ``path``; nothing is written yet.

    Symbolic links are followed. A regular file is created where there is
    nothing, but never under /dev, where it would be a mistyped device that
    fills the memory. A block device is opened exclusively, a file locked:
    whoever else writes to it is refused.

    :param direct_io: write past the page cache where the target takes it.
    :param verify: read everything back before the image looks complete.
    :raises errors.DeviceError: of the class that says what is wrong.
    """
    return _open_path(path, storage.Options(direct_io, verify))


def open_storage(
    path: str | os.PathLike[str],
    *,
    direct_io: bool = True,
    verify: bool = False,
) -> storage.Storage:
    """Return a sink that can skip parts of the image; see ``open_target``.

    :raises errors.OptionError: for a pipe, a terminal and the like.
    """
    options = storage.Options(direct_io, verify, keep=True)
    opened = _open_path(path, options)
    assert isinstance(opened, storage.Storage)
    return opened


def _open_path(
    path: str | os.PathLike[str], options: storage.Options
) -> sink.Sink:
    name = os.fspath(path)
    if not name:
        # Which os.path takes for the current directory.
        raise oserrors.refusal(errors.TargetMissing, 'the target has no name')
    try:
        for _turn in range(_TURNS):
            opened = _open(name, options)
            if opened is not None:
                return opened
    except OSError as exc:
        raise oserrors.failure(
            name, exc, doing='opening', at_open=True
        ) from exc
    raise oserrors.refusal(
        errors.TargetBusy, '%s is removed and made again all the time' % name
    )


def _open(path: str, options: storage.Options) -> sink.Sink | None:
    """Open what is at ``path`` now; None: it was gone the next moment."""
    access = os.O_RDWR if options.reads else os.O_WRONLY
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return _create(path, access, options)
    if stat.S_ISDIR(mode):
        raise oserrors.refusal(
            errors.TargetIsDirectory, '%s is a directory' % path
        )
    if stat.S_ISBLK(mode):
        return _open_device(path, access, options)
    if stat.S_ISREG(mode):
        return _open_file(path, access, options)
    if stat.S_ISSOCK(mode):
        raise errors.DeviceError('%s is a socket' % path)
    if options.keep:
        raise errors.OptionError(
            '%s takes every byte in order, so a block map is of no use: a'
            ' device or a file is needed' % path
        )
    if options.verify:
        raise errors.OptionError(
            '%s cannot be read back, so it cannot be verified' % path
        )
    # Not by its real path: that of /dev/stdout cannot be opened.
    fd = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    return sink.Stream(path, fd)


def _open_device(
    path: str, access: int, options: storage.Options
) -> sink.Sink:
    number = os.stat(path).st_rdev
    census = holders.Census()
    _refuse_users(path, census.of_device(number))
    try:
        # EBUSY where it is mounted, or used by md, dm, swap or another copy;
        # the same for a disk one of whose partitions is (open(2)).
        fd = os.open(path, access | os.O_EXCL)
    except OSError as exc:
        if exc.errno != errno.EBUSY:
            raise
        _refuse_users(path, census.elsewhere(number))
        raise oserrors.refusal(
            errors.TargetBusy,
            '%s is held exclusively, and nothing says by whom' % path,
            os_errno=errno.EBUSY,
        ) from exc
    try:
        if blockdev.is_read_only(fd):
            raise OSError(errno.EROFS, 'the device is read-only')
        if not blockdev.size(fd):
            raise OSError(errno.ENOMEDIUM, os.strerror(errno.ENOMEDIUM))
        return targets.Device(path, fd, options)
    except BaseException:
        os.close(fd)
        raise


def _open_file(
    path: str, access: int, options: storage.Options
) -> sink.Sink | None:
    _refuse_dev(path, 'a regular file')
    try:
        fd = os.open(path, access)
    except FileNotFoundError:
        return None
    try:
        _refuse_users(path, holders.Census().of_file(os.fstat(fd)))
    except BaseException:
        os.close(fd)
        raise
    return _lock(path, fd, options, created=False)


def _refuse_users(path: str, found: Sequence[holders.Holder]) -> None:
    if found:
        error = oserrors.refusal(
            errors.TargetBusy,
            '%s is in use: %s' % (path, holders.listed(found)),
            os_errno=errno.EBUSY,
        )
        error.hint = holders.releases(found)
        raise error


def _create(
    path: str, access: int, options: storage.Options
) -> sink.Sink | None:
    _refuse_dev(path, 'no device')
    real = os.path.realpath(path)
    if path.endswith('/') or not os.path.isdir(os.path.dirname(real)):
        raise oserrors.refusal(
            errors.TargetMissing, '%s: no such directory' % path
        )
    try:
        fd = os.open(real, access | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    return _lock(path, fd, options, created=True)


def _refuse_dev(path: str, what: str) -> None:
    real = os.path.realpath(path)
    if real.startswith('/dev/') and not real.startswith('/dev/shm/'):  # noqa: S108
        raise oserrors.refusal(errors.TargetMissing, '%s is %s' % (path, what))


def _lock(
    path: str, fd: int, options: storage.Options, *, created: bool
) -> sink.Sink | None:
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            # If we made it, whoever has locked it since uses it now.
            raise oserrors.refusal(
                errors.TargetBusy,
                '%s is being written by another process' % path,
            ) from exc
        except OSError as exc:
            LOG.info('%s cannot be locked: %s', path, exc.strerror)
        if not _is_at(path, fd):
            # A copy that failed has removed it while we were waiting for
            # nothing but our turn: what we wrote would be nowhere.
            os.close(fd)
            return None
        return targets.File(path, fd, options, created=created)
    except BaseException:
        os.close(fd)
        raise


def _is_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
