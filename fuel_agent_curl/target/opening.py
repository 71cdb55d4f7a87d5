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

Everything that can be known before a byte is written is found out here. What
is allowed is a list: block devices, regular files, pipes, terminals,
/dev/null, and whatever a descriptor of ours is open on. All else is refused
by its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import errno
import fcntl
import logging
import os
import re
import stat
import sys
import time

from fuel_agent_curl import errors
from fuel_agent_curl.target import beside
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import filesystem
from fuel_agent_curl.target import holders
from fuel_agent_curl.target import oserrors
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import targets
from fuel_agent_curl.target import writing

LOG = logging.getLogger(__name__)

#: Standard output, as a target.
STDOUT = '-'

_DEFAULTS = writing.Options()

# Each turn lost means that the file was removed or made by somebody else in
# that very moment.
_TURNS = 10

# As many symbolic links are followed as the kernel would (path_resolution(7)).
_LINKS = 40

# How often it is looked whether somebody reads a pipe by now, in seconds.
_TICK = 0.05

# Where /dev/fd, /dev/stdout and the like lead to.
_DESCRIPTORS = re.compile(r'/proc/(\d+)(/task/\d+)?/fd')

# admin-guide/devices.txt
_NULL = os.makedev(1, 3)

# Drivers of terminals that make a new one when they are opened.
_MASTERS = ('system', 'pty:master')


