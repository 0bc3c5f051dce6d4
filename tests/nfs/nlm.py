#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
NFSv3 clients that lock, each an address of its own with a port mapper, a lock daemon and a status
monitor, against an NFS server that calls them back.  In a network namespace, for port 111.

    nlm.py PORT granted        locks that are waited for, told by TCP and UDP
    nlm.py PORT before FILE    takes locks, keeps in FILE what is needed to take them again
    nlm.py PORTFILE after FILE  prints "ready", then is told that the server was restarted, reads
                               its port from PORTFILE, and takes them again

Says what is wrong by an exception.
"""
import pickle
import queue
import selectors
import socket
import struct
import sys
import threading
import time

PORTMAP, NFS, MOUNT, NLM, NSM = 100000, 100003, 100005, 100021, 100024
TCP, UDP = 6, 17
TEST, LOCK, CANCEL, UNLOCK, GRANTED = 1, 2, 3, 4, 5
OK, DENIED, NOLOCKS, BLOCKED, GRACE = 0, 1, 2, 3, 4
TO_THE_END = 0


def opaque(b):
    return struct.pack(">I", len(b)) + b + b"\0" * (-len(b) % 4)


class Reader:
    def __init__(self, data):
        self.data = data

    def u32(self):
        v, self.data = struct.unpack(">I", self.data[:4])[0], self.data[4:]
        return v

    def u64(self):
        return self.u32() << 32 | self.u32()

    def opaque(self):
        n = self.u32()
        v, self.data = self.data[:n], self.data[n + -n % 4:]
        return v


# ---- a client's own programs --------------------------------------------------------------


class Host:
    """A client's machine.  WAYS: the transports that its programs and its port mapper are on."""

    def __init__(self, ip, name, ways=(TCP, UDP), mapper=(TCP, UDP)):
        self.ip, self.name, self.ways = ip, name, ways
        self.calls = queue.Queue()      # (prog, proc, arguments, where from)
        self.answers = {(NLM, GRANTED): struct.pack(">I", OK)}
        self.selector = selectors.DefaultSelector()
        self.ports = {}
        for kind in mapper:
            self.listen(kind, 111)
        for kind in ways:
            self.ports[kind] = self.listen(kind, 0)
        threading.Thread(target=self.run, daemon=True).start()

    def listen(self, kind, port):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == TCP else socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self.ip, port))
        if kind == TCP:
            s.listen()
        self.selector.register(s, selectors.EVENT_READ,
                               self.accept if kind == TCP else self.datagram)
        return s.getsockname()[1]

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def accept(self, s):
        c, _ = s.accept()
        self.selector.register(c, selectors.EVENT_READ, self.stream)

    def stream(self, s):
        mark = s.recv(4, socket.MSG_WAITALL)
        if len(mark) < 4:
            self.selector.unregister(s)
            s.close()
            return
        call = s.recv(struct.unpack(">I", mark)[0] & 0x7fffffff, socket.MSG_WAITALL)
        reply = self.serve(call, s.getpeername()[0])
        s.sendall(struct.pack(">I", 0x80000000 | len(reply)) + reply)

    def datagram(self, s):
        call, peer = s.recvfrom(5000)
        s.sendto(self.serve(call, peer[0]), peer)

    def serve(self, call, peer):
        r = Reader(call)
        xid, _, _, prog, _, proc = (r.u32() for _ in range(6))
        for _ in range(2):
            r.u32()
            r.opaque()
        if prog == PORTMAP:
            assert proc == 3, proc
            want, _, kind = r.u32(), r.u32(), r.u32()
            result = struct.pack(">I", self.ports.get(kind, 0) if want in (NLM, NSM) else 0)
        else:
            self.calls.put((prog, proc, r.data, peer))
            result = self.answers.get((prog, proc), b"")
            if prog == NLM:
                result = opaque(r.opaque()) + result
        return struct.pack(">6I", xid, 1, 0, 0, 0, 0) + result

    def next_call(self, timeout=10):
        try:
            return self.calls.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"nobody called {self.name}") from None

    def no_call(self, timeout=0.3):
        try:
            raise AssertionError(f"{self.name} was called: {self.calls.get(timeout=timeout)}")
        except queue.Empty:
            pass


# ---- calls to the server ------------------------------------------------------------------


