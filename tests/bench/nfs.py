# SPDX-License-Identifier: Apache-2.0
"""NFS in turns against Ganesha and pandod: rates, latencies, the servers' CPU time."""

import statistics

from clones import memory_row
from env import Skip, cpu_seconds, machine_seconds
from servers import Ganesha, Pando

GIB = 1 << 30


class Case:
    """One load.  CPU and RATE are targets: functions of (peer's, ours) or None; quick: part
    of --quick; raw: also with the raw engine; v4: by NFSv4.1, which only that engine speaks, and
    beside NFSv3, whose CPU may be exceeded by the factor V3."""

    def __init__(self, name, what, load, file="base", quick=False, raw=False, cpu=None,
                 rate=None, cpu_text="", rate_text="", clone=False, v4=False, v3=None):
        self.name, self.what, self.load, self.file = name, what, load, file
        self.quick, self.raw, self.clone, self.v4, self.v3 = quick, raw, clone, v4, v3
        self.cpu, self.cpu_text, self.rate, self.rate_text = cpu, cpu_text, rate, rate_text

    @property
    def engines(self):
        return ("raw",) if self.v4 else ("libnfs", "raw") if self.raw else ("libnfs",)

    @property
    def writes(self):
        return "write" in self.load or "write-sync" in self.load

    @property
    def big(self):
        return "1M" in self.load


def at_most(limit):
    return lambda peer, ours: ours <= limit


def share(part):
    return lambda peer, ours: None if peer is None else ours <= peer * part


def times(factor):
    return lambda peer, ours: None if peer is None else ours >= peer * factor


def cases():
    read4 = ["--op", "read", "--bs", "4K", "--random"]
    write4 = ["--op", "write", "--bs", "4K", "--random"]
    sync4 = ["--op", "write-sync", "--bs", "4K", "--random"]
    out = [Case("getattr-16", "GETATTR, queue 16", ["--op", "getattr", "--depth", 16], quick=True,
                raw=True, cpu=at_most(6), cpu_text="<= 6 us")]
    for depth in (1, 16, 64):
        main = depth == 16
        out.append(Case(f"read4k-{depth}", f"4 KiB random read, cached, queue {depth}",
                        read4 + ["--depth", depth], quick=main, raw=main,
                        cpu=at_most(8) if main else None, cpu_text="<= 8 us",
                        rate=(lambda peer, ours: ours >= 80000) if main else None,
                        rate_text=">= 80,000/s"))
    out.append(Case("read4k-16c", "4 KiB random read, cached, 16 connections",
                    read4 + ["--conns", 16], quick=True, raw=True, cpu=at_most(16),
                    cpu_text="<= 16 us"))
    out.append(Case("getattr-v4", "SEQUENCE, PUTFH, GETATTR of NFSv4.1, queue 16",
                    ["--op", "getattr", "--depth", 16], quick=True, v4=True, cpu=share(0.5),
                    cpu_text="<= 50 %"))
    out.append(Case("read4k-v4", "SEQUENCE, PUTFH, READ of 4 KiB of NFSv4.1, cached, queue 16",
                    read4 + ["--depth", 16], quick=True, v4=True, v3=1.2))
    for depth in (1, 16, 64):
        main = depth == 16
        out.append(Case(f"write4k-{depth}",
                        f"4 KiB random unstable write into a clone, queue {depth}",
                        write4 + ["--depth", depth, "--warmup", 0], clone=True, quick=main,
                        raw=main, cpu=at_most(14) if main else None, cpu_text="<= 14 us, all in"))
    for depth, factor in ((1, 2.5), (16, None), (64, 4)):
        out.append(Case(f"sync4k-{depth}", f"4 KiB random FILE_SYNC write, queue {depth}",
                        sync4 + ["--depth", depth], file="plain", quick=factor is not None,
                        raw=depth == 64,
                        rate=times(factor) if factor else None, rate_text=f">= x{factor}",
                        cpu=share(0.6) if factor else None, cpu_text="<= 60 %"))
    for op in ("read", "write"):
        for depth in (1, 16, 64):
            load = ["--op", op, "--bs", "1M", "--depth", depth]
            if op == "write":
                load += ["--warmup", 0]
            main = depth == 16
            cached = ", cached" if op == "read" else ""
            out.append(Case(f"{op}1m-{depth}", f"1 MiB sequential {op}{cached}, queue {depth}",
                            load, file="base" if op == "read" else "plain", quick=main, raw=main,
                            cpu=share(0.65), cpu_text="<= 65 %",
                            rate=times(1.15), rate_text=">= x1.15"))
    return out


