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

"""ironic-python-agent's image downloads on this engine.

The agent loads ``Extension`` by its entry point when it starts, after its
configuration has been read. That puts four names of its module ``standby`` in
place. The agent's own code goes on around them: its rules for checksums and
credentials, its loop of retries, its log, its repair of partition tables.

Each of the agent's two ways, onto the device and into a file under /tmp, makes
an ``ImageDownload``, iterates over it, and has it verified. Ours yields
nothing, and brings the image when it is to be verified: what fails then is
raised where the agent tells final errors from those that it tries again.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import ssl
import stat
import tempfile
import threading
import time
import types
from typing import Any
from typing import NamedTuple

from ironic_python_agent import config as _config  # noqa: F401  (registers)
from ironic_python_agent import errors as agent_errors
from ironic_python_agent import utils as agent_utils
from ironic_python_agent.extensions import base
from ironic_python_agent.extensions import standby
from oslo_config import cfg
import requests

from fuel_agent_curl import continuing
from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import pipeline
from fuel_agent_curl.config import opts
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import qcow2
from fuel_agent_curl.state import journal as journal_module
from fuel_agent_curl.state import record as record_module
from fuel_agent_curl.target import sink as sink_module
from fuel_agent_curl.target import writing

LOG = logging.getLogger(__name__)

opts.register(cfg.CONF)

#: The kernel parameter, or that of virtual media, that turns all of this off.
PARAMETER = 'ipa-fuel-agent-curl'

# A file of checksums holds some lines for each image of a release.
_CHECKSUMS_MAX = 16 * octets.MIB

# A line of progress after both of these: seconds, and a part of the image.
_PROGRESS_TIME = 10.0
_PROGRESS_PART = 0.05

_BUNDLES = (
    '/etc/ssl/certs/ca-certificates.crt',
    '/etc/pki/tls/certs/ca-bundle.crt',
)


class _Way(NamedTuple):
    """Where the agent wants the image, and what may be unpacked on the way.

    :ivar location: device or file.
    :ivar container: 'raw' where qemu-img is to see the bytes as they are;
        'qcow2' where it is to see nothing.
    """

    location: str
    container: str


class _Here(threading.local):
    """What the agent's function that runs in this thread is to fill."""

    way: _Way | None = None


_here = _Here()


class _Deferred(str):
    """The image's URL while the agent decides what has to match.

    No request is made for it then.
    """


class _ByAgent(str):
    """The image's URL where the agent itself is to ask for it."""


def settings_for(
    image_info: dict[str, Any], url: str, image_id: str, began: float
) -> settings_module.Settings:
    """Return what ``image_info`` and the agent's options say now.

    The conductor changes options while the agent runs, so nothing is kept.

    :param began: ``time.time()`` at which the agent began with the image.
    :raises errors.OptionError: for a value that cannot be used.
    :raises ironic_python_agent.errors.ImageDownloadTimeoutError: where
        image_download_max_duration has passed already.
    """
    conf = cfg.CONF
    given: dict[str, Any] = {}
    if not opts.is_given(conf, 'low_speed_limit'):
        given['low_speed_limit'] = 1
    if not opts.is_given(conf, 'user_agent'):
        given['user_agent'] = requests.utils.default_user_agent()
    authorization = _authorization(image_info, image_id)
    if authorization is None and not opts.is_given(conf, 'netrc_file'):
        given['netrc_file'] = _netrc()
    proxies = image_info.get('proxies') or {}
    if proxies:
        given['proxy'] = _proxy(url, 'http', proxies)
        given['https_proxy'] = _proxy(url, 'https', proxies) or ''
    if image_info.get('no_proxy'):
        given['no_proxy'] = image_info['no_proxy']
    if _option('image_download_max_duration', 0):
        given['deadline'] = _left(image_info, began)
    settings = opts.settings_from(conf, opts.IRONIC, **given, **_trust())
    if authorization is None:
        return settings
    field = 'Authorization: ' + authorization
    return dataclasses.replace(settings, headers=(*settings.headers, field))


