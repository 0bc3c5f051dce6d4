# SPDX-License-Identifier: Apache-2.0
"""The rows of the report, as a table for people and as JSON."""

import json
import os
import platform
import time


def show(value, unit):
    if value is None:
        return "-"
    if unit == "bytes":
        for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}" if value / size < 1000 else \
                    f"{value / size:.0f} {name}"
        return f"{value:.0f} B"
    if unit == "us" and abs(value) >= 1e9:
        return f"{value / 1e6:,.0f} s"
    if unit == "us" and abs(value) >= 1e6:
        return f"{value / 1e6:.3g} s"
    if unit == "us" and abs(value) >= 1e4:
        return f"{value / 1e3:.3g} ms"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{digits} {unit}"


def setting(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return None


class Report:
    def __init__(self):
        self.rows = []
        self.facts = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "kernel": platform.release(), "machine": platform.machine(),
            "cpus": os.cpu_count(), "load_before": os.getloadavg()[0],
            "tcp_congestion_control": setting("/proc/sys/net/ipv4/tcp_congestion_control"),
        }

    def add(self, section, what, unit, peer=None, pando=None, peer_name="", less=True,
            target="", reached=None, note="", detail=None, key=""):
        """LESS: less is better.  Ratio: how many times better Pando is."""
        ratio = None
        if peer and pando:
            ratio = peer / pando if less else pando / peer
        row = dict(section=section, key=key or what, what=what, unit=unit,
                   peer_name=peer_name, peer=peer, pando=pando, ratio=ratio, target=target,
                   reached=reached, note=note, detail=detail)
        self.rows.append(row)
        cells = [c for c in self.cells(row) if c not in ("", "-")]
        print("  " + self.line(cells, [0] * len(cells), f"({note})" if note else ""), flush=True)

    @staticmethod
    def cells(row):
        peer = show(row["peer"], row["unit"])
        if row["peer_name"] and row["peer"] is not None:
            peer = f"{row['peer_name']} {peer}"
        ratio = f"x{row['ratio']:.3g}" if row["ratio"] else "-"
        if row["ratio"] and row["ratio"] >= 1000:
            ratio = f"x{row['ratio']:,.0f}"
        reached = {True: "reached", False: "MISSED", None: ""}[row["reached"]]
        return [row["what"], peer, show(row["pando"], row["unit"]), ratio, row["target"], reached]

    @staticmethod
    def line(cells, widths, note):
        text = "  ".join(c.ljust(w) for c, w in zip(cells, widths)).rstrip()
        return text + (f"  {note}" if note else "")

    def table(self):
        head = ["what", "peer", "Pando", "ratio", "target", ""]
        cells = [self.cells(r) for r in self.rows]
        widths = [max([len(h)] + [len(c[i]) for c in cells]) for i, h in enumerate(head)]
        out = ["  ".join(h.ljust(w) for h, w in zip(head, widths)).rstrip(),
               "  ".join("-" * w for w in widths)]
        section, notes = None, []
        for row, c in zip(self.rows, cells):
            if row["section"] != section:
                section = row["section"]
                out.append(f"[{section}]")
            if row["note"] and row["note"] not in notes:
                notes.append(row["note"])
            mark = f"[{notes.index(row['note']) + 1}]" if row["note"] else ""
            out.append(self.line(c, widths, mark))
        missed = [r for r in self.rows if r["reached"] is False]
        out.append("")
        out += [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
        if self.facts["load_before"] > 0.5:
            out.append(f"The machine was busy when this began (load "
                       f"{self.facts['load_before']:.1f}): times and CPU are worse than on an "
                       "idle one.")
        out.append(f"ratio: how many times better Pando is than the peer beside it; "
                   f"{sum(r['reached'] is True for r in self.rows)} targets reached, "
                   f"{len(missed)} missed")
        return "\n".join(out)

    def write_json(self, path):
        with open(path, "w") as f:
            json.dump({"facts": self.facts, "rows": self.rows}, f, indent=1)
            f.write("\n")
