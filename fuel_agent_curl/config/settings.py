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

"""The settings of one download: frozen values, checked once.

Nothing here reads configuration; ``opts`` turns oslo.config's values into
a ``Settings``. Durations are seconds, sizes and offsets are bytes.
"""

from __future__ import annotations

import dataclasses
import re

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values

HTTP_VERSIONS = ('1.0', '1.1', '2', '3')

#: All values of each setting that has few.
CHOICES = {
    'http_version': HTTP_VERSIONS,
    'ip_version': ('any', '4', '6'),
    'tls_min_version': ('1.0', '1.1', '1.2', '1.3'),
    'trailing_data': ('error', 'ignore'),
}

# What is True or False.
_SWITCHES = (
    'insecure',
    'direct_io',
    'wipe_leftovers',
    'any_sector_size',
    'allow_unproven_end',
)

# What one connection may be ahead of the consumer: more does not make it
# faster, and a ramdisk has little memory.
_ONE_CONNECTION_WINDOW = 16 * octets.MIB

# Fields of a request that carry a download's own meaning: with another Range
# the bytes would land elsewhere, with a coding they would be other bytes, and
# with a condition there may be none.
_RESERVED_FIELDS = frozenset(
    (
        'accept-encoding',
        'connection',
        'content-length',
        'if-match',
        'if-modified-since',
        'if-none-match',
        'if-range',
        'if-unmodified-since',
        'range',
        'te',
        'transfer-encoding',
        'upgrade',
    )
)
# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
# RFC 9110 section 5.5; what is not ASCII has no meaning of its own there.
_FIELD_VALUE = re.compile(r'[\t\x20-\x7e]*')
# CURLOPT_RESOLVE. An IPv6 address may have brackets.
_RESOLVE = re.compile(
    r'\+?(?:[^\s:\[\]]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5}):[0-9A-Fa-f:.,\[\]]+'
)

#: The least and the largest value of every number among the settings.
BOUNDS: dict[str, tuple[float, float]] = {
    'connect_timeout': (0.001, 86400),
    'first_byte_timeout': (0.1, 86400),
    'low_speed_limit': (1, 2**40),
    'low_speed_time': (0.1, 86400),
    'attempts': (0, 2**31),
    'backoff': (0, 86400),
    'backoff_max': (0, 86400),
    'deadline': (0, 2**31),
    'connections': (1, 256),
    'segment_size': (64 * octets.KIB, 2**40),
    'window_size': (64 * octets.KIB, 2**40),
    'chunk_size': (1, 2**30),
    # libcurl's own bounds (CURLOPT_BUFFERSIZE).
    'buffer_size': (1024, 10 * octets.MIB),
    'max_recv_speed': (0, 2**62),
    # The most that zstd can be told to take.
    'decoder_memory': (octets.MIB, 2 * octets.GIB),
    'decoder_threads': (0, 256),
}


