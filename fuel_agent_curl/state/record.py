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

"""The record of a copy that has not come to its end, as bytes.

It is no more than a slot, and there are two of them, written in turn: one
that was torn by a power cut leaves the other. Nothing in it is a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import struct
import types
import typing
import zlib

from fuel_agent_curl import values

#: Bytes of a slot.
SLOT = 16384

#: How many slots there are.
SLOTS = 2

VERSION = 1

_MAGIC = b'fuel-agent-curl record\n\0'
# Version, length of what follows, CRC-32 of that and of these two.
_HEADER = struct.Struct('<24sIII')


@values.dataclass(frozen=True, kw_only=True)
class Mark:
    """How far a copy had got.

    :ivar stop: all before it was written, behind what is held back.
    :ivar crc: CRC-32 of what was written.
    :ivar wire: byte of the representation at which it can begin again.
    :ivar image: byte of the image that this is.
    :ivar state: what whoever unpacks it has to know there.
    """

    stop: int
    crc: int
    wire: int
    image: int
    state: str = ''


@values.dataclass(frozen=True, kw_only=True)
class Origin:
    """Of which representation a copy is.

    :ivar url: digest of the URL whose answer said so.
    :ivar length: complete length in bytes, None where none was stated.
    :ivar settled: ``last_modified`` is old enough to be strong.
    """

    url: str
    length: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    settled: bool = False
    coding: str | None = None


@values.dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a copy that has not ended.

    :ivar copy: what tells it from every other copy.
    :ivar number: of the record, from 1.
    :ivar began: seconds since 1970, as the next one.
    :ivar saved: when this was written.
    :ivar boot: what tells the boot of this machine from every other.
    :ivar asked: digest of all that was asked for.
    :ivar url: of the image, redacted.
    :ivar container: what the image comes in.
    :ivar head: CRC-32 of what is held back at the beginning.
    :ivar hidden: by its place, what is kept off the target there.
    :ivar old: the same of what was there before.
    :ivar written: how far it is written, should the machine run on.
    :ivar synced: how far it is on the medium; None: nobody knows.
    """

    copy: str
    number: int
    began: float
    saved: float
    boot: str
    asked: str
    url: str
    container: str
    origin: Origin
    written: Mark
    synced: Mark | None = None
    head: int = 0
    hidden: Mapping[int, bytes] = dataclasses.field(default_factory=dict)
    old: Mapping[int, bytes] = dataclasses.field(default_factory=dict)


def pack(record: Record) -> bytes | None:
    """Return the slot that says it; None where it is too long for one."""
    # Here, as it takes long to import, and most copies are short.
    import json

    fields = dataclasses.asdict(record)
    for name in 'hidden', 'old':
        fields[name] = {
            str(offset): magic.hex() for offset, magic in fields[name].items()
        }
    payload = json.dumps(fields).encode()
    if _HEADER.size + len(payload) > SLOT:
        return None
    crc = _crc(VERSION, payload)
    header = _HEADER.pack(_MAGIC, VERSION, len(payload), crc)
    return (header + payload).ljust(SLOT, b'\0')


def unpack(slot: bytes) -> Record | None:
    """Return the record in a slot; None: there is none.

    :raises ValueError: for one that is damaged, or of another version.
    """
    if not holds(slot):
        return None
    if len(slot) < SLOT:
        raise ValueError('it is cut short')
    _magic, version, length, crc = _HEADER.unpack_from(slot)
    if version != VERSION:
        raise ValueError('it has version %d of its format' % version)
    payload = slot[_HEADER.size : _HEADER.size + length]
    if len(payload) != length or _crc(version, payload) != crc:
        raise ValueError('it is damaged')
    import json

    try:
        return _record(json.loads(payload))
    except (
        *(AttributeError, KeyError, TypeError, ValueError),
        RecursionError,
    ) as error:
        raise ValueError('it is not understood') from error


def holds(slot: bytes | memoryview) -> bool:
    """Return whether it begins like a record."""
    return bytes(slot[: len(_MAGIC)]) == _MAGIC


def newest(slots: list[bytes]) -> tuple[Record | None, list[str]]:
    """Return the newest record of ``slots``, and what is wrong with others."""
    found: list[Record] = []
    faults = []
    for slot in slots:
        try:
            record = unpack(slot)
        except ValueError as error:
            faults.append(str(error))
        else:
            found.extend([record] if record is not None else [])
    return max(found, key=lambda each: each.number, default=None), faults


def _crc(version: int, payload: bytes) -> int:
    return zlib.crc32(struct.pack('<II', version, len(payload)) + payload)


def _record(fields: dict[str, typing.Any]) -> Record:
    """Return what was read, if it can be a record.

    On a disk, somebody may have made it up.
    """
    synced = fields['synced']
    made = Record(
        **fields
        | {
            'origin': Origin(**fields['origin']),
            'written': _mark(fields['written']),
            'synced': None if synced is None else _mark(synced),
            'hidden': _overlays(fields['hidden']),
            'old': _overlays(fields['old']),
        }
    )
    origin = made.origin
    _are(str, made.copy, made.boot, made.asked, made.url, made.container)
    _are(str, origin.url)
    _are(int, made.number, made.head)
    _are(int | float, made.began, made.saved)
    _are(bool, origin.settled)
    _are(str | None, origin.etag, origin.last_modified, origin.coding)
    _check(origin.length is None or _is_offset(origin.length))
    return made


def _mark(fields: dict[str, typing.Any]) -> Mark:
    mark = Mark(**fields)
    for value in (mark.stop, mark.crc, mark.wire, mark.image):
        _check(_is_offset(value))
    _check(mark.image <= mark.stop)
    _are(str, mark.state)
    return mark


def _overlays(fields: dict[str, str]) -> dict[int, bytes]:
    found = {int(at): bytes.fromhex(text) for at, text in fields.items()}
    _check(all(_is_offset(at) for at in found))
    return found


def _are(kind: type | types.UnionType, *values: object) -> None:
    _check(all(isinstance(value, kind) for value in values))


def _is_offset(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _check(fit: bool) -> None:
    if not fit:
        raise ValueError('a value of another kind')