class Client:
    """What a client's machine, at IP, sends to SERVER."""

    def __init__(self, ip, name, port, server="127.0.0.1"):
        self.name, self.xid, self.server, self.port, self.ip = name, 1, server, port, ip
        self.s = socket.create_connection((server, port), timeout=30, source_address=(ip, 0))

    def call(self, prog, vers, proc, args):
        self.xid += 1
        cred = struct.pack(">I", 0) + opaque(self.name.encode()) + struct.pack(">III", 0, 0, 0)
        call = (struct.pack(">6I", self.xid, 0, 2, prog, vers, proc) + struct.pack(">I", 1) +
                opaque(cred) + struct.pack(">II", 0, 0) + args)
        self.s.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        n = struct.unpack(">I", self.s.recv(4, socket.MSG_WAITALL))[0] & 0x7fffffff
        r = Reader(self.s.recv(n, socket.MSG_WAITALL))
        head = [r.u32() for _ in range(6)]
        assert head == [self.xid, 1, 0, 0, 0, 0], head
        return r

    def file(self, name):
        r = self.call(MOUNT, 3, 1, opaque(b"/vms"))
        assert r.u32() == 0
        root = r.opaque()
        r = self.call(NFS, 3, 8, opaque(root) + opaque(name.encode()) + struct.pack(
            ">8I", 0, 1, 0o666, 0, 0, 0, 0, 0))
        assert r.u32() == 0 and r.u32() == 1
        return r.opaque()

    def nlm(self, proc, fh, svid, first, length, exclusive=True, block=False, reclaim=False):
        lock = (opaque(self.name.encode()) + opaque(fh) + opaque(b"owner") +
                struct.pack(">iQQ", svid, first, length))
        args = opaque(b"cookie")
        if proc in (LOCK, CANCEL):
            args += struct.pack(">I", block)
        if proc != UNLOCK:
            args += struct.pack(">I", exclusive)
        args += lock
        if proc == LOCK:
            args += struct.pack(">II", reclaim, 1)
        r = self.call(NLM, 4, proc, args)
        assert r.opaque() == b"cookie"
        return r.u32()

    def notify(self):
        """As sm-notify: by UDP, from the client's address."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind((self.ip, 0))
            s.settimeout(5)
            s.sendto(struct.pack(">10I", 9, 0, 2, NSM, 1, 6, 0, 0, 0, 0) +
                     opaque(self.name.encode()) + struct.pack(">I", 3), (self.server, self.port))
            assert s.recv(100) == struct.pack(">6I", 9, 1, 0, 0, 0, 0)


def expect_granted(host, fh, svid, first, length, server):
    prog, proc, args, peer = host.next_call()
    r = Reader(args)
    assert (prog, proc, peer) == (NLM, GRANTED, server), (prog, proc, peer)
    r.opaque()
    assert r.u32() == 1
    r.opaque()
    assert r.opaque() == fh and r.opaque() == b"owner"
    assert (r.u32(), r.u64(), r.u64()) == (svid, first, length) and not r.data


def same(got, want):
    assert got == want, f"{got} instead of {want}"


# ---- what is tested -----------------------------------------------------------------------


def one_granted(n, port, ways, mapper, server):
    """A holds a lock, B waits for it."""
    a_ip, b_ip = f"127.0.1.{n}", f"127.0.2.{n}"
    b_host = Host(b_ip, "b", ways, mapper)
    a, b = Client(a_ip, "a", port, server), Client(b_ip, "b", port, server)
    fh = a.file(f"file{n}")
    same(a.nlm(LOCK, fh, 1, 100, TO_THE_END), OK)
    same(b.nlm(LOCK, fh, 2, 150, 10, block=True), BLOCKED)
    b_host.no_call()
    same(a.nlm(UNLOCK, fh, 1, 0, TO_THE_END), OK)
    expect_granted(b_host, fh, 2, 150, 10, server)
    same(a.nlm(LOCK, fh, 1, 150, 1), DENIED)
    b_host.no_call()
    # once more, on the way that is known now; it isn't wanted
    b_host.answers[(NLM, GRANTED)] = struct.pack(">I", DENIED)
    same(b.nlm(UNLOCK, fh, 2, 150, 10), OK)
    same(a.nlm(LOCK, fh, 1, 0, 1), OK)
    same(b.nlm(LOCK, fh, 3, 0, 1, block=True), BLOCKED)
    same(a.nlm(UNLOCK, fh, 1, 0, 1), OK)
    expect_granted(b_host, fh, 3, 0, 1, server)
    wait_granted(a, fh)
    same(a.nlm(UNLOCK, fh, 1, 0, TO_THE_END), OK)
    # a restart of B
    same(b.nlm(LOCK, fh, 2, 0, 1), OK)
    same(a.nlm(LOCK, fh, 1, 0, 1), DENIED)
    b.notify()
    same(a.nlm(LOCK, fh, 1, 0, 1), OK)


def wait_granted(client, fh):
    for _ in range(100):
        if client.nlm(LOCK, fh, 1, 0, 1) == OK:
            return
        time.sleep(0.05)
    raise AssertionError("what isn't wanted isn't let go")


def granted(port):
    one_granted(1, port, (TCP, UDP), (TCP, UDP), "127.0.0.1")
    one_granted(2, port, (TCP,), (UDP,), "127.0.0.1")
    one_granted(3, port, (UDP,), (TCP, UDP), "127.0.0.1")
    one_granted(4, port, (UDP,), (UDP,), "127.0.0.1")
    one_granted(5, port, (TCP,), (TCP,), "127.0.0.7")    # another address of the server's
    one_granted(6, port, (UDP,), (UDP,), "127.0.0.7")


def before(port, path):
    """A and B have locks; so has C, which won't come back."""
    fhs = {}
    for n, name in enumerate("abc"):
        client = Client(f"127.0.3.{n + 1}", name, port)
        fhs[name] = client.file(f"kept-{name}")
        same(client.nlm(LOCK, fhs[name], 1, 0, 10), OK)
    with open(path, "wb") as f:
        pickle.dump(fhs, f)


