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

"""How a target is to be written."""

from __future__ import annotations

import typing

from fuel_agent_curl import values


class Chosen(typing.Protocol):
    """What ``config.settings.Settings`` says of every target."""

    @property
    def direct_io(self) -> bool: ...

    @property
    def wipe_leftovers(self) -> bool: ...

    @property
    def any_sector_size(self) -> bool: ...


@values.dataclass(frozen=True, kw_only=True)
class Options:
    """How a target is to be written.

    Made once, where it is read what is to be copied, and passed on as it is
    to whatever opens the target and writes to it.

    :ivar direct_io: write past the page cache where the target takes it.
    :ivar wipe_leftovers: blank what a whole disk is known by behind the
        image, not only what hides the image.
    :ivar any_sector_size: take a GPT for sectors of another length.
    :ivar verify: read everything back before the image looks complete.
    :ivar in_place: write over a regular file, which is empty until then, in
        place of one beside it that replaces it in the end.
    :ivar in_use: write over a device that others use, as well.
    :ivar mapped: parts of the image may be skipped, and what the target has
        there stays: a file that exists is written in place. ``pipeline.copy``
        says so where there is a block map.
    :ivar resumed: what another run has left is gone on with: nothing of it is
        cleared away.
    :ivar reused: what is there is read, and parts of it may stay.
    :ivar dry_run: nothing will be written: nobody has to read a pipe, and
        whoever does is not disturbed.
    """

    direct_io: bool = True
    wipe_leftovers: bool = False
    any_sector_size: bool = False
    verify: bool = False
    in_place: bool = False
    in_use: bool = False
    mapped: bool = False
    resumed: bool = False
    reused: bool = False
    dry_run: bool = False

    @classmethod
    def chosen(cls, settings: Chosen, **others: bool) -> Options:
        """Return those of ``settings``, and ``others`` by their names."""
        return cls(
            direct_io=settings.direct_io,
            wipe_leftovers=settings.wipe_leftovers,
            any_sector_size=settings.any_sector_size,
            **others,
        )

    @property
    def reads(self) -> bool:
        """Whether a file is read, too."""
        return self.verify or self.mapped or self.resumed or self.reused
