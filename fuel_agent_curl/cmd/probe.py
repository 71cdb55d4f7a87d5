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

"""``fuel-agent-curl probe``: what a server is, and what a resume would be."""

from __future__ import annotations

import argparse
import dataclasses
import math
import typing

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import output
from fuel_agent_curl.cmd import records
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.config import settings
from fuel_agent_curl.engine import probe as prober

_SECTOR = 512

# Of a qcow2 image that cannot be written.
_NOTHING_OF_IT: dict[str, typing.Any] = {
    'container': 'qcow2',
    'length': None,
    'allocated': None,
    'compressed': None,
    'snapshots': None,
    'features': None,
    'memory': None,
}

# In the order in which they end; the value of each is counted from the start.
_PHASES = (
    ('resolve', 'name'),
    ('connect', 'connect'),
    ('tls', 'TLS'),
    ('first_byte', 'first byte'),
)


def run(arguments: argparse.Namespace, values: settings.Settings) -> int:
    """Probe a URL and print what came of it.

    :raises errors.Error: if there is no usable answer.
    """
    found = prober.probe(arguments.url, values)
    guard = _try_if_range(arguments.url, values, found)
    image = _look(arguments.url, values, found)
    if arguments.json:
        record = dataclasses.asdict(found) | {
            'exit_code': 0,
            'if_range': guard,
            'resume': resume(found),
            'image': image,
        }
        output.say(records.line('probe', 'done', record))
    else:
        lines = describe(found, guard, values.first_byte_timeout)
        if image is not None:
            lines.append(_row('image', _what(image)))
        output.say('\n'.join(lines))
    return 0


def _look(
    url: str, values: settings.Settings, found: prober.Probe
) -> dict[str, typing.Any] | None:
    """Return what is in a qcow2 image; None: it is none, or has no ranges.

    Its first sector is read for that, and of a qcow2 image the tables.
    """
    if not found.ranges:
        return None
    # Here: they are not needed before there is an answer.
    from fuel_agent_curl.engine import download
    from fuel_agent_curl.image import foreign
    from fuel_agent_curl.image import mapping

    try:
        with download.read_parts(url, settings=values) as parts:
            if not foreign.is_qcow2(parts.read(0, _SECTOR)):
                return None
            said = mapping.load(parts, values.decoder_memory)
    except errors.ContentError as error:
        return _NOTHING_OF_IT | {'error': str(error)}
    except errors.Error:
        return None
    return {
        'container': 'qcow2',
        'error': None,
        'length': said.header.length,
        'allocated': said.allocated,
        'compressed': said.compressed << said.header.cluster_bits,
        'snapshots': said.header.snapshots,
        'features': list(said.header.features),
        'memory': said.memory,
    }


def _what(image: dict[str, typing.Any]) -> str:
    """Return what ``_look`` has found, for a human."""
    if image['error'] is not None:
        return 'qcow2, which cannot be written: %s' % image['error']
    return (
        'qcow2: a virtual disk of %d bytes (%s), %s of them allocated, %s'
        ' compressed; %s'
        % (
            image['length'],
            wording.size(image['length']),
            wording.size(image['allocated']),
            wording.size(image['compressed']),
            ', '.join(image['features']),
        )
    )


def _try_if_range(
    url: str, values: settings.Settings, found: prober.Probe
) -> str:
    """Return what the server does with If-Range (RFC 9110 section 13.1.5).

    Two more requests: with its own validator, and with another.
    """
    if not found.ranges:
        return 'not used, as no ranges are served'
    if not found.strong or found.validator is None:
        return 'not used, as there is no strong validator'
    served = []
    for validator in (found.validator, '"no such thing"'):
        try:
            again = prober.probe(url, values, if_range=validator)
        except errors.Error as error:
            return 'unknown, as asking failed: %s' % error.message
        served.append(again.ranges)
    return {
        (True, False): 'honoured',
        (True, True): 'ignored: a changed image shows by its validator only',
        (False, False): 'answered with the whole image, even for its own'
        ' validator: a resume asks again without it, and compares the'
        ' validators itself',
        (False, True): 'answered the wrong way round: validators are compared'
        ' after the fact',
    }[served[0], served[1]]


def describe(found: prober.Probe, guard: str, allowed: float) -> list[str]:
    """Return what was found, as lines for a human.

    :param allowed: ``first_byte_timeout``, in seconds.
    """
    rows = [('URL', found.url)]
    if found.effective_url != found.url:
        rows.append(('leads to', found.effective_url))
    if found.proxy is not None:
        rows.append(('proxy', found.proxy))
    elif found.passed_by is not None:
        rows.append(('proxy', 'not %s, as no_proxy says' % found.passed_by))
    # What is connected to is the proxy, where there is one.
    server = ['behind the proxy' if found.proxy else found.ip or 'unknown']
    server.append('HTTP/' + found.http_version)
    if found.server:
        server.append(found.server)
    rows.append(('server', ', '.join(server)))
    if found.tls:
        tls = [found.tls]
        if found.issuer:
            tls += ['certificate by ' + found.issuer]
            tls += ['until %s' % found.expires]
        rows.append(('TLS', ', '.join(tls)))
    rows += [
        ('status', str(found.status)),
        ('type', found.content_type or 'not stated'),
        ('length', _length(found)),
        ('ranges', 'served' if found.ranges else 'not served'),
        ('validator', _validator(found)),
        ('If-Range', guard),
        ('timings', _timings(found)),
        ('resume', resume(found)),
    ]
    slow = patience(found, allowed)
    if slow is not None:
        rows.append(('patience', slow))
    return [_row(*row) for row in rows]


def _row(name: str, text: str) -> str:
    return '%-10s %s' % (name, text)


def resume(found: prober.Probe) -> str:
    """Return what would follow if a download from there broke off."""
    if not found.ranges:
        return (
            'reads again from byte 0 and skips to where it broke off,'
            ' comparing what it skips: right, but slow'
        )
    if found.strong:
        return (
            'asks for the missing bytes only; the validator proves that'
            ' they belong to the same image'
        )
    return (
        'reads again from byte 0 and compares, as no strong validator proves'
        ' that the rest belongs to the same image; with --checksum it asks'
        ' for the missing bytes only, and the checksum decides'
    )


def _length(found: prober.Probe) -> str:
    if found.length is None:
        return 'not stated: no percentage, and no check of the target first'
    return '%d bytes (%s)' % (found.length, wording.size(found.length))


def _validator(found: prober.Probe) -> str:
    if found.validator is None:
        return 'none'
    return '%s (%s)' % (
        found.validator,
        'strong' if found.strong else 'weak: proves too little',
    )


def patience(found: prober.Probe, allowed: float) -> str | None:
    """Return what a server takes that is slow to begin; None: it is not.

    :param allowed: seconds that the first byte may take.
    """
    connected = max(
        found.timings.get(phase, 0.0) for phase, _name in _PHASES[:-1]
    )
    took = found.timings.get('first_byte', 0.0) - connected
    if took * 2 <= allowed:
        return None
    return (
        'the first byte took %.1f s of the %g s that it may: with'
        ' --first-byte-timeout %d there is room for more'
        % (took, allowed, math.ceil(took * 3))
    )


def _timings(found: prober.Probe) -> str:
    texts = []
    before = 0.0
    for phase, name in _PHASES:
        at = found.timings.get(phase, 0.0)
        if at > 0:
            texts.append('%s %.1f ms' % (name, 1000 * max(0, at - before)))
            before = at
    return ', '.join(texts)