def prepare(env, server, size, cache):
    """Files, and memory that has been used before: the first touch of a page costs a server
    (on a virtual machine, much) that a server that has run for a while doesn't pay again."""
    load = env.tool("nfsload")
    env.run_json(load, *server.load_args(), "--engine", "raw", "--size", cache, "--depth", 16,
                 "--file", "filler", "--create", "--op", "write", "--bs", "1M", "--ops",
                 (cache >> 20) + 64)
    server.remove("filler")
    for name in ("base", "plain"):
        env.run_json(load, *server.load_args(), "--engine", "raw", "--size", size, "--depth", 16,
                     "--file", name, "--create", "--op", "write", "--bs", "1M", "--ops",
                     size >> 20)
    for name in ("base", "plain"):
        env.run_json(load, *server.load_args(), "--engine", "raw", "--size", size, "--depth", 4,
                     "--file", name, "--op", "read", "--bs", "1M", "--ops", size >> 20)
    server.quiesce()


def one_run(env, server, case, engine, size, seconds, number, v4=None):
    """One measurement.  For writes the CPU is counted until what they left behind is done:
    the window, then a checkpoint or a sync."""
    version = ["--v4"] if (case.v4 if v4 is None else v4) else []
    file = case.file
    if case.clone:
        file = f"clone-{case.name}-{engine}-{number}"
        server.clone("base", file)
        server.quiesce()
    before, machine = cpu_seconds(server.pid), machine_seconds()
    r = env.run_json(env.tool("nfsload"), *server.load_args(), "--engine", engine, "--file",
                     file, "--size", size, "--seconds", seconds, "--seed", number + 1,
                     *case.load, *version)
    if case.writes:
        server.quiesce()
        server_s, machine_s = cpu_seconds(server.pid) - before, machine_seconds() - machine
        client_s = r["client_cpu_us_per_op"] * r["ops"] / 1e6
        r["server_cpu_us_per_op_all_in"] = server_s * 1e6 / r["ops"]
        r["machine_cpu_us_per_op"] = (machine_s - client_s) * 1e6 / r["ops"]
    if case.clone:
        server.remove(file)
        server.quiesce()
    return r


def median(runs, key):
    values = [r[key] for r in runs]
    return statistics.median(values)


def summarise(runs, case):
    if not runs:
        return None
    cpu = "server_cpu_us_per_op"
    if case.writes and "write-sync" not in case.load:
        cpu = "server_cpu_us_per_op_all_in"
    scale = 1.024 if case.big else 1        # us of a MiB to ms of a GiB
    return {
        "rate": median(runs, "mb_s" if case.big else "ops_s"),
        "cpu": median(runs, cpu) * scale,
        "machine": median(runs, "machine_cpu_us_per_op") * scale if case.writes else None,
        "p50": statistics.median(r["lat_us"]["p50"] for r in runs),
        "p99": statistics.median(r["lat_us"]["p99"] for r in runs),
        "saturated": any(r["client_saturated"] for r in runs),
        "client": median(runs, "client_busy"),
        "runs": runs,
    }


