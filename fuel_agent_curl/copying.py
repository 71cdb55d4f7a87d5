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
called; here they come together, for the program and for any other. ``copy``
is what the package has as its own.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import functools
import logging
import os
import stat
import time
import typing

from fuel_agent_curl import continuing
from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import pipeline
from fuel_agent_curl import values
from fuel_agent_curl.config import prefixes
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import download
from fuel_agent_curl.engine import parts
from fuel_agent_curl.image import digest
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import sources
from fuel_agent_curl.state import directory
from fuel_agent_curl.state import journal as journal_module
from fuel_agent_curl.state import record as record_module
from fuel_agent_curl.target import sink as sink_module
from fuel_agent_curl.target import storage
from fuel_agent_curl.target import writing

if typing.TYPE_CHECKING:
    from fuel_agent_curl import reusing
    from fuel_agent_curl import spooling
    from fuel_agent_curl.image import bmap as bmap_module
    from fuel_agent_curl.image import checksums
    from fuel_agent_curl.image import gpgv
    from fuel_agent_curl.state import spool as spool_module

LOG = logging.getLogger(__name__)

# As much is fetched again without a word.
_SHORT = 16 * octets.MIB

# What is wrong there is not the bytes: it is the program that checks them, the
# keys that it was given, the target, or how much was allowed.
_NOT_WRONG = (
    *(errors.SignatureError, errors.NoVerifier, errors.UntrustedSignature),
    *(errors.ImageTooLong, errors.WindowTooLarge, errors.UnprovenEnd),
    *(errors.TrailingGarbageError, errors.NoRanges),
)

# What the first mebibyte of an image is received in.
_HEAD_CHUNK = 64 * octets.KIB


