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


"""What programs are told: every object, and every key of it.

This is the one place where that is written down. An object is printed by
these tables, and the page of the documentation and the JSON Schema are made
from them.
"""

from __future__ import annotations

from collections.abc import Mapping
import typing

from fuel_agent_curl import values as values_module

#: Where a URL is: what may be a secret in it is not.
_REDACTED = 'without user, password and query'


@values_module.dataclass(frozen=True)
class Key:
    """A key of an object.

    :ivar kind: of its value, as JSON Schema calls it; 'strings' is an array
        of strings.
    :ivar meaning: with its unit, where it is a number.
    :ivar null: what null means; '': it never is.
    :ivar values: all that there are; none: any.
    :ivar keys: of a value that is an object.
    """

    name: str
    kind: str
    meaning: str
    null: str = ''
    values: tuple[str | int, ...] = ()
    keys: tuple[Key, ...] = ()


def _event(*values: str) -> Key:
    return Key('event', 'string', 'what has happened', values=values)


_CODE = Key('exit_code', 'integer', 'of the program; see :doc:`errors`')
_SUCCESS = Key('exit_code', 'integer', 'of the program', values=(0,))
_ERROR = Key('error', 'string', 'the line that is on standard error, too')
_STATES = ('untouched', 'blank', 'incomplete', 'complete')

#: Of every object of a copy.
COMMON = (
    Key(
        'url',
        'string',
        'whose bytes it is about, %s: the one that was given, or the mirror'
        ' that was asked last' % _REDACTED,
        null='the command line could not be used',
    ),
    Key('seconds', 'number', 'since the copy began'),
    Key(
        'phase',
        'string',
        'what the copy is busy with',
        values=('comparing', 'copying', 'syncing', 'verifying'),
    ),
    Key('bytes', 'integer', 'bytes received without a gap, or kept'),
    Key(
        'length',
        'integer',
        'bytes there are to receive',
        null='nobody knows: there is no answer yet, or the server does not'
        ' state it',
    ),
    Key('unpacked', 'integer', 'bytes of the image that these have yielded'),
    Key(
        'written',
        'integer',
        'bytes of the image that the kernel was given for the target, or that'
        ' were there. They are on its medium only when the event is ``done``;'
        ' a device is given the first mebibyte at the end',
    ),
    Key('verified', 'integer', 'bytes of the image read back by ``--verify``'),
    Key(
        'rate',
        'integer',
        'bytes per second received over the last 10 s, or read back',
    ),
    Key('requests', 'integer', 'requests for the image so far'),
    Key('resumes', 'integer', 'those that went on where another had ended'),
    Key('stalls', 'integer', 'those that were ended for being too slow'),
    Key(
        'transferred',
        'integer',
        'bytes of all their answers, those fetched twice included',
    ),
    Key(
        'attempt',
        'integer',
        'the last attempt, counted from 1 since there was progress; 0: none'
        ' has ended or been answered yet',
    ),
    Key('attempts', 'integer', 'how many of those may be made; 0: any number'),
)

#: Of what happens to the download.
HAPPENED = (
    Key(
        'error',
        'string',
        'what ended the last attempt',
        null='nothing has, since there was progress',
    ),
    Key(
        'offset',
        'integer',
        'the byte that the attempt begins at, or broke off at',
    ),
    Key('delay', 'number', 'seconds until the next attempt; 0: at once'),
)

#: Of a copy that goes on with what an earlier one has left.
CONTINUED = (
    Key(
        'compared',
        'integer',
        'bytes of the image that are there and right; 0 where only the spool'
        ' has some',
    ),
    Key(
        'saved',
        'integer',
        'bytes received before, which are not fetched again',
    ),
)

#: Of a copy that fetches only what differs.
REUSED = (
    Key('compared', 'integer', 'bytes of the image that are there already'),
    Key('missing', 'integer', 'bytes of it that are fetched'),
)

_CHECKED = (
    Key(
        'checksum',
        'string',
        'algorithm of that of what was received',
        null='there was none',
    ),
    Key(
        'image_checksum',
        'string',
        'algorithm of that of the image',
        null='there was none',
    ),
    Key('ranges', 'integer', 'ranges of the block map that were compared'),
    Key('read_back', 'boolean', 'whether all was read back and compared'),
)

