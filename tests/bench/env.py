# SPDX-License-Identifier: Apache-2.0
"""What a benchmark runs in: a temporary directory, processes, loop mounts.

Everything that an Env starts or mounts it also ends and unmounts, in reverse order.  Where
the kernel allows it the whole run sits in namespaces of its own (start_inside()), so that
nothing is left even after SIGKILL."""

import ctypes
import fcntl
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


PREFIX = "pando-bench-"
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Skip(Exception):
    """This cannot be measured here; the message says why."""


class Env:
    def __init__(self, tmp, build, privileged):
        self.tmp = tmp
        self.build = build
        self.privileged = privileged
        self.procs = []
        self.mounts = []

    # ---- programs ------------------------------------------------------------------------

    def tool(self, name):
        for path in (os.path.join(self.build, "tests/bench", name),
                     os.path.join(self.build, "src", name, name),
                     os.path.join(self.build, name)):
            if os.access(path, os.X_OK):
                return path
        raise Skip(f"{name} is not built under {self.build}")

    def installed(self, name):
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if not path:
            raise Skip(f"{name} is not installed")
        return path

    def run(self, *cmd, timeout=600):
        """Runs to the end; what it wrote, or Skip with its own words."""
        try:
            p = subprocess.run([str(c) for c in cmd], capture_output=True, text=True,
                               timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Skip(f"{os.path.basename(str(cmd[0]))} took more than {timeout} s") from None
        if p.returncode:
            said = (p.stderr or p.stdout).strip().splitlines()
            raise Skip(f"{os.path.basename(str(cmd[0]))}: {said[-1] if said else p.returncode}")
        return p.stdout

    def run_json(self, *cmd, timeout=600):
        return json.loads(self.run(*cmd, timeout=timeout))

    def start(self, name, *cmd):
        log = open(os.path.join(self.tmp, name + ".out"), "ab")
        p = subprocess.Popen([str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=log,
                             stderr=log)
        log.close()
        p.name = name
        self.procs.append(p)
        return p

    def stop(self, p, sig=signal.SIGTERM, timeout=60):
        if p in self.procs:
            self.procs.remove(p)
        if p.poll() is None:
            p.send_signal(sig)
            try:
                p.wait(timeout)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def last_words(self, name):
        try:
            with open(os.path.join(self.tmp, name + ".out"), errors="replace") as f:
                lines = f.read().strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "no message"

    # ---- file systems in files -------------------------------------------------------------

    def mkfs_mount(self, fs, size, name):
        """A new file system of a sparse file; the loop device bypasses the page cache, so
        that it is not cached twice and a flush reaches the disk."""
        if not self.privileged:
            raise Skip("loop devices need root")
        mkfs = self.installed("mkfs." + fs)
        losetup = self.installed("losetup")
        image = os.path.join(self.tmp, name + ".img")
        path = os.path.join(self.tmp, name)
        os.makedirs(path, exist_ok=True)
        with open(image, "wb") as f:
            f.truncate(size)
        self.run(mkfs, "-q", image)
        loop = self.run(losetup, "--direct-io=on", "--find", "--show", image).strip()
        try:
            self.run("mount", "-t", fs, loop, path)
        finally:
            self.run(losetup, "--detach", loop)     # takes effect at the unmount
        self.mounts.append(path)
        return path

    def unmount(self, path):
        if path in self.mounts:
            self.mounts.remove(path)
            self.run("umount", path)
        for image in (path + ".img",):
            if os.path.exists(image):
                os.unlink(image)

    # ---- and the rest ----------------------------------------------------------------------

    def need_space(self, size):
        s = os.statvfs(self.tmp)
        free = s.f_bavail * s.f_frsize
        if free < size + (4 << 30):
            raise Skip(f"needs {size >> 30} GiB of disk and 4 to spare, {free >> 30} are free")

    def close(self):
        for p in reversed(list(self.procs)):
            self.stop(p, timeout=20)
        for path in reversed(list(self.mounts)):
            try:
                self.unmount(path)
            except Skip as e:
                print(f"bench: {e}")


# ---- the program itself -------------------------------------------------------------------

def lock_directory(path):
    """A descriptor that holds the lock, or None when somebody else does."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except OSError:
        os.close(fd)
        return None


def remove_orphans(folder):
    """Directories of runs that were killed before they could clean up."""
    for path in glob.glob(os.path.join(folder, PREFIX + "*")):
        try:
            fd = lock_directory(path)
        except OSError:
            continue
        if fd is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def die_with_parent():
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def may_unshare(namespaces):
    try:
        return subprocess.run(namespaces + ["true"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0
    except OSError:
        return False


def start_inside(folder, *more):
    """Starts this program again with --tmp DIR and --inside, in mount and process namespaces of
    its own where it may (full; else plain), and in those that MORE names; waits for it, removes
    what is left, gives its exit status.  When it ends, however it ends, the kernel ends every
    process and undoes every mount."""
    namespaces = NAMESPACES + list(more)
    full = os.geteuid() == 0 and may_unshare(namespaces)
    remove_orphans(folder)
    tmp = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
    lock = lock_directory(tmp)
    again = [sys.executable, os.path.realpath(sys.argv[0]), *sys.argv[1:], "--tmp", tmp,
             "--inside", "full" if full else "plain"]
    try:
        # ^C reaches the child by itself; this process then only waits and cleans up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        p = subprocess.Popen((namespaces if full else []) + again, preexec_fn=die_with_parent)
        signal.signal(signal.SIGTERM, lambda *_: p.kill())
        code = p.wait()
        return code if code >= 0 else 128 - code
    finally:
        os.close(lock)
        shutil.rmtree(tmp, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    """CPU time of all threads of a process: its POSIX clock, made as the kernel wants it."""
    return time.clock_gettime((~pid << 3) | 2)


def machine_seconds():
    """CPU time that the whole machine has spent on something."""
    with open("/proc/stat") as f:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def wait_port(port, proc, name, env, timeout=60):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if proc.poll() is not None:
            raise Skip(f"{name} ended: {env.last_words(proc.name)}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.005)
    raise Skip(f"{name} did not listen within {timeout} s")
