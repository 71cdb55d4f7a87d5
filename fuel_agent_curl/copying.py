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

"""One copy: from a URL to a target, asked for by a ``Request``.

The pipeline knows neither the network nor what a checksum or a block map is
called; here they come together, for the program and for any other.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import logging
import time

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import bmap as bmap_module
from fuel_agent_curl.image import digest
from fuel_agent_curl.rules import events
from fuel_agent_curl.target import sink as sink_module

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be copied, where to, and what is to be compared.

    :ivar url: of the image, http or https; or of a Metalink document.
    :ivar target: path of a block device or a file.
    :ivar mirrors: further URLs of the same bytes.
    :ivar checksum: 'ALGORITHM:HEX' of the bytes on the wire.
    :ivar image_checksum: 'ALGORITHM:HEX' of what lands on the target.
    :ivar container: one of ``containers.CONTAINERS``, or 'auto'.
    :ivar bmap: path or URL of the image's block map; None: all is written.
    :ivar verify: read everything back from the medium and compare.
    :ivar settings: how the bytes are fetched.
    :raises errors.OptionError: for what cannot be used, whatever the server
        and the target are.
    """

    url: str = dataclasses.field(repr=False)
    target: str
    mirrors: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    checksum: str | None = None
    image_checksum: str | None = None
    container: str = 'auto'
    bmap: str | None = dataclasses.field(default=None, repr=False)
    verify: bool = False
    settings: settings_module.Settings = dataclasses.field(
        default_factory=settings_module.Settings
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, 'mirrors', tuple(self.mirrors))
        for url in (self.url, *self.mirrors):
            address.read(url)
        for text in (self.checksum, self.image_checksum):
            if text is not None:
                digest.parse(text)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a copy did: ``image`` as written, ``stats`` of the download.

    ``stats.seconds`` are those of the whole copy.
    """

    image: pipeline.Result
    stats: events.Stats


class Copy:
    """A copy that can be watched, from any thread, while it runs.

    :param observe: called with each ``events.Event`` of the download, on the
        network thread; it has to return quickly.
    """

    def __init__(
        self,
        request: Request,
        observe: Callable[[events.Event], None] | None = None,
    ) -> None:
        self.request = request
        self._observe = observe
        self._source = LazySource(self._fetch, request.settings.window)
        self._sink: sink_module.Sink | None = None

    @property
    def received(self) -> int:
        """Bytes of the representation received, in order."""
        return self._source.received

    @property
    def written(self) -> int:
        """Bytes of the image handed to the target."""
        return 0 if self._sink is None else self._sink.written

    @property
    def verified(self) -> int:
        """Bytes of the image read back from the target."""
        return 0 if self._sink is None else self._sink.verified

    @property
    def phase(self) -> str:
        """What it is busy with: 'copying', 'syncing' or 'verifying'."""
        return 'copying' if self._sink is None else self._sink.phase

    @property
    def target_state(self) -> str:
        """What the target is like: see ``sink.Sink.state``."""
        return 'untouched' if self._sink is None else self._sink.state

    def run(self) -> Result:
        """Copy, once; on return everything is on the target, and checked.

        :raises errors.Error: for whatever went wrong. What is raised, a
            KeyboardInterrupt too, has a ``target_state``.
        """
        try:
            return self._run()
        except BaseException as error:
            # Only an error of ours declares it.
            setattr(error, 'target_state', self.target_state)  # noqa: B010
            raise

    def _run(self) -> Result:
        began = time.monotonic()
        request = self.request
        bmap = None
        if request.bmap is not None:
            bmap = load_bmap(request.bmap, request.settings)
        try:
            image = pipeline.copy(
                self._source,
                request.target,
                container=request.container,
                decoder_memory=request.settings.decoder_memory,
                trailing_data=request.settings.trailing_data,
                image_checksum=request.image_checksum,
                direct_io=request.settings.direct_io,
                verify=request.verify,
                bmap=bmap,
                observe=self._opened,
            )
        finally:
            self._source.close()
        assert self._source.download is not None
        # Of the network alone until here; for whoever waited, the disk
        # counts.
        seconds = time.monotonic() - began
        stats = self._source.download.stats
        return Result(image, dataclasses.replace(stats, seconds=seconds))

    def _opened(self, sink: sink_module.Sink) -> None:
        self._sink = sink

    def _fetch(self) -> download.Download:
        return download.fetch(
            self.request.url,
            mirrors=self.request.mirrors,
            checksum=self.request.checksum,
            settings=self.request.settings,
            observe=self._observe,
        )


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


def load_bmap(
    name: str, settings: settings_module.Settings
) -> bmap_module.BlockMap:
    """Read the block map that ``name``, a path or a URL, names.

    :raises errors.OptionError: if the file cannot be read.
    :raises errors.ContentError: if it is not a block map, or a wrong one.
    :raises errors.Error: for whatever ends the download.
    """
    text = document(name, bmap_module.DOCUMENT_MAX, 'block map', settings)
    found = bmap_module.parse(text)
    without = len(found.ranges) - found.checked
    if without:
        LOG.warning(
            'the block map has no checksum for %d of its %d ranges',
            without,
            len(found.ranges),
        )
    return found


def document(
    name: str, most: int, what: str, settings: settings_module.Settings
) -> bytes:
    """Return what ``name``, a path or a URL, names: a small document.

    :param most: how many bytes it may have.
    :param what: what it is, for the errors.
    :raises errors.OptionError: if it is a file that cannot be read.
    :raises errors.ContentError: if it is longer than ``most``.
    :raises errors.Error: for whatever ends the download.
    """
    if '://' in name:
        with download.fetch(name, settings=settings) as chunks:
            found = download.gather(chunks, most)
    else:
        try:
            with open(name, 'rb') as file:
                found = file.read(most + 1)
        except OSError as error:
            raise errors.OptionError(
                'cannot read the %s %s: %s' % (what, name, error.strerror)
            ) from error
    if len(found) > most:
        raise errors.ContentError(
            'a %s of more than %d bytes is refused' % (what, most)
        )
    return found