@values.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be copied, where to, and what is to be compared.

    :ivar url: of the image, http or https; or of a Metalink document.
    :ivar target: path of a block device or a file.
    :ivar mirrors: further URLs of the same bytes.
    :ivar checksum: of the bytes on the wire: 'ALGORITHM:HEX', or whatever
        else ``checksums.parse`` takes, such as the URL of a list.
    :ivar image_checksum: the same of what lands on the target.
    :ivar signature: path or URL of an OpenPGP signature: of the list that one
        of the checksums names, or else of the bytes on the wire; None: of the
        list, in it, where there is a keyring.
    :ivar keyring: path of the public keys, one of which has to have signed;
        None: nothing is signed.
    :ivar container: one of ``containers.CONTAINERS``, or 'auto'.
    :ivar bmap: path or URL of the image's block map; None: all is written.
    :ivar verify: read everything back from the medium and compare.
    :ivar in_place: write over a regular file, in place of one beside it that
        replaces it in the end.
    :ivar go_on: go on with what a copy of the same has left that was killed,
        or that failed for its network; False: start over. Records for the
        next one are left in any case.
    :ivar reuse: read the target first, and fetch only what is not there: of a
        raw image whose parts have hashes, by its block map or by the Metalink
        document that ``url`` names.
    :ivar state_dir: where the records are; None: see ``state.directory``.
    :ivar spool: path of a file in which the bytes are kept as they come, until
        all is done; None: in none.
    :ivar dry_run: find out what can be found out, and write nothing.
    :ivar settings: how the bytes are fetched; its deadline is of all.
    :ivar sources: returns every URL of the bytes of a URL, in the order to
        try them; asked for the documents that come with the image.
    :raises errors.OptionError: for what cannot be used, whatever the server
        and the target are.
    """

    url: str = dataclasses.field(repr=False)
    target: str
    mirrors: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    checksum: str | None = dataclasses.field(default=None, repr=False)
    image_checksum: str | None = dataclasses.field(default=None, repr=False)
    signature: str | None = dataclasses.field(default=None, repr=False)
    keyring: str | None = None
    container: str = 'auto'
    bmap: str | None = dataclasses.field(default=None, repr=False)
    verify: bool = False
    in_place: bool = False
    go_on: bool = True
    reuse: bool = False
    state_dir: str | None = None
    spool: str | None = None
    dry_run: bool = False
    settings: settings_module.Settings = dataclasses.field(
        default_factory=settings_module.Settings
    )
    sources: Callable[[str], Sequence[str]] = dataclasses.field(
        default=lambda url: (url,), repr=False
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, 'mirrors', tuple(self.mirrors))
        for url in (self.url, *self.mirrors):
            address.read(url)
        for given in self._lists():
            if given.is_url:
                address.read(given.location)
        self._check_trust()

    def _lists(self) -> list[checksums.Reference]:
        """Return the lists that the checksums name."""
        given = [
            _given(text)
            for text in (self.checksum, self.image_checksum)
            if text is not None
        ]
        return [
            each for each in given if not isinstance(each, digest.Checksum)
        ]

    def _check_trust(self) -> None:
        """Refuse what could not prove who signed."""
        lists = {each.location for each in self._lists()}
        if self.keyring is None:
            if self.signature is not None:
                raise errors.OptionError(
                    'a signature proves nothing without the keys to trust',
                    hint='name their file: --keyring',
                )
            return
        if '://' in self.keyring:
            raise errors.OptionError(
                'the keyring is a file that is here already, not a URL'
            )
        if self.signature is None:
            if not lists:
                raise errors.OptionError(
                    'there is a keyring, and nothing that is signed',
                    hint='name the signature (--signature), or a signed list'
                    ' of checksums',
                )
            return
        if '://' in self.signature:
            address.read(self.signature)
        if len(lists) > 1:
            raise errors.OptionError(
                'one signature is not of two lists of checksums'
            )

    @property
    def is_image_signed(self) -> bool:
        """The signature is of the bytes on the wire, not of a list."""
        return self.signature is not None and not self._lists()


@values.dataclass(frozen=True)
class Result:
    """What a copy did.

    :ivar image: as it was written, or, of a dry run, as it would be.
    :ivar stats: of the download; but for its ``seconds``, which are those of
        the whole copy.
    :ivar checksum: what was compared with the bytes on the wire; None:
        nothing. (Of a dry run, what would be; so the next one.)
    :ivar image_checksum: what was compared with those of the image.
    :ivar kept: bytes of the download that were there already, of an earlier
        run, or of another image.
    :ivar signer: who signed, as has been proven; None: nobody was asked for.
        Of a dry run, that of the list of checksums alone.
    """

    image: pipeline.Result
    stats: events.Stats
    checksum: digest.Checksum | None = None
    image_checksum: digest.Checksum | None = None
    kept: int = 0
    signer: gpgv.Signer | None = None


class Copy:
    """A copy that can be watched and cancelled while it runs.

    ``run`` is called once; all else is for any thread, at any time.

    :param observe: called with each ``events.Event`` of the download, on the
        network thread; it has to return quickly. What it raises ends the
        copy.
    """

    def __init__(
        self,
        request: Request,
        observe: Callable[[events.Event], None] | None = None,
    ) -> None:
        self.request = request
        self._observe = observe
        self._source: LazySource | reusing.Source = self._new_source()
        self._cancellation = pipeline.Cancellation()
        # The one under way, or the last: of the image, or a document.
        self._download: download.Download | None = None
        self._parts: parts.Parts | None = None
        self._sink: sink_module.Sink | None = None
        # Of the target, by the sinks before this one.
        self._state = 'untouched'
        self._spool: spool_module.Spool | None = None
        # The source, while the spool is used.
        self._spooled: spooling.Spooled | None = None
        self._checksum: digest.Checksum | None = None
        self._resolved: download.Asked | None = None
        # A checksum of the image is compared with all that is gone on with.
        self._is_decided = False
        self._deadline: float | None = None
        self._verifier: gpgv.Verifier | None = None
        # Of the signature, while it is under way, and after that.
        self._check: gpgv.Check | None = None
        self._signer: gpgv.Signer | None = None

    @property
    def _lazy(self) -> LazySource:
        """The source, where nothing is reused."""
        assert isinstance(self._source, LazySource)
        return self._source

    @property
    def length(self) -> int | None:
        """Complete length of the representation in bytes.

        None before the first answer, and where the server states none.
        """
        return self._source.known

    @property
    def received(self) -> int:
        """Bytes of the representation received, in order."""
        return self._source.received

    @property
    def written(self) -> int:
        """Bytes of the image that the kernel was given for the target.

        Those that were there already, or that a block map skips, are among
        them. They are on the medium when ``run`` has returned.
        """
        if self._sink is None or self.request.dry_run:
            return 0
        return self._sink.given

    @property
    def unpacked(self) -> int:
        """Bytes of the image that were taken for the target."""
        return 0 if self._sink is None else self._sink.written

    @property
    def stats(self) -> events.Stats:
        """Counters of the requests for the image; now, as a copy."""
        return self._source.stats

    @property
    def verified(self) -> int:
        """Bytes of the image read back from the target."""
        return 0 if self._sink is None else self._sink.verified

    @property
    def phase(self) -> str:
        """What it is busy with: see ``sink.Sink.phase``."""
        return 'copying' if self._sink is None else self._sink.phase

    @property
    def target_state(self) -> str:
        """What the target is like: see ``sink.Sink.state``."""
        if self._sink is None or self._sink.state == 'untouched':
            return self._state
        return self._sink.state

    @property
    def signer(self) -> gpgv.Signer | None:
        """Who signed, as soon as that is proven."""
        return self._signer

    def cancel(self) -> None:
        """Have ``run`` end soon; do not wait for that.

        It raises ``errors.Cancelled`` then, with the ``target_state``: what
        was there before is there, or nothing that looks complete. Where all
        was done in that moment it returns as if nobody had asked. It may have
        to wait for the target first: a call of the kernel cannot be ended.
        Before ``run``, that fails at once. From any thread, and from a signal
        handler; again, too.
        """
        self._cancellation.ask()

    def run(self) -> Result:
        """Copy; on return everything is on the target, synced and checked.

        :raises errors.Cancelled: when ``cancel`` was called.
        :raises errors.Error: of the class that says what went wrong. What is
            raised, a KeyboardInterrupt too, has a ``target_state``: see
            there; an error also an ``exit_code``, that of the program.
        """
        try:
            return self._run()
        except BaseException as error:
            # Only an error of ours declares it.
            setattr(error, 'target_state', self.target_state)  # noqa: B010
            raise

    def _run(self) -> Result:
        with self._cancellation.ending(self._end):
            try:
                return self._copy()
            finally:
                self._end_check()
                if self._sink is not None and not self.request.dry_run:
                    request = self.request
                    continuing.forget(request.target, request.state_dir)

    def _copy(self) -> Result:
        began = time.monotonic()
        request = self.request
        deadline = None
        if request.settings.deadline:
            deadline = began + request.settings.deadline
        self._deadline = deadline
        bmap = None
        if request.bmap is not None:
            bmap = load_bmap(self._left(), self._begun)
        signed: Callable[[bytes], bytes] | None = None
        if request.keyring is not None:
            self._verifier = load_verifier(self._left(), self._begun)
            signed = self._signed
        self._checksum = load_checksum(
            self._left(), request.checksum, begun=self._begun, signed=signed
        )
        image_checksum = load_checksum(
            self._left(),
            request.image_checksum,
            of_image=True,
            begun=self._begun,
            signed=signed,
        )
        plan = _Plan(self._checksum, image_checksum, bmap)
        if request.reuse:
            try:
                return self._reuse(plan, began)
            except errors.NoRanges as error:
                LOG.warning(
                    '%s: nothing of it is reused, and all is fetched: %s',
                    *(request.target, error.message),
                )
                self._begin_anew()
        left = self._find(plan)
        record = None
        if left is not None and request.go_on:
            record = continuing.usable(
                left,
                request.target,
                lambda: self._asked(plan),
                request.container,
                decided=lambda container: self._decides(plan, container),
            )
        if request.spool is None or request.dry_run:
            return self._try(plan, began, left, record)
        # Here: few copies have one.
        from fuel_agent_curl import spooling

        self._spool = spooling.open_spool(
            request.spool, request.target, request.state_dir
        )
        if not request.go_on:
            self._spool.reset()
        try:
            result = self._try(plan, began, left, record)
            self._spool.remove()
            return result
        except BaseException as error:
            self._leave(self._spool, error)
            raise

    def _try(
        self,
        plan: _Plan,
        began: float,
        left: continuing.Left | None,
        record: record_module.Record | None,
    ) -> Result:
        """Go on with what there is, or with less, or start over."""
        while True:
            spool = self._spool
            before = 0 if spool is None else spool.length
            try:
                return self._go(plan, began, left, record)
            except (errors.CannotContinue, errors.ContentError) as error:
                # What comes of a record that anybody may have put there says
                # nothing of the image.
                is_foreign = (
                    record is not None
                    and left is not None
                    and not left.is_trusted
                )
                if not is_foreign and (
                    not isinstance(error, errors.CannotContinue)
                    or (record is None and not before)
                ):
                    raise
                LOG.warning(
                    '%s: it starts over: %s',
                    self.request.target,
                    error.message,
                )
                if record is not None:
                    record = None
                elif spool is not None and spool.length >= before:
                    # Else what was damaged is gone, and the rest is right.
                    spool.reset()
                self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget what is under way, but not what it has done to the target."""
        self._state = self.target_state
        self._source, self._sink = self._new_source(), None

    def _leave(self, spool: spool_module.Spool, error: BaseException) -> None:
        """Leave what another run can go on with."""
        wrong = errors.ContentError, errors.RepresentationChanged
        is_wrong = isinstance(error, wrong) and type(error) not in _NOT_WRONG
        if is_wrong or not spool.length:
            # That would be wrong again.
            spool.remove()
            return
        spool.close()
        # There may have been no room for the last of them.
        if spool.length:
            LOG.info(
                '%s keeps the first %d bytes of the download for another run',
                spool.path,
                spool.length,
            )

    def _reuse(self, plan: _Plan, began: float) -> Result:
        """Fetch what is not on the target.

        :raises errors.NoRanges: if it has to be fetched as a whole.
        """
        # Here, as few copies need it.
        from fuel_agent_curl import reusing
        from fuel_agent_curl.image import reuse

        request = self.request
        if request.spool is not None:
            raise errors.OptionError(
                'what is on a target is reused without a spool'
            )
        if request.container not in ('auto', 'raw'):
            raise errors.OptionError(
                'what is on a target is reused for a raw image alone, not for'
                ' one that is packed: %s' % request.container
            )
        if plan.bmap is None and not prefixes.is_metalink(request.url):
            raise _no_hashes()
        asked = self._resolve()
        if plan.bmap is not None and (
            plan.is_mapped_all
            or (plan.bmap.checked and plan.checks_all)
            or (plan.bmap.checked and request.is_image_signed)
        ):
            # Else parts without a hash might be of different images.
            hashes = reuse.of_map(plan.bmap)
        elif plan.bmap is None and asked.pieces and asked.expected:
            hashes = reuse.of_pieces(asked.pieces, asked.expected)
        else:
            raise _no_hashes()
        source = self._source = reusing.Source(
            *(asked, hashes, lambda: self._left().settings, self._observe),
            self._reusing,
            self._checked_image if request.is_image_signed else None,
        )
        return self._write(plan, began, source)

    def _reusing(self, missing: int, there: int) -> None:
        """Tell what is on the target already, and what is not."""
        request = self.request
        left = continuing.look(request.target, request.state_dir)
        if left is not None and left.ours and not request.dry_run:
            # From now on it says nothing that is true.
            directory.remove(left.path)
        self._tell(
            'reused', 0, self._source.known, compared=there, missing=missing
        )

    def _find(self, plan: _Plan) -> continuing.Left | None:
        """Return what the target holds of an earlier copy.

        None where this one is not to be gone on with, either: parts that a
        block map has skipped are not there to be compared with a checksum,
        or with the hashes of a Metalink document, and a signature is checked
        of the first byte on. Nor does anything prove the first mebibyte,
        which is fetched by itself, of a map that has no checksum of some
        range.
        """
        request = self.request
        if request.dry_run or request.is_image_signed:
            return None
        if not self._is_recorded(plan):
            return None
        return continuing.look(request.target, request.state_dir)

    def _is_recorded(self, plan: _Plan) -> bool:
        if plan.bmap is not None and prefixes.is_metalink(self.request.url):
            asked = self._resolve()
            if asked.checksum or asked.pieces:
                return False
        return plan.is_recorded

    def _decides(self, plan: _Plan, container: str) -> bool:
        """Tell whether something proves all of the image that is written."""
        if plan.decides(container):
            return True
        if (
            plan.bmap is not None
            or container != 'raw'
            or not prefixes.is_metalink(self.request.url)
        ):
            return False
        asked = self._resolve()
        return bool(asked.checksum or (asked.pieces and asked.expected))

    def _resolve(self) -> download.Asked:
        """Return what is to be downloaded.

        A Metalink document is read once, for all that is fetched.
        """
        if self._resolved is None:
            request = self._left()
            self._resolved = download.resolve(
                request.url,
                mirrors=request.mirrors,
                checksum=_text(self._checksum),
                settings=request.settings,
                begun=self._begun,
            )
        return self._resolved

    def _asked(self, plan: _Plan) -> str:
        request = self.request
        parts = (request.url, request.container, plan)
        return continuing.digest(repr(parts))

    def _go(
        self,
        plan: _Plan,
        began: float,
        left: continuing.Left | None,
        record: record_module.Record | None = None,
    ) -> Result:
        request = self.request
        urls: tuple[str, ...] = ()
        before = kept = None
        if record is not None or (self._spool and self._spool.length):
            urls = tuple(self._resolve().urls)
        self._is_decided = plan.image_checksum is not None
        if record is not None:
            kept = continuing.kept(record, urls)
            self._source = self._new_source(kept)
        source: LazySource | spooling.Spooled = self._lazy
        self._spooled = None
        if self._spool is not None and self._spool.is_open:
            source = self._with_spool(self._spool, plan, record, kept, urls)
        if record is not None:
            assert kept is not None
            before = pipeline.Left(
                record,
                lambda: self._head(record.container),
                source.precede,
                lambda: source.position,
                functools.partial(self._compared, record, kept),
            )
        journal = None
        if left is not None:
            journal = journal_module.Journal(
                left.path,
                lambda: self._asked(plan),
                errors.redact(request.url),
                lambda: continuing.origin(self._lazy.found),
                record,
                self._spool_copy,
            )
        return self._write(plan, began, source, journal, before)

    def _write(
        self,
        plan: _Plan,
        began: float,
        source: LazySource | spooling.Spooled | reusing.Source,
        journal: journal_module.Journal | None = None,
        before: pipeline.Left | None = None,
    ) -> Result:
        request = self.request
        record = None if before is None else before.record
        try:
            image = pipeline.copy(
                source,
                request.target,
                container=request.container,
                decoder_memory=request.settings.decoder_memory,
                decoder_threads=request.settings.decoder_threads,
                trailing_data=request.settings.trailing_data,
                allow_unproven_end=request.settings.allow_unproven_end,
                image_checksum=_text(plan.image_checksum),
                options=writing.Options.chosen(
                    request.settings,
                    verify=request.verify,
                    in_place=request.in_place,
                    dry_run=request.dry_run,
                ),
                deadline=self._deadline,
                bmap=plan.bmap,
                journal=journal,
                left=before,
                worth=lambda found: self._is_worth(plan, found, record),
                observe=self._opened,
                vouch=self._vouch,
                cancellation=self._cancellation,
            )
        finally:
            self._source.close()
        # Of the network alone until here; for whoever waited, the disk
        # counts.
        seconds = time.monotonic() - began
        return Result(
            image,
            dataclasses.replace(self._source.stats, seconds=seconds),
            self._checksum,
            plan.image_checksum,
            self._source.position,
            self._signer,
        )

    def _with_spool(
        self,
        spool: spool_module.Spool,
        plan: _Plan,
        record: record_module.Record | None,
        kept: sources.Kept | None,
        urls: tuple[str, ...],
    ) -> LazySource | spooling.Spooled:
        """Return the source, with what the spool has, if that is any use."""
        from fuel_agent_curl import spooling

        request = self.request
        # With another checksum it is another image, of the same URL.
        checksums = plan.checksum, plan.image_checksum
        asked = continuing.digest(repr((request.url, checksums)))
        there = spooling.kept(spool, urls, asked)
        begins = 0
        if kept is not None:
            assert record is not None
            begins = kept.offset
            if (
                there is None
                or there.offset < begins
                or spool.copy != record.copy
            ):
                # It has no bytes that those to come would follow.
                LOG.info(
                    '%s: the spool does not reach what is on %s, so it is not'
                    ' used',
                    spool.path,
                    request.target,
                )
                return self._lazy
        self._source = self._new_source(there, checked=False)
        self._spooled = spooling.Spooled(
            self._source,
            spool,
            begins,
            (asked, errors.redact(request.url)),
            lambda length: _room_of_target(spool.path, request.target, length),
            lambda: self._unspooled(record, there),
            self._source.parts,
            self._checked_image if request.is_image_signed else None,
        )
        return self._spooled

    def _spool_copy(self) -> str:
        return '' if self._spooled is None else self._spooled.spool.copy

    def _left(self) -> Request:
        """Return the request with the time that is left of its deadline."""
        request = self.request
        if self._deadline is None:
            return request
        # 0 would mean none.
        left = max(0.001, self._deadline - time.monotonic())
        settings = dataclasses.replace(request.settings, deadline=left)
        return dataclasses.replace(request, settings=settings)

    def _begun(self, begun: download.Download) -> None:
        # Before that is looked at: see ``Cancellation.ask``.
        self._download = begun
        self._cancellation.check()

    def _signed(self, listed: bytes) -> bytes:
        """Return what is signed of a list, which may be all of it."""
        # Here: most images have no signature.
        from fuel_agent_curl.image import openpgp

        assert self._verifier is not None
        verifier, text = self._verifier, listed
        if verifier.signature is None:
            found = openpgp.clear_signed(listed)
            verifier = dataclasses.replace(verifier, signature=found.signature)
            text = found.text
        for _view in self._checked(verifier, iter((memoryview(text),))):
            pass
        return text

    def _checked(
        self, verifier: gpgv.Verifier, views: Iterator[memoryview]
    ) -> Iterator[memoryview]:
        """Iterate over what has to be signed; it ends only if it is."""
        from fuel_agent_curl.image import gpgv

        self._end_check()
        self._signer = None
        check = self._check = gpgv.Check(verifier, self._deadline)
        # Before that is looked at: see ``Cancellation.ask``.
        self._cancellation.check()
        for view in views:
            check.update(view)
            yield view
        self._signer = check.finish()
        LOG.info('signed by %s', self._signer)

    def _vouch(self) -> None:
        """Hold that who signed is known where it was asked for.

        :raises RuntimeError: if not: that is a bug.
        """
        if self.request.keyring is not None and self._signer is None:
            raise RuntimeError('the signature was not checked')

    def _end_check(self) -> None:
        if self._check is not None:
            self._check.close()

    def _end(self) -> None:
        if self._check is not None:
            self._check.cancel()
        if self._parts is not None:
            self._parts.close()
        if not isinstance(self._source, LazySource):
            self._source.close(patience=0)
        if self._download is not None:
            self._download.close(patience=0)

    def _opened(self, sink: sink_module.Sink) -> None:
        self._sink = sink

    def _read_parts(self) -> parts.Parts:
        self._parts = download.parts_of(self._resolve(), self._left().settings)
        return self._parts

    def _is_worth(
        self,
        plan: _Plan,
        container: str,
        record: record_module.Record | None,
    ) -> bool:
        """Tell whether another run can go on with this one; say what cannot.

        :param container: what the image comes in.
        :param record: what this one goes on with.
        """
        request = self.request
        if self._spooled is not None or request.dry_run:
            return True
        is_packed = container not in ('raw', 'qcow2')
        checked = is_packed and self._lazy.checks_all
        if checked and record is not None:
            raise errors.CannotContinue(
                'its checksum is of all bytes as they are sent, and the first'
                ' are not here'
            )
        what = _lost(container, checked)
        if request.is_image_signed:
            what = 'an image with a signature of its own'
        elif container == 'raw' and not self._is_recorded(plan):
            what = 'an image with this block map'
        length = self._source.known
        if (
            what is not None
            and record is None
            and (length is None or length > _SHORT)
        ):
            LOG.info(
                'if this is killed, %s is fetched again from its first byte:'
                ' --spool FILE keeps what was fetched',
                what,
            )
        return not checked

    def _compared(
        self, record: record_module.Record, kept: sources.Kept
    ) -> None:
        """Tell that what was left is right, and gone on with."""
        compared = kept.offset
        if record.container != 'raw':
            compared = continuing.mark(record).image
        self._continued(kept, compared)

    def _unspooled(
        self,
        record: record_module.Record | None,
        kept: sources.Kept | None,
    ) -> None:
        """Tell that all that was in the spool is right, and was used."""
        if record is None and kept is not None:
            self._continued(kept, 0)

    def _continued(self, kept: sources.Kept, compared: int) -> None:
        self._tell(
            'continued',
            kept.offset,
            kept.found.length,
            compared=compared,
            saved=self._source.position,
        )

    def _tell(
        self, kind: str, offset: int, length: int | None, **counts: typing.Any
    ) -> None:
        """Tell what was found of an earlier copy, or of an image before."""
        if self._observe is not None:
            url, settings = self.request.url, self.request.settings
            self._observe(
                events.Event(
                    kind,
                    errors.redact(url),
                    offset,
                    length,
                    1,
                    settings.attempts,
                    **counts,
                )
            )

    def _head(self, container: str) -> bytes:
        """Fetch the first mebibyte of the image.

        It was held back, so it is not on the target.
        """
        request = self._left()
        if self._spooled is not None:
            spool = self._spooled.spool
            return first_mebibyte(
                spool.read(0, spool.length), container, request.settings
            )
        with download.fetch_asked(
            dataclasses.replace(self._resolve(), checksum=None),
            settings=for_first_mebibyte(request.settings),
            begun=self._begun,
        ) as chunks:
            return first_mebibyte(chunks, container, request.settings)

    def _new_source(
        self, kept: sources.Kept | None = None, *, checked: bool = True
    ) -> LazySource:
        """Return the source of what is not kept.

        :param checked: a signature of the image is checked there.
        """
        checked = checked and self.request.is_image_signed
        return LazySource(
            lambda: self._fetch(kept),
            self._read_parts,
            self._checked_image if checked else None,
        )

    def _checked_image(
        self, views: Iterator[memoryview]
    ) -> Iterator[memoryview]:
        assert self._verifier is not None
        return self._checked(self._verifier, views)

    def _fetch(self, kept: sources.Kept | None) -> download.Download:
        asked = self._resolve()
        if kept is not None and not kept.found.validator.strong:
            # Else the server is to prove it, at once.
            asked = dataclasses.replace(asked, decided=self._is_decided)
        return download.fetch_asked(
            asked,
            settings=self._left().settings,
            observe=self._observe,
            begun=self._begun,
            kept=kept,
        )


