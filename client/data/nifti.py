"""Reading a NIfTI file so that whatever is wrong with it can be said in words.

The file is read once and whole: a gzip file that ends early or fails its checksum is found even where the
image would still decode. Whether it is compressed is told by its content, for many a `.nii` is gzip; what is named
`.gz` and is not compressed is a problem, for other programs refuse it. Trailing axes of length 1 are dropped.
"""

import errno
import gzip
import logging
import math
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from client.data.file_kinds import half_of_pair, other_kind
from client.data.rules import Finding, Part, problem

nib: Any = nibabel  # its functions carry no types

HEADER = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""The image class by the header's size, with which each NIfTI file begins."""

MOST_VOXELS = 2**30
"""In one image: 4 GiB as float32."""

COPY_AGAIN = "copy it again from its source"

GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class Nifti:
    """An image as it is stored."""

    array: NDArray[np.float32]
    """Scaled values, of the shape in the file without trailing axes of length 1."""
    affine: NDArray[np.float64]
    """(4, 4), voxel to mm."""
    header: Any
    """The file's own, of nibabel's class for its version."""

    @property
    def kind(self) -> Any:
        """The image class of its version: `Nifti1Image` or `Nifti2Image`."""
        return HEADER[int(self.header["sizeof_hdr"])]

    @property
    def oriented(self) -> bool:
        """Whether the header gives orientation and position, or nibabel had to assume them."""
        return int(self.header["sform_code"]) > 0 or int(self.header["qform_code"]) > 0


def read_nifti(path: Path, part: Part) -> Nifti | Finding:
    """Read an image or a label, or say why it cannot be read. Raises nothing for any file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return unreachable(path, part, error)
    if not content:
        return problem("empty-file", part, "is an empty file", COPY_AGAIN)
    if content.startswith(GZIP):
        try:
            content = gzip.decompress(content)
        except gzip.BadGzipFile as error:
            return problem("garbled", part, f"is no whole gzip file ({error})", COPY_AGAIN)
        except EOFError:
            return problem("truncated", part, "is a gzip file that ends early", COPY_AGAIN)
        except zlib.error as error:
            return problem("garbled", part, f"is a gzip file that is damaged ({error})", COPY_AGAIN)
    elif path.name.lower().endswith(".gz"):
        if _header_size(content) is not None:
            return problem("not-gzip", part, "is named .gz but not compressed", "rename it to .nii")
        if other := other_kind(content, path.name, part):
            return other
        return problem("garbled", part, f"is no whole gzip file (Not a gzipped file ({content[:2]!r}))", COPY_AGAIN)
    return _decode(content, path.name, part)


@contextmanager
def quiet() -> Iterator[None]:
    """Without nibabel's own log, which says on a terminal what the findings say.

    Its logger hears nothing of this thread, for one without handlers hands its lines to Python's last resort. Of this
    thread alone, as images are read in several at once.
    """
    thread, logger = threading.get_ident(), nib.imageglobals.logger

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(elsewhere)


def unreachable(path: Path, part: Part, error: OSError) -> Finding:
    """Why the system does not give a file."""
    if error.errno == errno.ELOOP:
        return problem("link-loop", part, "is a symbolic link that leads back to itself", "replace it by the file")
    if path.is_symlink() and not path.exists():
        return problem(
            "dangling-link", part, "is a link to a file that is not here", "fetch it (datalad or git annex get)"
        )
    if isinstance(error, FileNotFoundError):
        return problem("missing", part, "does not exist", "copy it there, or take it off the list")
    return problem("unreadable", part, f"cannot be read ({error.strerror})", "check the file and its rights")


def _header_size(content: bytes) -> int | None:
    """The size of the NIfTI header that a file begins with; None where it begins with none."""
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    found = next((size for size in HEADER if size in sizes), None)
    return None if found is None or len(content) < min(HEADER) else found


def _decode(content: bytes, name: str, part: Part) -> Nifti | Finding:
    if not content:
        return problem("not-nifti", part, "is an empty file, compressed, and no NIfTI file", COPY_AGAIN)
    if half := half_of_pair(content, name, part):
        return half
    size = _header_size(content)
    if size is None:
        other = other_kind(content, name, part)
        return other or problem("not-nifti", part, "is no NIfTI file", "convert it to NIfTI")
    try:
        with quiet(), np.errstate(all="ignore"):
            image = HEADER[size].from_bytes(content)
            dtype, shape = image.header.get_data_dtype(), image.shape
            if dtype.kind not in "biuf":
                text = f"holds {dtype} voxels, but must hold one number a voxel"
                return problem("dtype", part, text, "convert it to plain numbers")
            if math.prod(shape) == 0:
                text = f"has shape {shape} and so no voxel, but must be one 3D volume"
                return problem("zero-size", part, text, COPY_AGAIN)
            # Before any voxel is decoded: a garbled header may claim more than memory holds.
            if math.prod(shape) > MOST_VOXELS:
                text = f"has shape {shape}, but must be one 3D volume of at most {MOST_VOXELS} voxels"
                return problem("too-large", part, text, "split or resample it, or copy it again from its source")
            lacking = math.prod(shape) * dtype.itemsize + int(image.dataobj.offset) - len(content)
            if lacking > 0:
                return problem("truncated", part, f"ends {lacking} bytes before its last voxel", COPY_AGAIN)
            array = np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))
            affine = np.asarray(image.affine, dtype=np.float64)
    except Exception as error:
        # nibabel raises whatever its parts do, and a header may promise anything.
        return problem("garbled", part, f"cannot be decoded ({type(error).__name__}: {error})", COPY_AGAIN)
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return Nifti(array, affine, image.header)
