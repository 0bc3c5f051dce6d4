#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Sends calls to an NFS server and keeps them, to send the very same bytes again later.

    retransmit.py PORT first FILE     makes, renames and removes things; keeps calls and replies
    retransmit.py PORT again FILE     sends the calls again: each must get the reply of then,
                                      up to attributes; then asks anew and must be refused
"""
import pickle
import socket
import struct
import sys

NFS, MOUNT = 100003, 100005
CREATE, MKDIR, SYMLINK, REMOVE, RMDIR, RENAME = 8, 9, 10, 12, 13, 14
GETATTR = 1


def opaque(b):
    return struct.pack(">I", len(b)) + b + b"\0" * (-len(b) % 4)


def sattr(mode):
    return struct.pack(">II5I", 1, mode, 0, 0, 0, 0, 0)


class Server:
    def __init__(self, port, xid):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.xid = xid

    def call(self, prog, proc, args):
        self.xid += 1
        cred = struct.pack(">I", 0) + opaque(b"retransmit") + struct.pack(">III", 0, 0, 0)
        return (struct.pack(">IIIIII", self.xid, 0, 2, prog, 3, proc) + struct.pack(">I", 1) +
                opaque(cred) + struct.pack(">II", 0, 0) + args)

    def send(self, call):
        self.s.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        n = struct.unpack(">I", self.read(4))[0] & 0x7fffffff
        reply = self.read(n)
        assert reply[:4] == call[:4] and reply[8:24] == b"\0" * 16, reply[:24].hex()
        return reply[24:]

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            assert more, "the server ended the connection"
            data += more
        return data


def status(result):
    return struct.unpack(">I", result[:4])[0]


def handle(result):     # of a CREATE or the like
    n = struct.unpack(">I", result[8:12])[0]
    return result[12:12 + n]


def root_of(server):
    r = server.send(server.call(MOUNT, 1, opaque(b"/vms")))
    assert status(r) == 0, status(r)
    n = struct.unpack(">I", r[4:8])[0]
    return r[8:8 + n]


def calls(server, root):
    """In order; each can succeed only once."""
    d = opaque(root)

    def name(s):
        return d + opaque(s)

    yield CREATE, name(b"exclusive") + struct.pack(">IQ", 2, 77)
    yield CREATE, name(b"guarded") + struct.pack(">I", 1) + sattr(0o640)
    yield MKDIR, name(b"dir") + sattr(0o750)
    yield SYMLINK, name(b"link") + sattr(0o777) + opaque(b"some/where")
    yield RENAME, name(b"guarded") + name(b"renamed")
    yield REMOVE, name(b"link")
    yield MKDIR, name(b"dir2") + sattr(0o755)
    yield RMDIR, name(b"dir2")


def first(port, path):
    server = Server(port, 0x1000)
    root = root_of(server)
    kept = []
    for proc, args in calls(server, root):
        call = server.call(NFS, proc, args)
        reply = server.send(call)
        assert status(reply) == 0, f"procedure {proc}: {status(reply)}"
        kept.append((proc, args, call, reply))
    with open(path, "wb") as f:
        pickle.dump((root, kept), f)


def again(port, path):
    with open(path, "rb") as f:
        root, kept = pickle.load(f)
    server = Server(port, 0x900000)
    for proc, args, call, reply in kept:
        now = server.send(call)
        assert status(now) == 0, f"procedure {proc} again: {status(now)}"
        # what a later call removed is not named any more; all else is as it was
        if proc in (CREATE, MKDIR) and struct.unpack(">I", now[4:8])[0]:
            assert handle(now) == handle(reply), f"procedure {proc}: another handle"
    for proc, args, call, reply in kept:
        if proc in (RENAME, REMOVE, RMDIR):
            anew = server.send(server.call(NFS, proc, args))
            assert status(anew) == 2, f"procedure {proc} anew: {status(anew)}"
    exclusive = kept[0]
    r = server.send(server.call(NFS, GETATTR, opaque(handle(exclusive[3]))))
    assert status(r) == 0, "the handle did not survive"


{"first": first, "again": again}[sys.argv[2]](int(sys.argv[1]), sys.argv[3])