def _authorization(image_info: dict[str, Any], image_id: str) -> str | None:
    """Return the value of the field Authorization by the agent's rules."""
    auth = (
        standby._load_supplied_authorization(image_info)
        or standby._gen_auth_from_image_info_user_pass(image_info, image_id)
        or standby._gen_auth_from_oslo_conf_user_pass(image_id)
    )
    if auth is None:
        return None
    request = types.SimpleNamespace(headers={})
    auth(request)
    value: str = request.headers['Authorization']
    return value


def _netrc() -> str | None:
    """Return the file that requests would look credentials up in."""
    for path in (os.environ.get('NETRC'), '~/.netrc', '~/_netrc'):
        if path and os.path.exists(os.path.expanduser(path)):
            return os.path.expanduser(path)
    return None


def _proxy(url: str, scheme: str, proxies: dict[str, str]) -> str | None:
    """Return the proxy for the host of ``url``, were its scheme this one."""
    _before, separator, rest = url.partition('://')
    found: str | None = requests.utils.select_proxy(
        scheme + separator + rest, proxies
    )
    return found


def _option(name: str, default: Any) -> Any:
    """Return an option that not every release of the agent has."""
    return cfg.CONF.get(name, default)


def _left(image_info: dict[str, Any], began: float) -> float:
    """Return the seconds that are left of image_download_max_duration."""
    most = cfg.CONF.image_download_max_duration
    left = began + most - time.time()
    if left <= 0:
        raise _timed_out(image_info['id'], 'it was used up before')
    # The clock may have been set since.
    return float(min(left, most))


def _timed_out(image_id: str, why: object) -> Exception:
    most = _option('image_download_max_duration', 0)
    # Else the deadline is of ours, and what of it was left is not known here.
    limit = ' (%s seconds)' % most if most else ''
    error: Exception = agent_errors.ImageDownloadTimeoutError(
        image_id, 'Download exceeded max allowed time%s: %s' % (limit, why)
    )
    return error


def _trust() -> dict[str, Any]:
    """Return the settings of TLS, from the agent's options."""
    conf = cfg.CONF
    found: dict[str, Any] = {
        'insecure': bool(conf.insecure),
        'tls_min_version': str(_option('tls_min_version', '1.2')),
        'tls_ciphers': _option('tls_cipher_suites', None) or None,
        'cacert': conf.cafile or _environment() or _authorities(),
    }
    if conf.certfile and conf.keyfile:
        found.update(cert=conf.certfile, key=conf.keyfile)
    return found


def _environment() -> str | None:
    """Return the bundle that the environment names for requests."""
    for name in ('REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE'):
        if os.environ.get(name):
            return os.environ[name]
    return None


@functools.cache
def _authorities() -> str:
    """Return a file with the system's authorities and those of certifi.

    The agent trusts certifi's; whoever builds its ramdisk adds the operator's
    to that file. The system's are what everything else there trusts.
    """
    # As bytes: what is said between the certificates is in any encoding.
    bundle = tempfile.NamedTemporaryFile(  # noqa: SIM115  (until the exit)
        prefix='fuel-agent-curl-', suffix='.pem'
    )
    system = ssl.get_default_verify_paths().cafile
    for path in dict.fromkeys(
        [system, *_BUNDLES, requests.utils.DEFAULT_CA_BUNDLE_PATH]
    ):
        try:
            with open(path or '', 'rb') as source:
                bundle.write(source.read() + b'\n')
        except OSError:
            continue
    bundle.flush()
    _kept.append(bundle)
    return bundle.name


# Files that are to be there as long as the process.
_kept: list[object] = []


def _as_agent_error(
    error: errors.Error, image_id: str, way: _Way | None = None
) -> Exception:
    """Return what the agent calls the error.

    The engine has tried as often as the agent's options say: what it gives
    up must not be tried again from the first byte.
    """
    raised: Exception
    if isinstance(error, errors.DeadlineExceeded):
        raised = _timed_out(image_id, error)
    elif way is not None and isinstance(error, errors.DeviceError):
        if way.container != 'raw':
            raised = agent_errors.ImageWriteError(
                way.location, error.exit_code, '', str(error)
            )
        elif isinstance(error, (errors.TargetFull, errors.TargetTooSmall)):
            raised = agent_errors.ImageDownloadOutofSpaceError(
                image_id, str(error)
            )
        else:
            raised = agent_errors.ImageDownloadFatalError(image_id, str(error))
    else:
        raised = agent_errors.ImageDownloadFatalError(image_id, str(error))
    return raised