def for_first_mebibyte(
    settings: settings_module.Settings,
) -> settings_module.Settings:
    """Return those of a download of which not much more is fetched."""
    return dataclasses.replace(
        settings,
        connections=1,
        chunk_size=_HEAD_CHUNK,
        window_size=octets.MIB,
    )


def first_mebibyte(
    chunks: Iterable[octets.Buffer],
    container: str,
    settings: settings_module.Settings,
) -> bytes:
    """Return the beginning of an image: what is held back of it.

    :param chunks: of the image as it is sent, from its first byte on.
    """
    # Here: only who goes on needs it so early.
    from fuel_agent_curl.image import containers

    head = bytearray()
    for piece in containers.decompress(
        chunks,
        container,
        decoder_memory=settings.decoder_memory,
        decoder_threads=settings.decoder_threads,
    ):
        head += piece
        if len(head) >= storage.FIRST:
            break
    return bytes(head[: storage.FIRST])


def copy(
    request: Request,
    observe: Callable[[events.Event], None] | None = None,
) -> Result:
    """Copy; on return everything is on the target, synced and checked.

    One that is to be watched or cancelled meanwhile is a ``Copy``.

    :param request: what, where to, and what is to be compared.
    :param observe: see ``Copy``.
    :raises errors.Error: of the class that says what went wrong, with an
        ``exit_code`` and a ``target_state``. So have other exceptions that
        end it, KeyboardInterrupt for one, the latter.
    """
    return Copy(request, observe).run()


