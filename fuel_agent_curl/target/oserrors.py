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

"""What a failed system call on a target means.

The one place that knows about errno: OSError goes in, an error of ours with
its exit code comes out.
"""

from __future__ import annotations

from collections.abc import Callable
import errno
import types

from fuel_agent_curl import errors

#: What runs out here, not there.
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_AT_OPEN: dict[int, type[errors.DeviceError]] = {
    errno.ENOENT: errors.TargetMissing,
    errno.ENOTDIR: errors.TargetMissing,
    errno.ELOOP: errors.TargetMissing,
    errno.ENAMETOOLONG: errors.TargetMissing,
    errno.ENXIO: errors.TargetMissing,
    errno.ENODEV: errors.TargetMissing,
    errno.ENOMEDIUM: errors.TargetMissing,
    errno.EIO: errors.WriteError,
}

_AT_WRITE: dict[int, type[errors.DeviceError]] = {
    errno.ENXIO: errors.TargetVanished,
    errno.ENODEV: errors.TargetVanished,
    errno.ENOMEDIUM: errors.TargetVanished,
}

_ALWAYS: dict[int, type[errors.DeviceError]] = {
    errno.EISDIR: errors.TargetIsDirectory,
    errno.EACCES: errors.TargetPermission,
    errno.EPERM: errors.TargetPermission,
    errno.EROFS: errors.TargetReadOnly,
    errno.EBUSY: errors.TargetBusy,
    errno.ETXTBSY: errors.TargetBusy,
    errno.ENOSPC: errors.TargetFull,
    errno.EDQUOT: errors.TargetFull,
    # The file system, or the process's limit, allows no longer file.
    errno.EFBIG: errors.TargetTooSmall,
}


def failure(
    path: str,
    exc: OSError,
    *,
    doing: str,
    at_open: bool = False,
    offset: int | None = None,
) -> errors.DeviceError:
    """Return the error that ``exc`` from a call on ``path`` means.

    :param path: what the call was made on.
    :param doing: what was being done, as in 'writing to'.
    :param at_open: nothing was written yet: then, no such device is a wrong
        path, not a device that went away.
    :param offset: byte of the target; None: not known.
    """
    code = exc.errno or 0
    default = errors.DeviceError if at_open else errors.WriteError
    cls = (_AT_OPEN if at_open else _AT_WRITE).get(
        code, _ALWAYS.get(code, default)
    )
    return refusal(
        cls,
        '%s %s: %s' % (doing, path, exc.strerror or exc),
        offset=offset,
        os_errno=exc.errno,
    )


def refusal(
    cls: type[errors.DeviceError],
    message: str,
    *,
    offset: int | None = None,
    os_errno: int | None = None,
) -> errors.DeviceError:
    """Return an error of ``cls``, with the errno that was behind it."""
    error = cls(message, offset=offset)
    error.os_errno = os_errno
    return error


class Mapped:
    """Raises OSError from its with block as what it means."""

    def __init__(
        self, fail: Callable[[OSError, str], Exception], doing: str
    ) -> None:
        self._fail = fail
        self._doing = doing

    def __enter__(self) -> None:
        """Do nothing: all is done at the end."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if isinstance(exc, OSError):
            if exc.errno in SCARCE:
                raise errors.shortage(exc) or exc from exc
            raise self._fail(exc, self._doing) from exc
