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
from fuel_agent_curl.config import options
from fuel_agent_curl.config import prefixes
from fuel_agent_curl.config import settings

LOG = logging.getLogger(__name__)

GROUP = options.GROUP


def _opt(option: options.Option) -> cfg.Opt:
    """Return what oslo.config calls an option."""
    given: dict[str, Any] = {
        'default': option.default,
        'help': option.help,
        'secret': option.secret,
    }
    if option.kind is tuple:
        return cfg.MultiStrOpt(
            option.name, **given | {'default': list(option.default)}
        )
    if option.kind is bool:
        return cfg.BoolOpt(option.name, **given)
    if option.bounds is None:
        return cfg.StrOpt(option.name, choices=option.choices, **given)
    least, most = option.bounds
    if option.kind is int:
        return cfg.IntOpt(option.name, min=int(least), max=int(most), **given)
    return cfg.FloatOpt(option.name, min=least, max=most, **given)


OPTS: list[cfg.Opt] = [_opt(option) for option in options.OPTIONS]
MIRRORS: cfg.Opt = _opt(options.MIRRORS)

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
    return settings.Settings(**_values(conf, overrides))


def sources(conf: cfg.ConfigOpts, url: str) -> list[str]:
    """Return every URL that ``conf`` knows for the bytes of ``url``.

    :returns: in the order to try them; ``url`` alone where there is no more,
        and for a Metalink document, which names the image's mirrors itself.
    :raises errors.OptionError: for a value that cannot be used.
    """
    known = prefixes.parse(_read(conf[GROUP], MIRRORS.dest, True))
    if prefixes.is_metalink(url):
        return [url]
    return prefixes.sources(url, known)


def _values(
    conf: cfg.ConfigOpts, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    def given(name: str) -> bool:
        return name in overrides or _is_given(conf, name)

    values = {
        option.dest: _read(conf[GROUP], option.dest, option.secret)
        for option in OPTS
        # A wrong value of what is overridden raises nothing.
        if option.dest not in overrides
    }
    values.update(overrides)
    for name, upstream in _UPSTREAM.items():
        if upstream in conf and not given(name):
            values[name] = _from_upstream(name, upstream, conf)
            if name == 'backoff' and not given('backoff_max'):
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
            hint="in a file, a '$' is written '$$'" if secret else None,
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
        least = getattr(settings.Settings, name)
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