def report_case(report, case, engine, peer, ours):
    what = case.what + (", in batches" if engine == "raw" else "")
    none = dict.fromkeys(("rate", "cpu", "machine", "p50", "p99"))
    a, b = peer or none, ours or none
    # Requests in batches flatter every server: what libnfs can send, too, is judged by that.
    judged = engine == "libnfs" or case.v4

    def verdict(function, key):
        return function(a[key], b[key]) if function and ours and judged else None

    notes = [f"generator {int(s['client'] * 100)} % busy with {n}"
             for n, s in (("Ganesha", peer), ("Pando", ours)) if s and s["saturated"]]
    rate_target = case.rate_text if case.rate and judged else ""
    cpu_target = case.cpu_text if case.cpu and judged else ""
    cpu_unit = "ms/GiB" if case.big else "us/op"
    report.add("NFS", what, "MB/s" if case.big else "/s", peer=a["rate"], pando=b["rate"],
               peer_name="Ganesha", less=False, target=rate_target,
               reached=verdict(case.rate, "rate"), note="; ".join(notes),
               detail={"ganesha": peer and peer["runs"], "pando": ours and ours["runs"]},
               key=f"{case.name}-{engine}-rate")
    report.add("NFS", "  server CPU", cpu_unit, peer=a["cpu"], pando=b["cpu"],
               peer_name="Ganesha", target=cpu_target, reached=verdict(case.cpu, "cpu"),
               key=f"{case.name}-{engine}-cpu")
    if case.writes:
        report.add("NFS", "  CPU of the machine but the client's", cpu_unit, peer=a["machine"],
                   pando=b["machine"], peer_name="Ganesha",
                   key=f"{case.name}-{engine}-machine",
                   note="with the kernel's own threads; true on an otherwise idle machine")
    for key in ("p50", "p99"):
        report.add("NFS", f"  latency {key}", "us", peer=a[key], pando=b[key],
                   peer_name="Ganesha", key=f"{case.name}-{engine}-{key}")


def report_beside(report, case, v3, ours):
    """The same by NFSv3, in the same rounds."""
    report.add("NFS", "  server CPU beside NFSv3's", "us/op", peer=v3["cpu"], pando=ours["cpu"],
               peer_name="NFSv3", target=f"<= {case.v3 * 100:.0f} %" if case.v3 else "",
               reached=ours["cpu"] <= v3["cpu"] * case.v3 if case.v3 else None,
               key=f"{case.name}-beside-v3", detail={"v3": v3["runs"]})


def start_servers(env, report, args, size):
    servers = []
    room = args.cache + size * 8 + 4 * GIB
    for enabled, name, make in (
            (not args.pando_only, "Ganesha", lambda: Ganesha(env, room)),
            (not args.peers_only, "Pando", lambda: Pando(env, room, args.cache))):
        if not enabled:
            continue
        try:
            server = make()
            prepare(env, server, size, args.cache)
            servers.append(server)
        except Skip as e:
            report.add("NFS", f"all rows of {name}", "", note=str(e))
    return servers


def bench_nfs(env, report, args):
    size = (256 if args.quick else 512) << 20
    rounds = 1 if args.quick else 3
    seconds = 1 if args.quick else 2
    servers = start_servers(env, report, args, size)
    if not servers:
        return
    for case in cases():
        if args.case and not any(c in case.name for c in args.case):
            continue
        if args.quick and not case.quick and not args.case:
            continue
        for engine in case.engines:
            runs, v3 = {s.name: [] for s in servers}, []
            try:
                for number in range(rounds):
                    for s in servers if number % 2 == 0 else reversed(servers):
                        runs[s.name].append(one_run(env, s, case, engine, size, seconds, number))
                        if case.v4 and s.name == "Pando":
                            v3.append(one_run(env, s, case, engine, size, seconds, number, False))
            except Skip as e:
                report.add("NFS", case.what, "", note=f"{engine}: {e}")
                continue
            report_case(report, case, engine, summarise(runs.get("Ganesha"), case),
                        summarise(runs.get("Pando"), case))
            if v3:
                report_beside(report, case, summarise(v3, case), summarise(runs["Pando"], case))
    for s in servers:
        if s.name == "Pando":
            memory_row(report, s, "after the NFS load")
        s.stop()
