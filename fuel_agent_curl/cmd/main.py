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

"""The program fuel-agent-curl: from arguments to an exit code."""

from __future__ import annotations

from collections.abc import Sequence
import gc
import os
import signal
import sys
import traceback

# What takes time to import is imported further down: Ctrl-C is to end the
# program tidily from the first moment on.
from fuel_agent_curl.cmd import signals

_BUG = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code.

    0; 2 for usage; 10 and up for an error, its ``exit_code``; 128 and its
    number for a signal; 1 for a bug, with a traceback.

    :param argv: the arguments, without the program's name; None: those of
        the process.
    """
    closed = _open_descriptors()
    try:
        with signals.caught():
            code = _run(sys.argv[1:] if argv is None else argv, closed)
            sys.stdout.flush()
            return code
    except signals.Interrupted as interrupted:
        _complain(str(interrupted))
        return interrupted.exit_code
    except BrokenPipeError:
        # Whoever read stdout has seen enough. What is left in its buffer
        # goes nowhere, or the interpreter would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def program() -> int:
    """Run the program as a process of its own; return its exit code."""
    code = main()
    # The interpreter looks for cycles among all that it is about to drop:
    # two thirds of the time that it takes to exit.
    gc.freeze()
    return code


def _run(argv: Sequence[str], closed: Sequence[int]) -> int:
    from fuel_agent_curl import errors
    from fuel_agent_curl.cmd import hints

    try:
        return _run_verb(argv, closed)
    except SystemExit as end:
        # argparse: --help, --version, or wrong usage.
        return end.code if isinstance(end.code, int) else _BUG
    except errors.Error as error:
        _complain(hints.line(error))
        return error.exit_code
    except BrokenPipeError:
        raise
    except Exception:
        traceback.print_exc()
        _complain('this is a bug in fuel-agent-curl, please report it')
        return _BUG


def _run_verb(argv: Sequence[str], closed: Sequence[int]) -> int:
    from fuel_agent_curl.cmd import arguments
    from fuel_agent_curl.cmd import configuration

    parsed = arguments.parse(argv)
    found = configuration.read(parsed)
    configuration.set_up_logging(
        found, quiet=parsed.verb != 'copy' or parsed.progress == 'none'
    )
    if parsed.verb == 'copy':
        from fuel_agent_curl.cmd import copy

        _refuse_closed(parsed.target, closed)
        return copy.run(parsed, found)
    if parsed.verb == 'probe':
        from fuel_agent_curl.cmd import probe

        return probe.run(parsed, found.settings)
    from fuel_agent_curl.cmd import demo

    return demo.run()


def _open_descriptors() -> list[int]:
    """Make sure that there are 0, 1 and 2; return those that were not.

    Else the next file opened, the target for example, would be standard
    output to everyone who writes there.
    """
    closed: list[int] = []
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            closed.append(descriptor)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, 'w')
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, 'w')
    return closed


def _refuse_closed(target: str, closed: Sequence[int]) -> None:
    """Refuse a target that leads to a descriptor which is none.

    It leads to /dev/null now, where the image would be lost as a success.
    """
    from fuel_agent_curl import errors

    streams = ('/dev/stdin', '/dev/stdout', '/dev/stderr')
    for descriptor in closed:
        if os.path.normpath(target) in (
            streams[descriptor],
            '/dev/fd/%d' % descriptor,
            '/proc/self/fd/%d' % descriptor,
        ):
            raise errors.OptionError('%s is closed' % target)


def _complain(text: str) -> None:
    try:
        print('fuel-agent-curl: error: %s' % text, file=sys.stderr)
    except OSError:
        # Nobody is there to read it; the exit code still says it.
        pass


if __name__ == '__main__':
    sys.exit(program())