def download_with_proxy(
    image_info: dict[str, Any], url: str, image_id: str
) -> Any:
    """Bring a small document, in the place of the agent's function.

    :returns: what the agent uses of a ``requests.Response``.
    """
    if isinstance(url, _Deferred):
        return types.SimpleNamespace(headers={}, status_code=200)
    if isinstance(url, _ByAgent):
        return _replaced['_download_with_proxy'](image_info, url, image_id)
    try:
        with download.fetch(
            requests.utils.requote_uri(url),
            settings=settings_for(image_info, url, image_id, time.time()),
        ) as chunks:
            body = download.gather(chunks, _CHECKSUMS_MAX)
            coding = chunks.stats.coding
    except errors.ContentCodingError as error:
        coding = error.message
    except errors.Error as error:
        raise _as_agent_error(error, image_id) from error
    if coding is not None:
        # The agent undoes it.
        return _replaced['_download_with_proxy'](image_info, url, image_id)
    return types.SimpleNamespace(
        text=body.decode('utf-8', 'replace'),
        content=body,
        headers={'Content-Length': str(len(body))},
        status_code=200,
    )


class _Chunks:
    """A source for ``pipeline.copy`` whose digest somebody else compares.

    :param chunks: all bytes; compared, by ``verify``, before the end.
    """

    def __init__(
        self,
        chunks: Iterator[bytes],
        verify: Callable[[], None],
        length: int | None,
        close: Callable[[], None],
    ) -> None:
        self._chunks = chunks
        self._verify = verify
        self.length = length
        self.close = close
        #: By the digest.
        self.end_proven = True

    def views(self) -> Iterator[memoryview]:
        for chunk in self._chunks:
            yield memoryview(chunk)
        self._verify()

    def keep(self, view: object) -> None:
        """No view can be kept."""
        return None