def expect_notice(host, server):
    prog, proc, args, peer = host.next_call(30)
    r = Reader(args)
    assert (prog, proc, peer) == (NSM, 6, server), (prog, proc, peer)
    assert r.opaque() == server.encode()
    state = r.u32()
    assert state & 1 and not r.data, state
    return state


def read_when_there(path):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            with open(path) as f:
                return int(f.read())
        except (FileNotFoundError, ValueError):
            time.sleep(0.05)
    raise AssertionError("no port")


def after(port, path):
    """The server is started while A's and B's monitors run; B's is to be had by UDP only."""
    with open(path, "rb") as f:
        fhs = pickle.load(f)
    hosts = {"a": Host("127.0.3.1", "a", (TCP,), (TCP,)),
             "b": Host("127.0.3.2", "b", (UDP,), (UDP,))}
    print("ready", flush=True)
    states = {expect_notice(host, "127.0.0.1") for host in hosts.values()}
    assert len(states) == 1, states
    number = read_when_there(port)
    clients = {name: Client(f"127.0.3.{n + 1}", name, number) for n, name in enumerate("abcd")}
    a, b, d = clients["a"], clients["b"], clients["d"]
    same(a.nlm(LOCK, fhs["a"], 1, 0, 10), GRACE)
    same(a.nlm(LOCK, fhs["a"], 1, 0, 10, reclaim=True), OK)
    same(b.nlm(LOCK, fhs["b"], 1, 0, 10, reclaim=True), OK)
    same(d.nlm(LOCK, fhs["c"], 1, 0, 10, reclaim=True), DENIED)
    end = time.monotonic() + 60
    while d.nlm(LOCK, fhs["c"], 1, 0, 10) == GRACE:
        assert time.monotonic() < end, "the grace period doesn't end"
        time.sleep(0.2)
    same(d.nlm(LOCK, fhs["c"], 1, 0, 10), OK)
    same(d.nlm(LOCK, fhs["a"], 1, 0, 10), DENIED)
    same(d.nlm(LOCK, fhs["b"], 1, 0, 10), DENIED)
    same(clients["c"].nlm(LOCK, fhs["c"], 1, 0, 10, reclaim=True), GRACE)
    for host in hosts.values():
        host.no_call(0)


if __name__ == "__main__":
    {"granted": granted, "before": before, "after": after}[sys.argv[2]](
        int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1], *sys.argv[3:])