@values.dataclass(frozen=True)
class _Plan:
    """What the bytes are compared with."""

    checksum: digest.Checksum | None
    image_checksum: digest.Checksum | None
    bmap: bmap_module.BlockMap | None

    @property
    def checks_all(self) -> bool:
        """Whether there is a checksum of the image, packed or not."""
        return bool(self.checksum or self.image_checksum)

    @property
    def is_mapped_all(self) -> bool:
        """Whether each range of a block map has a checksum."""
        bmap = self.bmap
        return bmap is not None and bmap.checked == len(bmap.ranges)

    @property
    def is_recorded(self) -> bool:
        """Whether what was written could be compared by another run."""
        return self.bmap is None or (
            self.is_mapped_all and not self.checks_all
        )

    def decides(self, container: str) -> bool:
        """Tell whether that proves all of the image that is written.

        A checksum of the download proves nothing of what was unpacked before.
        """
        if self.image_checksum is not None:
            return True
        if self.bmap is not None:
            return self.is_mapped_all
        return self.checksum is not None and container == 'raw'


def _room_of_target(spool: str, target: str, length: int) -> int:
    """Return how much of the room for a spool a target takes, in bytes.

    :param length: of the image, as it is sent.
    """
    try:
        if stat.S_ISBLK(os.stat(target).st_mode):
            return 0
    except OSError:
        # It is not there yet.
        pass
    try:
        places = [
            os.stat(os.path.dirname(os.path.realpath(path))).st_dev
            for path in (spool, target)
        ]
    except OSError:
        return 0
    return length if places[0] == places[1] else 0


