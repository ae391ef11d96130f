"""Mounts: whether a folder is on a file system that other hosts may write, where SQLite's locks can't be trusted.

Next: store/disk.py
"""

from __future__ import annotations

import os
import re

__all__ = ["network_kind_of"]

_KINDS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "pvfs2", "orangefs", "ocfs2",
    "gfs2", "glusterfs", "panfs", "wekafs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.s3fs", "fuse.gcsfuse", "fuse.mount-s3", "fuse.goofys",
    "fuse.rclone", "fuse.blobfuse", "fuse.blobfuse2", "fuse.juicefs", "fuse.curlftpfs",
}  # fmt: skip
_MOUNTS = "/proc/self/mounts"


def network_kind_of(folder: str, mounts: str = _MOUNTS) -> str | None:
    """Return the kind of the network file system that a folder is on, or will be; None if it is on none.

    Args:
        folder: an absolute path; it need not exist.
        mounts: the system's table. Without one (it is Linux's), nothing is known, and that counts as none.
    """
    path = os.path.realpath(folder)
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ") for line in file]
    except OSError:
        return None
    places = [(_unescaped(fields[1]), fields[2]) for fields in lines if len(fields) > 2]
    above = [(len(place), number, kind) for number, (place, kind) in enumerate(places)
             if path == place or path.startswith(place.rstrip("/") + "/")]  # fmt: skip
    kind = max(above)[2] if above else ""
    return kind if kind in _KINDS else None


def _unescaped(place: str) -> str:
    if "\\" not in place:
        return place
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place)
