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


"""The options of group ``[fuel_agent_curl]``, and their only reader.

Every option but ``mirrors`` is a field of ``settings.Settings`` with the
default, and the bounds, that it has there.
"""

from __future__ import annotations

from collections.abc import Mapping
import copy
import logging
from typing import Any

from oslo_config import cfg

from fuel_agent_curl import errors
from fuel_agent_curl import metalink
from fuel_agent_curl import mirrors
from fuel_agent_curl import settings

LOG = logging.getLogger(__name__)

GROUP = 'fuel_agent_curl'

_DEFAULTS = settings.Settings()


def _integer(name: str, text: str) -> cfg.Opt:
    least, most = settings.BOUNDS[name]
    return cfg.IntOpt(
        name,
        default=getattr(_DEFAULTS, name),
        min=int(least),
        max=int(most),
        help=text,
    )


def _seconds(name: str, text: str) -> cfg.Opt:
    least, most = settings.BOUNDS[name]
    return cfg.FloatOpt(
        name,
        default=getattr(_DEFAULTS, name),
        min=least,
        max=most,
        help=text,
    )


OPTS: list[cfg.Opt] = [
    _seconds(
        'connect_timeout',
        'Time for name resolution, TCP and TLS handshake of one attempt '
        'together (in seconds).',
    ),
    _integer(
        'low_speed_limit',
        'A transfer that is slower than this for low_speed_time is stalled: '
        'it is given up and resumed (in bytes per second). The time in which '
        'the target, not the network, is what is waited for does not count.',
    ),
    _seconds(
        'low_speed_time',
        'How long a transfer may stay below low_speed_limit (in seconds).',
    ),
    _integer(
        'attempts',
        'Attempts in a row without progress after which a download fails, '
        'the first one included; 0 means no limit. An attempt that brings '
        'low_speed_limit x low_speed_time new bytes begins the count again.',
    ),
    _seconds(
        'backoff',
        'Delay before the second attempt (in seconds). It doubles with each '
        'further attempt without progress, is shortened at random by up to '
        'half, and gives way to a Retry-After of the server. 0 means none.',
    ),
    _seconds(
        'backoff_max',
        'What the doubled delay grows to at most (in seconds).',
    ),
    _seconds(
        'deadline',
        'Time for a whole download (in seconds); 0 means none.',
    ),
    _integer(
        'connections',
        'Connections that one download uses at the same time.',
    ),
    _integer(
        'segment_size',
        'With several connections, the boundaries of the segments that each '
        'fetches are multiples of this (in bytes). It is made smaller, in '
        'whole mebibytes, until connections x segment_size fits window_size.',
    ),
    _integer(
        'window_size',
        'What several connections may buffer ahead of the target together '
        '(in bytes). One connection alone never buffers more than 16 MiB.',
    ),
    _integer(
        'chunk_size',
        'The largest piece that is handed on at once (in bytes).',
    ),
    _integer(
        'buffer_size',
        'The receive buffer of a connection in libcurl (in bytes).',
    ),
    cfg.StrOpt(
        'proxy',
        default=_DEFAULTS.proxy,
        secret=True,
        help='URL of the proxy. Empty means none; not given means what the '
        'environment variables http_proxy and https_proxy say.',
    ),
    cfg.StrOpt(
        'no_proxy',
        default=_DEFAULTS.no_proxy,
        help='Hosts asked without the proxy, separated by commas; * means '
        'all of them, empty none. Not given means what the environment '
        'variable no_proxy says.',
    ),
    cfg.StrOpt(
        'cacert',
        default=_DEFAULTS.cacert,
        help='PEM file of the authorities that may have signed the '
        "server's certificate. Not given means those of the system.",
    ),
    cfg.StrOpt(
        'cert',
        default=_DEFAULTS.cert,
        help='PEM file of the certificate to show to the server. Not given '
        'means none.',
    ),
    cfg.StrOpt(
        'key',
        default=_DEFAULTS.key,
        secret=True,
        help='PEM file of the private key of cert. Not given means that it '
        'is in the same file.',
    ),
    cfg.BoolOpt(
        'insecure',
        default=_DEFAULTS.insecure,
        help="Do not verify the server's certificate.",
    ),
    cfg.MultiStrOpt(
        'headers',
        default=list(_DEFAULTS.headers),
        secret=True,
        help="A field to add to every request, 'Name: value'. Give the "
        'option once for each field.',
    ),
    cfg.StrOpt(
        'user_agent',
        default=_DEFAULTS.user_agent,
        help='What this client calls itself.',
    ),
    _integer(
        'max_recv_speed',
        'What one download takes at most (in bytes per second); 0 means no '
        'limit.',
    ),
    cfg.StrOpt(
        'http_version',
        default=_DEFAULTS.http_version,
        choices=settings.HTTP_VERSIONS,
        help='The version of HTTP to ask for.',
    ),
    cfg.BoolOpt(
        'direct_io',
        default=_DEFAULTS.direct_io,
        help='Write past the page cache (O_DIRECT) where the target takes it.',
    ),
]

