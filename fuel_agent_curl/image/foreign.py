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


"""What is no disk image, told by its first bytes.

An image may begin with anything: what is not known for sure to be something
else is an image, and whatever ends its first sector like a boot sector is.
Text is something else only where all that was looked at is text.

The table is ours because no library has it: ``filetype`` knows archives but
neither disk images nor text, and libmagic, which knows most, takes a database
of 8 MiB. Each row has the source of what it says.
"""

from __future__ import annotations

import codecs
import re

from fuel_agent_curl import octets
from fuel_agent_curl import values

#: Bytes that are looked at, at most.
LOOKED_AT = 64 * octets.KIB

_SECTOR = 512
_BOOT_SECTOR = b'\x55\xaa'

_CONVERT = 'convert it first: qemu-img convert -O raw FILE IMAGE'
_UNPACK = 'give the image that is in it'
_REPACK = 'unpack it, or pack the image by gzip, xz, zstd or bzip2 instead'
_BESIDE = 'give the URL of the image that it goes with'
_PAGE = (
    'look at the URL in a browser: the server, or a proxy, sends this in the'
    ' place of the image'
)
_DECRYPT = 'decrypt it first'
_URL = 'check the URL'


@values.dataclass(frozen=True)
class Kind:
    """What it is, with its article, and what to do about it."""

    name: str
    advice: str


@values.dataclass(frozen=True)
class _Signature:
    """What files of a kind begin with.

    :ivar magic: these bytes.
    :ivar then: what follows them, as a regular expression.
    """

    magic: bytes
    name: str
    advice: str
    then: bytes = b''

    def fits(self, head: bytes) -> bool:
        if not head.startswith(self.magic):
            return False
        rest = head[len(self.magic) :]
        return re.match(self.then, rest, re.DOTALL) is not None