class ImageDownload(getattr(standby, 'ImageDownload', object)):  # type: ignore[misc]
    """Brings an image by this engine, to the agent's own rules.

    :param time_obj: ``time.time()`` at which the agent began.
    """

    # The agent's.
    _hash_algo: Any
    _expected_hash_value: Any
    _request: Any

    def __init__(
        self, image_info: dict[str, Any], time_obj: float | None = None
    ) -> None:
        urls = [str(url) for url in image_info['urls']]
        # The agent decides what has to match, fetching a file of checksums.
        super().__init__(
            {**image_info, 'urls': [_Deferred(urls[0])]}, time_obj
        )
        self._image_info = image_info
        self._way = _here.way
        self._download: download.Download | None = None
        # In its place, for an image that is not read in order.
        self._parted: copying.LazySource | None = None
        # Monotonic, for all of it; None: none.
        self._deadline: float | None = None
        self._checksum = _checksum_of(self)
        self._sources: list[str] = []
        # Of an earlier attempt, and how that is told from every other.
        self._left: continuing.Left | None = None
        self._record: record_module.Record | None = None
        self._asked = ''
        # The agent compares letter by letter.
        self._expected_hash_value = str(self._expected_hash_value).lower()
        try:
            self._begin([requests.utils.requote_uri(url) for url in urls])
        except errors.ContentCodingError as error:
            self._begin_coded(urls, error.message)
        except errors.Error as error:
            raise _as_agent_error(error, image_info['id']) from error

    def _begin(self, urls: list[str]) -> None:
        self._sources = _sources(urls)
        first, *mirrors = self._sources
        settings = settings_for(
            self._image_info, first, self._image_info['id'], self._time
        )
        if settings.deadline:
            self._deadline = time.monotonic() + settings.deadline
        if self._way is not None and self._way.container == 'qcow2':
            self._begin_parted(first, mirrors)
            return
        self._look(urls)
        try:
            self._fetch(first, mirrors, settings)
        except errors.CannotContinue as error:
            self._start_over(error)
            self._fetch(first, mirrors, settings)
        assert self._download is not None
        if self._download.stats.coding is not None:
            # We would hand on what is stored; the agent's checksum is of
            # what requests makes of it.
            self._close()
            raise errors.ContentCodingError(
                'the image is stored as ' + self._download.stats.coding
            )
        self._expected_size = self._download.length
        self._request = types.SimpleNamespace(iter_content=self._content)

    def _fetch(
        self,
        first: str,
        mirrors: list[str],
        settings: settings_module.Settings,
    ) -> None:
        kept = None
        if self._record is not None:
            kept = continuing.kept(self._record, [first, *mirrors])
        self._download = download.fetch(
            first,
            mirrors=mirrors,
            checksum=self._checksum,
            settings=settings,
            kept=kept,
        )

    def _look(self, urls: list[str]) -> None:
        """Look for what an earlier attempt has left on the device."""
        way = self._way
        if (
            not opts.ironic_continue(cfg.CONF)
            or way is None
            or self._checksum is None
            or not os.path.exists(way.location)
            or not stat.S_ISBLK(os.stat(way.location).st_mode)
        ):
            return
        # A URL may be signed anew each time; the checksum says what it is.
        asked = continuing.digest(repr((self._checksum, way.container)))
        self._left = continuing.look(way.location)
        self._asked = asked
        if self._left is not None:
            self._record = continuing.usable(
                self._left,
                way.location,
                lambda: asked,
                'raw',
                # It is recorded of a raw image alone, and the checksum that
                # the agent has is of that.
                decided=lambda container: container == 'raw',
            )

    def _start_over(self, error: errors.CannotContinue) -> None:
        """Forget what an earlier attempt has left."""
        assert self._way is not None
        LOG.warning('%s: it starts over: %s', self._way.location, error)
        self._close()
        self._record = None

    def _head(self) -> bytes:
        """Fetch the first mebibyte of a raw image, which was held back."""
        image_id = self._image_info['id']
        first, *mirrors = self._sources
        settings = settings_for(self._image_info, first, image_id, self._time)
        with download.fetch(
            first,
            mirrors=mirrors,
            settings=copying.for_first_mebibyte(settings),
        ) as chunks:
            return copying.first_mebibyte(chunks, 'raw', settings)

    def _before(self) -> pipeline.Left | None:
        """Return what is gone on with."""
        record, source = self._record, self._download
        if record is None or source is None:
            return None
        return pipeline.Left(
            record,
            self._head,
            source.precede,
            lambda: source.position,
            lambda: LOG.info(
                '%s: continues at byte %d; all before it was compared',
                *(self._image_info['id'], source.position),
            ),
        )

    def _journal(self) -> journal_module.Journal | None:
        left, source = self._left, self._download
        if left is None or source is None:
            return None
        return journal_module.Journal(
            left.path,
            lambda: self._asked,
            errors.redact(self._sources[0]),
            lambda: continuing.origin(source.found),
            self._record,
        )

    def _begin_parted(self, first: str, mirrors: list[str]) -> None:
        def asked() -> dict[str, Any]:
            return {
                'mirrors': mirrors,
                'checksum': self._checksum,
                'settings': settings_for(
                    self._image_info, first, self._image_info['id'], self._time
                ),
            }

        self._parted = copying.LazySource(
            lambda: download.fetch(first, **asked()),
            lambda: download.read_parts(first, **asked()),
        )
        # It makes its requests later.
        self._expected_size = None
        self._request = types.SimpleNamespace(iter_content=self._content)

    def _begin_coded(self, urls: list[str], why: str) -> None:
        """Have the agent ask by itself: a coding hides the offsets."""
        LOG.warning('%s; it is decoded as the agent does, no resume', why)
        self._download = None
        super().__init__(
            {**self._image_info, 'urls': [_ByAgent(url) for url in urls]},
            self._time,
        )
        self._expected_hash_value = str(self._expected_hash_value).lower()

    def _content(self, _size: int) -> Iterator[bytes]:
        """Yield what requests would: used where the agent iterates."""
        assert self._download is not None
        try:
            yield from self._download
        except errors.Error as error:
            raise _as_agent_error(error, self._image_info['id']) from error

    def __iter__(self) -> Iterator[bytes]:
        """Yield nothing where ``verify_image`` brings the image."""
        if self._way is not None:
            return iter(())
        chunks: Iterator[bytes] = super().__iter__()
        return chunks

    def verify_image(self, image_location: str) -> None:
        """Bring the image to where it belongs, compared and synced.

        The name is the agent's, for the moment at which it asks.

        :raises ironic_python_agent.errors.RESTError: of the class that the
            agent has for what happened.
        """
        way, image_id = self._way, self._image_info['id']
        if way is None:
            # Of what was iterated over, which may not be all.
            super().verify_image(image_location)
            return
        source: pipeline.Source
        if self._parted is not None:
            source = self._parted
        elif self._download is not None and self._checksum is not None:
            source = self._download
        else:
            source = _Chunks(
                self._decoded(),
                lambda: super(ImageDownload, self).verify_image(
                    image_location
                ),
                None if self._download is None else self._download.length,
                self._interrupt,
            )
        try:
            try:
                result, line = self._write(source, way)
            except errors.CannotContinue as error:
                self._start_over(error)
                first, *mirrors = self._sources
                settings = settings_for(
                    self._image_info, first, image_id, self._time
                )
                self._fetch(first, mirrors, settings)
                assert self._download is not None
                result, line = self._write(self._download, way)
        except errors.DigestMismatch as error:
            raise agent_errors.ImageChecksumError(
                image_location, image_id, self._expected_hash_value, str(error)
            ) from error
        except errors.Error as error:
            raise _as_agent_error(error, image_id, way) from error
        finally:
            self._close()
        self._bytes_transferred = result.written
        LOG.info('%s; complete', line)

    def _write(
        self, source: pipeline.Source, way: _Way
    ) -> tuple[pipeline.Result, str]:
        """Bring the image; return what that did, and in words."""
        values = opts.settings_from(cfg.CONF, opts.IRONIC)
        with _Progress(self._image_info['id'], self._download) as progress:
            result = pipeline.copy(
                source,
                way.location,
                container=way.container,
                decoder_memory=values.decoder_memory,
                decoder_threads=values.decoder_threads,
                trailing_data=values.trailing_data,
                options=writing.Options.chosen(
                    values,
                    in_use=opts.ironic_busy(cfg.CONF),
                    in_place=True,
                ),
                deadline=self._deadline,
                observe=progress.watch,
                journal=self._journal(),
                left=self._before(),
                worth=lambda container: container == 'raw',
            )
        return result, progress.line()

    def _decoded(self) -> Iterator[bytes]:
        """Yield what the agent itself receives, and hashes."""
        try:
            yield from super().__iter__()
        except requests.RequestException as error:
            raise agent_errors.ImageDownloadError(
                self._image_info['id'], str(error)
            ) from error

    def _interrupt(self) -> None:
        """End what the thread that brings the image may be waiting for."""
        if self._parted is not None:
            self._parted.close()
            return
        if self._download is not None:
            self._download.close()
            return
        # Closing what another thread reads would wait for it. Not every
        # urllib3 can end that; then the agent's own timeout does.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            self._request.raw.shutdown()

    def _close(self) -> None:
        if self._parted is not None:
            self._parted.close()
        elif self._download is not None:
            self._download.close()
        elif self._request is not None:
            self._request.close()


