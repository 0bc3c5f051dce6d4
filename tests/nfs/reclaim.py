#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Clients of NFSv4.1 whose server is killed and started again between the steps.

    reclaim.py PORT FILE STEP [ARGUMENT]       what the clients know is kept in FILE
"""
import pickle
import sys
import time

from nfs41 import (ANONYMOUS, BADSESSION, DELAY, DENIED, GRACE, NO_GRACE, READ, RECLAIM_NEEDED,
                   SHARE_DENIED, STALE_CLIENTID, WRITE, Client, refused)

PORT, FILE = int(sys.argv[1]), sys.argv[2]


class World:
    """Two clients, and what they have."""

    def begin(self):
        self.a, self.b = Client(PORT, b"a"), Client(PORT, b"b")
        for c in self.a, self.b:
            c.arrive()
            c.reclaim_complete()
        self.dir = self.a.lookup(b"vms")
        self.f, self.f_sid = self.a.make(self.dir, b"f")
        self.a.write(self.f, self.f_sid, 0, b"of a")
        self.f_lock = self.a.lock(self.f, self.f_sid, 0, 10)
        self.gone, self.gone_sid = self.a.make(self.dir, b"gone")
        self.a.write(self.gone, self.gone_sid, 0, b"without a name")
        self.a.remove(self.dir, b"gone")
        self.h, self.h_sid = self.b.make(self.dir, b"h", READ, WRITE)

    def connect(self):
        self.a.connect(PORT)
        self.b.connect(PORT)

    # ---- who comes back

    def a_comes_back(self):
        c = self.a
        refused(BADSESSION, c.sequence)
        refused(STALE_CLIENTID, c.create_session)
        c.arrive()
        c.sequence()
        assert c.flags & RECLAIM_NEEDED, "it isn't told that it may reclaim"
        self.f_sid = c.open(self.f, reclaim=True)
        refused(GRACE, c.lock, self.f, self.f_sid, 0, 10)
        self.f_lock = c.lock(self.f, self.f_sid, 0, 10, reclaim=True)
        c.write(self.f, self.f_lock, 4, b" again")
        assert c.read(self.f, self.f_sid, 0, 10) == b"of a again"
        self.gone_sid = c.open(self.gone, reclaim=True)
        assert c.read(self.gone, self.gone_sid, 0, 99) == b"without a name"
        c.reclaim_complete()
        c.sequence()
        assert not c.flags & RECLAIM_NEEDED
        refused(NO_GRACE, c.open, self.f, reclaim=True)

    def b_comes_back(self):
        self.b.arrive()
        self.h_sid = self.b.open(self.h, READ, WRITE, reclaim=True)
        self.b.reclaim_complete()

    def b_comes_anew(self):
        self.b.arrive()
        self.b.reclaim_complete()
        self.h_sid = self.b.open(self.h, READ, WRITE)

    def b_is_too_late(self):
        self.b.arrive()
        self.b.sequence()
        assert not self.b.flags & RECLAIM_NEEDED
        refused(NO_GRACE, self.b.open, self.h, READ, WRITE, reclaim=True)
        self.b.reclaim_complete()

    # ---- who was not there

    def stranger(self):
        """Gets nothing while others may come back."""
        c = Client(PORT, b"stranger")
        c.arrive()
        refused(NO_GRACE, c.open, self.f, reclaim=True)
        c.reclaim_complete()
        refused(NO_GRACE, c.open, self.f, reclaim=True)
        refused(GRACE, c.open, self.f)
        refused(GRACE, c.open, self.h, WRITE)
        refused(GRACE, c.make, self.dir, b"new")
        refused(GRACE, c.remove, self.dir, b"f")
        refused(GRACE, c.read, self.f, ANONYMOUS, 0, 10)
        c.destroy()

    def ordinary(self, rivals):
        """The grace period is over at once, and who is there has what he had."""
        c = Client(PORT, b"rival")
        c.arrive()
        c.reclaim_complete()
        sid = c.open(self.f)
        if "a" in rivals:
            refused(DENIED, c.lock, self.f, sid, 5, 1)
        c.lock(self.f, sid, 10, 10)
        if "b" in rivals:
            refused(SHARE_DENIED, c.open, self.h, WRITE)
        else:
            c.close(self.h, c.open(self.h, WRITE))
        c.close(self.f, sid)
        c.destroy()

    def over_in_time(self, seconds):
        c, begun = Client(PORT, b"waits"), time.monotonic()
        c.arrive()
        c.reclaim_complete()
        while True:
            try:
                c.close(self.h, c.open(self.h, READ))
                break
            except Exception as e:
                assert getattr(e, "status", 0) == GRACE, e
                assert time.monotonic() - begun < float(seconds), "it doesn't end"
                time.sleep(0.1)
        c.destroy()

    def late(self):
        """A lease that ran out: in the way once more, then gone."""
        time.sleep(2.5)
        c = Client(PORT, b"rival")
        c.arrive()
        c.reclaim_complete()
        refused(DELAY, c.open, self.h, WRITE)
        for _ in range(100):
            try:
                c.open(self.h, WRITE)
                break
            except Exception as e:
                assert getattr(e, "status", 0) == DELAY, e
                time.sleep(0.02)
        refused(BADSESSION, self.b.sequence)
        c.close(self.h, c.sid)
        c.destroy()

    def b_was_dropped(self):
        self.b.arrive()
        refused(NO_GRACE, self.b.open, self.h, READ, WRITE, reclaim=True)
        self.b.reclaim_complete()

    # ---- many

    def many(self, n):
        self.crowd = [Client(self.a.wire, b"crowd %d" % i) for i in range(int(n))]
        self.many_come_back()

    def many_come_back(self):
        for c in self.crowd:
            c.wire = self.a.wire
            c.arrive()
            c.reclaim_complete()

    def all_leave(self):
        for c in self.crowd:
            c.wire = self.a.wire
            c.destroy()
        self.a.close(self.f, self.f_sid)
        self.a.close(self.gone, self.gone_sid)
        self.b.close(self.h, self.h_sid)
        self.a.destroy()
        self.b.destroy()


def main():
    world = World()
    if sys.argv[3] != "begin":
        with open(FILE, "rb") as f:
            world = pickle.load(f)
        world.connect()
    getattr(world, sys.argv[3])(*sys.argv[4:])
    with open(FILE, "wb") as f:
        pickle.dump(world, f)


main()
