# SPDX-License-Identifier: Apache-2.0
"""
A client of NFSv4.1 that does what it is told, for tests that need a socket and a server of their
own.  Its sessions don't belong to a connection, so a Client can be pickled and used again by
another process.

    c = Client(port, b"name"); c.arrive(); c.reclaim_complete()
    fh = c.lookup(b"vms", b"file"); sid = c.open(fh, READ | WRITE)
"""
import socket
import struct

READ, WRITE = 1, 2
CLOSE, GETATTR, GETFH, LOCK, LOCKT, LOOKUP, OPEN, PUTFH, PUTROOTFH, READ_OP, REMOVE, SAVEFH, WRITE_OP, CLONE = \
    4, 9, 10, 12, 13, 15, 18, 22, 24, 25, 28, 32, 38, 71
EXCHANGE_ID, CREATE_SESSION, DESTROY_SESSION, SEQUENCE, DESTROY_CLIENTID, RECLAIM_COMPLETE = \
    42, 43, 44, 53, 57, 58
OK, NOENT, DELAY, DENIED, GRACE, SHARE_DENIED, STALE_CLIENTID, NO_GRACE, BADSESSION, COMPLETE_ALREADY = \
    0, 2, 10008, 10010, 10013, 10015, 10022, 10033, 10052, 10054
RECLAIM_NEEDED = 0x100              # status flag of SEQUENCE
ANONYMOUS = bytes(16)


class Refused(Exception):
    def __init__(self, op, status):
        super().__init__(f"operation {op}: status {status}")
        self.status = status


def u32(*v):
    return struct.pack(f">{len(v)}I", *v)


def u64(*v):
    return struct.pack(f">{len(v)}Q", *v)


def opaque(b):
    return u32(len(b)) + b + bytes(-len(b) % 4)