def _checksum_of(image: Any) -> str | None:
    """Return what an ``ImageDownload`` is to compare.

    None where the algorithm is one that only the agent has.
    """
    try:
        return str(
            digest.parse(
                '%s:%s' % (image._hash_algo.name, image._expected_hash_value)
            )
        )
    except errors.OptionError:
        return None


def _sources(urls: list[str]) -> list[str]:
    """Return every URL of an image, the preferred first."""
    known = [source for url in urls for source in opts.sources(cfg.CONF, url)]
    return list(dict.fromkeys(known))


def _passes_inspection(image_info: dict[str, Any]) -> bool:
    """Have the agent inspect the head of a qcow2 image.

    False where the agent has to go its own way: the server has no ranges, or
    the checksum is by an algorithm that only the agent has.

    :raises ironic_python_agent.errors.InvalidImage: by the agent.
    :raises ironic_python_agent.errors.RESTError: if the head cannot be read.
    """
    image_id = image_info['id']
    urls = [requests.utils.requote_uri(str(url)) for url in image_info['urls']]
    decided = _replaced['ImageDownload'](
        {**image_info, 'urls': [_Deferred(urls[0])]}, time.time()
    )
    if _checksum_of(decided) is None:
        return False
    first, *mirrors = _sources(urls)
    try:
        with download.read_parts(
            first,
            mirrors=mirrors,
            settings=settings_for(image_info, first, image_id, time.time()),
        ) as parts:
            head = parts.read(0, qcow2.HEAD)
    except (errors.NoRanges, errors.ContentCodingError) as error:
        LOG.info('%s; the image is converted as the agent does', error)
        return False
    except errors.Error as error:
        raise _as_agent_error(error, image_id) from error
    with tempfile.NamedTemporaryFile(prefix='fuel-agent-curl-') as file:
        file.write(head)
        file.flush()
        found, _length = standby.disk_utils.get_and_validate_image_format(
            file.name, image_info.get('disk_format')
        )
    return bool(found == 'qcow2')