# QEMU, docs/interop/qcow2.rst: a version follows, of four bytes.
_QCOW2 = _Signature(
    b'QFI\xfb\0\0\0', 'a qcow2 image (QEMU)', _CONVERT, b'[\x01-\x09]'
)
_SIGNATURES = (
    _QCOW2,
    # QEMU, docs/interop/qed_spec.rst.
    _Signature(b'QED\0', 'a QED image (QEMU)', _CONVERT),
    # VMware, Virtual Disk Format 5.0: of hosted disks, of ESX, descriptors.
    _Signature(
        b'KDMV', 'a VMDK image (VMware)', _CONVERT, b'[\x01-\x09]\0\0\0'
    ),
    _Signature(
        b'COWD', 'a VMDK image (VMware)', _CONVERT, b'[\x01-\x09]\0\0\0'
    ),
    _Signature(
        b'# Disk DescriptorFile',
        'the descriptor of a VMDK image (VMware), without its data',
        'give the image itself, and ' + _CONVERT,
    ),
    # Microsoft, Virtual Hard Disk Image Format Specification: the footer,
    # which dynamic and differencing disks begin with a copy of.
    _Signature(b'conectix', 'a VHD image (Hyper-V, Azure)', _CONVERT),
    # [MS-VHDX] 2.2.1.
    _Signature(b'vhdxfile', 'a VHDX image (Hyper-V)', _CONVERT),
    # VirtualBox, VDICore.h: text of any product, then this at byte 64.
    _Signature(
        b'<<< ',
        'a VDI image (VirtualBox)',
        _CONVERT,
        b'.{60}\x7f\x10\xda\xbe',
    ),
    # QEMU, docs/interop/parallels.rst.
    _Signature(b'WithoutFreeSpace', 'a Parallels image', _CONVERT),
    _Signature(b'WithouFreSpacExt', 'a Parallels image', _CONVERT),
    # Android, system/core/libsparse/sparse_format.h: version 1.
    _Signature(
        b'\x3a\xff\x26\xed\x01\0',
        'an Android sparse image',
        'convert it first: simg2img FILE IMAGE',
    ),
    # Android, system/update_engine, payload_consumer: an update.
    _Signature(b'CrAU\0\0\0\0', 'an Android update (payload.bin)', _UNPACK),
    # partclone, src/partclone.h.
    _Signature(
        b'partclone-image',
        'an image of partclone (Clonezilla)',
        'restore it by partclone',
    ),
    # wimlib, and Microsoft's Windows Imaging File Format.
    _Signature(b'MSWIM\0\0\0', 'a WIM archive (Windows)', _UNPACK),
    # PKWARE, APPNOTE.TXT 4.3.7, 4.3.16, 8.5.4; the version is up to 6.3.
    _Signature(b'PK\x03\x04', 'a zip archive', _UNPACK, b'[\0-\x3f]'),
    _Signature(b'PK\x05\x06', 'a zip archive', _UNPACK, b'\0{4}'),
    _Signature(b'PK\x07\x08', 'a zip archive', _UNPACK, b'PK\x03\x04'),
    # 7-Zip, 7zFormat.txt.
    _Signature(b'7z\xbc\xaf\x27\x1c', 'a 7z archive', _UNPACK),
    # RARLAB, technote: both version 4 and 5.
    _Signature(b'Rar!\x1a\x07', 'a RAR archive', _UNPACK),
    # Microsoft, Cabinet File Format: reserved1 is 0.
    _Signature(b'MSCF\0\0\0\0', 'a cabinet archive (Windows)', _UNPACK),
    # xar(1) of Apple: a header of 28 bytes.
    _Signature(b'xar!\0\x1c', 'a xar archive (Apple)', _UNPACK),
    # cpio(5): numbers in hexadecimal, the last but one the name's length; in
    # octal. The old binary form has too short a number to know it by.
    _Signature(
        b'07070',
        'a cpio archive, such as an initramfs',
        _UNPACK,
        b'[12][0-9A-Fa-f]{88}0000[0-9A-Fa-f]{12}[^\0]|7[0-7]{70}[^\0]',
    ),
    # ar(5), deb(5); rpm's lead, rpmlead.c.
    _Signature(b'!<arch>\ndebian-binary', 'a Debian package', _UNPACK),
    _Signature(b'!<arch>\n', 'an ar archive', _UNPACK),
    _Signature(b'\xed\xab\xee\xdb', 'an RPM package', _UNPACK, b'[\x03\x04]'),
    # lz4_Frame_format.md: version 01; the legacy frame.
    _Signature(
        b'\x04\x22\x4d\x18', 'a file packed by lz4', _REPACK, b'[\x40-\x7f]'
    ),
    _Signature(
        b'\x02\x21\x4c\x18', 'a file packed by lz4', _REPACK, b'..[\0-\x80]\0'
    ),
    # lzip manual, File format.
    _Signature(b'LZIP', 'a file packed by lzip', _REPACK, b'[\0\x01]'),
    # lzop, src/lzop.c.
    _Signature(b'\x89LZO\0\r\n\x1a\n', 'a file packed by lzop', _REPACK),
    # lrzip, doc/magic.header.txt.
    _Signature(b'LRZI\0', 'a file packed by lrzip', _REPACK),
    # snappy, framing_format.txt.
    _Signature(b'\xff\x06\0\0sNaPpY', 'a file packed by snappy', _REPACK),
    # zstd, lib/legacy: the frames before version 0.8.
    _Signature(
        b'\x1e\xb5\x2f\xfd', 'a file packed by a zstd before 1.0', _REPACK
    ),
    *(
        _Signature(
            bytes((each,)) + b'\xb5\x2f\xfd',
            'a file packed by a zstd before 1.0',
            _REPACK,
        )
        for each in range(0x22, 0x28)
    ),
    # elf(5): class, order of bytes, version.
    _Signature(b'\x7fELF', 'a program (ELF)', _URL, b'[\x01\x02]{2}\x01'),
    # ISO 32000-1 7.5.2.
    _Signature(b'%PDF-', 'a PDF document', _URL, b'[0-9]'),
    # zchunk, zchunk_format.txt: of a file, and of a head by itself.
    _Signature(b'\0ZCK1', 'a file packed by zchunk', _REPACK),
    _Signature(b'\0ZHR1', 'the head of a file packed by zchunk', _BESIDE),
    # zsync, as zsyncmake writes it; BEP 3: keys are sorted.
    _Signature(b'zsync: ', 'a zsync control file', _BESIDE, b'[0-9]'),
    _Signature(
        b'd',
        'a torrent',
        _BESIDE,
        b'(?:8:announce|13:announce-list|7:comment|10:created by'
        b'|13:creation date|8:encoding|9:httpseeds|8:url-list|5:nodes|4:info)'
        b'[0-9dil]',
    ),
    # openssl-enc(1); age-encryption.org/v1.
    _Signature(b'Salted__', 'a file encrypted by openssl', _DECRYPT),
    _Signature(b'age-encryption.org/', 'a file encrypted by age', _DECRYPT),
)