# What a container is unpacked from the beginning of.
_UNITS = {
    'gzip': 'a gzip image that is one member, as most are,',
    'xz': 'an xz image that is one block, as xz makes it without -T,',
    'zstd': 'a zstd image that is one frame, as most are,',
    'bzip2': 'a bzip2 image that is one stream, as most are,',
    'qcow2': 'a qcow2 image',
}


def _lost(container: str, checked: bool) -> str | None:
    """Return what it is of which all is lost by a kill; None: it is not.

    :param checked: all bytes are compared as they are sent.
    """
    if container == 'raw':
        return None
    if checked:
        return 'with a checksum of the download, a packed image'
    return _UNITS.get(container, 'such an image')


class LazySource:
    """A source that makes its first request when it is first asked.

    The pipeline opens its target before that: one that cannot be used costs
    no request.

    :param fetch: begins the download.
    :param read_parts: makes what reads it out of order.
    :param checked: given what iterates over all bytes in order, returns what
        does so and fails in the end if they are wrong; None: nothing does.
    :ivar download: None before the first request has been answered.
    :ivar position: where it begins, in bytes; 0 before that.
    """

    def __init__(
        self,
        fetch: Callable[[], download.Download],
        read_parts: Callable[[], parts.Parts],
        checked: Callable[[Iterator[memoryview]], Iterator[memoryview]]
        | None = None,
    ) -> None:
        self.download: download.Download | None = None
        self._fetch = fetch
        self._read_parts = read_parts
        self._checked = checked
        self._parts: parts.Parts | None = None
        self.position = 0
        # Of what was ended before the download that there is.
        self._ended: list[events.Stats] = []

    def parts(self) -> parts.Parts:
        """Read parts; what has begun is ended, and begins anew after that.

        A server may let in one connection only.
        """
        if self.download is not None:
            self.download.close()
            self._ended.append(self.download.stats)
            self.download = None
            self.position = 0
        self._parts = self._read_parts()
        self._ended.append(self._parts.stats)
        return self._parts

    @property
    def stats(self) -> events.Stats:
        """Counters of all requests."""
        now = [] if self.download is None else [self.download.stats]
        return events.together([*self._ended, *now])

    def _begun(self) -> download.Download:
        if self.download is None:
            self.download = self._fetch()
            self.position = self.download.position
        return self.download

    @property
    def length(self) -> int | None:
        """Complete length in bytes; None where the server states none."""
        return self._begun().length

    @property
    def end_proven(self) -> bool:
        """See ``download.Download.end_proven``."""
        return self._begun().end_proven or self._checked is not None

    @property
    def known(self) -> int | None:
        """The same, without a request: None before the first answer."""
        return None if self.download is None else self.download.length

    @property
    def found(self) -> tuple[str, answer.Representation] | None:
        """See ``download.Download.found``."""
        return None if self.download is None else self.download.found

    @property
    def checks_all(self) -> bool:
        """See ``download.Download.checks_all``."""
        return self._begun().checks_all

    @property
    def checks_before(self) -> bool:
        """See ``download.Download.checks_before``."""
        return self._begun().checks_before

    def precede(self, view: memoryview) -> None:
        """See ``download.Download.precede``."""
        self._begun().precede(view)

    @property
    def received(self) -> int:
        """See ``download.Download.received``."""
        return 0 if self.download is None else self.download.received

    def views(self) -> Iterator[memoryview]:
        """Iterate over the bytes; each view is valid until the next."""
        views = self._begun().views()
        if self._checked is not None:
            views = self._checked(views)
        yield from views

    def keep(self, view: object) -> Callable[[], None] | None:
        """Have ``view`` stay valid; see ``download.Download.keep``."""
        return self._begun().keep(view)

    def close(self) -> None:
        """End the download, if there is one; from any thread."""
        if self._parts is not None:
            self._parts.close()
        if self.download is not None:
            self.download.close()


