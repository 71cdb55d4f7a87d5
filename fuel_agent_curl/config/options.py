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

"""What can be set, told once: for files, flags and their help.

A value that is not given is that of ``settings.Settings``, which also has
the bounds. Nothing installed is imported: the command line is to be
understood, and a copy begun, without oslo.config where no file is to be read.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from fuel_agent_curl import values
from fuel_agent_curl.config import quantities
from fuel_agent_curl.config import settings

GROUP = 'fuel_agent_curl'

_DEFAULTS = dataclasses.asdict(settings.Settings())

# As oslo.config has them.
_TRUTH = {
    **dict.fromkeys(('true', '1', 'on', 'yes'), True),
    **dict.fromkeys(('false', '0', 'off', 'no'), False),
}


#: What options are about, in the order of the help, and its title there.
SUBJECTS = {
    'target': 'target',
    'checks': 'what is checked',
    'output': 'output',
    'transfer': 'transfer',
    'network': 'network',
    'trust': 'TLS and credentials',
}


@values.dataclass(frozen=True)
class Option:
    """A setting, or something that a copy is asked for besides.

    :ivar name: in files; of the field of ``Settings``, if it is one.
    :ivar help: what it means, with its unit, and what 0 or nothing means.
    :ivar secret: it may hold credentials: it is in no log and no error.
    :ivar unit: 'bytes' (or bytes per second), 'seconds', or '' for a count
        and for what is no number.
    :ivar subject: one of ``SUBJECTS``.
    :ivar flags: on the command line; none: the name, with hyphens.
    :ivar metavar: what stands for a value in the help; '': by its unit.
    :ivar preset: what holds where it is not given, if it is no setting.
    :ivar values: all there are, if it is no setting; None: any.
    """

    name: str
    help: str
    secret: bool = False
    unit: str = ''
    subject: str = 'transfer'
    flags: tuple[str, ...] = ()
    metavar: str = ''
    preset: Any = ()
    values: tuple[str, ...] | None = None

    @property
    def default(self) -> Any:
        """What holds where it is not given."""
        return _DEFAULTS.get(self.name, self.preset)

    @property
    def kind(self) -> type:
        """bool, int, float, or str; tuple: strings, each given by itself."""
        return str if self.default is None else type(self.default)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the largest value; None: it is no number."""
        return settings.BOUNDS.get(self.name)

    @property
    def choices(self) -> tuple[str, ...] | None:
        """All values there are; None: any."""
        return settings.CHOICES.get(self.name, self.values)

    def value(self, text: str) -> Any:
        """Return what ``text`` says; of a tuple, one of its values.

        :raises ValueError: if it says nothing, or what is out of bounds. The
            text is not in the message: it may be a credential that was meant
            for another option.
        """
        if self.choices and text not in self.choices:
            raise ValueError('not one of ' + ', '.join(self.choices))
        if self.kind is bool:
            if text.lower() not in _TRUTH:
                raise ValueError('neither true nor false')
            return _TRUTH[text.lower()]
        if self.bounds is None:
            return text
        number: float
        if self.unit == 'bytes':
            number = quantities.size(text)
        elif self.unit == 'seconds':
            number = quantities.duration(text)
        elif re.fullmatch(r'-?[0-9]+', text):
            number = int(text)
        else:
            raise ValueError('not a whole number')
        least, most = self.bounds
        if not least <= number <= most:
            raise ValueError('not from %s to %s' % (least, most))
        return number


