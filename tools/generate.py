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

"""Write everything that is made from the code, or check that it is current.

That is the sample configuration, the tables of errors and events, the JSON
Schema of these, the pictures, the manual pages, and what the shells
complete::

    python tools/generate.py            # writes what has changed
    python tools/generate.py --check    # says what has, and fails
"""

from __future__ import annotations

from collections.abc import Iterator
import pathlib
import re
import subprocess
import sys
import tempfile

# Run as a file, the path has our directory in place of the one above.
sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from tools import check_layers  # noqa: E402
from tools import document_errors  # noqa: E402
from tools import document_events  # noqa: E402
from tools import document_measured  # noqa: E402
from tools import draw_flows  # noqa: E402
from tools import draw_rooms  # noqa: E402
from tools import write_completions  # noqa: E402

ROOT = check_layers.ROOT

#: What a wheel installs below the prefix; nothing else is in it.
SHARE = ROOT / 'share'

_MAN = ROOT / 'doc' / 'source' / 'man'

# Of a page as Sphinx writes it: the version and the date, which change with
# every commit, and space where groff and mandoc, or the checks, want none.
_TITLE = re.compile(r'^(\.TH "[^"]*" "1") .*$', re.MULTILINE)
_SPACE = re.compile(r'^(\.S[HS] .*)\n\.sp$', re.MULTILINE)
_TRAILING = re.compile(r'[ \t]+$', re.MULTILINE)
_PREAMBLE = re.compile(r'\A\.\\" Man page generated[^\n]*\n[^\n]*\n')


def made() -> Iterator[tuple[pathlib.Path, str]]:
    """Yield each file, with what is to be in it."""
    yield ROOT / 'etc' / 'fuel-agent-curl.conf.sample', _sample()
    page = document_errors.PAGE
    yield page, document_errors.page(page.read_text())
    page = document_events.PAGE
    yield page, document_events.page(page.read_text())
    yield SHARE / document_events.SCHEMA, document_events.schema()
    page = document_measured.PAGE
    yield page, document_measured.page(page.read_text())
    if document_measured.reports():
        yield document_measured.PICTURE, document_measured.draw()
        page, picture = document_measured.README, document_measured.PICTURE
        yield (
            page,
            document_measured.page(
                page.read_text(), picture.relative_to(ROOT).as_posix()
            ),
        )
    yield draw_rooms.PICTURE, draw_rooms.draw()
    for picture, draw in draw_flows.PICTURES.items():
        yield picture, draw()
    yield SHARE / write_completions.BASH, write_completions.bash()
    yield SHARE / write_completions.ZSH, write_completions.zsh()
    yield SHARE / write_completions.FISH, write_completions.fish()
    yield from _manual()


def stale(files: dict[pathlib.Path, str]) -> list[pathlib.Path]:
    """Return what is not as it is to be, or not to be there at all."""
    return [
        path
        for path in sorted({*files, *filter(_is_file, SHARE.rglob('*'))})
        if not path.is_file() or path.read_text() != files.get(path)
    ]


def _is_file(path: pathlib.Path) -> bool:
    return path.is_file()


def _sample() -> str:
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, 'sample')
        _run(
            *('oslo_config.generator', '--config-file'),
            *('tools/config-generator.conf', '--output-file', str(path)),
        )
        return path.read_text()


def _manual() -> Iterator[tuple[pathlib.Path, str]]:
    """Yield the manual pages, from the same pages as the documentation."""
    with tempfile.TemporaryDirectory() as directory:
        _run(
            *('sphinx', '-q', '-W', '--keep-going', '-b', 'man'),
            *('-c', 'doc/source', '-D', 'root_doc=fuel-agent-curl'),
            *('-D', 'suppress_warnings=toc.not_included'),
            *(str(_MAN), directory),
        )
        for page in pathlib.Path(directory).glob('*.1'):
            text = _PREAMBLE.sub('', page.read_text())
            text = _TITLE.sub(r'\1 "" "" "fuel-agent-curl"', text)
            text = _TRAILING.sub('', _SPACE.sub(r'\1', text))
            yield SHARE / 'man' / 'man1' / page.name, text


def _run(*module: str) -> None:
    # By the Python that runs this: the programs on the path may be of another
    # one, which does not know the package.
    subprocess.run([sys.executable, '-m', *module], check=True, cwd=ROOT)


def main(argv: list[str]) -> int:
    files = dict(made())
    changed = stale(files)
    for path in changed:
        name = path.relative_to(ROOT)
        if argv == ['--check']:
            print('%s is not what the code says' % name, file=sys.stderr)
        elif path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
            print('wrote %s' % name)
        else:
            path.unlink()
            print('removed %s' % name)
    if changed and argv == ['--check']:
        print(
            'run "python tools/generate.py" or "tox -e generate", and commit'
            ' what it wrote',
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
