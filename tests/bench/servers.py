# SPDX-License-Identifier: Apache-2.0
"""The servers under test: NFS-Ganesha on XFS, and pandod on a pool file."""

import http.client
import json
import os
import signal
import socket
import time

from env import Skip, free_port, wait_port

GANESHA_CONF = """
NFS_CORE_PARAM {{
\tNFS_Protocols = 3, 4; NFS_Port = {port}; MNT_Port = {mount_port};
\tEnable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
\tPlugins_Dir = "{plugins}";
}}
NFSV4 {{ Graceless = true; RecoveryRoot = "{tmp}/ganesha"; RecoveryBackend = fs; }}
EXPORT_DEFAULTS {{ SecType = sys; Access_Type = RW; Squash = No_root_squash; Protocols = 3, 4;
\tTransports = TCP; }}
EXPORT {{ Export_Id = 1; Path = "{path}"; Pseudo = /bench; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = WARN; }}
"""


class Ganesha:
    """Its own defaults, on an XFS of its own; it needs an rpcbind, so it gets one."""
    name = "Ganesha"

    def __init__(self, env, size):
        if not env.privileged:
            raise Skip("Ganesha needs root: a mount, and a network of its own for rpcbind")
        self.env = env
        binary = env.installed("ganesha.nfsd")
        rpcbind = env.installed("rpcbind")
        plugins = [d for d in ("/usr/lib/x86_64-linux-gnu/ganesha",
                               "/usr/lib/aarch64-linux-gnu/ganesha", "/usr/lib/ganesha")
                   if os.path.exists(d + "/libfsalvfs.so")]
        if not plugins:
            raise Skip("nfs-ganesha-vfs is not installed")
        self.path = env.mkfs_mount("xfs", size, "xfs-nfs")
        self.port, self.mount_port = free_port(), free_port()
        conf = os.path.join(env.tmp, "ganesha.conf")
        os.makedirs(os.path.join(env.tmp, "ganesha"), exist_ok=True)
        with open(conf, "w") as f:
            f.write(GANESHA_CONF.format(port=self.port, mount_port=self.mount_port,
                                        plugins=plugins[0], path=self.path, tmp=env.tmp))
        self.rpcbind = env.start("rpcbind", rpcbind, "-f")
        wait_port(111, self.rpcbind, "rpcbind", env)
        self.proc = env.start("ganesha", binary, "-F", "-L", env.tmp + "/ganesha.log", "-f",
                              conf, "-p", env.tmp + "/ganesha.pid")
        wait_port(self.mount_port, self.proc, "Ganesha", env)
        wait_port(self.port, self.proc, "Ganesha", env)
        self.pid = self.proc.pid

    def load_args(self):
        return ["--port", self.port, "--mountport", self.mount_port, "--export", self.path,
                "--export4", "/bench", "--server-pid", self.pid]

    def clone(self, src, dst):
        self.env.run("cp", "--reflink=always", f"{self.path}/{src}", f"{self.path}/{dst}")

    def remove(self, name):
        os.unlink(f"{self.path}/{name}")

    def quiesce(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.sync()
        finally:
            os.close(fd)

    def stop(self):
        self.env.stop(self.proc)
        self.env.stop(self.rpcbind)
        self.env.unmount(self.path)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=600)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Pando:
    """pandod on a pool file that `pando pool create` made.  One volume, named bench."""
    name = "Pando"

    def __init__(self, env, size, cache, name="pool"):
        self.env = env
        self.cache = cache
        self.pando = env.tool("pando")
        self.pandod = env.tool("pandod")
        self.pool = os.path.join(env.tmp, name + ".pando")
        self.socket = os.path.join(env.tmp, name + ".sock")
        self.http = None
        env.run(self.pando, "pool", "create", self.pool, "--size", size)
        self.start()
        self.api("POST", "/v1/volumes", {"name": "bench"})

    def start(self):
        """Returns the seconds from the start of the process to its readiness."""
        self.port = free_port()
        begun = time.monotonic()
        self.proc = self.env.start("pandod", self.pandod, "--pool", self.pool, "--listen",
                                   f"127.0.0.1:{self.port}", "--socket", self.socket,
                                   "--cache", self.cache, "--portmap", "off")
        wait_port(self.port, self.proc, "pandod", self.env)
        self.pid = self.proc.pid
        self.wait_api()
        return time.monotonic() - begun

    def wait_api(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                return self.api("GET", "/v1/pool")
            except OSError:
                if self.proc.poll() is not None:
                    break
                time.sleep(0.005)
        raise Skip(f"pandod does not answer on its socket: {self.env.last_words('pandod')}")

    def api(self, method, path, body=None):
        for again in (True, False):
            if not self.http:
                self.http = UnixConnection(self.socket)
            try:
                self.http.request(method, path, json.dumps(body) if body is not None else None,
                                  {"Content-Type": "application/json"})
                answer = self.http.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, OSError):
                self.http.close()
                self.http = None
                if not again:
                    raise
        reply = json.loads(text) if text else {}
        if answer.status >= 300:
            raise Skip(f"{method} {path}: {reply.get('error', {}).get('message', text)}")
        return reply

    def load_args(self):
        return ["--port", self.port, "--export", "/bench", "--server-pid", self.pid]

    def clone(self, src, dst, count=None):
        body = {"src": f"bench:/{src}", "dst": f"bench:/{dst}"}
        if count:
            body["count"] = count
        return self.api("POST", "/v1/clones", body)

    def mkdir(self, name):
        self.api("POST", "/v1/directories", {"path": f"bench:/{name}"})

    def remove(self, name):
        self.api("DELETE", f"/v1/files?path=bench:/{name}")

    def checkpoint(self):
        self.api("POST", "/v1/pool/checkpoint", {})

    def quiesce(self):
        """Until nothing is left to do in the background."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            self.checkpoint()
            status = self.api("GET", "/v1/pool")
            if not status["reap_entries"] and not status["pending_free_bytes"]:
                return
            time.sleep(0.05)

    def used_bytes(self):
        status = self.api("GET", "/v1/pool")
        return status["size_bytes"] - status["free_bytes"] - status["pending_free_bytes"]

    def hwm_bytes(self):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise Skip("no VmHWM")

    def disconnect(self):
        if self.http:
            self.http.close()
            self.http = None

    def kill(self):
        self.disconnect()
        self.env.stop(self.proc, signal.SIGKILL)

    def stop(self):
        self.disconnect()
        self.env.stop(self.proc)
        if os.path.exists(self.pool):
            os.unlink(self.pool)