def _no_hashes() -> errors.OptionError:
    return errors.OptionError(
        'to reuse what is on a target, hashes of the parts of the image are'
        ' needed',
        hint='give its block map (--bmap) with a checksum of each range, or'
        ' the URL of a Metalink document that has piece hashes',
    )


def _text(checksum: digest.Checksum | None) -> str | None:
    return None if checksum is None else str(checksum)


def _given(text: str) -> digest.Checksum | checksums.Reference:
    # Here: many images have no checksum.
    from fuel_agent_curl.image import checksums

    return checksums.parse(text)


def load_checksum(
    request: Request,
    text: str | None,
    *,
    of_image: bool = False,
    begun: Callable[[download.Download], None] | None = None,
    signed: Callable[[bytes], bytes] | None = None,
) -> digest.Checksum | None:
    """Return the checksum that ``text`` gives, or the list that it names.

    Lines are found by the last part of the URL that was asked for, wherever
    that leads; those of the image without the ending of its container.

    :param begun: see ``download.fetch``.
    :param signed: given a list, returns what counts of it; None: all does.
    :raises errors.OptionError: if it is none, or a file that cannot be read.
    :raises errors.ContentError: if the list does not have just one.
    :raises errors.Error: for whatever ends the download.
    """
    if text is None:
        return None
    given = _given(text)
    if isinstance(given, digest.Checksum):
        return given
    from fuel_agent_curl.image import checksums
    from fuel_agent_curl.image import foreign

    path = checksums.path_of(request.url)
    if of_image and request.container != 'raw':
        path = checksums.unpacked(path)
    try:
        listed = document(
            given.location,
            checksums.LIST_MAX,
            'list of checksums',
            request,
            begun,
        )
    except errors.OptionError as error:
        # It may not be meant to be a list.
        error.hint = error.hint or (
            'a checksum is ALGORITHM:HEX, the digits alone, or the URL or the'
            ' path of a list'
        )
        raise
    try:
        if signed is not None:
            listed = signed(listed)
        found = checksums.find(listed, path, given, signed=signed is not None)
    except errors.SignatureError as error:
        error.url = errors.redact(given.location)
        raise
    except errors.ContentError as error:
        error.url = errors.redact(given.location)
        kind = foreign.find(listed, True)
        if kind is not None and kind not in foreign.LISTS:
            error.hint = 'it looks like %s: %s' % (kind.name, kind.advice)
        raise
    LOG.info(
        'the checksum of the %s is %s, by %s',
        'image' if of_image else 'download',
        found,
        errors.redact(given.location),
    )
    return found


