"""Files that are replaced in one step, and files that are read within limits."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, whose file replaces `path` after the block.

    If the block fails, `path` stays as it was, and the temporary file is removed.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes that lies in its folder.

    It follows a link to a file in the same folder, because Kubernetes' volumes have such links.

    Raises
    ------
    OSError : the file can't be read, is not a regular file, is larger, or is a link to a file outside its folder.
    """
    real, folder = Path(os.path.realpath(path)), os.path.realpath(path.parent)
    if not real.is_relative_to(folder):
        raise OSError(errno.ELOOP, "it is a link to a file outside its folder")
    # The real path means another file if the folder's path passes /proc/PID/root, as a ModelCar's of KServe does.
    return read_regular(path.parent / real.relative_to(folder), most)


def read_regular(path: str | Path, most: int = 2**20) -> bytes:
    """Read a regular file of at most `most` bytes, but not through a link. Raises OSError."""
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        found = file.read(most + 1) if status.st_size <= most else b""
        if status.st_size > most or len(found) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return found