_PLAN = (
    Key('container', 'string', 'what the image comes in'),
    Key('length', 'integer', 'bytes of the image', null='nobody knows'),
    Key(
        'reused',
        'integer',
        'bytes of it that are there already, with ``--reuse``',
    ),
    Key(
        'mapped',
        'integer',
        'bytes of it that the block map has',
        null='there is no block map',
    ),
    Key(
        'target',
        'object',
        'what the image would go to',
        keys=(
            Key(
                'kind',
                'string',
                'what it is',
                values=('device', 'file', 'stream'),
            ),
            Key(
                'way',
                'string',
                'what would become of it',
                values=(
                    *('written', 'made', 'replaced'),
                    *('overwritten', 'patched'),
                ),
            ),
            Key('size', 'integer', 'bytes it has', null='it has no size yet'),
            Key(
                'free',
                'integer',
                'bytes for which its file system has room',
                null='it is in none',
            ),
        ),
    ),
)

#: Of a copy that has succeeded.
DONE = (
    Key('error', 'null', 'there was none'),
    _SUCCESS,
    Key(
        'target_state',
        'string',
        'what the target is like now; a dry run leaves it untouched',
        values=('untouched', 'complete'),
    ),
    Key(
        'container',
        'string',
        'what the image came in: ``raw``, ``gzip``, and so on',
        null='not known, as the next one: a signal came when all was done',
    ),
    Key(
        'checked',
        'object',
        'what was compared, or, of a dry run, would be',
        null='not known; what was asked for, was',
        keys=_CHECKED,
    ),
    Key(
        'signer',
        'object',
        'whose signature was asked for and is right',
        null='none was asked for, or this was a dry run of a signed image',
        keys=(
            Key(
                'fingerprint',
                'string',
                'of the primary key, in hexadecimal digits',
            ),
            Key('user_id', 'string', 'whom that key says it belongs to'),
        ),
    ),
    Key(
        'plan',
        'object',
        'what a copy would do',
        null='this was one, no dry run',
        keys=_PLAN,
    ),
)

#: Of a copy that has not.
FAILED = (
    _ERROR,
    _CODE,
    Key(
        'target_state',
        'string',
        'what the target is like now',
        values=_STATES,
    ),
    Key(
        'continues_at',
        'integer',
        'the byte of the image that the same copy goes on at, if it is run'
        ' again',
        null='it starts over',
    ),
)

#: What happens to a download, and what that means.
EVENTS = {
    'started': 'The first usable answer has begun.',
    'resumed': 'An answer goes on at ``offset``.',
    'restarted': 'An answer begins at byte 0 once more: no byte had come'
    ' before, or all that had was of another image.',
    'reread': 'It begins again at byte 0, and is compared up to ``offset``.',
    'retry': '``error`` has ended an attempt; the next begins in ``delay``'
    ' seconds.',
    'failover': '``error`` has ended one; the mirror ``url`` is asked next.',
    'continued': 'What an earlier run has left is right, and gone on with.',
    'reused': 'What the target has of the image is found, with ``--reuse``.',
}

_UNUSABLE = 'it cannot be written'

_PROBE_IMAGE = (
    Key('container', 'string', 'what it is', values=('qcow2',)),
    Key(
        'error',
        'string',
        'why it cannot be written',
        null='it can',
    ),
    Key('length', 'integer', 'bytes of the virtual disk', null=_UNUSABLE),
    Key('allocated', 'integer', 'bytes of it that hold data', null=_UNUSABLE),
    Key('compressed', 'integer', 'those that are packed', null=_UNUSABLE),
    Key('snapshots', 'integer', 'snapshots in it', null=_UNUSABLE),
    Key('features', 'strings', 'what it makes use of', null=_UNUSABLE),
    Key('memory', 'integer', 'bytes that a copy needs', null=_UNUSABLE),
)

PROBE = (
    _SUCCESS,
    Key('url', 'string', 'as given, ' + _REDACTED),
    Key('effective_url', 'string', 'the one that answered, after redirects'),
    Key('status', 'integer', 'of the answer', values=(200, 206)),
    Key('http_version', 'string', '``1.1``, for one'),
    Key(
        'ip',
        'string',
        'connected to, the proxy where one was asked',
        'unknown',
    ),
    Key('port', 'integer', 'of that', 'unknown'),
    Key('ranges', 'boolean', 'whether a range was served'),
    Key('validator', 'string', 'ETag, or Last-Modified', 'it sends neither'),
    Key('strong', 'boolean', 'whether that may go into If-Range'),
    Key('length', 'integer', 'bytes there are', 'the server does not say'),
    Key('content_type', 'string', 'Content-Type', 'it sends none'),
    Key('server', 'string', 'what the server calls itself', 'nothing'),
    Key('proxy', 'string', 'HOST:PORT of the proxy asked', 'none was'),
    Key(
        'passed_by',
        'string',
        'that of one that was not asked, for ``no_proxy``',
        'there is none',
    ),
    Key('tls', 'string', '``TLSv1.3``, for one', 'no TLS'),
    Key('issuer', 'string', "of the server's certificate", 'no TLS'),
    Key('expires', 'string', 'when that one ends', 'no TLS'),
    Key(
        'timings',
        'object',
        'seconds from the start until that was done; 0: not needed',
        keys=(
            Key('resolve', 'number', 'the name'),
            Key('connect', 'number', 'the connection'),
            Key('tls', 'number', 'the handshake of TLS'),
            Key('first_byte', 'number', 'the first byte of the answer'),
            Key('total', 'number', 'all of it'),
        ),
    ),
    Key('if_range', 'string', 'what it does with If-Range, in words'),
    Key('resume', 'string', 'what a resume would look like, in words'),
    Key(
        'image',
        'object',
        'what is in a qcow2 image',
        'it is none, or no ranges are served',
        keys=_PROBE_IMAGE,
    ),
)

