"""The disks that make chaos fills, write-protects and slows down."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.relay import Relay
from tests.support.service import free_port
from tests.support.wait import until


@contextlib.contextmanager
def small(folder: Path, size: str) -> Iterator[bool]:
    """Mount a small file system on a folder; yield whether that worked."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "chaos", str(folder)]
    mounted = not subprocess.run(command, stderr=subprocess.DEVNULL).returncode if shutil.which("mount") else False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill a small disk to the last byte, and free it afterwards."""
    filler = folder / ".filler"
    try:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        if os.statvfs(folder).f_bavail:
            raise RuntimeError(f"{folder} has still room")
        yield
    finally:
        filler.unlink(missing_ok=True)


def no_object_storage() -> str:
    """The reason why object storage can't be mounted here, or ""."""
    if missing := [tool for tool in ("rclone", "fusermount3", "mount") if not shutil.which(tool)]:
        return f"{' and '.join(missing)} not installed"
    return "" if os.access("/dev/fuse", os.R_OK | os.W_OK) else "there is no /dev/fuse"


@contextlib.contextmanager
def object_storage(folder: Path, delay: float) -> Iterator[tuple[Path, Relay]]:
    """Mount a slow object store over a folder that is itself a mount.

    rclone serves the folder (WebDAV), a relay delays the responses, and rclone mounts it, as a bucket is mounted.

    delay : seconds, for each piece that the relay carries.

    Yields the folder's own files, which can be written without delay, and the relay.
    """
    behind = folder.with_name(f"{folder.name}-behind")
    behind.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", folder, behind], check=True)
    relay = Relay(free_port())
    relay.delay = delay
    fresh = ["--read-only", "--dir-cache-time", "0s"]  # else a new version would not appear for minutes
    serve = ["rclone", "serve", "webdav", str(behind), "--addr", f"127.0.0.1:{relay.to}", *fresh]
    store = f":webdav,url='http://127.0.0.1:{relay.port}':"
    mount = ["rclone", "mount", store, str(folder), "--allow-non-empty", "--allow-other", *fresh]
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "--lazy", behind], check=True)
        stack.callback(relay.close)
        stack.enter_context(_started(serve))
        until(lambda: socket.create_connection(("127.0.0.1", relay.to)).close() is None)
        stack.enter_context(_started(mount))
        stack.callback(subprocess.run, ["umount", "--lazy", folder], check=True)
        until(lambda: "fuse.rclone" in _mounted_at(folder))
        yield behind, relay


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _mounted_at(folder: Path) -> list[str]:
    """The types of the file systems that are mounted at a folder."""
    rows = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [row[2] for row in rows if row[1] == str(folder)]
