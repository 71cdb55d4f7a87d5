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


"""What is no disk image, and what is one for all that."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import uuid
import zipfile

from fuel_agent_curl import errors
from fuel_agent_curl.image import containers
from fuel_agent_curl.image import foreign
from tests import base
from tests.unit.image import test_containers

DICE = random.Random(20261126)
NOISE = DICE.randbytes(100_000)


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('disk.img', NOISE)
    return file.getvalue()


def _tar(form: int, name: str = './box.img') -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w', format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(NOISE)
        archive.addfile(info, io.BytesIO(NOISE))
    return file.getvalue()


def _old_tar() -> bytes:
    """Return one of before POSIX: without its magic number."""
    header = bytearray(_tar(tarfile.USTAR_FORMAT)[:512])
    header[257:265] = bytes(8)
    header[148:156] = b' ' * 8
    header[148:156] = b'%06o\0 ' % sum(header)
    return bytes(header) + NOISE


def _newc() -> bytes:
    fields = [7, 0o100644, 0, 0, 1, 0, 5, 0, 0, 0, 0, 6, 0]
    numbers = b''.join(b'%08X' % field for field in fields)
    return b'070701' + numbers + b'inita\0' + bytes(2) + b'hello' + bytes(600)


BINARIES = {
    'qcow2': b'QFI\xfb' + struct.pack('>IQ', 3, 0) + NOISE,
    'QED': b'QED\0' + NOISE,
    'VMDK image': b'KDMV' + struct.pack('<II', 1, 3) + NOISE,
    'a VMDK': b'COWD' + struct.pack('<II', 1, 3) + NOISE,
    'VHD image': b'conectix' + bytes(504) + NOISE,
    'VHDX': b'vhdxfile' + 'QEMU'.encode('utf-16-le') + bytes(500) + NOISE,
    'VDI': b'<<< QEMU VM Virtual Disk Image >>>\n'.ljust(64, b'\0')
    + struct.pack('<I', 0xBEDA107F)
    + NOISE,
    'Parallels': b'WithoutFreeSpace' + NOISE,
    'Android sparse': struct.pack('<IHHHH', 0xED26FF3A, 1, 0, 28, 12) + NOISE,
    'payload.bin': b'CrAU' + struct.pack('>QQ', 2, 99) + NOISE,
    'partclone': b'partclone-image' + b'\0000.2.61\0' + NOISE,
    'WIM': b'MSWIM\0\0\0' + NOISE,
    'zip': _zip(),
    'a zip': b'PK\x05\x06' + bytes(18) + bytes(600),
    '7z': b'7z\xbc\xaf\x27\x1c\0\x04' + NOISE,
    'RAR': b'Rar!\x1a\x07\x01\0' + NOISE,
    'cabinet': b'MSCF' + bytes(4) + NOISE,
    'xar': b'xar!' + struct.pack('>HH', 28, 1) + NOISE,
    'tar archive': _tar(tarfile.GNU_FORMAT),
    'a tar archive': _tar(tarfile.PAX_FORMAT),
    'begins with ./box.img': _tar(tarfile.USTAR_FORMAT),
    'tar archive that begins': _old_tar(),
    'cpio': _newc(),
    'a cpio': b'070707' + b'0' * 70 + b'init\0' + bytes(600),
    'Debian package': b'!<arch>\ndebian-binary   1700000000  0     0' + NOISE,
    'ar archive': b'!<arch>\nx.o/            1700000000  0     0' + NOISE,
    'RPM': b'\xed\xab\xee\xdb\x03\0\0\0' + NOISE,
    'lz4': b'\x04\x22\x4d\x18\x64\x40\xa7' + NOISE,
    'by lz4': b'\x02\x21\x4c\x18\x10\x20\0\0' + NOISE,
    'lzip': b'LZIP\x01\x0c' + NOISE,
    'lzma': lzma.compress(NOISE, lzma.FORMAT_ALONE),
    'by lzma': lzma.compress(NOISE, lzma.FORMAT_ALONE, preset=9),
    'lzop': b'\x89LZO\0\r\n\x1a\n\x10\x30' + NOISE,
    'compress (.Z)': b'\x1f\x9d\x90\x54\xd0' + NOISE,
    'lrzip': b'LRZI\0\x06' + NOISE,
    'snappy': b'\xff\x06\0\0sNaPpY' + NOISE,
    'a zstd before': b'\x25\xb5\x2f\xfd' + NOISE,
    'ELF': b'\x7fELF\x02\x01\x01' + NOISE,
    'PDF': b'%PDF-1.7\n%\xe2\xe3\xcf\xd3\n' + NOISE,
    'zsync': b'zsync: 0.6.2\nFilename: i.img\n\n' + NOISE,
    'torrent': b'd8:announce30:http://tracker/announce4:infod6:length' + NOISE,
    'a torrent': b'd4:infod6:lengthi5e4:name5:i.img6:pieces20:' + NOISE,
    'zchunk': b'\0ZCK1\x81' + NOISE,
    'openssl': b'Salted__' + NOISE,
    'by age': b'age-encryption.org/v1\n-> X25519 ' + NOISE,
}

HTML = '<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n'
HEX = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

TEXTS = {
    'HTML': HTML,
    'page': '\n\n<HTML><BODY>moved</BODY></HTML>',
    'a page (HTML)': '<!-- proxy --><!doctype HTML PUBLIC "-//W3C//DTD"><p>',
    '(HTML)': '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/x">',
    'a page': '<br />\n<b>Warning</b>: fopen() failed',
    'bmap': '<?xml version="1.0" ?>\n<!-- c -->\n<bmap version="2.0"></bmap>',
    'Metalink': '<?xml version="1.0"?>\n<metalink xmlns="urn:x"></metalink>',
    'object stores': '<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code>',
    'an XML': '<?xml version="1.0"?><domain type="kvm"></domain>',
    'OCI': json.dumps({'schemaVersion': 2, 'mediaType': 'x', 'layers': []}),
    'JSON': json.dumps({'error': 'token expired'}),
    'a JSON': json.dumps([{'error': 'token expired'}]),
    'LFS': 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n',
    'signed text': '-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n',
    'a signature,': '-----BEGIN PGP SIGNATURE-----\n\niQIzBAE\n',
    'minisign': 'untrusted comment: signature\nRWQ\n',
    'a list of checksums': HEX + '  i.img\n',
    'list of': '# x\nSHA256 (i.img) = ' + HEX + '\n',
    'list of checksums': HEX,
    'the descriptor': '# Disk DescriptorFile\nversion=1\n',
    'a text': 'Not found\n' * 100,
}

#: What disks and filesystems begin with.
IMAGES = {
    'zeros': bytes(100_000),
    'erased flash': b'\xff' * 100_000,
    'noise': NOISE,
    'GRUB': b'\xeb\x63\x90' + bytes(507) + b'\x55\xaa' + NOISE,
    'FAT': b'\xeb\x3c\x90mkfs.fat' + bytes(499) + b'\x55\xaa' + NOISE,
    'exFAT': b'\xeb\x76\x90EXFAT   ' + bytes(499) + b'\x55\xaa' + NOISE,
    'ext4': bytes(1080) + b'\x53\xef' + NOISE,
    'XFS': b'XFSB\0\0\x10\0' + NOISE,
    'btrfs': bytes(65536 + 64) + b'_BHRfS_M' + NOISE,
    'squashfs': b'hsqs' + NOISE,
    'iso9660': bytes(32768) + b'\x01CD001\x01' + NOISE,
    'LUKS': b'LUKS\xba\xbe\0\x02' + NOISE,
    'LVM': bytes(512) + b'LABELONE' + NOISE,
    'GPT of 4096': bytes(4096) + b'EFI PART' + NOISE,
    'text in a boot sector': b'GRUB '.ljust(510, b' ') + b'\x55\xaa' + NOISE,
    'text before zeros': b'boot2docker, please format-me\n' + bytes(70_000),
    'a script before zeros': b'#!/bin/sh\nexit 0\n' + bytes(70_000),
    'a page before zeros': HTML.encode() + bytes(70_000),
    'JSON before zeros': b'{"datasource": "nocloud"}' + bytes(70_000),
    'the name of an initramfs': b'070701 is the magic' + bytes(70_000),
    'a long text': b'pattern of a test\n' * 10_000,
    'a device tree (FIT)': b'\xd0\x0d\xfe\xed' + NOISE,
    'a kernel': b'MZ' + bytes(508) + b'\x55\xaa' + NOISE,
    'a zip behind a boot sector': b'PK\x03\x04' + bytes(506) + b'\x55\xaa',
    'a disk with a UUID': bytes(440) + uuid.UUID(int=7).bytes + bytes(600),
    'five zeros in lzma': b'\x5d' + bytes(5000),
    'octal numbers': b'0000644\0' * 10_000,
}


def _find(data: bytes) -> foreign.Kind | None:
    head = data[: foreign.LOOKED_AT]
    return foreign.find(head, len(head) == len(data))


class FindTest(base.TestCase):
    def test_what_is_no_image(self) -> None:
        texts = {name: text.encode() for name, text in TEXTS.items()}
        for name, data in (BINARIES | texts).items():
            kind = _find(data)
            assert kind is not None, name
            self.assertIn(name, kind.name)
            self.assertTrue(kind.advice)

    def test_what_is_one(self) -> None:
        for name, data in IMAGES.items():
            self.assertIsNone(_find(data), name)

    def test_text_in_any_coding(self) -> None:
        for name, text in TEXTS.items():
            if name == 'the descriptor':
                continue
            for mark, coding in (
                (b'\xef\xbb\xbf', 'utf-8'),
                (b'\xff\xfe', 'utf-16-le'),
                (b'\xfe\xff', 'utf-16-be'),
            ):
                kind = _find(mark + text.encode(coding))
                assert kind is not None, name
                self.assertIn(name, kind.name)
        for page in (
            HTML.replace('Sign', 'Anmelden f\xfcr').encode('latin-1'),
            HTML.replace('Sign', '\u7ba1\u7406').encode('gbk'),
            HTML.replace('Sign', '\u7ba1\u7406').encode('iso2022_jp'),
        ):
            kind = _find(page)
            assert kind is not None
            self.assertIn('HTML', kind.name)

    def test_long_text(self) -> None:
        """However long, where it says what it is; cut in a character, too."""
        for name in ('HTML', 'bmap', 'list of checksums', 'JSON'):
            for length in range(70_000, 70_003):
                filled = TEXTS[name].rstrip() + '\n' * 1000
                data = (filled + '\u20ac' * length).encode()
                if name == 'list of checksums':
                    data = (HEX + '  i.img\n').encode() * 1000
                kind = _find(data)
                assert kind is not None, name
                self.assertIn(name, kind.name)

    def test_less_than_a_sector(self) -> None:
        for length in (1, 20, 511):
            for data in (bytes(length), NOISE[:length]):
                kind = _find(data)
                assert kind is not None
                self.assertIn('%d bytes in all' % length, kind.name)
        self.assertIsNone(_find(bytes(512)))
        self.assertIsNone(_find(b''))
        # There may be more.
        self.assertIsNone(foreign.find(bytes(20), False))

    def test_enough(self) -> None:
        """More bytes than are enough never change what is found."""
        texts = [text.encode() for text in TEXTS.values()]
        for data in (*BINARIES.values(), *texts, *IMAGES.values()):
            for stop in (1, 511, 512, 513, 5000, foreign.LOOKED_AT):
                head = data[:stop]
                if foreign.enough(head):
                    self.assertEqual(
                        _find(data), foreign.find(head, stop == len(data))
                    )

    def test_noise_is_an_image(self) -> None:
        """Whatever bytes are put before, behind and into it."""
        dice = random.Random(3)
        starts = [*BINARIES.values(), *IMAGES.values()]
        for _time in range(3000):
            head = bytearray(dice.choice(starts)[:600])
            for _change in range(dice.randrange(1, 9)):
                at = dice.randrange(12)
                head[at] = dice.randrange(256)
            # No crash is all that can be said of these.
            _find(bytes(head) + NOISE[:1000])
            _find(dice.randbytes(dice.randrange(700)))
            self.assertIsNone(_find(b'\x80' + dice.randbytes(600)))


class OpenTest(test_containers.ContainersTestCase):
    """``open_container`` refuses what is none, and hands on what is one."""

    def _refused(self, data: bytes, **options: str) -> str:
        for size in (4093, len(data)):
            error = self.assertRaises(
                errors.NotAnImage,
                containers.open_container,
                test_containers.pieces(data, size),
                **options,
            )
        return str(error)

    def test_refused_as_it_is(self) -> None:
        for name, data in BINARIES.items():
            text = self._refused(data)
            self.assertIn(name, text)
            self.assertIn('this is no disk image', text)
            self.assertIn('--container raw writes it', text)

    def test_refused_in_a_container(self) -> None:
        for name, pack in test_containers.PACK.items():
            for what in ('qcow2', 'begins with ./box.img'):
                text = self._refused(pack(BINARIES[what]))
                self.assertIn(what, text)
                self.assertIn('in the %s container' % name, text)
                self.assertIn('--container %s writes it' % name, text)

    def test_a_container_in_a_container(self) -> None:
        for name, pack in test_containers.PACK.items():
            for inner, pack_inner in test_containers.PACK.items():
                text = self._refused(pack(pack_inner(NOISE)))
                self.assertIn('packed by %s' % inner, text)
                self.assertIn('in the %s container' % name, text)

    def test_not_looked_at_where_the_container_is_named(self) -> None:
        for data in (*BINARIES.values(), HTML.encode(), b'x'):
            for name, packed in {
                'raw': data,
                'gzip': gzip.compress(data),
                'bzip2': bz2.compress(data),
            }.items():
                opened = containers.open_container([packed], name)
                image = b''.join(map(bytes, opened.chunks))
                self.assert_image(data, image, name)

    def test_decompress_takes_anything(self) -> None:
        """As fuel-agent does."""
        for data in BINARIES.values():
            image = test_containers.unpack([gzip.compress(data)], 'auto')
            self.assert_image(data, image, 'anything')

    def test_handed_on_whole(self) -> None:
        for name, data in IMAGES.items():
            for size in (4093, 65536, len(data)):
                opened = containers.open_container(
                    test_containers.pieces(data, size)
                )
                image = b''.join(map(bytes, opened.chunks))
                self.assert_image(data, image, name)

    def test_an_empty_one_is_no_matter_of_its_kind(self) -> None:
        opened = containers.open_container([])
        self.assertEqual([], [*opened.chunks])

    def test_no_more_is_read_than_is_needed(self) -> None:
        taken = []

        def source() -> Iterator[bytes]:
            for start in range(0, len(NOISE), 1000):
                taken.append(start)
                yield NOISE[start : start + 1000]

        containers.open_container(source())
        self.assertEqual([0], taken)
