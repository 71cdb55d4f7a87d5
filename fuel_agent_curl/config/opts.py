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

from collections.abc import Iterable
from collections.abc import Mapping
import copy
import dataclasses
import logging
import os
import re
from typing import Any

from oslo_config import cfg
from oslo_config import types

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.config import names
from fuel_agent_curl.config import options
from fuel_agent_curl.config import prefixes
from fuel_agent_curl.config import quantities
from fuel_agent_curl.config import settings

LOG = logging.getLogger(__name__)

GROUP = options.GROUP

# The file, or the variable, in an error of oslo.config's.
_PLACE = re.compile(r"detail='([^']+)'\) is not valid: ")


_TYPE_NAMES = {bool: 'boolean', int: 'integer', str: 'string', tuple: 'string'}


class _Type(types.ConfigType):
    """Reads a value as the command line does, and refuses it alike."""

    def __init__(self, option: options.Option) -> None:
        name = {'bytes': 'size', 'seconds': 'duration'}.get(option.unit)
        super().__init__('%s value' % (name or _TYPE_NAMES[option.kind]))
        self._option = option
        self.min: float | None = None
        self.max: float | None = None
        if option.bounds is not None:
            self.min, self.max = option.bounds
        self.choices = dict.fromkeys(option.choices or ())

    def __call__(self, value: Any) -> Any:
        # What is no text was set by a program.
        text = value if isinstance(value, str) else str(value)
        try:
            return self._option.value(text)
        except ValueError as error:
            raise _Refused(str(error)) from None

    def __repr__(self) -> str:
        return self.type_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Type) and other._option == self._option

    __hash__ = None  # type: ignore[assignment]

    def _formatter(self, value: Any) -> str:
        if self._option.unit == 'bytes':
            return quantities.shown_size(value)
        if self._option.unit == 'seconds':
            return '%g' % value
        return str(value).lower() if isinstance(value, bool) else str(value)


class _Refused(ValueError):
    """Says why a value cannot be used, and does not repeat it."""


def _opt(option: options.Option) -> cfg.Opt:
    """Return what oslo.config calls an option."""
    given: dict[str, Any] = {
        'default': option.default,
        'help': option.help,
        'secret': option.secret,
    }
    if option.kind is tuple:
        given['default'] = list(option.default)
        return cfg.MultiStrOpt(option.name, **given)
    return cfg.Opt(option.name, type=_Type(option), **given)


OPTS: list[cfg.Opt] = [_opt(option) for option in options.OPTIONS]
COPY: list[cfg.Opt] = [
    _opt(
        dataclasses.replace(
            option, help=option.help + ' For fuel-agent-curl copy alone.'
        )
    )
    for option in options.COPY
]
MIRRORS: cfg.Opt = _opt(options.MIRRORS)

# What only the plug of ironic-python-agent reads.
IRONIC_WANTED: cfg.Opt = cfg.BoolOpt(
    'ironic',
    default=True,
    help='Download the images of ironic-python-agent, where this package is '
    'installed beside it. The kernel parameter ipa-fuel-agent-curl=false '
    'turns it off as well.',
)
IRONIC_BUSY: cfg.Opt = cfg.StrOpt(
    'ironic_busy',
    default='refuse',
    choices=[
        ('refuse', 'fail, and say what uses the disk'),
        ('write', 'write over it, as ironic-python-agent alone does'),
    ],
    help='What to do in ironic-python-agent with a disk that is in use: '
    'mounted, or part of an array or a volume group that the ramdisk has '
    'assembled.',
)
IRONIC_QCOW2: cfg.Opt = cfg.BoolOpt(
    'ironic_stream_qcow2',
    default=False,
    help='Write a qcow2 image of a whole disk straight onto it, where '
    'ironic-python-agent would download all of it into memory first. It '
    'inspects the head of the image, as it does the image.',
)
IRONIC_CONTINUE: cfg.Opt = cfg.BoolOpt(
    'ironic_continue',
    default=False,
    help='Go on, in ironic-python-agent, with a raw image that an earlier '
    'attempt has begun to write to the same disk: the records of that are in '
    'the ramdisk, and on the disk.',
)
IRONIC_OPTS = [IRONIC_WANTED, IRONIC_BUSY, IRONIC_QCOW2, IRONIC_CONTINUE]