_NOTHING = 'nothing is unfinished'

STATUS = (
    _SUCCESS,
    Key('target', 'string', 'as it was given'),
    Key(
        'unfinished',
        'boolean',
        'whether a copy to it is known that has not ended',
    ),
    Key('url', 'string', 'of its image, ' + _REDACTED, _NOTHING),
    Key('container', 'string', 'what that comes in', _NOTHING),
    Key('bytes', 'integer', 'bytes received that are there', _NOTHING),
    Key(
        'length',
        'integer',
        'bytes there are to receive',
        'nobody knows, or nothing is unfinished',
    ),
    Key('written', 'integer', 'bytes of the image written', _NOTHING),
    Key('synced', 'integer', 'those on the medium; 0: not known', _NOTHING),
    Key('began', 'number', 'seconds since 1970, as the next one', _NOTHING),
    Key('saved', 'number', 'when this was noted', _NOTHING),
    Key(
        'trusted',
        'boolean',
        'whether the record is in the directory of states, and not on the'
        ' target alone',
        _NOTHING,
    ),
    Key(
        'same_boot',
        'boolean',
        'whether the machine has run on; if not, ``synced`` counts',
        _NOTHING,
    ),
)


@values_module.dataclass(frozen=True)
class Shape:
    """An object: who prints it, for which events, and its keys."""

    verb: str
    name: str
    meaning: str
    keys: tuple[Key, ...]


_OF_ITS_OWN = {'continued': CONTINUED, 'reused': REUSED}


def _shapes() -> dict[tuple[str, str], Shape]:
    last = 'The last object of a copy that has '
    many = [
        Shape(
            'copy',
            'progress',
            'How far it is, once a second.',
            (_event('progress'), *COMMON, HAPPENED[0]),
        ),
        *(
            Shape(
                'copy',
                event,
                meaning,
                (
                    _event(event),
                    *COMMON,
                    *HAPPENED,
                    *_OF_ITS_OWN.get(event, ()),
                ),
            )
            for event, meaning in EVENTS.items()
        ),
        Shape(
            'copy',
            'done',
            last + 'succeeded.',
            (_event('done'), *COMMON, *DONE),
        ),
        Shape(
            'copy',
            'failed',
            last + 'not, whatever the reason.',
            (_event('failed'), *COMMON, *FAILED),
        ),
        Shape(
            'probe',
            'done',
            'What the server is.',
            (_event('done'), *PROBE),
        ),
        Shape(
            'status',
            'done',
            'What is left on the target.',
            (_event('done'), *STATUS),
        ),
        *(
            Shape(
                verb,
                'failed',
                'That could not be found out.',
                (_event('failed'), _ERROR, _CODE),
            )
            for verb in ('probe', 'status')
        ),
    ]
    return {(each.verb, each.name): each for each in many}


#: By verb and event.
SHAPES = _shapes()


def line(verb: str, event: str, values: Mapping[str, typing.Any]) -> str:
    """Return an object as it is printed, without the end of the line.

    :param values: of each key but ``event``; others are left out.
    """
    # Here: a copy that shows a bar has no need of it.
    import json

    return json.dumps(
        _chosen(SHAPES[verb, event].keys, {**values, 'event': event})
    )


def _chosen(
    keys: tuple[Key, ...], values: Mapping[str, typing.Any]
) -> dict[str, typing.Any]:
    return {
        key.name: (
            _chosen(key.keys, values[key.name])
            if key.keys and values[key.name] is not None
            else _characters(values[key.name])
        )
        for key in keys
    }


def _characters(value: typing.Any) -> typing.Any:
    """Return ``value``; of a text, what is no character as \\udc.. .

    A path may hold any bytes; many a reader of JSON takes characters alone.
    """
    if isinstance(value, str):
        return value.encode('utf-8', 'backslashreplace').decode()
    return value