OPTIONS: tuple[Option, ...] = (
    Option(
        'connect_timeout',
        'Time for name resolution, TCP and TLS handshake of one attempt '
        'together (in seconds).',
        unit='seconds',
        subject='network',
    ),
    Option(
        'first_byte_timeout',
        'Time from there to the first byte of the answer (in seconds): some '
        'servers fetch all of a file before they send any of it. After one '
        'in vain the next attempt is given twice as long, up to four times.',
        unit='seconds',
        subject='network',
    ),
    Option(
        'low_speed_limit',
        'A transfer that is slower than this for low_speed_time is stalled: '
        'it is given up and resumed (in bytes per second). The time in which '
        'the target, not the network, is what is waited for does not count.',
        unit='bytes',
    ),
    Option(
        'low_speed_time',
        'How long a transfer may stay below low_speed_limit (in seconds).',
        unit='seconds',
    ),
    Option(
        'attempts',
        'Attempts in a row without progress after which a download fails, '
        'the first one included; 0 means no limit. An attempt that brings '
        'low_speed_limit x low_speed_time new bytes begins the count again.',
    ),
    Option(
        'backoff',
        'Delay before the second attempt (in seconds). It doubles with each '
        'further attempt without progress, is shortened at random by up to '
        'half, and gives way to a Retry-After of the server. 0 means none.',
        unit='seconds',
    ),
    Option(
        'backoff_max',
        'What the doubled delay grows to at most (in seconds).',
        unit='seconds',
    ),
    Option(
        'deadline',
        'Time for a whole download (in seconds); 0 means none.',
        unit='seconds',
    ),
    Option(
        'connections',
        'Connections that one download uses at the same time.',
    ),
    Option(
        'segment_size',
        'With several connections, the boundaries of the segments that each '
        'fetches are multiples of this (in bytes). It is made smaller, in '
        'whole mebibytes, until connections x segment_size fits window_size.',
        unit='bytes',
    ),
    Option(
        'window_size',
        'What several connections may buffer ahead of the target together '
        '(in bytes). One connection alone never buffers more than 16 MiB.',
        unit='bytes',
    ),
    Option(
        'chunk_size',
        'The largest piece that is handed on at once (in bytes).',
        unit='bytes',
    ),
    Option(
        'buffer_size',
        'The receive buffer of a connection in libcurl (in bytes).',
        unit='bytes',
    ),
    Option(
        'proxy',
        'URL of the proxy. Empty means none; not given means what the '
        'environment variables http_proxy and https_proxy say.',
        secret=True,
        subject='network',
        flags=('-x', '--proxy'),
        metavar='URL',
    ),
    Option(
        'https_proxy',
        'URL of the proxy for https:// URLs, where it is not that of proxy. '
        'Empty means none.',
        secret=True,
        subject='network',
        metavar='URL',
    ),
    Option(
        'no_proxy',
        'Hosts asked without the proxy, separated by commas or blanks: '
        'names, domains (corp, .corp or *.corp), addresses, networks '
        '(10.0.0.0/8 or 10.*), each with :PORT or for all ports; * means all '
        'of them, empty none. Not given means what the environment variable '
        'no_proxy says.',
        subject='network',
        metavar='HOSTS',
    ),
    Option(
        'cacert',
        'PEM file of the authorities that may have signed the '
        "server's certificate, or a directory of them, each by the hash of "
        'its name. Not given means what the environment variables '
        'CURL_CA_BUNDLE, or SSL_CERT_FILE and SSL_CERT_DIR, say, or else '
        'those of the system.',
        subject='trust',
    ),
    Option(
        'cert',
        'PEM file of the certificate to show to the server. Not given '
        'means none.',
        subject='trust',
    ),
    Option(
        'key',
        'PEM file of the private key of cert. Not given means that it '
        'is in the same file.',
        secret=True,
        subject='trust',
    ),
    Option(
        'key_password_file',
        'File whose first line is the pass phrase of key. Nobody is ever '
        'asked for it.',
        subject='trust',
        metavar='FILE',
    ),
    Option(
        'user',
        "'NAME:PASSWORD' for the servers named, by the way that they ask for "
        '(Basic, Digest or Negotiate). Those in a URL come first.',
        secret=True,
        subject='trust',
        flags=('-u', '--user'),
        metavar='NAME:PASSWORD',
    ),
    Option(
        'netrc_file',
        'File in the form of .netrc with names and passwords for the servers '
        'named, where user is not given. Not given means none.',
        subject='trust',
        metavar='FILE',
    ),
    Option(
        'insecure',
        "Do not verify the server's certificate.",
        subject='trust',
        flags=('-k', '--insecure'),
    ),
    Option(
        'tls_min_version',
        'The oldest version of TLS that is spoken.',
        subject='trust',
    ),
    Option(
        'tls_ciphers',
        "Cipher suites that may be used, by OpenSSL's names with colons "
        'between; those of TLS 1.3 are TLS_AES_256_GCM_SHA384 and the like. '
        'Not given means the choice of OpenSSL.',
        subject='trust',
        metavar='CIPHERS',
    ),
    Option(
        'interface',
        'Name or address of the network interface to send from. Not given '
        'means as the routes say.',
        subject='network',
        metavar='NAME',
    ),
    Option(
        'resolve',
        "An address to use for a host, 'HOST:PORT:ADDRESS', in place of what "
        'the name server says. Give the option once for each.',
        subject='network',
        metavar='HOST:PORT:ADDRESS',
    ),
    Option(
        'ip_version',
        'Addresses to use: of IPv4, of IPv6, or any.',
        subject='network',
    ),
    Option(
        'headers',
        "A field to add to every request, 'Name: value'. Give the "
        'option once for each field.',
        secret=True,
        subject='trust',
        flags=('-H', '--header', '--headers'),
        metavar='FIELD',
    ),
    Option(
        'user_agent',
        'What this client calls itself.',
        subject='network',
    ),
    Option(
        'max_recv_speed',
        'What one download takes at most (in bytes per second); 0 means no '
        'limit.',
        unit='bytes',
        flags=('--limit-rate',),
    ),
    Option(
        'http_version',
        'The version of HTTP to ask for. With 2 and 3, which are for '
        'https:// URLs, the connections of one download are streams of a '
        'single one. An older version is used where the server, or the way '
        'to it, does not have the one asked for.',
        subject='network',
    ),
    Option(
        'direct_io',
        'Write past the page cache (O_DIRECT) where the target takes it.',
        subject='target',
    ),
    Option(
        'wipe_leftovers',
        'Blank all that libblkid knows a whole disk by behind the image, not '
        'only what hides the image from it.',
        subject='target',
    ),
    Option(
        'any_sector_size',
        'Write an image with a GPT for sectors of another length than those '
        'of the disk.',
        subject='target',
    ),
    Option(
        'decoder_memory',
        'The largest window (zstd) or dictionary (xz) that an image may take '
        'to be unpacked (in bytes). Blocks of xz that are unpacked at the '
        'same time take no more than this together, and neither does the '
        'mapping of a qcow2 image with the clusters that are.',
        unit='bytes',
        subject='checks',
    ),
    Option(
        'decoder_threads',
        'How many threads unpack at the same time, at most: blocks of an xz '
        'container, where it has several (xz -T makes them), or compressed '
        'clusters of a qcow2 image; 0 means as many as there are cores, and '
        '8 at most.',
    ),
    Option(
        'trailing_data',
        'What to do about bytes behind the end of a gzip, xz, zstd or bzip2 '
        'container, such as a signature: ignore leaves them out, error '
        'does so only where a checksum of the image is given, which decides.',
        subject='checks',
    ),
    Option(
        'allow_unproven_end',
        'Take a raw image from a server that states no length and ends by '
        'closing the connection, where no checksum is given: that it was cut '
        'short would not show.',
        subject='checks',
    ),
)