# What only fuel-agent's drivers read.
FUEL_AGENT_SPOOL: cfg.Opt = cfg.StrOpt(
    'fuel_agent_spool',
    metavar='DIR',
    help='Directory in which fuel-agent keeps the bytes of an image as the '
    'server sends them, until they are on their target: a deployment that is '
    'begun again, after it was killed or has failed, begins with them. It '
    'takes as much room as the image that is sent; not given means that '
    'nothing is kept.',
)


@values.dataclass(frozen=True)
class Upstream:
    """The options of a program that we are part of.

    :ivar options: its names, by that of ours that each stands in for.
    :ivar unlimited: no retries, 0, means that they have no limit.
    """

    options: Mapping[str, str]
    unlimited: bool


FUEL_AGENT = Upstream(
    {
        'connect_timeout': 'http_request_timeout',
        'low_speed_time': 'http_request_timeout',
        'backoff': 'http_retry_delay',
        'attempts': 'http_max_retries',
        'chunk_size': 'data_chunk_size',
    },
    unlimited=True,
)

# It has an http_request_timeout as well, which is for its own API calls.
IRONIC = Upstream(
    {
        'connect_timeout': 'image_download_connection_timeout',
        'low_speed_time': 'image_download_connection_timeout',
        'backoff': 'image_download_connection_retry_interval',
        'backoff_max': 'image_download_connection_retry_interval',
        'attempts': 'image_download_connection_retries',
    },
    unlimited=False,
)


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return copies of the options, for oslo-config-generator."""
    found = [*OPTS, MIRRORS, *COPY, *IRONIC_OPTS, FUEL_AGENT_SPOOL]
    return [(GROUP, copy.deepcopy(found))]


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options with ``conf``, none of them as a CLI option.

    ``conf`` may have parsed its command line already; doing it twice is no
    error.
    """
    conf.register_opts(
        [*OPTS, MIRRORS, *IRONIC_OPTS, FUEL_AGENT_SPOOL], group=GROUP
    )


def register_program(conf: cfg.ConfigOpts) -> None:
    """Register those of ``fuel-agent-curl`` alone, too."""
    register(conf)
    conf.register_opts(COPY, group=GROUP)


def fuel_agent_spool(conf: cfg.ConfigOpts) -> str | None:
    """Return where fuel-agent keeps what it fetches; None: nowhere."""
    found = _read(conf, FUEL_AGENT_SPOOL, GROUP)
    return str(found) if found else None


def ironic(conf: cfg.ConfigOpts) -> bool:
    """Tell whether the plug of ironic-python-agent is wanted."""
    return bool(_read(conf, IRONIC_WANTED, GROUP))


def ironic_busy(conf: cfg.ConfigOpts) -> bool:
    """Tell whether that is to write over a disk in use."""
    return bool(_read(conf, IRONIC_BUSY, GROUP) == 'write')


def ironic_stream_qcow2(conf: cfg.ConfigOpts) -> bool:
    """Tell whether qcow2 images are to go straight onto the disk."""
    return bool(_read(conf, IRONIC_QCOW2, GROUP))


def ironic_continue(conf: cfg.ConfigOpts) -> bool:
    """Tell whether what an earlier attempt has written is gone on with."""
    return bool(_read(conf, IRONIC_CONTINUE, GROUP))


def settings_from(
    conf: cfg.ConfigOpts,
    upstream: Upstream = FUEL_AGENT,
    **overrides: Any,
) -> settings.Settings:
    """Return the settings that ``conf`` states.

    Where an option of ours is given neither in a file nor otherwise, that
    of the program we are part of stands in for it, if it is registered with
    ``conf``: a deployment that tuned those keeps its tuning.

    :param conf: ``register`` has been called with it.
    :param overrides: fields that hold whatever ``conf`` states.
    :raises errors.OptionError: for a value that cannot be used.
    """
    return settings.Settings(**_values(conf, upstream, overrides))


