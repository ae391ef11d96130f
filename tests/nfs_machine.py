"""A small machine with a real NFS: Linux in a process of its own, where a folder is exported and mounted twice.

Root can't mount NFS everywhere: a kernel may lack it. User-mode Linux brings its own, sees the files of this computer,
and ends when its first command does. The two mounts share no cache, as if two hosts had made them.
Needs, of Debian: user-mode-linux, nfs-ganesha-vfs, nfs-common, kmod.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

#: Where the two mounts are, and a folder in memory, in the machine.
MOUNTS = ("/mnt/a", "/mnt/b")
SCRATCH = "/mnt/scratch"
MODULES = Path("/usr/lib/uml/modules")
NEEDED = ("linux.uml", "ganesha.nfsd", "mount.nfs4", "modprobe")

_EXPORT = """
NFS_CORE_PARAM { NFS_Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Graceless = true; RecoveryBackend = fs; RecoveryRoot = /mnt/server; }
EXPORT {
    Export_Id = 1; Path = /mnt/export; Pseudo = /export; Access_Type = RW; Squash = No_Root_Squash;
    SecType = sys; Transports = TCP; Protocols = 4; FSAL { Name = VFS; }
}
"""
_INIT = """#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t tmpfs tmp /mnt
mkdir -p /mnt/export /mnt/server {mounts} {scratch}
ip link set lo up
modprobe -d {folder} nfsv4
ganesha.nfsd -F -f {folder}/export.conf -L /mnt/server/log -p /mnt/server/pid &
for mount in {mounts}; do
    for attempt in $(seq 60); do
        mount -t nfs4 -o vers=4.1,nosharecache,actimeo={actimeo} 127.0.0.1:/export $mount 2>/mnt/server/error && break
        sleep 0.5
    done
done
grep -c ' nfs4 ' /proc/mounts > {folder}/mounted
cd {place}
{command} > {folder}/output 2>&1 < /dev/null
echo $? > {folder}/code
sync
halt -f || kill -9 1
"""


def what_is_missing() -> str:
    """Return why there can be no such machine here; "" if there can."""
    missing = [name for name in NEEDED if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if os.geteuid() != 0:
        return "only root can mount"
    return f"{', '.join(missing)} not installed" if missing or not MODULES.is_dir() else ""


def run_with_nfs(
    command: Sequence[str], folder: Path, place: Path, seconds: float, *, actimeo: int = 1
) -> tuple[int, str]:
    """Run a command in the machine; return its exit code and its output.

    Args:
        command: what runs.
        folder: an empty folder of this computer, for the machine.
        place: its working directory, a folder of this computer.
        seconds: how long the machine may take.
        actimeo: for how many seconds each mount believes what it has seen.
    """
    (folder / "lib").mkdir()
    (folder / "lib" / "modules").symlink_to(MODULES)
    (folder / "export.conf").write_text(_EXPORT)
    script = folder / "init"
    text = _INIT.format(
        mounts=" ".join(MOUNTS), scratch=SCRATCH, folder=folder, actimeo=actimeo, place=place,
        command=shlex.join(command))  # fmt: skip
    script.write_text(text)
    script.chmod(0o700)
    options = ["mem=2G", "rootfstype=hostfs", "root=/dev/root", "rw", f"init={script}", "con=null", "quiet"]
    with open(folder / "console", "wb") as console:
        subprocess.run(
            ["linux.uml", *options],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            timeout=seconds,
            check=False,
        )
    if not (folder / "code").exists():
        return -1, (folder / "console").read_text(errors="replace")
    assert "2" == (folder / "mounted").read_text().strip()
    return int((folder / "code").read_text()), (folder / "output").read_text()
