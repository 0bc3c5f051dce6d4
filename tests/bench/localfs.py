# SPDX-License-Identifier: Apache-2.0
"""A local file system in a file on a loop device, asked for what Pando is asked for: Btrfs, whose subvolumes have
snapshots, and XFS, whose files have clones."""

import fcntl
import os
import re
import struct
import subprocess
import time

from env import Skip

GIB = 1 << 30
FICLONE = 0x40049409
SUBVOL_CREATE, SNAP_DESTROY, SNAP_CREATE_V2 = 0x5000940e, 0x5000940f, 0x50009417
START_SYNC, WAIT_SYNC = 0x80089418, 0x40089416
READ_ONLY = 2


class LocalFs:
    """On one that is new; its files are in FOLDER, for Btrfs a subvolume."""

    def __init__(self, env, kind, gib):
        self.env = env
        self.kind = kind
        self.name = {"btrfs": "Btrfs", "xfs": "XFS"}[kind]
        self.load_tool = env.tool("fileload")
        self.mount = env.mkfs_mount(kind, gib * GIB, kind)
        self.loop = self.find_loop()
        self.folder = self.mount + "/vol"
        if kind == "btrfs":
            self.ioctl(SUBVOL_CREATE, struct.pack("q4088s", 0, b"vol"))
        else:
            os.mkdir(self.folder)

    def end(self):
        self.env.unmount(self.mount)

    def find_loop(self):
        with open("/proc/self/mounts") as f:
            for line in f:
                device, path = line.split()[:2]
                if path == self.mount:
                    return os.path.basename(device)
        raise Skip(f"{self.mount} is not mounted")

    def ioctl(self, request, argument):
        fd = os.open(self.mount, os.O_RDONLY | os.O_DIRECTORY)
        try:
            buf = bytearray(argument)
            fcntl.ioctl(fd, request, buf)
            return buf
        finally:
            os.close(fd)

    # ---- volumes: each call is durable when it returns, and gives the milliseconds that it took ----

    def snap(self, name, flags):
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            t = time.monotonic()
            self.ioctl(SNAP_CREATE_V2, struct.pack("qQQ32x4040s", fd, 0, flags, name.encode()))
            return (time.monotonic() - t) * 1000
        finally:
            os.close(fd)

    def snapshot(self, name):
        if self.kind == "btrfs":
            return self.snap(name, READ_ONLY)
        raise Skip("XFS has no snapshots")

    def clone_volume(self, name):
        return self.snap(name, 0)

    def destroy(self, name):
        """The kernel answers before that is durable: so the transaction is waited for."""
        t = time.monotonic()
        self.ioctl(SNAP_DESTROY, struct.pack("q4088s", 0, name.encode()))
        self.ioctl(WAIT_SYNC, self.ioctl(START_SYNC, bytes(8)))
        return (time.monotonic() - t) * 1000

    destroy_snapshot = destroy_clone = destroy

    def freeze(self, file, name):
        """A state of FILE that stays: a snapshot; on XFS a clone of the file."""
        if self.kind == "btrfs":
            return self.snapshot(name)
        t = time.monotonic()
        self.clone(file, f"{file}.{name}", sync=True)
        return (time.monotonic() - t) * 1000

    # ---- files ------------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def directory(self, name):
        os.mkdir(self.path(name))

    def clone(self, src, dst, sync=False):
        with open(self.path(src), "rb") as s, open(self.path(dst), "wb") as d:
            fcntl.ioctl(d.fileno(), FICLONE, s.fileno())
            if sync:
                os.fsync(d.fileno())

    def clones(self, src, dst, count):
        for i in range(1, count + 1):
            self.clone(src, dst % i)

    def image(self, name, mib):
        with open(self.path(name), "wb") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))
            os.fsync(f.fileno())

    def load(self, op, file, size, *more):
        """A client, under way."""
        return subprocess.Popen([self.load_tool, "--file", self.path(file), "--op", op, "--size", str(size),
                                 *map(str, more)], stdout=subprocess.PIPE, text=True)

    def checkpoint(self):
        """All is in its place then: a sync alone leaves to XFS what is in its log."""
        self.env.run("sync", "-f", self.mount)
        self.env.run("mount", "-o", "remount,ro", self.mount)
        self.env.run("mount", "-o", "remount,rw", self.mount)

    def written(self):
        """Bytes that the file system has written to its device."""
        with open(f"/sys/block/{self.loop}/stat") as f:
            return int(f.read().split()[6]) * 512


def describe(env):
    """What the peers are, in one line."""
    try:
        version = re.search(r"v[\d.]+", env.run(env.installed("mkfs.btrfs"), "--version"))
    except Skip:
        version = None
    return f"kernel {os.uname().release}, btrfs-progs {version[0] if version else '?'}; file systems as mkfs makes " \
           "them, in sparse files on loop devices with direct I/O"
