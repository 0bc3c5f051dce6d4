#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Clients that nobody here wrote, against the protocols on a file system in memory (memd), in a
network namespace of their own, where port 111 is free to be taken.

    clients.py MEMD        prints TAP; 77: cannot make a namespace here
"""
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

points = failures = 0


def run(*cmd, ok=True, data=None):
    r = subprocess.run(cmd, input=data, capture_output=True, timeout=60)
    if ok and r.returncode:
        raise AssertionError(f"{' '.join(cmd)}: {r.stderr.decode()}{r.stdout.decode()[-500:]}")
    return r.stdout


def enter_namespace():
    if "IN_NAMESPACE" in os.environ:
        return
    if os.geteuid() or not shutil.which("unshare"):
        print("1..0 # SKIP needs root and unshare")
        sys.exit(77)
    os.environ["IN_NAMESPACE"] = "1"
    probe = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True)
    if probe.returncode:
        print("1..0 # SKIP no network namespaces here")
        sys.exit(77)
    os.execvp("unshare", ["unshare", "-n", "-m", sys.executable] + sys.argv)


class Memd:
    def __init__(self, *args):
        self.p = subprocess.Popen([sys.argv[1], *args], stdout=subprocess.PIPE, text=True)
        self.port, self.portmap = map(int, self.p.stdout.readline().split())

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.p.send_signal(signal.SIGTERM)
        code = self.p.wait(30)
        if code and not exc[0]:
            raise AssertionError(f"memd ended with {code}")


def check(name, fn):
    global points, failures
    points += 1
    try:
        fn()
        print(f"ok {points} - {name}", flush=True)
    except Skip as e:
        print(f"ok {points} - {name} # SKIP {e}", flush=True)
    except Exception as e:
        failures += 1
        print(f"not ok {points} - {name}\n# " + str(e).replace("\n", "\n# "), flush=True)


class Skip(Exception):
    pass


def need(tool):
    if not shutil.which(tool):
        raise Skip(f"{tool} is not installed")


def files_by_libnfs():
    for tool in ("nfs-ls", "nfs-cp", "nfs-cat"):
        need(tool)
    with Memd("127.0.0.1:0") as m, tempfile.TemporaryDirectory() as tmp:
        def url(path):
            return f"nfs://127.0.0.1{path}?nfsport={m.port}&mountport={m.port}"
        blob = os.urandom(5_000_001)
        path = os.path.join(tmp, "blob")
        with open(path, "wb") as f:
            f.write(blob)
        run("nfs-cp", path, url("/vol/blob"))
        assert run("nfs-cat", url("/vol/blob")) == blob, "the file came back different"
        for i in range(3):
            run("nfs-cp", "/dev/null", url(f"/vol/file{i}"))
        out = run("nfs-ls", url("/vol")).decode()
        assert "5000001 blob" in out and "file2" in out, out
        assert run("nfs-ls", url("/nope"), ok=False) == b""


def by_portmap():
    need("nfs-ls")
    with Memd("127.0.0.1:20490", "127.0.0.1:111") as m:
        assert m.portmap == 1, "memd did not take port 111"
        run("nfs-ls", "nfs://127.0.0.1/vol")
        if shutil.which("showmount"):
            out = run("showmount", "-e", "127.0.0.1").decode()
            assert "/vol" in out, out
            assert "127.0.0.1:/vol" in run("showmount", "-a", "127.0.0.1").decode()


def ask_udp(port, prog, vers, proc, args, host="127.0.0.1"):
    """The results of a call with AUTH_NONE, as words; None: no answer; -N: accept_stat N."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.sendto(struct.pack(f">10I{len(args)}I", 77, 0, 2, prog, vers, proc, 0, 0, 0, 0, *args),
                 (host, port))
        try:
            data, (addr, _) = s.recvfrom(5000)
        except TimeoutError:
            return None
    assert addr == host, addr
    words = struct.unpack(f">{len(data) // 4}I", data)
    assert words[:5] == (77, 1, 0, 0, 0), words
    return words[6:] if words[5] == 0 else -words[5]


def by_udp():
    """What sm-notify and kernels ask, of each address of the machine."""
    with Memd("0.0.0.0:20490", "0.0.0.0:111"):
        for host in ("127.0.0.1", "127.0.0.7"):
            def port(prog, vers, proto):
                return ask_udp(111, 100000, 2, 3, (prog, vers, proto, 0), host)
            for prog, vers, tcp, udp in ((100003, 3, 20490, 0), (100005, 3, 20490, 0),
                                         (100021, 4, 20490, 20490), (100024, 1, 20490, 20490),
                                         (100000, 2, 111, 111), (100099, 1, 0, 0)):
                assert port(prog, vers, 6) == (tcp,), (prog, port(prog, vers, 6))
                assert port(prog, vers, 17) == (udp,), (prog, port(prog, vers, 17))
        assert ask_udp(111, 100000, 2, 4, ()) == -3, "a long answer to a short question"
        uaddr = ask_udp(111, 100000, 4, 3, (100024, 1, 0, 0, 0))
        assert struct.pack(">4I", *uaddr[1:])[:uaddr[0]] == b"127.0.0.1.80.10", uaddr
        assert ask_udp(111, 100000, 4, 3, (100003, 3, 0, 0, 0)) == (0,), "NFS by UDP"
        assert ask_udp(20490, 100021, 4, 0, ()) == (), "NLM"
        assert ask_udp(20490, 100024, 1, 6, (1, 0x61000000, 3)) == (), "SM_NOTIFY"
        assert ask_udp(20490, 100003, 3, 0, ()) == -1, "NFS is there"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 20490))
        with Memd("127.0.0.1:20490", "127.0.0.1:111"):
            assert ask_udp(111, 100000, 2, 3, (100021, 4, 17, 0)) == (0,)
            assert ask_udp(111, 100000, 2, 3, (100021, 4, 6, 0)) == (20490,)


