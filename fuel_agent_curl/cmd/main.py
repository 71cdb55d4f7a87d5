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
import io
import os
import signal
import sys
import typing

# What takes time to import is imported further down: Ctrl-C is to end the
# program tidily from the first moment on.
from fuel_agent_curl.cmd import signals

if typing.TYPE_CHECKING:
    import argparse

    from fuel_agent_curl.cmd import displays
    from fuel_agent_curl.cmd import ending

# How long nothing may be read of the last lines before they are given up.
_PATIENCE = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code.

    0; 2 for usage; 10 and up for an error, its ``exit_code``; 128 and its
    number for a signal; 1 for a bug, with a traceback.

    :param argv: the arguments, without the program's name; None: those of
        the process.
    """
    _open_descriptors()
    with signals.caught():
        return _main(sys.argv[1:] if argv is None else argv)


def program() -> int:
    """Run the program as a process of its own; return its exit code.

    Where a signal ended it, it does not return: the process dies of that.
    """
    signals.catch()
    try:
        code = _program()
    except signals.Interrupted as error:
        # Before ``_main`` could deal with it: there is no target yet.
        code = error.exit_code
    if code > 128:
        signals.die(code - 128)
    # The interpreter looks for cycles among all that it is about to drop:
    # two thirds of the time that it takes to exit.
    gc.freeze()
    return code


def _program() -> int:
    # What is imported stays: to look for garbage among it every 700 objects
    # takes a twentieth of the time until the first request.
    gc.set_threshold(50_000)
    _open_descriptors()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Whatever the locale is: a name, or what a server calls itself.
        sys.stdout.reconfigure(errors='backslashreplace')
    from fuel_agent_curl.cmd import output

    said = output.Output(2, sys.stderr.encoding)
    sys.stderr = typing.cast(typing.TextIO, said)
    code = _main(sys.argv[1:])
    said.drain(_PATIENCE)
    return code


def _main(argv: Sequence[str]) -> int:
    run = _Run(argv)
    try:
        run.go()
        signals.too_late()
        return 0
    except BaseException as error:
        signals.too_late()
        return run.failed(error)


class _Run:
    """One run of the program."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._parsed: argparse.Namespace | None = None
        self._shown: displays.Display | None = None

    def go(self) -> None:
        """Do what the command line says.

        :raises SystemExit: after --help and --version.
        :raises errors.Error: for what goes wrong.
        """
        from fuel_agent_curl.cmd import arguments
        from fuel_agent_curl.cmd import configuration

        parsed = self._parsed = arguments.parse(self._argv)
        found = configuration.read(parsed)
        progress = found.copy['progress']
        configuration.set_up_logging(
            found, quiet=parsed.verb != 'copy' or progress == 'none'
        )
        if parsed.verb == 'copy':
            from fuel_agent_curl.cmd import copy
            from fuel_agent_curl.cmd import displays

            descriptor = copy.json_on(parsed, found)
            self._shown = displays.display(progress, descriptor)
            if 'NOTIFY_SOCKET' in os.environ:
                # Here: it takes a socket, which is imported for nothing else.
                from fuel_agent_curl.cmd import notify

                self._shown = notify.beside(self._shown)
            copy.run(parsed, found, self._shown, descriptor)
        elif parsed.verb == 'probe':
            from fuel_agent_curl.cmd import probe

            probe.run(parsed, found.settings)
        elif parsed.verb == 'status':
            from fuel_agent_curl.cmd import status

            status.run(parsed, found)
        else:
            from fuel_agent_curl.cmd import demo

            demo.run()

    def failed(self, error: BaseException) -> int:
        """Say what went wrong, if something did; return the exit code."""
        if isinstance(error, SystemExit):
            return 0
        if isinstance(error, BrokenPipeError):
            # The reader of stdout is gone, as after ``| head``.
            return 128 + signal.SIGPIPE
        from fuel_agent_curl.cmd import ending

        end = ending.of(error, getattr(self._parsed, 'target', None))
        self._tell_reader(end)
        if end.exit_code == ending.BUG:
            import traceback

            traceback.print_exception(error)
        _complain(end.text)
        return end.exit_code

    def _tell_reader(self, end: ending.Ending) -> None:
        """Print the last object for whoever reads JSON, if nobody has."""
        if '--json' in self._argv:
            for verb in ('probe', 'status'):
                if verb in self._argv:
                    _print_failure(verb, end)
                    return
        from fuel_agent_curl.cmd import arguments
        from fuel_agent_curl.cmd import displays
        from fuel_agent_curl.cmd import snapshot

        if self._shown is None:
            descriptor = arguments.json_descriptor(self._argv)
            if descriptor is not None and _is_open(descriptor):
                self._shown = displays.JsonDisplay(descriptor)
        if self._shown is not None and not self._shown.closed:
            self._shown.failed(snapshot.Snapshot(), end)
            self._shown.close()


def _is_open(descriptor: int) -> bool:
    from fuel_agent_curl import errors
    from fuel_agent_curl.cmd import output

    try:
        output.check_descriptor(descriptor)
    except errors.OptionError:
        return False
    return True


def _print_failure(verb: str, end: ending.Ending) -> None:
    from fuel_agent_curl import errors
    from fuel_agent_curl.cmd import output
    from fuel_agent_curl.cmd import records

    values = {'error': end.text, 'exit_code': end.exit_code}
    try:
        output.say(records.line(verb, 'failed', values))
    except (OSError, errors.DeviceError):
        # Nobody reads it: the exit code tells.
        pass


def _open_descriptors() -> None:
    """Make sure that there are 0, 1 and 2.

    Else the next file opened, the target for example, would be standard
    output to everyone who writes there. That fails as if it was closed still.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, 'w')
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, 'w')


def _complain(text: str) -> None:
    try:
        print('fuel-agent-curl: error: %s' % text, file=sys.stderr)
    except OSError:
        # stderr is closed: the exit code still tells.
        pass


if __name__ == '__main__':
    sys.exit(program())
