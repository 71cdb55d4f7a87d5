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

"""What a command line and the configuration together say.

oslo.config and oslo.log take longer to import than all the rest: they are
asked only where there is something for them to read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import glob
import logging
import os
import re
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.cmd import arguments
from fuel_agent_curl.config import options
from fuel_agent_curl.config import settings as settings_module

if typing.TYPE_CHECKING:
    from oslo_config import cfg

_FORMAT = '%(asctime)s %(levelname)s %(message)s'
_DATE_FORMAT = '%H:%M:%S'

_PARSE_ERROR = re.compile(r'at .*?:(\d+), ')

# oslo.config's environment driver: OS_GROUP__OPTION. oslo.log's options are
# in the group DEFAULT.
_VARIABLES = ('OS_%s__' % options.GROUP.upper(), 'OS_DEFAULT__')


@values.dataclass(frozen=True)
class Configuration:
    """What holds for this run.

    :ivar copy: what a copy is asked for besides: a value for each of
        ``options.COPY``.
    :ivar conf: None where nothing is configured.
    """

    settings: settings_module.Settings
    copy: dict[str, typing.Any]
    debug: bool
    conf: cfg.ConfigOpts | None = None

    def sources(self, url: str) -> list[str]:
        """Return every URL of the bytes of ``url``, in the order to try them.

        :raises errors.OptionError: for mirrors that are none.
        """
        if self.conf is None:
            return [url]
        from fuel_agent_curl.config import opts

        return opts.sources(self.conf, url)


def read(parsed: argparse.Namespace) -> Configuration:
    """Read what is configured; a flag beats it.

    :raises errors.OptionError: for what cannot be read, or used.
    """
    given = arguments.given(parsed)
    names = {option.name for option in options.COPY}
    copy = {name: given.pop(name) for name in names & given.keys()}
    if not _is_configured(parsed):
        presets = {option.name: option.default for option in options.COPY}
        settings = settings_module.Settings(**given)
        return Configuration(settings, presets | copy, parsed.debug)
    from fuel_agent_curl.config import opts

    conf = _read_files(parsed)
    return Configuration(
        opts.settings_from(conf, **given),
        opts.copy_from(conf, **copy),
        conf.debug,
        conf,
    )


def set_up_logging(configuration: Configuration, *, quiet: bool) -> None:
    """Log to stderr, or to wherever is configured.

    :param quiet: nothing but errors, unless all is to be logged.
    :raises errors.OptionError: if that cannot be done.
    """
    if configuration.conf is None:
        # As oslo.log does: not closed, they may be somebody else's.
        logging.getLogger().handlers.clear()
        logging.basicConfig(
            level=logging.DEBUG if configuration.debug else logging.INFO,
            format=_FORMAT,
            datefmt=_DATE_FORMAT,
        )
    else:
        from oslo_log import log

        try:
            log.setup(configuration.conf, 'fuel_agent_curl')
        except Exception as error:
            # Whatever the handlers raise: a file that cannot be opened, ...
            raise errors.OptionError(
                'the logging that is configured cannot be set up: %s' % error
            ) from error
    if quiet and not configuration.debug:
        logging.getLogger().setLevel(logging.ERROR)


def _is_configured(parsed: argparse.Namespace) -> bool:
    return bool(
        parsed.config_file
        or parsed.config_dir
        or any(name.startswith(_VARIABLES) for name in os.environ)
        or any(os.path.exists(path) for path in default_paths())
    )


def default_paths() -> Iterator[str]:
    """Yield where oslo.config looks for files without being told to."""
    name = arguments.PROG
    snaps = [os.environ.get(each) for each in ('SNAP_COMMON', 'SNAP')]
    for directory in (
        os.path.expanduser('~/.' + name),
        os.path.expanduser('~'),
        os.path.join('/etc', name),
        '/etc',
        *(os.path.join(snap, 'etc', name) for snap in snaps if snap),
    ):
        for extension in ('.conf', '.conf.d'):
            path = os.path.join(directory, name + extension)
            try:
                yield os.path.abspath(path)
            except FileNotFoundError:
                # It is relative, without a HOME, to a directory that is gone.
                continue


def _read_files(parsed: argparse.Namespace) -> cfg.ConfigOpts:
    from oslo_config import cfg
    from oslo_log import log

    from fuel_agent_curl.config import opts

    # Not cfg.CONF: a program that calls main() keeps its own.
    conf = cfg.ConfigOpts()
    opts.register_program(conf)
    log.register_options(conf)
    conf.set_default('use_stderr', True)
    conf.set_default('log_date_format', _DATE_FORMAT)
    conf.set_default('logging_default_format_string', _FORMAT)
    conf.set_default('logging_debug_format_suffix', '')
    args = ['--config-file=' + path for path in parsed.config_file]
    args += ['--config-dir=' + path for path in parsed.config_dir]
    args += ['--debug'] if parsed.debug else []
    try:
        conf(args, project=arguments.PROG, prog=arguments.PROG)
    except (cfg.Error, OSError, ValueError, SystemExit) as error:
        raise errors.OptionError(
            'the configuration cannot be read: %s' % _reason(error)
        ) from None
    opts.check_names(conf, _paths(parsed))
    return conf


def _reason(error: BaseException) -> str:
    """Return what ``error`` says, without the line that it repeats."""
    from oslo_config import cfg

    if isinstance(error, cfg.ConfigFileParseError):
        # 'at FILE:LINE, WHAT: TEXT', and that may be a password.
        match = _PARSE_ERROR.match(error.msg or '')
        return '%s%s is neither a section nor NAME = VALUE in one' % (
            error.config_file,
            ', line ' + match[1] if match else '',
        )
    if isinstance(error, UnicodeError):
        return 'a file is not encoded as the locale says (UTF-8, mostly)'
    if isinstance(error, OSError):
        # Of a read it has no name.
        said = error.filename, error.strerror
        return ': '.join(str(each) for each in said if each is not None)
    if isinstance(
        error,
        cfg.ConfigFilesNotFoundError | cfg.ConfigFilesPermissionDeniedError,
    ):
        error.config_files = [
            errors.redact(each) for each in error.config_files
        ]
    if isinstance(error, SystemExit):
        # oslo.config leaves some mistakes to argparse, which exits.
        return 'see --config-file and --config-dir'
    return errors.one_line(str(error))


def _paths(parsed: argparse.Namespace) -> Iterator[str]:
    """Yield the files that oslo.config has read."""
    from oslo_config import cfg

    prog = arguments.PROG
    yield from parsed.config_file or cfg.find_config_files(prog, prog)
    for directory in parsed.config_dir or cfg.find_config_dirs(prog, prog):
        yield from sorted(glob.glob(os.path.join(directory, '*.conf')))
