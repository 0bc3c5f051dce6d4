# SPDX-License-Identifier: Apache-2.0
"""
Small real guests: Debian's kernel, busybox, and tests/fleet/init, which takes its name from the seed and
says it on the console.
"""
import os
import re

import rig
from rig import path, run

KERNEL = os.path.join(rig.TOP, "build/guest-kernel")
MODULES = ("virtio_pci", "virtio_blk", "vfat", "nls_cp437", "nls_ascii", "evdev", "button")
CMDLINE = "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no_timer_check"
# For fleet create --domain; FEATURES are elements beside acpi, and MORE goes to the kernel's command line.
DOMAIN = """<domain type='{type}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='KiB'>{memory_kib}</memory>
  <vcpu>{cpus}</vcpu>
  <os>
    <type>hvm</type>
    <kernel>KERNEL</kernel>
    <initrd>INITRD</initrd>
    <cmdline>CMDLINE</cmdline>
  </os>
  <features><acpi/>FEATURES</features>
  <devices>{disks}{interface}{console}</devices>
</domain>
"""


def need_kernel():
    if run("dpkg", "--print-architecture").stdout.strip() != b"amd64":
        rig.skip("the guest kernel is for amd64 only")
    if not os.environ.get("IN_NETNS") and run(os.path.join(rig.TOP, "scripts/install-packages"), "--fetch", KERNEL,
                                                timeout=300).returncode:
        rig.skip("no guest kernel: linux-image-cloud-amd64 could not be downloaded")


def make():
    """path("kernel") and path("initrd")."""
    r = run(os.path.join(rig.TOP, "scripts/small-guest"), KERNEL, os.path.join(rig.TOP, "tests/fleet/init"), rig.T,
            *MODULES)
    assert r.returncode == 0, r.stderr.decode()


def domain(features="", more=""):
    xml = DOMAIN
    for name, value in (("KERNEL", path("kernel")), ("INITRD", path("initrd")), ("CMDLINE", CMDLINE + more),
                        ("FEATURES", features)):
        xml = xml.replace(name, value)
    return rig.write("domain", xml)


def said(machine, console):
    """The guest's lines in that file, one for each boot and each time that it went off."""
    try:
        with open(console, errors="replace") as f:
            return re.findall(rf"^GUEST {machine} (.*)\n", f.read().replace("\r", ""), re.M)
    except FileNotFoundError:
        return []
