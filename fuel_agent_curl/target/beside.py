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

"""The file that is written beside the one that it is to replace.

It has a name of its own, in the same directory, and no other: every file
system has names and renames, where files without a name (O_TMPFILE) are not
everywhere, and cannot take the place of another file. Always the same name, so
that what a killed copy has left is found, by people and by the next copy,
which removes it; a lock says whether the one that made it still runs.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat

from fuel_agent_curl import errors
from fuel_agent_curl.target import oserrors

LOG = logging.getLogger(__name__)

#: What is added to the name of the file that is to be replaced.
SUFFIX = '.fuel-agent-curl'

# The list of who else may do what.
_ACCESS = 'system.posix_acl_access'

# Each turn lost means that somebody made or removed it in that moment.
_TURNS = 10

# Where it cannot be made, for a reason that does not concern the target.
_NOT_HERE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
)


def make(path: str, real: str, mode: int) -> tuple[str, int] | None:
    """Make a file that can be renamed to ``real``; return name and fd.

    Nothing is there, or a regular file. None: this directory or file system
    does not allow it.

    :param path: of the target, for errors.
    :param mode: as for open(2).
    :raises errors.TargetBusy: while another copy to ``real`` runs.
    :raises OSError: for what a target could not be made for, either.
    """
    name = real + SUFFIX
    try:
        _try_rename(path, name)
    except OSError as exc:
        if exc.errno not in _NOT_HERE:
            raise
        LOG.info(
            '%s is written in place: no file can be made, or renamed, beside'
            ' it (%s)',
            path,
            exc.strerror,
        )
        return None
    for _turn in range(_TURNS):
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            _clear_away(path, name)
            continue
        try:
            # Somebody may have taken it for one that was left.
            if not lock(fd) or not is_at(name, fd):
                os.close(fd)
                continue
        except BaseException:
            os.close(fd)
            raise
        return name, fd
    raise oserrors.refusal(
        errors.TargetBusy, '%s is removed and made again all the time' % name
    )


def take(path: str, real: str) -> tuple[str, int] | None:
    """Return name and fd of what a copy to ``real`` has left; None: nothing.

    :param path: of the target, for errors.
    :raises errors.TargetBusy: while that copy runs, or may.
    """
    name = real + SUFFIX
    fd = _open_left(path, name)
    if fd is None or is_at(name, fd):
        return None if fd is None else (name, fd)
    os.close(fd)
    return None


def lock(fd: int) -> bool:
    """Lock a file; return whether nobody else had.

    Where the file system has no locks, nobody has any.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as exc:
        LOG.info('the target cannot be locked: %s', exc.strerror)
    return True


def is_at(path: str, fd: int) -> bool:
    """Return whether the open file is what ``path`` names."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return False


def inherit(old: int, new: int) -> None:
    """Give the file ``new`` the owner, mode and attributes of ``old``.

    As far as that is possible: who may not give a file away keeps it.
    """
    status = os.fstat(old)
    mode = stat.S_IMODE(status.st_mode)
    try:
        os.fchown(new, status.st_uid, status.st_gid)
    except OSError:
        # What these allow was meant for another owner.
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
        with contextlib.suppress(OSError):
            os.fchown(new, -1, status.st_gid)
    with contextlib.suppress(OSError):
        # The directory has put one there, for what is new in it.
        os.removexattr(new, _ACCESS)
    with contextlib.suppress(OSError):
        os.fchmod(new, mode)
    with contextlib.suppress(OSError):
        for name in os.listxattr(old):
            # Not what is about the content: signatures, capabilities.
            if name.startswith('user.') or name in (
                'security.selinux',
                _ACCESS,
            ):
                with contextlib.suppress(OSError):
                    os.setxattr(new, name, os.getxattr(old, name))


def _clear_away(path: str, name: str) -> None:
    """Remove what a copy has left that does not run any more.

    :raises errors.TargetBusy: if that one runs, or may.
    """
    fd = _open_left(path, name)
    if fd is None:
        return
    try:
        if is_at(name, fd):
            LOG.info('%s was left by a copy that was killed; removed', name)
            os.unlink(name)
    finally:
        os.close(fd)


def _open_left(path: str, name: str) -> int | None:
    """Open and lock what a copy has left that does not run any more."""
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise _in_the_way(path, name) from exc
    try:
        status = os.fstat(fd)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or status.st_nlink > 1
        ):
            raise _in_the_way(path, name)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise oserrors.refusal(
                errors.TargetBusy,
                '%s is being written by another process, as %s' % (path, name),
            ) from exc
        except OSError as exc:
            # Without locks, nobody can tell.
            raise _in_the_way(path, name) from exc
    except BaseException:
        os.close(fd)
        raise
    return fd


def _in_the_way(path: str, name: str) -> errors.DeviceError:
    error = oserrors.refusal(
        errors.TargetBusy,
        '%s cannot be written: %s is in the way' % (path, name),
    )
    error.hint = 'remove it, if no copy to this target runs'
    return error


def _try_rename(path: str, name: str) -> None:
    """Make and rename an empty file, whose name begins with ``name``.

    That it cannot be done is known too late in the end.

    :param path: of the target, for errors.
    :raises errors.TargetBusy: if what has such a name was not made here.
    """
    first, second = name + '-', name + '--'
    for each in first, second:
        _refuse_others(path, each)
    try:
        # Another copy to the same name may do it in that moment, or was killed
        # then: what that has made will do as well.
        with contextlib.suppress(FileExistsError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            # On some file systems it is close(2) that fails.
            os.close(os.open(first, flags, 0o600))
        with contextlib.suppress(FileNotFoundError):
            os.rename(first, second)
    finally:
        for each in first, second:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)


def _refuse_others(path: str, name: str) -> None:
    """Refuse what is at ``name``, unless it is as ``_try_rename`` makes it.

    What somebody else has there is neither moved nor removed.
    """
    try:
        status = os.lstat(name)
    except FileNotFoundError:
        return
    if (
        not stat.S_ISREG(status.st_mode)
        or status.st_size
        or status.st_uid != os.geteuid()
        or status.st_nlink > 1
    ):
        raise _in_the_way(path, name)