# What text may have: no controls but tab, the ends of lines and pages, and
# escape, which ISO 2022 has. (Few images are text, so that no regular
# expression is compiled before one is needed.)
_OF_TEXT = bytes(
    each for each in range(256) if each in b'\t\n\f\r\x1b' or each >= 0x20
).replace(b'\x7f', b'')
_BOMS = (
    (codecs.BOM_UTF8, 'utf-8'),
    (codecs.BOM_UTF16_LE, 'utf-16-le'),
    (codecs.BOM_UTF16_BE, 'utf-16-be'),
)


def enough(head: bytes) -> bool:
    """Tell whether further bytes would make no difference to ``find``."""
    return len(head) >= LOOKED_AT or (
        len(head) >= _SECTOR and _text(head, False) is None
    )


def is_qcow2(head: bytes) -> bool:
    """Return whether ``find`` would take it for a qcow2 image.

    :param head: its first bytes; a sector of them is enough.
    """
    return _QCOW2.fits(head) and head[_SECTOR - 2 : _SECTOR] != _BOOT_SECTOR


def find(head: bytes, complete: bool) -> Kind | None:
    """Return what a file is that begins with ``head``; None: an image.

    :param head: its first LOOKED_AT bytes, or as many as are ``enough``.
    :param complete: there are no more.
    """
    if not head or head[_SECTOR - 2 : _SECTOR] == _BOOT_SECTOR:
        return None
    for signature in _SIGNATURES:
        if signature.fits(head):
            return Kind(signature.name, signature.advice)
    found = _tar(head) or _lzma(head) or _compress(head)
    if found is None:
        text = _text(head, complete)
        found = None if text is None else _document(text, complete)
    if found is None and complete and len(head) < _SECTOR:
        return Kind('%d bytes in all, less than a sector' % len(head), _PAGE)
    return found


def _tar(head: bytes) -> Kind | None:
    """Return what a tar archive is (POSIX.1-2017 pax, ustar format).

    The first header is known by its checksum: archives older than POSIX have
    no magic number.
    """
    header = head[:_SECTOR]
    name = header[:100].partition(b'\0')[0]
    stated = header[148:156].strip(b' \0')
    if (
        len(header) < _SECTOR
        or not name
        or not re.fullmatch(b'[0-7]{1,7}', stated)
    ):
        return None
    # Those eight bytes count as spaces.
    if sum(header) - sum(header[148:156]) + 8 * 0x20 != int(stated, 8):
        return None
    return Kind(
        'a tar archive that begins with %s'
        % name[:60].decode('ascii', 'backslashreplace'),
        _UNPACK,
    )


def _lzma(head: bytes) -> Kind | None:
    """Return what the format before xz is (lzma-file-format.txt 1.1).

    It has no magic number either. ``xz -d`` goes by the sizes of dictionary
    and content; here the properties that all use are wanted too, and the
    first byte of the range coder, which is 0.
    """
    if len(head) < 14 or head[0] != 0x5D or head[13]:
        return None
    dictionary = int.from_bytes(head[1:5], 'little')
    length = int.from_bytes(head[5:13], 'little')
    power = 1 << max(12, dictionary.bit_length() - 1)
    if dictionary not in (power, power + power // 2, 2**32 - 1) or (
        length >= 2**38 and length != 2**64 - 1
    ):
        return None
    return Kind('a file packed by lzma (of the format before xz)', _REPACK)


def _compress(head: bytes) -> Kind | None:
    """Return what compress makes (ncompress, compress.c).

    Its magic number is short: codes of 9 to 16 bits in block mode are wanted
    too, and that the first one is that of a byte.
    """
    if (
        len(head) < 5
        or head[:2] != b'\x1f\x9d'
        or not 0x89 <= head[2] <= 0x90
        or head[4] & 1
    ):
        return None
    return Kind('a file packed by compress (.Z)', _REPACK)