class Reply:
    def __init__(self, data):
        self.data, self.at = data, 0

    def fixed(self, n):
        assert self.at + n <= len(self.data), "a reply that ends early"
        self.at += n
        return self.data[self.at - n:self.at]

    def u32(self):
        return struct.unpack(">I", self.fixed(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.fixed(8))[0]

    def opaque(self):
        n = self.u32()
        data = self.fixed(n)
        self.fixed(-n % 4)
        return data

    def bitmap(self):
        return [self.u32() for _ in range(self.u32())]


class Wire:
    """One connection, and COMPOUNDs on it."""

    def __init__(self, port, minor=1, source=None):
        self.minor = minor
        self.s = socket.create_connection(("127.0.0.1", port), timeout=30,
                                          source_address=source and (source, 0))
        self.xid = 0

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            assert more, "the server ended the connection"
            data += more
        return data

    def compound(self, ops):
        """OPS are (number, arguments).  Returns the status, how many results there are, and the
        reply at the first of them."""
        self.xid += 1
        cred = u32(0) + opaque(b"nfs41") + u32(0, 0, 0)
        call = u32(self.xid, 0, 2, 100003, 4, 1, 1) + opaque(cred) + u32(0, 0)
        call += opaque(b"") + u32(self.minor, len(ops)) + b"".join(u32(num) + args for num, args in ops)
        self.s.sendall(u32(0x80000000 | len(call)) + call)
        n = struct.unpack(">I", self.read(4))[0] & 0x7fffffff
        r = Reply(self.read(n))
        assert r.fixed(24) == u32(self.xid, 1, 0, 0, 0, 0), "not a reply that was accepted"
        status = r.u32()
        r.opaque()
        return status, r.u32(), r


class Client:
    def __init__(self, wire, name, verifier=1):
        """WIRE: one that others use too, or a port."""
        self.wire = Wire(wire) if isinstance(wire, int) else wire
        self.name, self.verifier = name, verifier
        self.flags = 0                  # of the last SEQUENCE

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k != "wire"}

    def connect(self, port):
        self.wire = Wire(port)

    def alone(self, num, args):
        status, n, r = self.wire.compound([(num, args)])
        assert n == 1 and r.u32() == num and r.u32() == status
        if status:
            raise Refused(num, status)
        return r

    def exchange_id(self):
        r = self.alone(EXCHANGE_ID, u64(self.verifier) + opaque(self.name) + u32(0, 0, 0))
        self.clientid, self.create_seq = r.u64(), r.u32()

    def create_session(self, ops=16):
        r = self.alone(CREATE_SESSION, u64(self.clientid) + u32(self.create_seq, 0) +
                       u32(0, 65536, 65536, 4096, ops, 4, 0) + u32(0, 4096, 4096, 0, 2, 1, 0) +
                       u32(0x40000000, 1, 0))
        self.session, self.seq = r.fixed(16), 0
        self.create_seq += 1

    def arrive(self, ops=16):
        self.exchange_id()
        self.create_session(ops)

    def do(self, *ops):
        """In the session; returns the reply behind the last operation's status."""
        self.seq += 1
        sequence = (SEQUENCE, self.session + u32(self.seq, 0, 0, 0))
        status, n, r = self.wire.compound([sequence, *((o[0], o[1]) for o in ops)])
        for i, (num, skip) in enumerate([(SEQUENCE, self.skip_sequence)] +
                                        [(o[0], o[2] if len(o) > 2 else None) for o in ops]):
            assert r.u32() == num, "the results are of other operations"
            of_this = r.u32()
            if of_this:
                assert of_this == status and i + 1 == n
                raise Refused(num, of_this)
            if skip and i < len(ops):
                skip(r)
        return r

    def skip_sequence(self, r):
        r.fixed(32)
        self.flags = r.u32()

    def sequence(self):
        self.seq += 1
        status, n, r = self.wire.compound([(SEQUENCE, self.session + u32(self.seq, 0, 0, 0))])
        r.fixed(8)
        if status:
            raise Refused(SEQUENCE, status)
        self.skip_sequence(r)

    def reclaim_complete(self):
        self.do((RECLAIM_COMPLETE, u32(0)))

    def destroy(self):
        self.alone(DESTROY_SESSION, self.session)
        self.alone(DESTROY_CLIENTID, u64(self.clientid))

    # ---- files

    def lookup(self, *names):
        return self.do((PUTROOTFH, b""), *((LOOKUP, opaque(n)) for n in names),
                       (GETFH, b"")).opaque()

    def owner(self, name):
        return u64(0) + opaque(name)

    def open_op(self, name, access, deny, create, claim):
        how = u32(1, 0, 1, 16, 8) + u64(0) if create else u32(0)     # UNCHECKED, size 0
        return (OPEN, u32(0, access, deny) + self.owner(name) + how + claim, self.skip_open)

    def skip_open(self, r):
        self.sid = r.fixed(16)
        r.fixed(20)
        self.result_flags = r.u32()
        r.bitmap()
        assert r.u32() == 0, "a delegation that nobody asked for"

    def make(self, directory, name, access=READ | WRITE, deny=0):
        r = self.do((PUTFH, opaque(directory)),
                    self.open_op(b"o", access, deny, True, u32(0) + opaque(name)), (GETFH, b""))
        return r.opaque(), self.sid

    def open(self, fh, access=READ | WRITE, deny=0, reclaim=False):
        claim = u32(1, 0) if reclaim else u32(4)
        self.skip_open(self.do((PUTFH, opaque(fh)), self.open_op(b"o", access, deny, False, claim)))
        return self.sid

    def lock(self, fh, sid, offset, length, reclaim=False):
        return self.do((PUTFH, opaque(fh)),
                       (LOCK, u32(2, reclaim) + u64(offset, length) + u32(1, 0) + sid + u32(0) +
                        self.owner(b"l"))).fixed(16)

    def read(self, fh, sid, offset, length):
        r = self.do((PUTFH, opaque(fh)), (READ_OP, sid + u64(offset) + u32(length)))
        r.u32()
        return r.opaque()

    def write(self, fh, sid, offset, data):
        self.do((PUTFH, opaque(fh)), (WRITE_OP, sid + u64(offset) + u32(2) + opaque(data)))

    def clone(self, src, dst):
        """All of SRC, in NFSv4.2."""
        self.do((PUTFH, opaque(src)), (SAVEFH, b""), (PUTFH, opaque(dst)),
                (CLONE, ANONYMOUS + ANONYMOUS + u64(0, 0, 0)))

    def remove(self, directory, name):
        self.do((PUTFH, opaque(directory)), (REMOVE, opaque(name)))

    def close(self, fh, sid):
        self.do((PUTFH, opaque(fh)), (CLOSE, u32(0) + sid))


def refused(status, fn, *args, **kw):
    """FN fails with just this status."""
    try:
        fn(*args, **kw)
    except Refused as e:
        assert e.status == status, f"{e}, not {status}"
        return
    raise AssertionError(f"not refused, should have been {status}")