# No field of Settings: it is of the URL, not of how it is fetched.
MIRRORS = Option(
    'mirrors',
    "Where the same images are to be had, 'PREFIX=URL[,URL...]': what "
    'follows PREFIX in the URL of an image follows each of these. The URL '
    'itself is tried first, unless it is one of them: then in their order. '
    'Give the option once for each prefix; the longest that fits holds. A '
    'Metalink document is asked for as it is.',
    secret=True,
)

#: What ``fuel-agent-curl copy`` is asked for besides: fields of its
#: ``copying.Request``.
COPY: tuple[Option, ...] = (
    Option(
        'verify',
        'Read everything back from the medium and compare, before the image '
        'is made to look complete.',
        subject='target',
        preset=False,
    ),
    Option(
        'in_place',
        'Write over a regular file that is there, in place of a new one '
        'beside it that replaces it in the end: that takes no more room, but '
        'a failed copy leaves nothing of the old content.',
        subject='target',
        preset=False,
    ),
    Option(
        'go_on',
        'Go on with what a copy of the same has left that was killed, or that '
        'failed for its network: what is on the target is read and compared, '
        'and only the rest is fetched.',
        subject='target',
        preset=True,
        flags=('--continue',),
    ),
    Option(
        'reuse',
        'Read the target first, and fetch and write only what is not there '
        'yet: of a raw image, by the checksums of its block map (see bmap) or '
        'the piece hashes of the Metalink document that the URL names.',
        subject='target',
        preset=False,
    ),
    Option(
        'state_dir',
        'Directory of the records by which a copy is gone on with; by '
        'default fuel-agent-curl in $XDG_STATE_HOME, or else in /var/lib, for '
        'root, or ~/.local/state.',
        subject='target',
        preset=None,
        metavar='DIR',
    ),
    Option(
        'spool',
        'File in which the bytes are kept as the server sends them, until '
        'all is done: a copy that was killed goes on with them, whatever '
        'the image comes in, and a qcow2 image can come from a server '
        'without ranges. It is removed in the end. Not given means none.',
        subject='target',
        preset=None,
        metavar='FILE',
    ),
    Option(
        'dry_run',
        'Write nothing: open the target, ask the server, look at the first '
        'bytes, and say what would be done.',
        subject='target',
        preset=False,
    ),
    Option(
        'checksum',
        'Checksum of the bytes as the server sends them: ALGORITHM:HEX, as '
        'in sha256:HEX, the digits alone, or the file or URL of a list that '
        'has the name of the image, as in SHA256SUMS.',
        secret=True,
        subject='checks',
        preset=None,
        metavar='CHECKSUM',
    ),
    Option(
        'image_checksum',
        'The same of what lands on the target, unpacked.',
        secret=True,
        subject='checks',
        preset=None,
        metavar='CHECKSUM',
    ),
    Option(
        'signature',
        'File or URL of an OpenPGP signature that has to be by a key of '
        'keyring: of the list that checksum or image_checksum names, or else '
        'of the bytes as the server sends them.',
        secret=True,
        subject='checks',
        preset=None,
        metavar='FILE_OR_URL',
    ),
    Option(
        'keyring',
        'File of the public keys that are trusted, as gpg --export makes it, '
        'armored or not. Without signature, the list of checksums itself has '
        'to be signed (clear-signed).',
        subject='checks',
        preset=None,
        metavar='FILE',
    ),
    Option(
        'container',
        'How the image is packed; auto goes by its first bytes, not by its '
        'name.',
        subject='checks',
        preset='auto',
        values=('auto', 'raw', 'gzip', 'xz', 'zstd', 'bzip2', 'qcow2'),
    ),
    Option(
        'bmap',
        'File or URL of the block map of the unpacked image, as bmaptool '
        'makes it: only the ranges that hold data are written, and each is '
        'compared with its checksum there; the rest of the target stays as '
        'it is.',
        secret=True,
        subject='checks',
        preset=None,
        metavar='FILE_OR_URL',
    ),
    Option(
        'progress',
        'What is shown of a copy: bar, on a terminal; json, one object a '
        'line on standard output; none, nothing but errors. auto means a bar '
        'on a terminal, and log lines elsewhere.',
        subject='output',
        preset='auto',
        values=('auto', 'bar', 'json', 'none'),
    ),
)

#: Every option that may stand in a file.
ALL = (*OPTIONS, MIRRORS, *COPY)

#: What may stand there for ironic-python-agent, and has no effect here.
IRONIC = ('ironic', 'ironic_busy', 'ironic_stream_qcow2', 'ironic_continue')

#: The same for fuel-agent.
FUEL_AGENT = ('fuel_agent_spool',)
