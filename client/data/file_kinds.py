"""What a file is that should be a NIfTI and is not, by how it begins."""

import re

from client.data.rules import Finding, Part, problem

DOWNLOAD = "download it again"
UNPACK = "unpack it first"
CONVERT = "convert it to NIfTI"

KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"BZh", "a file compressed by bzip2", UNPACK),
    (b"\xfd7zXZ\x00", "a file compressed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a file compressed by Zstandard", UNPACK),
    (b"\x1f\x8b", "compressed twice", "decompress it once (gunzip)"),
    (b"NRRD000", "an NRRD image", CONVERT),
    (b"ObjectType", "a MetaImage (.mha)", CONVERT),
    (b"NDims", "a MetaImage (.mha)", CONVERT),
    (b"\x89HDF", "an HDF5 file (MINC or MATLAB)", CONVERT),
    (b"CDF\x01", "a MINC image", CONVERT),
    (b"MATLAB", "a MATLAB file", CONVERT),
    (b"\x00\x00\x00\x01\x00\x00", "a FreeSurfer image (MGH)", "convert it to NIfTI (mri_convert)"),
    (b"\x89PNG", "a PNG picture", "give the volume, not a picture of it"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the volume, not a picture of it"),
    (b"%PDF", "a PDF document", "give the volume, not a picture of it"),
)
"""How a file of each kind begins, what it is, and what to do."""

_PAGE = re.compile(rb"\s*(\xef\xbb\xbf)?\s*(<!doctype html|<html|<\?xml|<head|<error)", re.IGNORECASE)
_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = re.compile(rb"\A[^\n\0]{0,400}annex/objects/[^\n\0]{1,400}\s*\Z")
_POINTER = 1024
"""Bytes; a pointer is a line or three of text."""

_HEADERS = (348).to_bytes(4, "little"), (348).to_bytes(4, "big")
"""How NIfTI-1 and Analyze headers begin: with their own size."""


def other_kind(content: bytes, name: str, part: Part) -> Finding | None:
    """The problem of a file that is evidently something else than a NIfTI image; None where nothing tells."""
    if content.startswith(_LFS):
        text = "is a pointer of git LFS, not the image itself"
        return problem("lfs-pointer", part, text, f'fetch it: git lfs pull --include "*{name}"')
    if len(content) <= _POINTER and _ANNEX.match(content):
        text = "is a pointer of git-annex, not the image itself"
        return problem("annex-pointer", part, text, f"fetch it: git annex get {name} (or datalad get {name})")
    if _PAGE.match(content[:400]):
        text = "is a web page (HTML or XML), most likely an error page saved under this name"
        return problem("not-nifti", part, f"{text}, no NIfTI file", DOWNLOAD)
    if content[128:132] == b"DICM":
        return problem("not-nifti", part, "is a DICOM file, no NIfTI file", "convert its series to NIfTI (dcm2niix)")
    if content[257:262] == b"ustar":
        return problem("not-nifti", part, "is a TAR archive, no NIfTI file", UNPACK)
    for start, what, mend in KINDS:
        if content.startswith(start):
            return problem("not-nifti", part, f"is {what}, no NIfTI file", mend)
    return None


def half_of_pair(content: bytes, name: str, part: Part) -> Finding | None:
    """The problem of a header or voxels alone, of which the other half is another file: Analyze, or a NIfTI pair."""
    mend = "convert the pair to one .nii.gz, and look at left and right"
    if content[:4] in _HEADERS and content[344:348] == b"ni1\0":
        return problem("not-nifti", part, "is the header of a pair of files (.hdr and .img), no whole NIfTI file", mend)
    if content[:4] in _HEADERS and len(content) == 348 and content[344:347] != b"n+1":
        return problem("not-nifti", part, "is an Analyze header (.hdr), no NIfTI file", mend)
    if name.lower().endswith((".img", ".img.gz")) and content[:4] not in _HEADERS:
        return problem("not-nifti", part, "is the voxels of a pair of files (.hdr and .img), no whole NIfTI file", mend)
    return None
