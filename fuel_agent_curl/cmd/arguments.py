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

"""Arguments of the command line: what follows the verb, and the options.

argparse takes the command line apart, oslo.config the files: oslo's own
``--group-name`` flags would have to stand before the verb. There is one flag
for every option of the group, made from the option itself, so that help,
limits and meaning are written once, in ``options``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import itertools
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import image
from fuel_agent_curl.cmd import output
from fuel_agent_curl.config import options as options_module
from fuel_agent_curl.config import quantities

if typing.TYPE_CHECKING:
    from _typeshed import SupportsWrite

PROG = 'fuel-agent-curl'
PROGRESS = ('auto', 'bar', 'json', 'none')

# Flags that are not simply the option's name.
_FLAGS = {
    'max_recv_speed': ('--limit-rate',),
    'headers': ('--headers', '--header'),
}
# The namespace's names of the options, apart from those of the arguments.
_OPTION = 'option_'

_VERBS = """\
verbs:
  copy [OPTION ...] URL [MIRROR ...] TARGET
          write the image at URL to a block device or a file
  probe [OPTION ...] URL
          say what the server is, and what a resume from it would look like
  demo    copy an image from a server that breaks off, stalls and lies, all
          of it on this machine, and say what happened

'fuel-agent-curl VERB --help' lists the options of a verb.
"""

_COPY = """\
Write the image at URL to TARGET, a block device or a file. A download that
breaks off is resumed at the byte it had reached. Success means that every
byte is on the target, synced, and that every checksum given has matched.
"""

_COPY_EXAMPLES = """\
examples:
  fuel-agent-curl copy --image-checksum sha256:HEX \\
      http://server/image.img.gz /dev/sda
  fuel-agent-curl copy --low-speed-time 4 --attempts 0 --deadline 3600 \\
      http://server/image.img /srv/image.img

