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

"""Build the sdist and the wheel, and see what is in them.

The wheel is made from the sdist, and then tried on its own, without
fuel-agent: as the README says it is installed, the demo has to run.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile
import venv
import zipfile

PACKAGE = 'fuel_agent_curl'

#: The end of the name in the sdist, which starts with the version.
_IN_SDIST = (
    'LICENSE',
    'README.rst',
    'bindep.txt',
    'etc/fuel-agent-curl.conf.sample',
    'fuel_agent_curl/py.typed',
    'requirements.txt',
    'share/man/man1/fuel-agent-curl.1',
    'tests/base.py',
    'tools/run_tests.sh',
)

_ENTRY_POINTS = (
    'fuel-agent-curl = fuel_agent_curl.cmd.main:program',
    'fuel_agent_curl = fuel_agent_curl.config.opts:list_opts',
    'nailgun_curl = fuel_agent_curl.drivers:NailgunCurl',
    'nailgun_simple_curl = fuel_agent_curl.drivers:NailgunSimpleCurl',
    'ironic_curl = fuel_agent_curl.drivers:IronicCurl',
    'fuel_agent_curl = fuel_agent_curl.ironic:Extension',
)


_DIB = pathlib.Path(__file__).parent.parent / 'contrib/dib/fuel-agent-curl'


def check_sdist(path: pathlib.Path) -> list[str]:
    """Return what is missing in an sdist."""
    with tarfile.open(path) as sdist:
        names = {name.partition('/')[2] for name in sdist.getnames()}
    return [
        '%s lacks %s' % (path.name, n) for n in _IN_SDIST if n not in names
    ]


def check_wheel(path: pathlib.Path) -> list[str]:
    """Return what is missing in a wheel, and what should not be there."""
    faults = []
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        metadata = _read(wheel, 'METADATA')
        entry_points = _read(wheel, 'entry_points.txt').splitlines()
    root = pathlib.Path(__file__).parent.parent
    for source in [
        *(root / PACKAGE).rglob('*.py'),
        root / PACKAGE / 'py.typed',
    ]:
        name = str(source.relative_to(root))
        if name not in names:
            faults.append('%s lacks %s' % (path.name, name))
    faults += [
        '%s has %s' % (path.name, name)
        for name in names
        if not name.startswith(PACKAGE)
    ]
    shared = {name.partition('.data/data/')[2] for name in names} - {''}
    for name in shared ^ set(_shared(root)):
        faults.append('%s, or share/, lacks %s' % (path.name, name))
    faults += [
        '%s lacks the entry point %s' % (path.name, line)
        for line in _ENTRY_POINTS
        if line not in entry_points
    ]
    for line in (root / 'requirements.txt').read_text().splitlines():
        requirement = line.partition('#')[0].partition('>')[0].strip()
        if requirement and 'Requires-Dist: ' + requirement not in metadata:
            faults.append('%s does not require %s' % (path.name, requirement))
    return faults


def _shared(root: pathlib.Path) -> list[str]:
    """Return what is installed below the prefix."""
    return [
        str(path.relative_to(root))
        for path in (root / 'share').rglob('*')
        if path.is_file()
    ]


def _read(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = (
        path
        for path in wheel.namelist()
        if path.endswith('.dist-info/' + name)
    )
    return wheel.read(path).decode()


_LATE = (
    'import fuel_agent_curl.config.opts, oslo_log.log, '
    'defusedxml.ElementTree, tqdm'
)


def main(directory: str) -> int:
    out = pathlib.Path(directory, 'dist')
    subprocess.run(
        [sys.executable, '-m', 'build', '--outdir', out, '.'], check=True
    )
    (sdist,) = out.glob('*.tar.gz')
    (wheel,) = out.glob('*.whl')
    faults = check_sdist(sdist) + check_wheel(wheel)
    for fault in faults:
        print(fault, file=sys.stderr)
    home = pathlib.Path(directory, 'venv')
    venv.create(home, with_pip=True)
    script = _DIB / 'install.d' / '80-fuel-agent-curl'
    for command in (
        # As it is installed beside ironic-python-agent, in a ramdisk.
        [
            'env',
            'DIB_FUEL_AGENT_CURL_VENV=%s' % home,
            'DIB_FUEL_AGENT_CURL=%s[ironic]' % wheel,
            script.resolve(),
        ],
        [home / 'bin' / 'fuel-agent-curl', 'demo'],
        # Found by nothing but the program's being on the path.
        [
            *('env', 'PATH=%s:%s' % (home / 'bin', os.environ['PATH'])),
            *('man', '--where', 'fuel-agent-curl', 'fuel-agent-curl-copy'),
        ],
        # What is imported only where it is needed is required all the same.
        [home / 'bin' / 'python', '-W', 'error', '-c', _LATE],
    ):
        # Elsewhere, so that the sources are not found.
        subprocess.run(
            [str(word) for word in command], check=True, cwd=directory
        )
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