def open_target(
    path: str | os.PathLike[str],
    options: writing.Options = _DEFAULTS,
    *,
    deadline: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> sink.Sink:
    """Return the sink that writes to ``path``; nothing is written yet.

    Symbolic links are followed. '-', /dev/stdout, /dev/fd/N and the like are
    written to as they were opened. A regular file is replaced when all of its
    image is there, one that is not there yet appears then; but never under
    /dev, where it would be a mistyped device that fills the memory. One of
    several names, and one that cannot be replaced, is written over. A block
    device is opened exclusively, a file locked: whoever else writes to it is
    refused.

    :param deadline: monotonic time until which somebody has to have opened
        the other end of a pipe; None: however long that takes.
    :param check: called again and again meanwhile; what it raises ends that.
    :raises errors.DeviceError: of the class that says what is wrong.
    :raises errors.DeadlineExceeded: as said.
    :raises errors.OptionError: for a pipe, a terminal and the like, if the
        options are for what can be read, or for parts that are skipped.
    """

    def open_pipe(path: str) -> int:
        if options.dry_run:
            return os.open(os.devnull, os.O_WRONLY)
        return _open_pipe(path, deadline, check)

    name = os.fspath(path)
    if not name:
        # Which os.path takes for the current directory.
        raise oserrors.refusal(errors.TargetMissing, 'the target has no name')
    try:
        number = _descriptor(name)
        if number is not None:
            what = 'standard output' if name == STDOUT else name
            return _open_descriptor(what, number, options)
        for _turn in range(_TURNS):
            opened = _open(name, options, open_pipe)
            if opened is not None:
                return opened
    except OSError as exc:
        if exc.errno in oserrors.SCARCE:
            raise errors.shortage(exc) or exc from exc
        error = oserrors.failure(name, exc, doing='opening', at_open=True)
        if exc.errno == errno.EPERM:
            # EACCES is what a mode, an owner or an access list answers.
            error.hint = 'an attribute may forbid it: see lsattr'
        raise error from exc
    raise oserrors.refusal(
        errors.TargetBusy, '%s is removed and made again all the time' % name
    )


def _open(
    path: str,
    options: writing.Options,
    open_pipe: Callable[[str], int],
) -> sink.Sink | None:
    """Open what is at ``path`` now; None: it was gone the next moment."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _create(path, options)
    mode = status.st_mode
    if stat.S_ISBLK(mode):
        return _open_device(path, status.st_rdev, options)
    if stat.S_ISREG(mode):
        _refuse_dev(path, 'a regular file', status.st_dev)
        filesystem.check_kind(path, status.st_dev)
        return _open_file(path, options)
    _refuse_kind(path, status)
    _refuse_stream(path, options)
    # Not by its real path: that of a pipe without a name cannot be opened.
    if stat.S_ISFIFO(mode):
        return sink.Stream(path, open_pipe(path))
    return sink.Stream(
        path, os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    )


# Streams.


def _descriptor(path: str) -> int | None:
    """Return the descriptor of ours that ``path`` leads to; None: none."""
    if path == STDOUT:
        return 1
    for _link in range(_LINKS):
        directory, name = os.path.split(path)
        if name.isdigit():
            match = _DESCRIPTORS.fullmatch(os.path.realpath(directory))
            if match and int(match[1]) == os.getpid():
                return int(name)
        try:
            path = os.path.join(directory, os.readlink(path))
        except OSError:
            break
    return None


def _open_descriptor(
    path: str, number: int, options: writing.Options
) -> sink.Sink:
    """Open what a descriptor is open on: at its offset, which is shared."""
    standard = {
        0: sys.__stdin__,
        1: sys.__stdout__,
        2: sys.__stderr__,
    }
    try:
        if standard.get(number, path) is None:
            # What has that number by now is something of ours.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        status = os.fstat(number)
        access = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as exc:
        error = oserrors.refusal(
            errors.TargetMissing,
            '%s is not open' % path,
            os_errno=exc.errno,
        )
        error.hint = 'send it to a file or a pipe'
        raise error from exc
    if access == os.O_RDONLY:
        raise oserrors.refusal(
            errors.TargetUnsuitable, '%s is open for reading only' % path
        )
    mode = status.st_mode
    if stat.S_ISBLK(mode):
        _refuse_users(path, holders.Census().of_device(status.st_rdev))
    elif stat.S_ISREG(mode):
        filesystem.check_kind(path, status.st_dev)
        _refuse_users(path, holders.Census().of_file(status))
    elif not stat.S_ISSOCK(mode):
        _refuse_kind(path, status)
    _refuse_stream(path, options)
    if stat.S_ISFIFO(mode) or os.isatty(number):
        # One of our own: that it does not wait is to be nobody else's
        # concern. It fails where the other end is gone, or not ours.
        try:
            own = '/proc/self/fd/%d' % number
            flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK
            return sink.Stream(path, os.open(own, flags))
        except OSError as exc:
            LOG.debug('%s cannot be opened again: %s', path, exc.strerror)
    fd = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)
    return sink.Stream(path, fd, shared=True)


def _open_pipe(
    path: str, deadline: float | None, check: Callable[[], None]
) -> int:
    """Open a pipe as soon as somebody reads it.

    A blocking open would end neither at the deadline nor, in a thread, for a
    signal.
    """
    said = False
    while True:
        check()
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
        if not said:
            LOG.info('waiting until somebody reads %s', path)
            said = True
        left = _TICK
        if deadline is not None:
            left = min(_TICK, deadline - time.monotonic())
        if left <= 0:
            raise errors.DeadlineExceeded(
                'the deadline has passed, and nobody reads %s' % path
            )
        time.sleep(left)


def _refuse_kind(path: str, status: os.stat_result) -> None:
    """Refuse what is neither a pipe, a terminal nor /dev/null."""
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise oserrors.refusal(
            errors.TargetIsDirectory, '%s is a directory' % path
        )
    if stat.S_ISFIFO(mode):
        return
    what = 'nothing that an image can be written to'
    if stat.S_ISSOCK(mode):
        what = 'a socket'
    elif stat.S_ISCHR(mode):
        number = status.st_rdev
        if number == _NULL or _is_terminal(number):
            return
        what = 'a character device (%d:%d) that takes no image' % (
            os.major(number),
            os.minor(number),
        )
    raise oserrors.refusal(errors.TargetUnsuitable, '%s is %s' % (path, what))


def is_terminal(path: str) -> bool:
    """Return whether ``path``, as a target, is a terminal."""
    number = _descriptor(path)
    if number is not None:
        return os.isatty(number)
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and _is_terminal(status.st_rdev)


def is_open_on(path: str, descriptor: int) -> bool:
    """Return whether ``path``, as a target, is what a descriptor is open on.

    Not if that is a terminal or /dev/null, where nothing is spoiled.
    """
    try:
        ours = os.fstat(descriptor)
        there = os.fstat(1) if path == STDOUT else os.stat(path)
    except OSError:
        return False
    return os.path.samestat(there, ours) and not stat.S_ISCHR(there.st_mode)


def _is_terminal(number: int) -> bool:
    """Return whether a character device is one, by the drivers there are.

    To open it and ask may start what it stands for: a watchdog, a tape.
    """
    try:
        with open('/proc/tty/drivers') as drivers:
            lines = [line.split() for line in drivers]
    except OSError:
        return False
    for *_names, major, minors, kind in lines:
        first, _dash, last = minors.partition('-')
        if (
            int(major) == os.major(number)
            and int(first) <= os.minor(number) <= int(last or first)
            and kind not in _MASTERS
        ):
            return True
    return False


def _refuse_stream(path: str, options: writing.Options) -> None:
    if options.mapped:
        raise errors.OptionError(
            '%s takes every byte in order, so a block map is of no use: a'
            ' device or a file is needed' % path
        )
    if options.verify:
        raise errors.OptionError(
            '%s cannot be read back, so it cannot be verified' % path
        )
    if options.reused:
        raise errors.OptionError(
            '%s has nothing that could be reused: a device or a file is needed'
            % path
        )


# Block devices.


def _open_device(
    path: str, number: int, options: writing.Options
) -> sink.Sink | None:
    census = holders.Census()
    found = census.of_device(number)
    if options.in_use and found:
        LOG.warning('%s is in use: %s', path, holders.listed(found))
    else:
        _refuse_users(path, found)
    try:
        # EBUSY where it is mounted, or used by md, dm, swap or another copy;
        # the same for a disk one of whose partitions is (open(2)).
        exclusive = 0 if options.in_use else os.O_EXCL
        fd = os.open(path, os.O_RDWR | exclusive)
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
        if os.fstat(fd).st_rdev != number:
            os.close(fd)
            return None
        _refuse_users(path, holders.of_lock(fd, os.path.realpath(path)))
        if blockdev.is_read_only(fd):
            raise OSError(errno.EROFS, 'the device is read-only')
        if not blockdev.size(fd):
            raise OSError(errno.ENOMEDIUM, os.strerror(errno.ENOMEDIUM))
        return targets.Device(path, fd, options)
    except BaseException:
        os.close(fd)
        raise


def _refuse_users(path: str, found: Sequence[holders.Holder]) -> None:
    if found:
        error = oserrors.refusal(
            errors.TargetBusy,
            '%s is in use: %s' % (path, holders.listed(found)),
            os_errno=errno.EBUSY,
        )
        error.hint = holders.releases(found)
        raise error


# Regular files.


def _open_file(path: str, options: writing.Options) -> sink.Sink | None:
    # It is opened for writing even where it is to be replaced: a file that
    # may not be written to, or is being executed, is not to be either.
    access = os.O_RDWR if options.reads else os.O_WRONLY
    try:
        # What has taken its place by now may be a pipe.
        fd = os.open(path, access | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno == errno.ETXTBSY:
            _refuse_users(path, holders.of_program(os.path.realpath(path)))
        if exc.errno == errno.EACCES and options.resumed:
            # A copy from its first byte on may not have to read it.
            raise errors.CannotContinue(
                '%s cannot be read (%s)' % (path, exc.strerror)
            ) from exc
        raise
    real = os.path.realpath(path)
    try:
        if not _is_there(real, os.fstat(fd)) and beside.is_at(path, fd):
            raise _elsewhere(path)
        census = holders.Census()
        _refuse_users(path, census.of_file(os.fstat(fd)))
        _refuse_users(path, holders.of_lock(fd, real))
        if not beside.lock(fd):
            raise oserrors.refusal(
                errors.TargetBusy,
                '%s is being written by another process' % path,
            )
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        if not regular or not beside.is_at(path, fd):
            # A copy that ended has replaced or removed it meanwhile.
            os.close(fd)
            return None
        os.set_blocking(fd, True)
        if options.mapped:
            return targets.PatchedFile(path, fd, options, name=real)
        if not options.in_place and not _must_stay(path, real, fd, census):
            made = _beside(path, real, 0o600, options)
            if made is not None:
                return _new_file(path, made, options, real, fd)
        if options.reused:
            return targets.ReusedFile(path, fd, options, name=real)
        return targets.File(path, fd, options, name=real)
    except BaseException:
        os.close(fd)
        raise


def _must_stay(
    path: str, real: str, fd: int, census: holders.Census
) -> str | None:
    """Return why a file cannot be replaced by another; None: it can."""
    status = os.fstat(fd)
    directory = os.stat(os.path.dirname(real))
    user = os.geteuid()
    why = None
    if status.st_nlink > 1:
        why = 'it has several names'
    elif census.is_mount_point(real):
        why = 'it is mounted there'
    elif directory.st_mode & stat.S_ISVTX and user not in (
        0,
        status.st_uid,
        directory.st_uid,
    ):
        why = 'in its directory, only its owner may replace it'
    if why is not None:
        LOG.info('%s is written in place: %s', path, why)
    return why


def _create(path: str, options: writing.Options) -> sink.Sink | None:
    real = os.path.realpath(path)
    try:
        directory = os.stat(_directory(path))
    except (FileNotFoundError, NotADirectoryError):
        directory = None
    if (
        path.endswith('/')
        or directory is None
        or not stat.S_ISDIR(directory.st_mode)
    ):
        raise oserrors.refusal(
            errors.TargetMissing, '%s: no such directory' % path
        )
    if not _is_there(os.path.dirname(real), directory):
        raise _elsewhere(path)
    _refuse_dev(path, 'no device', directory.st_dev)
    filesystem.check_kind(path, directory.st_dev)
    made = None
    # With a block map, the new file has holes where that says so: there is
    # nothing that could stay in its place.
    if options.mapped or not options.in_place:
        made = _beside(path, real, 0o666, options)
    if made is not None:
        new = _new_file(path, made, options, real, None)
        if not os.path.lexists(real):
            return new
        new.abort()
        return None
    try:
        fd = os.open(real, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    try:
        if not beside.lock(fd):
            # Whoever has locked it since uses it now.
            raise oserrors.refusal(
                errors.TargetBusy,
                '%s is being written by another process' % path,
            )
        if beside.is_at(real, fd):
            try:
                return targets.File(path, fd, options, name=real, created=True)
            except BaseException:
                os.unlink(real)
                raise
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise


def _directory(path: str) -> str:
    """Return where the kernel makes a file that is not there yet."""
    for _link in range(_LINKS):
        directory = os.path.dirname(path)
        try:
            path = os.path.join(directory, os.readlink(path))
        except OSError:
            break
    return directory or os.curdir


def _is_there(path: str, status: os.stat_result) -> bool:
    """Return whether ``path`` is seen to lead to what has this status."""
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


def _elsewhere(path: str) -> errors.DeviceError:
    """Return the error of a file that has no real path.

    Some links below /proc lead where their text does not: into what another
    process sees, or to a file that was removed.
    """
    error = oserrors.refusal(
        errors.TargetUnsuitable, '%s has no name that is seen here' % path
    )
    error.hint = 'name it by a path (of another process: see nsenter)'
    return error


def _beside(
    path: str, real: str, mode: int, options: writing.Options
) -> tuple[str, int] | None:
    """Make the file that is to take the place of ``real``, or go on with it.

    :raises errors.CannotContinue: if there is nothing to go on with.
    """
    if not options.resumed:
        return beside.make(path, real, mode)
    left = beside.take(path, real)
    if left is None:
        raise errors.CannotContinue('%s is gone' % (real + beside.SUFFIX))
    return left


def _new_file(
    path: str,
    made: tuple[str, int],
    options: writing.Options,
    real: str,
    old: int | None,
) -> targets.NewFile:
    """Return the sink of a file that was made; where it fails, that is gone.

    ``old`` stays the caller's then.
    """
    name, fd = made
    try:
        return targets.NewFile(path, name, fd, options, real, old)
    except BaseException:
        os.unlink(name)
        os.close(fd)
        raise


def _refuse_dev(path: str, what: str, device: int) -> None:
    """Refuse what is not there, or no device, where the devices are.

    :param device: the number of the file system it is on, an ``st_dev``.
    """
    real = os.path.realpath(path)
    if real.startswith('/dev/shm/'):  # noqa: S108
        return
    if real.startswith('/dev/') or filesystem.is_of_devices(device):
        raise oserrors.refusal(errors.TargetMissing, '%s is %s' % (path, what))