def _text(head: bytes, complete: bool) -> str | None:
    """Return ``head`` as text; None if it is none.

    What is neither UTF-8 nor UTF-16 with a mark is taken for Latin-1, where
    every byte means something: only markup is looked for in that.
    """
    mark, coding = next(
        (each for each in _BOMS if head.startswith(each[0])), (b'', 'utf-8')
    )
    wide = coding != 'utf-8'
    if not wide and head.translate(None, _OF_TEXT):
        return None
    decoder = codecs.getincrementaldecoder(coding)()
    try:
        text = decoder.decode(head[len(mark) :], complete)
    except UnicodeDecodeError:
        if mark:
            return None
        text = head.decode('latin-1')
        return text if re.match(_MARKUP, text) else None
    if wide and text.encode('utf-8', 'replace').translate(None, _OF_TEXT):
        return None
    return text


# A name, a declaration, an instruction or a comment.
_MARKUP = r'\s*<(?:[A-Za-z][\w:.-]*[\s/>]|[!?][A-Za-z-])'
# What comes before the first element.
_PROLOG = (
    r'(?is)\s*(?:<\?.*?\?>|<!--.*?-->|<!doctype\s+(?P<name>[\w:.-]+)[^>]*>)'
)
_ELEMENT = r'\s*<(?:[\w.-]+:)?([\w.-]+)'
_HTML = frozenset(
    (
        *('html', 'head', 'title', 'meta', 'link', 'script', 'style', 'body'),
        *('center', 'div', 'table', 'form', 'h1', 'h2', 'p', 'a', 'b', 'br'),
    )
)
_XML = {
    'bmap': Kind('a block map (bmap)', _BESIDE),
    'metalink': Kind(
        'a Metalink document',
        'give it by a name that ends in .meta4, or ' + _BESIDE,
    ),
    'error': Kind('an error document (XML), as object stores send it', _PAGE),
}
_JSON = r'\s*(?:\{\s*["}]|\[\s*(?:[\]\[{"0-9-]|true|false|null))'
_LIST = Kind('a list of checksums', _BESIDE)
_SIGNED = Kind('a signed text (PGP)', _BESIDE)
_TEXT = Kind('a text', _PAGE)

#: What a list of checksums looks like, comments and signature included.
LISTS = frozenset((_LIST, _SIGNED, _TEXT))

_STARTS = (
    # git-lfs, docs/spec.md; by its first name as well.
    (
        r'version https://(?:git-lfs|hawser)\.github\.com/spec/',
        Kind(
            'a Git LFS pointer',
            'give the URL of what it points to, or fetch that by git lfs pull',
        ),
    ),
    # RFC 9580 6.2, 7.1; RFC 7468.
    (r'-----BEGIN PGP SIGNED MESSAGE', _SIGNED),
    (r'-----BEGIN PGP MESSAGE', Kind('a file encrypted by PGP', _DECRYPT)),
    (
        r'-----BEGIN [A-Z0-9 ]+-----',
        Kind('a signature, key or certificate', _BESIDE),
    ),
    (r'untrusted comment: ', Kind('a signature (minisign, signify)', _BESIDE)),
)


def _document(text: str, complete: bool) -> Kind | None:
    """Return what a text is; None where it need not be one."""
    if re.match(_MARKUP, text):
        return _markup(text)
    if re.match(_JSON, text):
        if re.search(r'"(?:schemaVersion|mediaType)"\s*:', text):
            return Kind(
                'a manifest of an OCI registry (JSON)',
                'give the URL of the blob that it names',
            )
        return Kind('a JSON document', _PAGE)
    for pattern, kind in _STARTS:
        if re.match(r'\s*' + pattern, text):
            return kind
    from fuel_agent_curl.image import checksums

    if checksums.is_list(text, complete):
        return _LIST
    # Longer ones are left alone: a pattern written for a test may be text.
    return _TEXT if complete else None


def _markup(text: str) -> Kind:
    while prolog := re.match(_PROLOG, text):
        text = text[prolog.end() :]
        if (prolog['name'] or '').lower() == 'html':
            return Kind('a page (HTML)', _PAGE)
    element = re.match(_ELEMENT, text)
    name = element[1].lower() if element else ''
    if name in _HTML:
        return Kind('a page (HTML)', _PAGE)
    return _XML.get(name, Kind('an XML document', _PAGE))
