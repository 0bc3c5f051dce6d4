# SPDX-License-Identifier: Apache-2.0
"""Clones: FICLONE on XFS and Btrfs beside Pando, and what only Pando can be asked."""

import os
import statistics

from env import Skip
from servers import Pando

GIB = 1 << 30
COUNT = 100
MANY = 10000


def label(size, kind):
    return f"{size // GIB} GiB " + ("fragmented" if kind == "fragmented" else "in one piece")


def peer_image(env, fs, size, kind, limit):
    """Results of COUNT clones without and with fsync, on a new file system."""
    env.need_space(size + size // 8 + 2 * GIB)
    path = env.mkfs_mount(fs, size * 2 + 16 * GIB, fs)
    try:
        tool = env.tool("clonebench")
        image = env.run_json(tool, "image", path, size, kind)
        out = {"extents": image["extents"]}
        for sync in ("nosync", "fsync"):
            folder = f"{path}/{sync}"
            os.mkdir(folder)
            out[sync] = env.run_json(tool, "clone", f"{path}/golden", folder, COUNT, sync,
                                     limit, timeout=limit * 10 + 120)
        if kind == "plain":
            os.mkdir(f"{path}/many")
            out["many"] = env.run_json(tool, "clone", f"{path}/golden", f"{path}/many", MANY,
                                       "nosync", limit, timeout=limit * 10 + 120)
        return out
    finally:
        env.unmount(path)


def scaled(r, count):
    """us for COUNT clones, and a note when fewer were made."""
    if r["clones"] == count:
        return r["elapsed_us"], ""
    return (r["elapsed_us"] * count / r["clones"],
            f"{r['clones']} clones measured in {r['elapsed_us'] / 1e6:.1f} s, extrapolated")


def make_images(env, p, size, prefix=""):
    """base in one piece, golden with 4 KiB overwritten every 64 KiB; as clonebench does it."""
    load = env.tool("nfsload")
    args = p.load_args() + ["--engine", "raw", "--size", size, "--depth", 16]
    env.run_json(load, *args, "--file", prefix + "base", "--create", "--op", "write", "--bs",
                 "1M", "--ops", size >> 20, timeout=900)
    p.clone(prefix + "base", prefix + "golden")
    env.run_json(load, *args, "--file", prefix + "golden", "--op", "write", "--bs", "4K",
                 "--stride", "64K", "--ops", size >> 16, timeout=900)
    p.quiesce()


def single_us(p, src, dst, n):
    return [p.clone(src, f"{dst}{i:03d}")["elapsed_us"] for i in range(n)]


def pando_hundred(p, src, folder):
    """us in the server and bytes of metadata of COUNT clones in one call, us of one clone by
    itself; medians."""
    times, space = [], []
    for i in range(3):
        p.mkdir(f"{folder}{i}")
        p.quiesce()
        before = p.used_bytes()
        times.append(p.clone(src, f"{folder}{i}/vm-%03d", COUNT)["elapsed_us"])
        p.quiesce()
        space.append(p.used_bytes() - before)
    p.mkdir(f"{folder}-one")
    one = single_us(p, src, f"{folder}-one/vm-", 21)
    return statistics.median(times), statistics.median(space), statistics.median(one)


def report_size(report, size, kind, peers, ours):
    what = f"{COUNT} clones, {label(size, kind)}"
    us, space, single = ours or (None, None, None)
    for name, result in peers.items():
        if isinstance(result, str):
            report.add("clones", what, "us", pando=us, peer_name=name, note=f"{name}: {result}")
            continue
        note = f"{result['extents']} extents"
        for sync, words in (("nosync", ""), ("fsync", ", fsync each")):
            total, more = scaled(result[sync], COUNT)
            report.add("clones", what + words, "us", peer=total, pando=us, peer_name=name,
                       note="; ".join(x for x in (note, more) if x), detail=result[sync])
        r = result["nosync"]
        report.add("clones", what + ": space", "bytes", peer=r["space_bytes"] * COUNT
                   / r["clones"], pando=space, peer_name=name)
        if kind == "fragmented":
            report.add("clones", f"one clone, {label(size, kind)}", "us", peer_name=name,
                       peer=result["nosync"]["elapsed_us"] / result["nosync"]["clones"],
                       pando=single, note=note)
    if ours:
        report.add("clones", what + ": one durable call", "us", pando=us, target="< 5 ms",
                   reached=us < 5000)
        report.add("clones", what + ": metadata a checkpoint later", "bytes", pando=space,
                   target="< 100 KiB", reached=space < 100 << 10)


def size_rows(env, report, args, size, kind):
    peers, ours = {}, None
    if not args.pando_only:
        for fs, name in (("xfs", "XFS"), ("btrfs", "Btrfs")):
            try:
                peers[name] = peer_image(env, fs, size, kind, args.limit)
            except Skip as e:
                peers[name] = str(e)
    p = None
    if not args.peers_only:
        try:
            env.need_space(size + size // 8 + 2 * GIB)
            p = Pando(env, size * 2 + 4 * GIB, args.cache)
            make_images(env, p, size)
            ours = pando_hundred(p, "golden" if kind == "fragmented" else "base", "set")
        except Skip as e:
            report.add("clones", label(size, kind), "us", note=f"Pando: {e}")
    report_size(report, size, kind, peers, ours)
    return p if ours else None, {n: r for n, r in peers.items() if not isinstance(r, str)}


def big_and_small(env, report, p, size):
    """A clone of the big fragmented image against one of 4 MiB, in turns."""
    make_images(env, p, 4 << 20, "small-")
    p.mkdir("single")
    big, small = [], []
    for i in range(10):
        big += single_us(p, "golden", f"single/big{i}-", 10)
        small += single_us(p, "small-golden", f"single/small{i}-", 10)
    b, s = statistics.median(big), statistics.median(small)
    report.add("clones", f"one clone of {label(size, 'fragmented')} / of 4 MiB", "x",
               pando=b / s, target="within 20 %", reached=abs(b / s - 1) <= 0.2,
               note=f"medians of 100: {b:.0f} us and {s:.0f} us")


def callers(env, report, p, xfs, count=20000, n=32):
    """The peer: XFS, an image in one piece, one caller, fsync each."""
    peer = xfs["fsync"]["clones"] * 1e6 / xfs["fsync"]["elapsed_us"] if xfs else None
    p.mkdir("calls")
    r = env.run_json(env.tool("clonecalls"), p.socket, n, count, "bench:/golden",
                     "bench:/calls/c-", timeout=300)
    report.add("clones", f"one clone a call, durable, {n} callers at once", "/s",
               peer=peer, peer_name="XFS", pando=r["clones_s"], less=False,
               target="> 5,000/s", reached=r["clones_s"] > 5000,
               note=f"p50 {r['p50_us']} us, p99 {r['p99_us']} us", detail=r)


def ten_thousand(report, p, src, words, peers):
    """MANY clones in one directory, one call; the peers one FICLONE after the other."""
    what, us, space = f"{MANY:,} clones, {words}", None, None
    if p:
        p.mkdir("many-" + src)
        p.quiesce()
        before = p.used_bytes()
        us = p.clone(src, f"many-{src}/vm-%05d", MANY)["elapsed_us"]
        p.quiesce()
        space = p.used_bytes() - before
    for name, result in peers.items():
        total, note = scaled(result["many"], MANY)
        report.add("clones", what, "us", peer=total, peer_name=name, pando=us,
                   note=note or "the peers' not durable")
        report.add("clones", what + ": space", "bytes", peer_name=name, pando=space,
                   peer=result["many"]["space_bytes"] * MANY / result["many"]["clones"])
    if p:
        report.add("clones", what + ": one durable call", "us", pando=us, target="< 1 s",
                   reached=us < 1e6)
        report.add("clones", what + ": pool space", "bytes", pando=space, target="< 8 MiB",
                   reached=space < 8 << 20)


def memory_row(report, p, words):
    used, limit = p.hwm_bytes(), p.cache + (64 << 20)
    report.add("memory", f"peak memory of pandod {words}", "bytes", pando=used,
               target=f"< {limit >> 20} MiB", reached=used < limit,
               note=f"cache of {p.cache >> 20} MiB and 64")


def bench_clones(env, report, args):
    sizes = [1] if args.quick else [1, 4, 16]
    p, plain = size_rows(env, report, args, GIB, "plain")
    ten_thousand(report, p, "base", label(GIB, "plain"), plain)
    if p:
        p.stop()
    for size in sizes:
        p, _ = size_rows(env, report, args, size * GIB, "fragmented")
        if not p:
            continue
        if size == sizes[-1]:
            big_and_small(env, report, p, size * GIB)
            callers(env, report, p, plain.get("XFS"), 5000 if args.quick else 20000)
            ten_thousand(report, p, "golden", label(size * GIB, "fragmented"), {})
            memory_row(report, p, "after the clones")
        p.stop()


def bench_open(env, report, args):
    """A sparse pool of 1 TiB, 10,000 files, SIGKILL while the log holds their records."""
    if args.peers_only:
        return
    p = Pando(env, 1 << 40, args.cache, "big")
    make_images(env, p, 4 << 20)
    p.mkdir("files")
    env.run_json(env.tool("clonecalls"), p.socket, 32, 10000, "bench:/golden", "bench:/files/f-",
                 timeout=300)
    p.kill()
    seconds = p.start()
    status = p.api("GET", "/v1/pool")
    report.add("opening", "1 TiB sparse pool, 10,000 files, after SIGKILL", "us",
               pando=seconds * 1e6, target="< 2 s", reached=seconds < 2,
               note=f"{status['replayed_records']} records replayed; opening itself "
               f"{status['open_ns'] / 1e6:.0f} ms")
    p.stop()