def load_verifier(
    request: Request,
    begun: Callable[[download.Download], None] | None = None,
) -> gpgv.Verifier:
    """Return what checks the signature that ``request`` names.

    :param begun: see ``download.fetch``.
    :raises errors.OptionError: if a file cannot be read.
    :raises errors.SignatureError: of the class that says what is wrong with
        them, or that there is no program for it.
    :raises errors.Error: for whatever ends the download.
    """
    # Here: most images have no signature.
    from fuel_agent_curl.image import gpgv
    from fuel_agent_curl.image import openpgp

    assert request.keyring is not None
    program = gpgv.find()
    keyring = openpgp.keyring(
        document(request.keyring, openpgp.KEYRING_MAX, 'keyring', request)
    )
    signature = None
    if request.signature is not None:
        found = document(
            request.signature,
            openpgp.SIGNATURE_MAX,
            'signature',
            request,
            begun,
        )
        try:
            signature = openpgp.signature(
                found, of_image=request.is_image_signed
            )
        except errors.SignatureError as error:
            error.url = errors.redact(request.signature)
            raise
    return gpgv.Verifier(program, keyring, signature)


def load_bmap(
    request: Request,
    begun: Callable[[download.Download], None] | None = None,
) -> bmap_module.BlockMap:
    """Read the block map that ``request`` names.

    :param begun: see ``download.fetch``.
    :raises errors.OptionError: if the file cannot be read.
    :raises errors.ContentError: if it is not a block map, or a wrong one.
    :raises errors.Error: for whatever ends the download.
    """
    assert request.bmap is not None
    # Here: few images have one.
    from fuel_agent_curl.image import bmap as bmap_module

    text = document(
        request.bmap, bmap_module.DOCUMENT_MAX, 'block map', request, begun
    )
    try:
        found = bmap_module.parse(text)
    except errors.ContentError as error:
        error.hint = error.hint or 'check what --bmap names'
        raise
    without = len(found.ranges) - found.checked
    if without:
        LOG.warning(
            'the block map has no checksum for %d of its %d ranges',
            without,
            len(found.ranges),
        )
    return found


def document(
    name: str,
    most: int,
    what: str,
    request: Request,
    begun: Callable[[download.Download], None] | None = None,
) -> bytes:
    """Return what ``name``, a path or a URL, names: a small document.

    It is fetched as the image is, from its mirrors, too, and as often.

    :param most: how many bytes it may have.
    :param what: what it is, for the errors.
    :param begun: see ``download.fetch``.
    :raises errors.OptionError: if it is a file that cannot be read.
    :raises errors.ContentError: if it is longer than ``most``.
    :raises errors.Error: for whatever ends the download.
    """
    if '://' in name:
        first, *mirrors = request.sources(name)
        with download.fetch(
            first, mirrors=mirrors, settings=request.settings, begun=begun
        ) as chunks:
            found = download.gather(chunks, most)
    else:
        try:
            with open(name, 'rb') as file:
                found = file.read(most + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, 'strerror', None) or error
            raise errors.OptionError(
                # It may have been meant to be a URL.
                'cannot read the %s %s: %s'
                % (what, errors.redact(name), reason)
            ) from error
    if len(found) > most:
        raise errors.ContentError(
            'a %s of more than %d bytes is refused' % (what, most)
        )
    return found
