"""Reading a NIfTI file so that whatever is wrong with it can be said in words.

The file is read once and whole: a gzip file that ends early or fails its checksum is found even where the
image would still decode.
"""

import errno
import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from client.data.rules import Finding, Part, problem

nib: Any = nibabel  # its functions carry no types

HEADER = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
"""The image class by the header's size, with which each NIfTI file begins."""

MOST_VOXELS = 2**30
"""In one image: 4 GiB as float32."""

COPY_AGAIN = "copy it again from its source"


@dataclass(frozen=True, eq=False)
class Nifti:
    """An image as it is stored."""

    array: NDArray[np.float32]
    """Scaled values, of the shape in the file."""
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
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except gzip.BadGzipFile as error:
            if content[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):
                return problem("not-gzip", part, "is named .gz but not compressed", "rename it to .nii")
            return problem("garbled", part, f"is no whole gzip file ({error})", COPY_AGAIN)
        except EOFError:
            return problem("truncated", part, "is a gzip file that ends early", COPY_AGAIN)
        except zlib.error as error:
            return problem("garbled", part, f"is a gzip file that is damaged ({error})", COPY_AGAIN)
    return _decode(content, part)


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


def _decode(content: bytes, part: Part) -> Nifti | Finding:
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    kind = next((HEADER[size] for size in HEADER if size in sizes), None)
    if kind is None or len(content) < min(HEADER):
        return problem("not-nifti", part, "is no NIfTI file", "convert it to NIfTI")
    try:
        # What nibabel mends in silence is said by the findings; its own log would break the progress bar.
        with nib.imageglobals.LoggingOutputSuppressor(), np.errstate(all="ignore"):
            image = kind.from_bytes(content)
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
    except Exception as error:
        # nibabel raises whatever its parts do, and a header may promise anything.
        return problem("garbled", part, f"cannot be decoded ({type(error).__name__}: {error})", COPY_AGAIN)
    return Nifti(array, np.asarray(image.affine, dtype=np.float64), image.header)
