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


"""What is in contrib/ for systemd and Ansible does what it says."""

from __future__ import annotations

import configparser
import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import Any

import fixtures
import yaml

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import parsers
from fuel_agent_curl.cmd import records
from fuel_agent_curl.state import directory
from tests.support import program
from tools import check_layers

_CONTRIB = check_layers.ROOT / 'contrib'
_PAGES = check_layers.ROOT / 'doc' / 'source'
_UNIT = _CONTRIB / 'systemd' / 'fuel-agent-curl@.service'
_ROLE = _CONTRIB / 'ansible' / 'roles' / 'fuel_agent_curl'


#: Another target is needed, or one that somebody has changed.
_HOPELESS_TARGETS = {
    errors.TargetIsDirectory,
    errors.TargetPermission,
    errors.TargetReadOnly,
    errors.TargetTooSmall,
    errors.NotForThisSectorSize,
    errors.TargetUnsuitable,
}

#: It may come, be let go of, have room again, or work.
_HOPEFUL_TARGETS = {
    errors.TargetMissing,
    errors.TargetBusy,
    errors.TargetFull,
    errors.WriteError,
    errors.TargetVanished,
}


def _kinds(cls: type[errors.Error]) -> set[type[errors.Error]]:
    """Return the classes derived from this one."""
    below = set(cls.__subclasses__())
    return below.union(*(_kinds(each) for each in below))


class TestUnit(program.ProgramTestCase):
    def unit(self) -> configparser.RawConfigParser:
        unit = configparser.RawConfigParser()
        unit.optionxform = str  # type: ignore[assignment,method-assign]
        unit.read(_UNIT)
        return unit

    def test_it_is_not_run_again_where_that_is_no_use(self) -> None:
        service = self.unit()['Service']
        self.assertEqual('on-failure', service['Restart'])
        self.assertEqual(
            _kinds(errors.DeviceError), _HOPELESS_TARGETS | _HOPEFUL_TARGETS
        )
        hopeless: set[type[errors.Error]] = {
            errors.OptionError,
            errors.ContentError,
            *_kinds(errors.ContentError),
            *_HOPELESS_TARGETS,
        }
        # The keyring may not be there yet, and gpgv may have died.
        hopeless.remove(errors.SignatureError)
        self.assertEqual(
            sorted({each.exit_code for each in hopeless}),
            list(map(int, service['RestartPreventExitStatus'].split())),
        )

    def test_it_is_done_once(self) -> None:
        unit = self.unit()
        note = unit['Unit']['ConditionPathExists'].removeprefix('!')
        self.assertEqual('touch ' + note, unit['Service']['ExecStartPost'])
        # Where the records are, which are nobody else's.
        place = pathlib.Path('/var/lib', unit['Service']['StateDirectory'])
        self.assertEqual(place, pathlib.Path(note).parent)
        self.useFixture(fixtures.EnvironmentVariable('XDG_STATE_HOME'))
        self.patch(os, 'geteuid', lambda: 0)
        self.assertEqual(str(place), directory.default())
        self.assertEqual('0700', unit['Service']['StateDirectoryMode'])
        page = (_PAGES / 'systemd.rst').read_text()
        self.assertIn('rm ' + note.replace('%i', 'root'), page)

    def test_systemd_understands_it(self) -> None:
        self.need_program('systemd-analyze')
        # It looks for the program, which is installed elsewhere.
        text = _UNIT.read_text().replace(
            'ExecStart=fuel-agent-curl', 'ExecStart=' + sys.executable
        )
        path = pathlib.Path(self.path('fuel-agent-curl@image.service'))
        path.write_text(text)
        done = subprocess.run(
            ['systemd-analyze', '--man=no', 'verify', str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual((0, ''), (done.returncode, done.stderr))

    def test_its_command(self) -> None:
        """As systemd would run it, with the two files of an instance."""
        service = self.unit()['Service']
        self.assertEqual(
            'options:/etc/fuel-agent-curl/%i.conf', service['LoadCredential']
        )
        checksum = hashlib.sha256(self.image).hexdigest()
        with open(self.path('options'), 'w') as options:
            options.write(
                '[fuel_agent_curl]\nimage_checksum = sha256:%s\n' % checksum
            )
        known = {
            'CREDENTIALS_DIRECTORY': self.directory,
            'URL': self.url,
            'TARGET': self.target,
        }
        name, *argv = [
            re.sub(r'\$\{(\w+)\}', lambda match: known[match[1]], word)
            for word in shlex.split(service['ExecStart'])
        ]
        self.assertEqual(parsers.PROG, name)
        done = self.run_program(*argv, env={**os.environ, **known})
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertEqual(self.image, self.content())


class TestRole(program.ProgramTestCase):
    """Ansible itself is run by tools/try_ansible.sh."""

    def read(self, path: pathlib.Path) -> Any:
        return yaml.safe_load(path.read_text())

    def test_tasks(self) -> None:
        _look, copied = self.read(_ROLE / 'tasks' / 'main.yml')
        (command,) = [
            task['ansible.builtin.command']['argv']
            for task in copied['block']
            if 'ansible.builtin.command' in task
        ]
        flags = set(re.findall("'(--?[a-z-]+)'", command))
        self.assertIn('--image-checksum', flags)
        self.assertEqual(set(), flags - set(parsers.copy().flags()))
        text = (_ROLE / 'tasks' / 'main.yml').read_text()
        used = set(re.findall(r'image_result\.(\w+)', text))
        self.assertEqual({'error', 'target_state'}, used)
        for event in 'done', 'failed':
            known = {key.name for key in records.SHAPES['copy', event].keys}
            self.assertEqual(set(), used - known)

    def test_the_note_is_there_only_after_a_copy_that_is_complete(
        self,
    ) -> None:
        _look, copied = self.read(_ROLE / 'tasks' / 'main.yml')
        block = copied['block']
        kinds = [key for task in block for key in task if 'builtin' in key]
        self.assertEqual('ansible.builtin.file', kinds[0])
        self.assertEqual('ansible.builtin.copy', kinds[-1])
        removed, noted = block[0], block[-1]
        self.assertEqual(
            {'path': '{{ image_note }}', 'state': 'absent'},
            removed['ansible.builtin.file'],
        )
        self.assertEqual("'--dry-run' not in image_options", removed['when'])
        self.assertEqual(
            '{{ image_note }}', noted['ansible.builtin.copy']['dest']
        )
        self.assertEqual(
            "image_result.target_state == 'complete'", noted['when']
        )

    def test_every_variable_is_given_or_has_a_default(self) -> None:
        tasks = (_ROLE / 'tasks' / 'main.yml').read_text()
        used = set(re.findall(r'\bimage_\w+', tasks))
        made = set(re.findall(r'register: (\w+)', tasks)) | {'image_result'}
        defaults = set(self.read(_ROLE / 'defaults' / 'main.yml'))
        (play,) = self.read(_CONTRIB / 'ansible' / 'image.yml')
        given = set(play['tasks'][0]['vars'])
        self.assertEqual(used - made, defaults | given)