def by_portmap_6():
    need("rpcinfo")
    with Memd("[::1]:20490", "[::1]:111"):
        out = run("rpcinfo", "-T", "tcp6", "::1", "100003", "3").decode()
        assert "ready" in out, out


def rpcinfo():
    need("rpcinfo")
    with Memd("127.0.0.1:20490", "127.0.0.1:111"):
        out = run("rpcinfo", "-p", "127.0.0.1").decode()
        assert "100003" in out and "20490" in out, out
        out = run("rpcinfo", "-t", "127.0.0.1", "100003", "3").decode()
        assert "ready" in out, out
        out = run("rpcinfo", "-s", "127.0.0.1").decode()
        assert "100005" in out, out
        run("rpcinfo", "-T", "tcp", "127.0.0.1", "mountd", "3")


def disk_by_qemu():
    for tool in ("qemu-img", "qemu-io"):
        need(tool)
    with Memd("127.0.0.1:20490", "127.0.0.1:111"):
        disk = "nfs://127.0.0.1/vol/disk.raw"
        run("qemu-img", "create", "-f", "raw", disk, "64M")
        run("qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", "-c", "write -P 9 4097k 5k",
            "-c", "flush", disk)
        out = run("qemu-io", "-f", "raw", "-c", "read -P 0 0 1M", "-c", "read -P 7 1M 3M",
                  "-c", "read -P 9 4097k 5k", disk).decode()
        assert "failed" not in out and "error" not in out, out
        assert "64 MiB" in run("qemu-img", "info", "-f", "raw", disk).decode()


def wait_for(what, fn):
    for _ in range(100):
        if fn():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def registered(port):
    """The programs that rpcbind has at that port."""
    rows = (line.split() for line in run("rpcinfo", "-p", "127.0.0.1").decode().splitlines()[1:])
    return {(int(row[0]), row[2]) for row in rows if row[3] == str(port)}


def register(prog, vers, netid, port):
    """As a program of this machine does; RPCBPROC_SET."""
    def string(text):
        return struct.pack(">I", len(text)) + text + b"\0" * (-len(text) % 4)
    call = struct.pack(">12I", 5, 0, 2, 100000, 4, 1, 0, 0, 0, 0, prog, vers) + string(
        netid.encode()) + string(f"0.0.0.0.{port >> 8}.{port & 255}".encode()) + string(b"")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("/run/rpcbind.sock")
        s.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        assert s.recv(100)[-4:] == b"\0\0\0\1", "rpcbind didn't take it"


def with_rpcbind():
    for tool in ("rpcbind", "rpcinfo"):
        need(tool)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    os.makedirs("/run/rpcbind", exist_ok=True)
    p = subprocess.Popen(["rpcbind", "-f"], stderr=subprocess.DEVNULL)
    try:
        wait_for("rpcbind did not start", lambda: os.path.exists("/run/rpcbind.sock") and not
                 subprocess.run(["rpcinfo", "-p", "127.0.0.1"], capture_output=True).returncode)
        ours = {(100003, "tcp"), (100005, "tcp"), (100021, "tcp"), (100021, "udp"),
                (100024, "tcp"), (100024, "udp")}
        with Memd("127.0.0.1:20490", "127.0.0.1:111") as m:
            assert m.portmap == 2, f"not registered: {m.portmap}"
            assert registered(20490) == ours, registered(20490)
            run("nfs-ls", "nfs://127.0.0.1/vol")
        assert not registered(20490), registered(20490)
        # this machine's own lockd; of its statd only the entry is left
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lockd:
            lockd.bind(("0.0.0.0", 20491))
            register(100021, 4, "udp", 20491)
            register(100024, 1, "udp", 20491 + 1)
            with Memd("127.0.0.1:20490", "127.0.0.1:111") as m:
                assert m.portmap == 2, m.portmap
                assert registered(20490) == ours - {(100021, "udp")}, registered(20490)
            assert registered(20491) == {(100021, "udp")}, registered(20491)
            assert not registered(20490) and not registered(20492)
    finally:
        p.terminate()
        p.wait()


enter_namespace()
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
check("files, by libnfs-utils", files_by_libnfs)
check("the ports, by our port mapper", by_portmap)
check("the ports, by our port mapper over IPv6", by_portmap_6)
check("the programs that go with locks, by UDP", by_udp)
check("rpcinfo", rpcinfo)
check("a disk, by qemu-img and qemu-io", disk_by_qemu)
check("the ports, by an rpcbind that runs", with_rpcbind)
print(f"1..{points}")
sys.exit(1 if failures else 0)
