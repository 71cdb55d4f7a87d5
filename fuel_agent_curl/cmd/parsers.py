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

"""The parser of each verb: its flags, and their help.

There is one flag for every option, made from the option itself, so that
help, limits and meaning are written once, in ``options``. argparse takes the
command line apart, oslo.config the files: oslo's own ``--group-name`` flags
would have to stand before the verb.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import re
import typing

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import output
from fuel_agent_curl.config import options
from fuel_agent_curl.config import quantities

if typing.TYPE_CHECKING:
    from _typeshed import SupportsWrite

PROG = 'fuel-agent-curl'

#: The namespace's names of the options, apart from those of the arguments.
OPTION = 'option_'

#: The number of one, as it is written.
DESCRIPTOR = re.compile('[0-9]{1,9}')

_VERBS = """\
verbs:
  copy [OPTION ...] URL [MIRROR ...] TARGET
          write the image at URL to a block device or a file
  probe [OPTION ...] URL
          say what the server is, and what a resume from it would look like
  status [OPTION ...] TARGET
          say what an unfinished copy has left on TARGET, and how to go on
  demo    copy an image from a server that breaks off, stalls and lies, all
          of it on this machine, and say what happened

'fuel-agent-curl VERB --help' lists the options of a verb.
"""

_COPY = """\
Write the image at URL to TARGET, a block device or a file. A download that
breaks off is resumed at the byte it had reached. Success means that every
byte is on the target, synced, and that every checksum given has matched.

  URL     of the image, http or https; or of a Metalink document (.meta4)
  MIRROR  a further URL of the same bytes
  TARGET  a block device, a file, or - for standard output; it may be given
          as -o TARGET in any place

Times are in seconds, or end in s, m or h; sizes and rates are in bytes, or
end in K, M or G (of 1024). Each option may also stand in a configuration
file, under its name with underscores (--limit-rate: max_recv_speed).
"""

_COPY_EXAMPLES = """\
examples:
  fuel-agent-curl copy --image-checksum sha256:HEX \\
      http://server/image.img.gz /dev/sda
  fuel-agent-curl copy --low-speed-time 4 --attempts 0 --deadline 1h \\
      http://server/image.img /srv/image.img

exit codes: 0 the image is there; 2 usage; 10 and up one for each class of
error, listed in the documentation; 130 Ctrl-C; 143 SIGTERM.
"""

_PROBE = """\
Ask the server for one byte, and say what the answer tells: address, protocol,
ranges, validator, complete length, timings.
"""

_STATUS = """\
Say what a copy that was killed, or that failed for its network, has left on
TARGET: of which URL, how far, since when, and how to go on. It changes
nothing.
"""

_DEMO = """\
Start a harmful server on the loopback address, copy a gzip image from it
through a 503, a reset, a stall and a body cut short, and compare what arrived
with what was sent. Nothing else is needed, and nothing is left behind.
"""

# What argparse repeats of a value that a flag does not take.
_IGNORED = re.compile(
    r'(argument .*): ignored explicit argument .*', re.DOTALL
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, as all of ours.

    None of them repeats what was typed, but for names of options: it may be
    a credential.
    """

    def error(self, message: str) -> typing.NoReturn:
        message = _IGNORED.sub(r'\1: takes no value', message)
        raise errors.OptionError(message, hint='see %s --help' % self.prog)

    def _print_message(
        self, message: str, file: SupportsWrite[str] | None = None
    ) -> None:
        # argparse would take no notice of output that cannot be written.
        output.say(message.rstrip('\n'))

    def add_argument(
        self, *args: typing.Any, **kwargs: typing.Any
    ) -> argparse.Action:
        # By the group that it would get into: for each argument of a parser
        # argparse makes what formats help, which imports all of shutil.
        return self._optionals.add_argument(*args, **kwargs)

    def flags(self) -> list[str]:
        """Return every flag there is."""
        return list(self._option_string_actions)