# No field of Settings: it is of the URL, not of how it is fetched.
MIRRORS = cfg.MultiStrOpt(
    'mirrors',
    default=[],
    secret=True,
    help="Where the same images are to be had, 'PREFIX=URL[,URL...]': what "
    'follows PREFIX in the URL of an image follows each of these. The URL '
    'itself is tried first, unless it is one of them: then in their order. '
    'Give the option once for each prefix; the longest that fits holds. A '
    'Metalink document is asked for as it is.',
)

# fuel-agent's options for the same things, and ours that each stands in for.
_UPSTREAM = {
    'connect_timeout': 'http_request_timeout',
    'low_speed_time': 'http_request_timeout',
    'backoff': 'http_retry_delay',
    'attempts': 'http_max_retries',
    'chunk_size': 'data_chunk_size',
}


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return copies of the options, for oslo-config-generator."""
    return [(GROUP, copy.deepcopy([*OPTS, MIRRORS]))]


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options with ``conf``, none of them as a CLI option.

    ``conf`` may have parsed its command line already; doing it twice is no
    error.
    """
    conf.register_opts([*OPTS, MIRRORS], group=GROUP)


def settings_from(conf: cfg.ConfigOpts, **overrides: Any) -> settings.Settings:
    """Return the settings that ``conf`` states.

    Where an option of ours is given neither in a file nor otherwise,
    fuel-agent's own stands in for it, if it is registered with ``conf``:
    a deployment that tuned those keeps its tuning.

    :param conf: ``register`` has been called with it.
    :param overrides: fields that hold whatever ``conf`` states.
    :raises errors.OptionError: for a value that cannot be used.
    """
    return settings.Settings(**(_values(conf) | overrides))


def sources(conf: cfg.ConfigOpts, url: str) -> list[str]:
    """Return every URL that ``conf`` knows for the bytes of ``url``.

    :returns: in the order to try them; ``url`` alone where there is no more,
        and for a Metalink document, which names the image's mirrors itself.
    :raises errors.OptionError: for a value that cannot be used.
    """
    rules = mirrors.parse(_read(conf[GROUP], MIRRORS.dest, True))
    if metalink.is_metalink(url):
        return [url]
    return mirrors.sources(url, rules)


def _values(conf: cfg.ConfigOpts) -> dict[str, Any]:
    values = {
        option.dest: _read(conf[GROUP], option.dest, option.secret)
        for option in OPTS
    }
    for name, upstream in _UPSTREAM.items():
        if upstream in conf and not _is_given(conf, name):
            values[name] = _from_upstream(name, upstream, conf)
            if name == 'backoff' and not _is_given(conf, 'backoff_max'):
                # Our default must not cut a longer delay of theirs down.
                values['backoff_max'] = max(
                    values['backoff_max'], values['backoff']
                )
    return values


def _read(source: Mapping[str, Any], name: str, secret: bool) -> Any:
    try:
        return source[name]
    except (cfg.Error, ValueError) as error:
        # A '$' in a password is taken for another option's name, and the
        # message then holds what follows it.
        reason = '' if secret else ': %s' % error
        raise errors.OptionError(
            'option %s cannot be used%s' % (name, reason),
            hint="a '$' in a value is written '$$'" if secret else None,
        ) from (None if secret else error)


def _is_given(conf: cfg.ConfigOpts, name: str) -> bool:
    location = conf.get_location(name, group=GROUP)
    return (
        location is not None
        and location.location is not cfg.Locations.opt_default
    )


def _from_upstream(name: str, upstream: str, conf: cfg.ConfigOpts) -> float:
    """Return fuel-agent's value as one of ours, within our bounds.

    It states no bounds of its own. What is too much, or too little, becomes
    the nearest that we can do; a time or a size that is not even positive
    means nothing, and our default holds.
    """
    value: float = _read(conf, upstream, False)
    least, most = settings.BOUNDS[name]
    wanted = value
    if name == 'attempts' and value != 0:
        # Theirs counts the tries after the first; 0 is no limit with both,
        # and -1 must not become that.
        wanted = value + 1
        least = 1
    elif value < 0 or (value == 0 and least > 0):
        least = getattr(_DEFAULTS, name)
    bounded = type(value)(min(max(wanted, least), most))
    if bounded != wanted:
        LOG.warning(
            '%s = %s is out of the range of [%s] %s; using %s',
            upstream,
            value,
            GROUP,
            name,
            bounded,
        )
    return bounded