def _streaming(
    original: Callable[..., None], stream: Callable[..., None]
) -> Callable[..., None]:
    """Return ``original``, which writes a qcow2 image without a file.

    :param stream: the agent's own, which brings a raw image onto a device.
    """

    @functools.wraps(original)
    def wrapper(
        extension: Any,
        image_info: dict[str, Any],
        device: str,
        configdrive: Any = None,
    ) -> None:
        if (
            not opts.ironic_stream_qcow2(cfg.CONF)
            or image_info.get('disk_format') != 'qcow2'
            or image_info.get('image_type') == 'partition'
            # Then qemu-img is to look at all of the file.
            or _option('disable_deep_image_inspection', False)
            or not _passes_inspection(image_info)
        ):
            original(extension, image_info, device, configdrive)
            return
        extension.partition_uuids = {}
        _here.way = _Way(device, 'qcow2')
        try:
            stream(extension, image_info, device)
        finally:
            _here.way = None
        extension.cached_image_id = image_info['id']

    return wrapper


class _Progress:
    """Says in the agent's log how far an image is, until it is left."""

    def __init__(
        self, image_id: str, source: download.Download | None
    ) -> None:
        self._image_id = image_id
        self._source = source
        self._sink: sink_module.Sink | None = None
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name='fuel-agent-curl-progress', daemon=True
        )

    def __enter__(self) -> _Progress:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, sink: sink_module.Sink) -> None:
        """Look at what this sink has written from now on."""
        self._sink = sink

    def _run(self) -> None:
        told = 0
        while not self._ended.wait(_PROGRESS_TIME):
            length = self._source.length if self._source else None
            taken = self._source.position if self._source else 0
            if taken - told >= _PROGRESS_PART * (length or 0):
                told = taken
                LOG.info('%s', self.line())

    def line(self) -> str:
        """Return how far it is.

        The length is of what is received, which may be packed.
        """
        written = self._sink.given if self._sink else 0
        rate = written / max(time.monotonic() - self._began, 1e-3)
        line = 'Image %s: %d bytes written, %.1f MiB/s' % (
            self._image_id,
            written,
            rate / octets.MIB,
        )
        if self._source is None:
            return line
        stats, length = self._source.stats, self._source.length
        return (
            '%s; %d%s bytes received, %d requests, %d resumed, %d stalled'
            % (
                line,
                self._source.position,
                '' if length is None else ' of %d' % length,
                stats.attempts,
                stats.resumes,
                stats.stalls,
            )
        )


