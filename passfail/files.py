"""Files that are written whole or not at all, and files that are read within bounds."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; the file written there replaces `path` when the block ends.

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

    A link to a file in the same folder is followed: Kubernetes' volumes have such.

    Raises
    ------
    OSError : the file can't be read, is no regular file or is larger, or is a link out of its folder.
    """
    real = path.resolve(strict=True)
    if not real.is_relative_to(path.parent.resolve()):
        raise OSError(errno.ELOOP, "it is a link out of its folder")
    # Without O_NONBLOCK the open of a FIFO waits until somebody writes to it.
    with open(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        found = file.read(most + 1) if status.st_size <= most else b""
        if status.st_size > most or len(found) > most:
            raise OSError(errno.EFBIG, f"it has more than {most} bytes")
        return found