class _Version(argparse.Action):
    """Print the version of the distribution, looked up only when asked."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, help: str
    ) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, 0, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from importlib import metadata

        try:
            version = metadata.version(PROG)
        except metadata.PackageNotFoundError:
            version = 'of a source tree that is not installed'
        output.say('%s %s' % (PROG, version))
        parser.exit()


def top() -> Parser:
    """Return the parser of what comes before a verb."""
    parser = Parser(
        prog=PROG,
        usage='%(prog)s [OPTION ...] VERB ...',
        description='Copy disk images over HTTP(S) onto block devices and'
        ' files, through networks\nthat fail.',
        epilog=_VERBS,
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_help(parser)
    parser.add_argument(
        '--version', action=_Version, help='Print the version and exit.'
    )
    _add_common(parser)
    return parser


def copy() -> Parser:
    """Return the parser of the options of ``copy``."""
    parser = _verb('copy', 'URL [MIRROR ...] TARGET', _COPY, _COPY_EXAMPLES)
    groups = _add_options(parser, (*options.COPY, *options.OPTIONS))
    groups['target'].add_argument(
        '-o',
        '--output',
        action='append',
        default=[],
        metavar='TARGET',
        help='The target; every other argument is a URL then. - is standard'
        ' output, even if that is a terminal.',
    )
    groups['output'].add_argument(
        '-s',
        '--silent',
        dest=OPTION + 'progress',
        action='store_const',
        const='none',
        default=argparse.SUPPRESS,
        help='The same as --progress none.',
    )
    groups['output'].add_argument(
        '--progress-fd',
        type=_descriptor,
        metavar='N',
        help='Write what --progress json prints to the file descriptor N,'
        ' which has to be open; what is shown besides is as --progress says.',
    )
    _add_debug(groups['output'])
    parser.add_argument(
        *('-f', '-L', '-S'),
        *('--fail', '--location', '--show-error'),
        action='store_true',
        help="Taken for the sake of those used to curl's: errors are shown,"
        ' and redirects followed, in any case.',
    )
    return parser


def probe() -> Parser:
    """Return the parser of the options of ``probe``."""
    parser = _verb('probe', 'URL', _PROBE)
    parser.add_argument(
        '--json', action='store_true', help='Print one JSON object instead.'
    )
    _add_debug(parser)
    _add_options(
        parser,
        [
            option
            for option in options.OPTIONS
            if option.subject not in ('target', 'checks')
        ],
    )
    return parser


def demo() -> Parser:
    """Return the parser of the options of ``demo``."""
    parser = _verb('demo', '', _DEMO)
    _add_debug(parser)
    return parser


def status() -> Parser:
    """Return the parser of the options of ``status``."""
    parser = _verb('status', 'TARGET', _STATUS)
    parser.add_argument(
        '--json', action='store_true', help='Print one JSON object instead.'
    )
    _add_debug(parser)
    for option in options.COPY:
        if option.name == 'state_dir':
            _add_option(parser, option)
    return parser


#: What makes the parser of each verb.
VERBS: dict[str, Callable[[], Parser]] = {
    'copy': copy,
    'demo': demo,
    'probe': probe,
    'status': status,
}


def _verb(
    verb: str, operands: str, description: str, epilog: str = ''
) -> Parser:
    parser = Parser(
        prog='%s %s' % (PROG, verb),
        usage=('%%(prog)s [OPTION ...] %s' % operands).rstrip(),
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    _add_help(parser)
    _add_files(parser)
    return parser


def _add_help(parser: Parser) -> None:
    parser.add_argument(
        *('-h', '--help'), action='help', help='Print this help and exit.'
    )


def _add_common(parser: Parser) -> None:
    _add_files(parser)
    _add_debug(parser)


#: Of what comes before a verb, the flags that a value follows.
WITH_VALUE = ('--config-file', '--config-dir')


def _add_files(parser: Parser) -> None:
    parser.add_argument(
        '--config-file',
        action='append',
        default=[],
        metavar='FILE',
        help='File of options, in the group [%s]; may be given again.'
        % options.GROUP,
    )
    parser.add_argument(
        '--config-dir',
        action='append',
        default=[],
        metavar='DIR',
        help='Directory of *.conf files, read after the files.',
    )


def _add_debug(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        '-v',
        '--verbose',
        '--debug',
        dest='debug',
        action='store_true',
        help='Log what is done, on standard error.',
    )


def _add_options(
    parser: Parser, chosen: Iterable[options.Option]
) -> dict[str, argparse._ArgumentGroup]:
    """Add flags, by subject; return the groups."""
    subjects = {option.subject for option in chosen}
    groups = {
        subject: parser.add_argument_group(title)
        for subject, title in options.SUBJECTS.items()
        if subject in subjects
    }
    for option in chosen:
        _add_option(groups[option.subject], option)
    for version in ('4', '6'):
        groups['network'].add_argument(
            '-' + version,
            '--ipv' + version,
            dest=OPTION + 'ip_version',
            action='store_const',
            const=version,
            default=argparse.SUPPRESS,
            help='The same as --ip-version %s.' % version,
        )
    return groups


def _add_option(
    group: argparse._ActionsContainer, option: options.Option
) -> None:
    """Add the flag of one option; not given, it leaves no trace."""
    flags = option.flags or ('--' + option.name.replace('_', '-'),)
    text = option.help
    if option.default not in (None, (), ''):
        text += ' (default: %s)' % _shown(option)
    how: dict[str, typing.Any] = {
        'dest': OPTION + option.name,
        'default': argparse.SUPPRESS,
        'help': text.replace('%', '%%'),
    }
    if option.kind is bool:
        group.add_argument(
            *flags, action=argparse.BooleanOptionalAction, **how
        )
        return
    if option.kind is tuple:
        how['action'] = 'append'
    group.add_argument(
        *flags, type=_converter(option), metavar=_metavar(option), **how
    )


def _descriptor(text: str) -> int:
    if not DESCRIPTOR.fullmatch(text):
        raise argparse.ArgumentTypeError('not the number of a descriptor')
    return int(text)


def _shown(option: options.Option) -> str:
    if option.kind is bool:
        return 'yes' if option.default else 'no'
    if option.unit == 'seconds':
        return '%g' % option.default
    if option.unit == 'bytes':
        return quantities.shown_size(option.default)
    return str(option.default)


def _metavar(option: options.Option) -> str:
    if option.choices:
        return '|'.join(option.choices)
    if option.metavar:
        return option.metavar
    if option.unit:
        return {'bytes': 'SIZE', 'seconds': 'TIME'}[option.unit]
    if option.kind is int:
        return 'N'
    return 'FILE' if option.help.startswith('PEM file') else 'TEXT'


def _converter(option: options.Option) -> Callable[[str], typing.Any]:
    def convert(text: str) -> typing.Any:
        try:
            return option.value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