def _bringing(
    original: Callable[..., Any], way_of: Callable[..., _Way]
) -> Callable[..., Any]:
    """Return ``original``, whose ``ImageDownload`` knows where to go."""

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _here.way = way_of(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        finally:
            _here.way = None

    return wrapper


# What is put in place, by the name in the agent's module, and the parameters
# that the agent's own has: with others it is not what is known here.
_HOOKS = {
    '_download_with_proxy': ('image_info', 'url', 'image_id'),
    'ImageDownload': ('image_info', 'time_obj'),
    '_download_image': ('image_info',),
    'StandbyExtension._stream_raw_image_onto_device': (
        'self',
        'image_info',
        'device',
    ),
    'StandbyExtension._cache_and_write_image': (
        'self',
        'image_info',
        'device',
        'configdrive',
    ),
}

# What is called, likewise.
_CALLED = {
    '_image_location': ('image_info',),
    '_load_supplied_authorization': ('image_info',),
    '_gen_auth_from_image_info_user_pass': ('image_info', 'image_id'),
    '_gen_auth_from_oslo_conf_user_pass': ('image_id',),
    'ImageDownload.__iter__': ('self',),
    'ImageDownload.verify_image': ('self', 'image_location'),
}

_ERRORS = (
    'ImageChecksumError',
    'ImageDownloadError',
    'ImageDownloadFatalError',
    'ImageDownloadOutofSpaceError',
    'ImageDownloadTimeoutError',
    'ImageWriteError',
)

# What ``install`` has replaced; empty while it has not been called.
_replaced: dict[str, Any] = {}


def differences() -> list[str]:
    """Return what the agent has otherwise than this module knows it."""
    found = []
    for name, expected in (_HOOKS | _CALLED).items():
        owner: Any = standby
        for part in name.split('.'):
            owner = getattr(owner, part, None)
        if not callable(owner):
            found.append('%s is missing' % name)
            continue
        parameters = tuple(inspect.signature(owner).parameters)
        if parameters != expected:
            found.append(
                '%s takes %s, not %s'
                % (name, ', '.join(parameters), ', '.join(expected))
            )
    found += [
        'errors.%s is missing' % name
        for name in _ERRORS
        if not hasattr(agent_errors, name)
    ]
    return found


def install() -> None:
    """Put ours in the place of the agent's; doing it twice is no error."""
    if _replaced:
        return
    cls = standby.StandbyExtension
    stream = cls._stream_raw_image_onto_device
    _replaced.update(
        _download_with_proxy=standby._download_with_proxy,
        ImageDownload=standby.ImageDownload,
        _download_image=standby._download_image,
        _stream_raw_image_onto_device=stream,
        _cache_and_write_image=cls._cache_and_write_image,
    )
    standby._download_with_proxy = download_with_proxy
    standby.ImageDownload = ImageDownload
    standby._download_image = _bringing(
        standby._download_image,
        lambda image_info: _Way(standby._image_location(image_info), 'raw'),
    )
    cls._stream_raw_image_onto_device = _bringing(
        stream, lambda self, image_info, device: _Way(device, 'auto')
    )
    cls._cache_and_write_image = _streaming(cls._cache_and_write_image, stream)


def uninstall() -> None:
    """Put the agent's back; nothing where ours are not in place."""
    if not _replaced:
        return
    standby._download_with_proxy = _replaced['_download_with_proxy']
    standby.ImageDownload = _replaced['ImageDownload']
    standby._download_image = _replaced['_download_image']
    standby.StandbyExtension._stream_raw_image_onto_device = _replaced[
        '_stream_raw_image_onto_device'
    ]
    standby.StandbyExtension._cache_and_write_image = _replaced[
        '_cache_and_write_image'
    ]
    _replaced.clear()


def _is_off() -> str | None:
    """Return what turns this off, None where nothing does."""
    said = str(agent_utils.get_agent_params().get(PARAMETER, 'true'))
    if said.lower() in ('0', 'false', 'no', 'off'):
        return 'kernel parameter %s=%s' % (PARAMETER, said)
    if not opts.ironic(cfg.CONF):
        return 'option [%s] ironic' % opts.GROUP
    return None


class Extension(base.BaseAgentExtension):
    """What the agent's entry point loads; it has no commands.

    Whatever is wrong here is in the log, and the agent goes on alone.
    """

    def __init__(self, agent: object = None) -> None:
        super().__init__(agent=agent)
        off = _is_off()
        if off is not None:
            LOG.info('fuel_agent_curl is turned off by the %s', off)
            return
        unknown = differences()
        if unknown:
            LOG.error(
                'fuel_agent_curl does not know this ironic-python-agent,'
                ' which goes on alone: %s',
                '; '.join(unknown),
            )
            return
        install()
        LOG.info('Images are downloaded by fuel_agent_curl')