exit codes: 0 the image is there; 2 usage; 10 and up one for each class of
error, listed in the documentation; 130 Ctrl-C; 143 SIGTERM.
"""

_PROBE = """\
Ask the server for one byte, and say what the answer tells: address, protocol,
ranges, validator, complete length, timings.
"""

_DEMO = """\
Start a harmful server on the loopback address, copy a gzip image from it
through a 503, a reset, a stall and a body cut short, and compare what arrived
with what was sent. Nothing else is needed, and nothing is left behind.
"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised, as all of ours."""

    def error(self, message: str) -> typing.NoReturn:
        raise errors.OptionError(message, hint='see %s --help' % self.prog)

    def _print_message(
        self, message: str, file: SupportsWrite[str] | None = None
    ) -> None:
        # argparse would take no notice of output that cannot be written.
        output.say(message.rstrip('\n'))


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


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Take a command line apart.

    The result has ``verb``, ``config_file`` and ``config_dir`` (lists),
    ``debug``, the verb's own arguments, and what ``given`` reads.

    :raises errors.OptionError: for a command line that cannot be used.
    :raises SystemExit: after --help or --version.
    """
    top = Parser(
        prog=PROG,
        usage='%(prog)s [OPTION ...] VERB ...',
        description='Copy disk images over HTTP(S) onto block devices and'
        ' files, through networks\nthat fail.',
        epilog=_VERBS,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        '--version', action=_Version, help='print the version and exit'
    )
    _add_common(top)
    top.add_argument('verb', nargs='?', help=argparse.SUPPRESS)
    top.add_argument('rest', nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    before = top.parse_args(argv)
    if before.verb not in PARSERS:
        top.error(
            'a verb is missing: %s' % ', '.join(PARSERS)
            if before.verb is None
            else 'no such verb: %s (choose from %s)'
            % (before.verb, ', '.join(PARSERS))
        )
    parser = PARSERS[before.verb]()
    # Intermixed: 'copy URL --attempts 3 MIRROR TARGET' is as good as any.
    after = parser.parse_intermixed_args(before.rest)
    if before.verb == 'copy':
        _check_operands(parser, after)
    after.verb = before.verb
    after.config_file = before.config_file + after.config_file
    after.config_dir = before.config_dir + after.config_dir
    after.debug = before.debug or after.debug
    return after


def is_json_wanted(argv: Sequence[str]) -> bool:
    """Tell whether ``argv``, which may be wrong, asks for JSON."""
    return any(
        word == '--progress=json' or (before, word) == ('--progress', 'json')
        for before, word in itertools.pairwise(['', *argv])
    )


def given(arguments: argparse.Namespace) -> dict[str, typing.Any]:
    """Return the values of the options that were given as flags."""
    return {
        name[len(_OPTION) :]: value
        for name, value in vars(arguments).items()
        if name.startswith(_OPTION)
    }


def _copy_parser() -> Parser:
    parser = _verb('copy', 'URL [MIRROR ...] TARGET', _COPY, _COPY_EXAMPLES)
    parser.add_argument('url', metavar='URL', help='http or https URL')
    parser.add_argument(
        'operands',
        nargs='+',
        metavar='[MIRROR ...] TARGET',
        help='further URLs of the same image; the device or file to write',
    )
    parser.add_argument(
        '--checksum',
        metavar='CHECKSUM',
        help='digest of the bytes as the server sends them: ALGO:HEX, as in'
        ' sha256:HEX, the digits alone, or the file or URL of a list that has'
        ' the name of the image, as in SHA256SUMS',
    )
    parser.add_argument(
        '--image-checksum',
        metavar='CHECKSUM',
        help='the same of what lands on the target, unpacked',
    )
    parser.add_argument(
        '--container',
        choices=('auto', *image.CONTAINERS),
        default='auto',
        help='how the image is packed; auto goes by its first bytes, not by'
        ' its name (default: auto)',
    )
    parser.add_argument(
        '--bmap',
        metavar='FILE_OR_URL',
        help='block map of the unpacked image, as bmaptool makes it: write'
        ' the ranges that hold data alone, and compare each with its checksum'
        ' there; the rest of TARGET stays as it is',
    )
    parser.add_argument(
        '--verify',
        action='store_true',
        help='read everything back from the medium and compare, before the'
        ' image is made to look complete',
    )
    parser.add_argument(
        '--progress',
        choices=PROGRESS,
        default='auto',
        help='auto: a bar on a terminal, else log lines; json: one object a'
        ' line on stdout; none: nothing but errors (default: auto)',
    )
    _add_options(parser)
    return parser


def _probe_parser() -> Parser:
    parser = _verb('probe', 'URL', _PROBE)
    parser.add_argument('url', metavar='URL', help='http or https URL')
    parser.add_argument(
        '--json', action='store_true', help='print one JSON object instead'
    )
    _add_options(parser)
    return parser


def _demo_parser() -> Parser:
    return _verb('demo', '', _DEMO)


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
    )
    _add_common(parser)
    return parser


def _add_common(parser: Parser) -> None:
    parser.add_argument(
        '--config-file',
        action='append',
        default=[],
        metavar='FILE',
        help='file of options, in the group [%s]; may be given again'
        % options_module.GROUP,
    )
    parser.add_argument(
        '--config-dir',
        action='append',
        default=[],
        metavar='DIR',
        help='directory of *.conf files, read after the files',
    )
    parser.add_argument(
        '--debug', action='store_true', help='log what is done, on stderr'
    )


def _add_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        'options of the transfer',
        'Sizes and rates may end in K, M or G (of 1024). Each option can also'
        ' stand in a\nconfiguration file, under its name with underscores'
        ' (limit-rate: max_recv_speed).',
    )
    for option in options_module.OPTIONS:
        _add_option(group, option)


def _add_option(
    group: argparse._ArgumentGroup, option: options_module.Option
) -> None:
    """Add the flag of one option; not given, it leaves no trace."""
    flags = _FLAGS.get(option.name, ('--' + option.name.replace('_', '-'),))
    text = option.help
    if option.default not in (None, (), ''):
        text += ' (default: %s)' % _shown(option)
    how: dict[str, typing.Any] = {
        'dest': _OPTION + option.name,
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


def _shown(option: options_module.Option) -> str:
    if option.kind is bool:
        return 'yes' if option.default else 'no'
    if option.kind is float:
        return '%g' % option.default
    if option.unit == 'bytes':
        return quantities.shown_size(option.default)
    return str(option.default)


def _metavar(option: options_module.Option) -> str:
    if option.choices:
        return '|'.join(option.choices)
    if option.unit == 'bytes':
        return 'BYTES'
    if option.kind is float:
        return 'SECONDS'
    if option.kind is int:
        return 'N'
    return 'FILE' if option.help.startswith('PEM file') else 'TEXT'


def _converter(option: options_module.Option) -> Callable[[str], typing.Any]:
    def convert(text: str) -> typing.Any:
        try:
            return option.value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


#: What makes the parser of each verb.
PARSERS: dict[str, Callable[[], Parser]] = {
    'copy': _copy_parser,
    'demo': _demo_parser,
    'probe': _probe_parser,
}


def _check_operands(parser: Parser, arguments: argparse.Namespace) -> None:
    *arguments.mirrors, arguments.target = arguments.operands
    del arguments.operands
    if not arguments.target:
        parser.error('TARGET is empty')
    if arguments.target == '-':
        parser.error("TARGET '-' is no file: say /dev/stdout, or ./-")
    if arguments.target.lower().startswith(('http://', 'https://')):
        # Else a forgotten TARGET would make a file of the mirror's name.
        parser.error('TARGET is missing: the last argument is a URL')
