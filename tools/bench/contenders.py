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

"""Who takes part: command lines, and the Python that stands for fuel-agent."""

from __future__ import annotations

import dataclasses
import shlex
import sys

from tools.bench import needs

#: What a contender is called; a comparison refers to it by that.
COPY = 'fuel-agent-curl copy'
INSTALLED = 'fuel-agent, our classes'
UPSTREAM = 'fuel-agent'
CHUNKS = 'fuel_agent_curl.fetch'
VIEWS = CHUNKS + ', views'
ARIA2 = 'aria2c -x16 -s16 -k1M'

# dd takes whole blocks from a pipe only when told to. Past the page
# cache it is faster here, which is what ours has to be compared with.
_DD = 'dd of={target} bs=1M iflag=fullblock oflag=direct conv=fsync'
_CURL = 'curl -q -s -f {url}'

_CHAIN = '''
import sys
from oslo_config import cfg
from fuel_agent.utils import artifact
%s
for given in sys.argv[3:]:
    name, _, value = given.partition('=')
    cfg.CONF.set_override(name, int(value))
chain = artifact.Chain()
chain.append(sys.argv[1])
chain.append(artifact.HttpUrl)
%s
chain.append(sys.argv[2])
chain.process()
'''
_INSTALL = 'from fuel_agent_curl import artifact as ours; ours.install()'
_GUNZIP = 'chain.append(artifact.GunzipStream)'

_FETCH = '''
import sys
import fuel_agent_curl
with fuel_agent_curl.fetch(sys.argv[1]) as download:
    for chunk in download%s:
        pass
'''

# As short as it can be.
_REQUEST = '''
import sys
import pycurl
handle = pycurl.Curl()
handle.setopt(pycurl.URL, sys.argv[1])
handle.setopt(pycurl.WRITEFUNCTION, len)
handle.perform()
'''


@dataclasses.dataclass(frozen=True)
class Contender:
    """One that takes part.

    :ivar line: as a shell would have it, with {url} and {target} in it, and
        {ours}, {python} and {script}.
    :ivar script: Python, for {script}.
    :ivar image: what of the server's it fetches.
    :ivar modules: of Python, without which it cannot run.
    :ivar once: it takes so long, and so exactly as long, that it runs once.
    """

    name: str
    line: str
    image: str
    script: str = ''
    modules: tuple[str, ...] = ()
    once: bool = False

    def stages(self, url: str, target: str) -> list[list[str]]:
        """Return the pipeline, each stage as a list of words."""
        return [
            [
                word.format(
                    url=url + self.image,
                    target=target,
                    ours=needs.OURS,
                    python=sys.executable,
                    script=self.script,
                )
                for word in shlex.split(part)
            ]
            for part in self.line.split('|')
        ]

    @property
    def missing(self) -> list[str]:
        """A phrase for everything that is not installed."""
        return needs.missing(
            [
                *(stage[0] for stage in self.stages('', '')),
                *('python:' + module for module in self.modules),
            ]
        )


def copy(image: str, options: str = '', name: str = COPY) -> Contender:
    """Our command line."""
    words = ['{ours} copy --progress none', options, '{url} {target}']
    return Contender(name, ' '.join(filter(None, words)), image)


def chain(
    image: str,
    *,
    ours: bool,
    gunzip: bool = False,
    options: str = '',
    name: str = '',
) -> Contender:
    """fuel-agent's chain, with our classes in it or as it comes.

    :param options: its own, each NAME=NUMBER.
    """
    words = ['{python} -c {script} {url} {target}', options]
    return Contender(
        name or (INSTALLED if ours else UPSTREAM),
        ' '.join(filter(None, words)),
        image,
        _CHAIN % (_INSTALL if ours else '', _GUNZIP if gunzip else ''),
        ('fuel_agent',),
    )


def pipe(image: str, unpack: str = '') -> Contender:
    """curl, a program that unpacks, and dd, which ends with all synced."""
    names = ['curl', unpack.partition(' ')[0], 'dd']
    return Contender(
        ' | '.join(filter(None, names)),
        ' | '.join(filter(None, [_CURL, unpack, _DD])),
        image,
    )


def chunks(image: str, name: str = CHUNKS) -> Contender:
    """Our chunk iterator, whose chunks nobody wants."""
    return Contender(name, '{python} -c {script} {url}', image, _FETCH % '')


def views(image: str) -> Contender:
    """The same without the copy that a consumer could keep."""
    script = _FETCH % '.views()'
    return Contender(VIEWS, '{python} -c {script} {url}', image, script)


def request(image: str) -> Contender:
    """Python and libcurl, and nothing else of ours."""
    return Contender(
        'Python, pycurl', '{python} -c {script} {url}', image, _REQUEST
    )


def unpack(path: str, tool: str, name: str) -> Contender:
    """A program that unpacks a file of this machine, to nowhere."""
    script = 'exec %s -d -c %s > /dev/null' % (tool, shlex.quote(path))
    return Contender(name, 'sh -c {script}', '', script)


def dd(path: str, name: str) -> Contender:
    """dd from a file, which is in memory, past the page cache."""
    line = _DD.replace('iflag=fullblock', 'if=' + path)
    return Contender(name, line, '')


def curl(
    image: str, target: str, name: str = 'curl', *, once: bool = False
) -> Contender:
    """curl, which writes to a file."""
    return Contender(name, _CURL + ' -o ' + target, image, once=once)


def aria2(image: str) -> Contender:
    """aria2, as one would call it for 16 connections."""
    # The rest: say nothing, read no configuration, and write where told to.
    return Contender(
        ARIA2,
        'aria2c -x16 -s16 -k1M --no-conf --quiet --allow-overwrite=true'
        ' --dir=/ --out={target} {url}',
        image,
    )