def check_names(conf: cfg.ConfigOpts, paths: Iterable[str]) -> None:
    """Refuse names that look like options of ours and are none.

    :param conf: has read its files.
    :param paths: those files, for the error.
    :raises errors.OptionError: for the first.
    """
    where = errors.one_line(', '.join(dict.fromkeys(paths)))
    # Not read again: one may be a pipe. There is no public way to what is
    # in none of the options.
    assert conf._namespace is not None
    for sections in conf._namespace._parsed:
        names.check_file(where, sections, conf)
    names.check_environment(os.environ)


def copy_from(conf: cfg.ConfigOpts, **overrides: Any) -> dict[str, Any]:
    """Return what ``conf`` states of ``options.COPY``; the rest is as given.

    :param conf: ``register_program`` has been called with it.
    :param overrides: what holds whatever ``conf`` states.
    :raises errors.OptionError: for a value that cannot be used.
    """
    values = {
        option.dest: _read(conf, option, GROUP)
        for option in COPY
        if option.dest not in overrides
    }
    return values | overrides


def sources(conf: cfg.ConfigOpts, url: str) -> list[str]:
    """Return every URL that ``conf`` knows for the bytes of ``url``.

    :returns: in the order to try them; ``url`` alone where there is no more,
        and for a Metalink document, which names the image's mirrors itself.
    :raises errors.OptionError: for a value that cannot be used.
    """
    known = prefixes.parse(_read(conf, MIRRORS, GROUP))
    if prefixes.is_metalink(url):
        return [url]
    return prefixes.sources(url, known)


def _values(
    conf: cfg.ConfigOpts, upstream: Upstream, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    def given(name: str) -> bool:
        return name in overrides or is_given(conf, name)

    values = {
        option.dest: _read(conf, option, GROUP)
        for option in OPTS
        # A wrong value of what is overridden raises nothing.
        if option.dest not in overrides
    }
    values.update(overrides)
    for name, theirs in upstream.options.items():
        if theirs in conf and not given(name):
            values[name] = _from_upstream(name, theirs, upstream, conf)
            if name == 'backoff' and not given('backoff_max'):
                # Our default must not cut a longer delay of theirs down.
                values['backoff_max'] = max(
                    values['backoff_max'], values['backoff']
                )
    return values


def _read(
    conf: cfg.ConfigOpts, option: cfg.Opt, group: str | None = None
) -> Any:
    source = conf if group is None else conf[group]
    try:
        return source[option.dest]
    except (cfg.Error, ValueError) as error:
        # oslo.config's own message repeats the value, which may be a secret:
        # of another option, if a line is in the wrong place.
        cause = error.__context__
        reason = hint = None
        if isinstance(cause, _Refused):
            reason = str(cause)
        elif isinstance(error, cfg.NoSuchOptError):
            # What follows a '$' is taken for the name of an option.
            hint = "in a file, a '$' is written '$$'"
        place = _PLACE.search(str(error))
        raise errors.OptionError(
            'option %s%s cannot be used%s'
            % (
                option.name,
                ' in ' + place[1] if place else '',
                ': ' + reason if reason else '',
            ),
            hint=hint,
        ) from None


def is_given(conf: cfg.ConfigOpts, name: str) -> bool:
    """Tell whether our option ``name`` is given, be it the default."""
    location = conf.get_location(name, group=GROUP)
    return (
        location is not None
        and location.location is not cfg.Locations.opt_default
    )


def _from_upstream(
    name: str, theirs: str, upstream: Upstream, conf: cfg.ConfigOpts
) -> float:
    """Return another program's value as one of ours, within our bounds.

    It may state no bounds of its own. What is too much, or too little, becomes
    the nearest that we can do; a time or a size that is not even positive
    means nothing, and our default holds.
    """
    value: float = _read(conf, conf._get_opt_info(theirs)['opt'])
    least, most = settings.BOUNDS[name]
    wanted = value
    if name == 'attempts' and not (value == 0 and upstream.unlimited):
        # Theirs counts the tries after the first. -1 must not become 0,
        # which is no limit.
        wanted = value + 1
        least = 1
    elif value < 0 or (value == 0 and least > 0):
        least = getattr(settings.Settings, name)
    bounded = type(value)(min(max(wanted, least), most))
    if bounded != wanted:
        LOG.warning(
            '%s = %s is out of the range of [%s] %s; using %s',
            theirs,
            value,
            GROUP,
            name,
            bounded,
        )
    return bounded