@values.dataclass(frozen=True, kw_only=True)
class Settings:
    """How one download is carried out.

    :raises errors.OptionError: for a value out of its range.
    """

    #: Name resolution, TCP and TLS handshake together.
    connect_timeout: float = 10.0
    #: From there to the first byte of the answer. A server that has the whole
    #: file fetched or looked through first says nothing meanwhile.
    first_byte_timeout: float = 60.0
    #: Bytes per second below which a transfer is stalled ...
    low_speed_limit: int = 1024
    #: ... when it lasts this long.
    low_speed_time: float = 10.0
    #: Attempts in a row without progress, the first included; 0: no limit.
    attempts: int = 31
    #: Delay before the second retry without progress; doubles from there.
    backoff: float = 2.0
    backoff_max: float = 60.0
    #: For the whole download; 0: none.
    deadline: float = 0.0
    connections: int = 1
    segment_size: int = 4 * octets.MIB
    #: Ceiling of what is buffered ahead of the consumer.
    window_size: int = 64 * octets.MIB
    #: Largest chunk handed on.
    chunk_size: int = 1 * octets.MIB
    #: libcurl's receive buffer (CURLOPT_BUFFERSIZE).
    buffer_size: int = 512 * octets.KIB
    #: None: as the environment variables say; '': none.
    proxy: str | None = dataclasses.field(default=None, repr=False)
    #: For https URLs; None: as ``proxy``.
    https_proxy: str | None = dataclasses.field(default=None, repr=False)
    no_proxy: str | None = None
    #: PEM file of the authorities to trust; None: the system's.
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    #: File whose first line is the pass phrase of ``key``.
    key_password_file: str | None = None
    #: 'NAME:PASSWORD' for the servers named.
    user: str | None = dataclasses.field(default=None, repr=False)
    netrc_file: str | None = None
    #: Do not verify the server's certificate.
    insecure: bool = False
    tls_min_version: str = '1.2'
    #: Names of OpenSSL with colons between; None: its own choice.
    tls_ciphers: str | None = None
    #: Name or address of the network interface to send from.
    interface: str | None = None
    #: Each 'HOST:PORT:ADDRESS[,ADDRESS]' (CURLOPT_RESOLVE).
    resolve: tuple[str, ...] = ()
    ip_version: str = 'any'
    #: Additional request fields, each 'Name: value'.
    headers: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    user_agent: str = 'fuel-agent-curl'
    #: Bytes per second; 0: no limit.
    max_recv_speed: int = 0
    http_version: str = '1.1'
    #: Write past the page cache where the target allows it.
    direct_io: bool = True
    #: Blank what a whole disk is known by behind the image.
    wipe_leftovers: bool = False
    #: Write a GPT for sectors of another length than the disk's.
    any_sector_size: bool = False
    #: The largest window (zstd) or dictionary (xz) of a decoder.
    decoder_memory: int = 128 * octets.MIB
    #: Threads that decode the blocks of an xz container at the same time; 0:
    #: as many as there are cores, and 8 at most.
    decoder_threads: int = 0
    #: What to do about bytes behind the end of a container.
    trailing_data: str = 'error'
    #: Take a raw image that may be cut short without anybody knowing.
    allow_unproven_end: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, 'headers', tuple(self.headers))
        object.__setattr__(self, 'resolve', tuple(self.resolve))
        for name in BOUNDS:
            self._check_number(name)
        for name in _SWITCHES:
            # 'no' would be true.
            if not isinstance(getattr(self, name), bool):
                raise errors.OptionError(
                    '%s is True or False, not %r' % (name, getattr(self, name))
                )
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise errors.OptionError(
                    '%s is one of %s, not %r'
                    % (name, ', '.join(choices), getattr(self, name))
                )
        for proxy in (self.proxy, self.https_proxy):
            if proxy and not _FIELD_VALUE.fullmatch(proxy):
                # It may hold a password: it is not shown.
                raise errors.OptionError(
                    'the proxy holds something other than printable ASCII',
                    hint='write it as %XX',
                )
        if self.user and re.search('[\x00-\x1f\x7f]', self.user):
            raise errors.OptionError('user holds a control character')
        for entry in self.resolve:
            _check_resolve(entry)
        for header in (*self.headers, 'User-Agent: ' + self.user_agent):
            _check_header(header)

    def _check_number(self, name: str) -> None:
        least, most = BOUNDS[name]
        value = getattr(self, name)
        # The type of the default is that of the setting.
        whole = isinstance(getattr(type(self), name), int)
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else (int, float))
            # Not a number is not in any range, either.
            or not least <= value <= most
        ):
            raise errors.OptionError(
                '%s is a %snumber from %s to %s, not %r'
                % (name, 'whole ' if whole else '', least, most, value)
            )

    @property
    def window(self) -> int:
        """Bytes that may be buffered ahead of the consumer."""
        if self.connections == 1:
            return min(self.window_size, _ONE_CONNECTION_WINDOW)
        return self.window_size

    @property
    def segment(self) -> int:
        """Bytes of a segment: whole MiB, so many that all fit the window.

        Never less than one, but where the window itself is small.
        """
        fitting = self.window // self.connections // octets.MIB * octets.MIB
        least = min(octets.MIB, self.window // 4)
        return min(self.segment_size, max(fitting, least))

    @property
    def stall_limit(self) -> int:
        """Bytes per second below which a transfer is stalled.

        Not ``low_speed_limit`` itself where the download is told to be about
        as slow as that, or slower.
        """
        if not self.max_recv_speed:
            return self.low_speed_limit
        share = self.max_recv_speed // self.connections
        return min(self.low_speed_limit, share // 2 or 1)

    @property
    def progress(self) -> int:
        """New bytes an attempt must bring for the count to start again."""
        return max(1, int(self.low_speed_limit * self.low_speed_time))


def _check_resolve(entry: str) -> None:
    found = _RESOLVE.fullmatch(entry)
    if found is None or not 0 < int(found[1]) < 65536:
        raise errors.OptionError("resolve is 'HOST:PORT:ADDRESS'; one is not")


def _check_header(header: str) -> None:
    name, colon, value = header.partition(':')
    if not colon or not _TOKEN.fullmatch(name):
        # Not shown: it may be a credential that lacks its colon.
        raise errors.OptionError("a header is 'Name: value'; one is not")
    if not _FIELD_VALUE.fullmatch(value):
        # RFC 9112 section 5: CR or LF in a field would end it or the head,
        # and let a value add fields of its own.
        raise errors.OptionError(
            'the header %s holds something other than printable ASCII' % name
        )
    if name.lower() in _RESERVED_FIELDS:
        raise errors.OptionError(
            'the header %s is set by the download itself' % name
        )
