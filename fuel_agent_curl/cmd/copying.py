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

"""``fuel-agent-curl copy``: from a URL to a target, watched."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
import logging
import os
import stat
import time

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.cmd import blockmap
from fuel_agent_curl.cmd import configuration
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import hints
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import digest
from fuel_agent_curl.rules import events

LOG = logging.getLogger(__name__)


class LazySource:
    """A source that makes its first request when it is first asked.

    The pipeline opens its target before that: one that cannot be used costs
    no request.

    :param fetch: begins the download.
    :param window: what may be received ahead of who reads this, in bytes.
    :ivar download: None before the first request has been answered.
    """

    def __init__(
        self, fetch: Callable[[], download.Download], window: int
    ) -> None:
        self.download: download.Download | None = None
        self._fetch = fetch
        self._window = window
        self._handed_on = 0

    def _begun(self) -> download.Download:
        if self.download is None:
            self.download = self._fetch()
        return self.download

    @property
    def length(self) -> int | None:
        """Complete length in bytes; None where the server states none."""
        return self._begun().length

    @property
    def received(self) -> int:
        """Bytes of the representation received.

        What arrived twice, or was dropped, is in the counter of the
        download; but no more can be there than the window holds.
        """
        if self.download is None:
            return 0
        most = self._handed_on + self._window
        if self.download.length is not None:
            most = min(most, self.download.length)
        return max(self._handed_on, min(self.download.stats.received, most))

    def views(self) -> Iterator[memoryview]:
        """Iterate over the bytes; each view is valid until the next."""
        for view in self._begun().views():
            self._handed_on += len(view)
            yield view

    def keep(self, view: object) -> Callable[[], None] | None:
        """Have ``view`` stay valid; see ``download.Download.keep``."""
        return self._begun().keep(view)

    def close(self) -> None:
        """End the download, if there is one; from any thread."""
        if self.download is not None:
            self.download.close()


def run(
    arguments: argparse.Namespace, found: configuration.Configuration
) -> int:
    """Copy; return 0.

    :raises errors.Error: for whatever went wrong.
    :raises signals.Interrupted: with how far it got in its ``detail``.
    """
    settings = found.settings
    if not arguments.mirrors:
        arguments.url, *arguments.mirrors = found.sources(arguments.url)
    check(arguments)
    shown = displays.display(arguments.progress)
    with watching.Watch(shown, settings.attempts) as watch:
        try:
            result, stats = copy(arguments, settings, watch)
            signals.too_late()
        except errors.Error as error:
            watch.failed(hints.line(error), error.exit_code)
            raise
        except signals.Interrupted as interrupted:
            interrupted.detail = _how_far(watch.look(), arguments.target)
            watch.failed(str(interrupted), interrupted.exit_code)
            raise
        except Exception as error:
            watch.failed('a bug: %r' % error, 1)
            raise
        watch.done()
    LOG.info('%s', summary(arguments, result, stats))
    return 0


def copy(
    arguments: argparse.Namespace,
    settings: settings_module.Settings,
    watch: watching.Watch,
) -> tuple[pipeline.Result, events.Stats]:
    """Copy; on return everything is on the target, and checked."""

    def fetch() -> download.Download:
        return download.fetch(
            arguments.url,
            mirrors=arguments.mirrors,
            checksum=arguments.checksum,
            settings=settings,
            observe=watch.observe,
        )

    written = 0

    def observe(count: int) -> None:
        nonlocal written
        written = count

    bmap = None
    if arguments.bmap is not None:
        bmap = blockmap.load(arguments.bmap, settings)
    began = time.monotonic()
    source = LazySource(fetch, settings.window)
    watch.follow(lambda: source.received, lambda: written)
    try:
        result = pipeline.copy(
            source,
            arguments.target,
            container=arguments.container,
            image_checksum=arguments.image_checksum,
            direct_io=settings.direct_io,
            verify=arguments.verify,
            bmap=bmap,
            observe=observe,
        )
    finally:
        source.close()
    assert source.download is not None
    stats = source.download.stats
    # Of the network alone until here; for whoever waited, the disk counts.
    stats.seconds = time.monotonic() - began
    return result, stats


def summary(
    arguments: argparse.Namespace,
    result: pipeline.Result,
    stats: events.Stats,
) -> str:
    """Return the line that is printed after a copy that succeeded."""
    seconds = max(stats.seconds, 0.001)
    packed = '' if result.container == 'raw' else ' (%s)' % result.container
    written = '%d bytes written to %s' % (result.written, arguments.target)
    if result.mapped is not None:
        written = '%d of %s' % (result.mapped, written)
    parts = [
        written,
        '%d received%s in %.1f s, %s/s'
        % (
            stats.received,
            packed,
            seconds,
            wording.size(stats.received / seconds),
        ),
        ', '.join(
            wording.counted(number, what)
            for number, what in (
                (stats.attempts, 'request'),
                (stats.resumes, 'resume'),
                (stats.stalls, 'stall'),
            )
        ),
        _checked(arguments, result),
    ]
    return '; '.join(parts)


def _checked(arguments: argparse.Namespace, result: pipeline.Result) -> str:
    done = [
        '%s of the %s verified' % (digest.parse(text).algorithm, what)
        for text, what in (
            (arguments.checksum, 'download'),
            (arguments.image_checksum, 'image'),
        )
        if text
    ]
    if result.checked:
        ranges = wording.counted(result.checked, 'range')
        done.append('%s of the block map verified' % ranges)
    if arguments.verify:
        done.append('read back and compared')
    return ', '.join(done) or 'no checksum given'


def check(arguments: argparse.Namespace) -> None:
    """Refuse what can be known to be wrong before anything is touched."""
    for url in (arguments.url, *arguments.mirrors):
        download.check_url(url)
    for text in (arguments.checksum, arguments.image_checksum):
        if text is not None:
            digest.parse(text)
    if arguments.progress == 'json' and _is_stdout(arguments.target):
        raise errors.OptionError(
            'the image and --progress json cannot both go to standard output'
        )


def _is_stdout(target: str) -> bool:
    try:
        there, stdout = os.stat(target), os.fstat(1)
    except OSError:
        return False
    # /dev/null may well be both, and a terminal is asking for it.
    return os.path.samestat(there, stdout) and not stat.S_ISCHR(there.st_mode)


def _how_far(seen: snapshot.Snapshot, target: str) -> str:
    """Return how far an interrupted copy got, and what that left behind."""
    if not seen.received:
        return 'nothing had been received yet'
    left = (
        '%s is incomplete' % target
        if os.path.exists(target)
        else '%s was removed' % target
    )
    return '%s received, %s written; %s' % (
        seen.amount(),
        wording.size(seen.written),
        left,
    )
