/* SPDX-License-Identifier: Apache-2.0 */
/* pando: the command line.  The table of verbs, their options and their help are here. */
#include "pando/pando.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"
#include "admin/sockpath.h"
#include "fs/fs.h"

static const struct option_row create_options[] = {
	{ "size", "SIZE", "how large the pool is; a block device's own size is the default" },
	{ "log-size", "SIZE", "how large its intent log is (default: by the pool's size)" },
	{ "force", NULL, "use a block device although there is data on it" },
	{ NULL, NULL, NULL },
};
static const struct option_row check_options[] = {
	{ "memory", "SIZE", "work in about so much memory (default 256M)" },
	{ "repair", NULL, "set right what can be known to be right; loses nothing" },
	{ "drop-damaged", NULL, "repair also what takes dropping something: names that lead nowhere or can't "
				"be read, extended attributes, the log's damaged end" },
	{ NULL, NULL, NULL },
};
static const struct option_row volume_options[] = {
	{ "quota", "SIZE", "most bytes that its files may map, before sharing; 0 for no limit" },
	{ "soft", "SIZE", "warn in the log, once, when they map more than this; 0 for never" },
	{ "reserve", "SIZE", "space of the pool that nobody else can take, beside what it has now; 0 for none" },
	{ "physical", "SIZE", "most that it may hold of the pool, after sharing, with its snapshots; 0 for no limit" },
	{ "exports", "TEXT", "who may mount it over NFS, as in pandod(8); empty for the default" },
	{ "snapshots", "SCHEDULE", "such as hourly:24,daily:7,weekly:4; empty for none" },
	{ "dedup", "on|off", "whether what is written is looked for among what there is" },
	{ NULL, NULL, NULL },
};
static const struct option_row quota_options[] = {
	{ "limit", "SIZE", "most bytes that what is in it may map, before sharing; 0 for no limit" },
	{ "soft", "SIZE", "warn in the log, once, when it is more than this; 0 for never" },
	{ NULL, NULL, NULL },
};
static const struct option_row destroy_options[] = {
	{ "snapshots", NULL, "with all its snapshots" },
	{ NULL, NULL, NULL },
};
static const struct option_row restore_options[] = {
	{ "force", NULL, "although clients have files open: they go on with what they were" },
	{ NULL, NULL, NULL },
};
static const struct option_row scrub_options[] = {
	{ "rate", "SIZE", "bytes a second that it reads (default 100M; 0: as fast as it can)" },
	{ "wait", NULL, "return when it is done; also waits for one that is running" },
	{ "status", NULL, "start nothing: show the one that runs, or the last" },
	{ "stop", NULL, "stop the one that runs" },
	{ NULL, NULL, NULL },
};
static const struct option_row dedup_options[] = {
	{ "rate", "SIZE", "bytes a second that it reads (default 200M; 0: as fast as it can)" },
	{ "wait", NULL, "return when it is done" },
	{ NULL, NULL, NULL },
};
static const struct option_row dedup_status_options[] = {
	{ "wait", NULL, "return when it is done" },
	{ NULL, NULL, NULL },
};
static const struct option_row owner_rows[] = {
	{ "parents", NULL, "make missing directories on the way; one that exists is no error" },
	{ "mode", "MODE", "octal permissions (default 0755)" },
	{ "owner", "UID[:GID]", "numeric owner and group (default 0:0)" },
	{ NULL, NULL, NULL },
};
static const struct option_row rm_options[] = {
	{ "recursive", NULL, "remove a directory with all that is in it" },
	{ NULL, NULL, NULL },
};
static const struct option_row clone_options[] = {
	{ "recursive", NULL, "clone a directory with all that is in it, in one atomic step" },
	{ "count", "N", "make N clones in one atomic step; the name holds %d or %03d" },
	{ "start", "N", "number of the first of them (default 1)" },
	{ NULL, NULL, NULL },
};
static const struct option_row account_options[] = {
	{ "exact", NULL, "count now what is stored, and what removing it would free" },
	{ NULL, NULL, NULL },
};
static const struct option_row tree_options[] = {
	{ "exact", NULL, "count for each what removing it would free" },
	{ NULL, NULL, NULL },
};
static const struct option_row diff_options[] = {
	{ "summary", NULL, "print totals alone" },
	{ "quick", NULL, "read no data: what is not the same block differs, though the bytes may be equal" },
	{ NULL, NULL, NULL },
};
static const struct option_row import_options[] = {
	{ "format", "FORMAT", "raw, qcow2, vmdk, vhdx or vpc (default: by its first bytes)" },
	{ "replace", NULL, "replace an existing file, in the moment the import is complete" },
	{ "mode", "MODE", "octal permissions (default 0644)" },
	{ "owner", "UID[:GID]", "numeric owner and group (default 0:0)" },
	{ NULL, NULL, NULL },
};
static const struct option_row checkout_options[] = {
	{ "replace", NULL, "replace an existing FILE" },
	{ NULL, NULL, NULL },
};
static const struct option_row checkin_options[] = {
	{ "force", NULL, "FILE wins, although the disk in the pool has changed too" },
	{ "discard", NULL, "the disk in the pool wins: FILE's changes are given up" },
	{ NULL, NULL, NULL },
};
static const struct option_row send_options[] = {
	{ "from", "SNAPSHOT", "send what has changed since this older one" },
	{ "resume", "TOKEN", "go on with what was interrupted; its receiver says the token" },
	{ "output", "FILE", "write it to FILE, which is there when it is whole" },
	{ NULL, NULL, NULL },
};

static const struct option_row receive_options[] = {
	{ "force", NULL, "take back what has changed in the volume, also while clients have files open" },
	{ "list", NULL, "show what was interrupted, and can go on" },
	{ "forget", NULL, "drop what was interrupted for VOLUME" },
	{ NULL, NULL, NULL },
};

static const struct option_row export_options[] = {
	{ "format", "FORMAT", "raw, qcow2, vmdk, vhdx or vpc (default raw)" },
	{ "replace", NULL, "replace an existing file, in the moment the export is complete" },
	{ NULL, NULL, NULL },
};
static const struct option_row golden_import_options[] = {
	{ "note", "TEXT", "what people should know of it, one line" },
	{ "prepare", NULL, "remove the system's identity: machine-id, SSH host keys, logs, seeds" },
	{ "first-boot", NULL, "have it take name, keys and address from its seed, as a system without cloud-init" },
	{ "format", "FORMAT", "raw, qcow2, vmdk, vhdx or vpc (default: by its first bytes)" },
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_create_options[] = {
	{ "golden", "VOLUME:/path", "the image that all disks are clones of, raw" },
	{ "count", "N", "how many machines" },
	{ "spares", "N", "how many more, complete but never started, which can take machines' places" },
	{ "names", "PATTERN", "their host names, with %d or %03d (default FLEET-%03d)" },
	{ "first", "N", "number of the first machine (default 1)" },
	{ "cpus", "N", "of each machine (default 1)" },
	{ "memory", "SIZE", "of each machine (default 1G)" },
	{ "data", "SIZE", "a data disk for each machine, empty at first, kept by refresh" },
	{ "network", "NETWORK", "one of libvirt's (default 'default'), bridge:NAME, user, or none" },
	{ "addresses", "A-B/PREFIX", "give them these addresses in turn, as 10.0.0.10-10.0.0.200/24" },
	{ "gateway", "ADDRESS", "their way out of that network" },
	{ "dns", "ADDRESS,...", "their name servers" },
	{ "user-data", "FILE", "template of cloud-init's user data" },
	{ "network-config", "FILE", "template of cloud-init's network configuration" },
	{ "unattend", "FILE", "template of an answer file for Windows Setup, put into the seed" },
	{ "seed", "KIND", "fat, a disk, or iso, a DVD (default fat; iso with --unattend and for vhd)" },
	{ "domain", "FILE", "template of libvirt's domain XML, instead of the one that is built in" },
	{ "format", "FORMAT", "of the disks: raw, vhd, or vmware for what ESXi registers (default raw)" },
	{ "server", "ADDRESS", "where the hypervisor reaches pandod by NFS (default 127.0.0.1)" },
	{ "path", "PATH", "where the hypervisor has mounted the volume: disks are files there" },
	{ "console", "DIR", "libvirt keeps each serial console's output there, as NAME.log" },
	{ "connect", "URI...", "libvirt's address of a hypervisor, as qemu:///system, or of several; none for none" },
	{ "expires", "TIME", "when its time is over, as 12h, 30d or 8w from now: see 'fleet expire'" },
	{ "start", "[=N]", "start the machines, N of them at once (default 4)" },
	{ "overcommit", NULL, "although the hosts haven't memory for all" },
	{ "keep-going", NULL, "after a machine's failure, or a host's, go on with the others" },
	{ "xml", "DIR", "write each machine's domain XML there, as NAME.xml" },
	{ "dry-run", NULL, "make nothing: show what would be made" },
	{ NULL, NULL, NULL },
};

#define FLEET_CONNECT { "connect", "URI...", "other addresses of its hypervisors than the fleet's own; none for none" }
#define FLEET_KEEP_GOING { "keep-going", NULL, "after a machine's failure, or a host's, go on with the others" }
static const struct option_row fleet_show_options[] = {
	FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_start_options[] = {
	{ "at-once", "N", "start N machines at once (default 4)" },
	{ "overcommit", NULL, "although the hosts haven't memory for all" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_stop_options[] = {
	{ "force", NULL, "switch them off, as if the power was cut" },
	{ "timeout", "SECONDS", "how long they may take to shut down (default 60)" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_refresh_options[] = {
	{ "force", NULL, "switch machines off also if they have data disks" },
	{ "timeout", "SECONDS", "how long those may take to shut down (default 60)" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_recompose_options[] = {
	{ "golden", "VOLUME:/path", "the new golden image" },
	{ "at-once", "N", "N machines are down at a time, at most (default 4)" },
	{ "keep-running", "N", "of those that run, N at least stay up at any time" },
	{ "force", NULL, "switch machines off also if they have data disks" },
	{ "timeout", "SECONDS", "how long those may take to shut down (default 60)" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_snapshot_options[] = {
	{ "remove", NULL, "remove that snapshot instead" },
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_rollback_options[] = {
	{ "keep-data", NULL, "leave data disks as they are" },
	{ "force", NULL, "with --keep-data: switch machines off instead of shutting them down" },
	{ "timeout", "SECONDS", "how long those may take to shut down (default 60)" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_attach_options[] = {
	{ "read-only", NULL, "machines may not write to it: then it can be shared" },
	{ "target", "vdX", "its place in the machines, vdd to vdz (default the first that is free)" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_detach_options[] = {
	{ "timeout", "SECONDS", "how long running systems may take to let go of it (default 60)" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_resize_options[] = {
	{ "count", "N", "how many machines there are to be" },
	{ "spares", "N", "how many spares there are to be beside them" },
	{ "start", "[=N]", "start all machines then, N of them at once (default 4)" },
	{ "overcommit", NULL, "although the hosts haven't memory for all" },
	{ "force", NULL, "also if machines that go are running" },
	FLEET_KEEP_GOING, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_replace_options[] = {
	{ "force", NULL, "also if the machine is running" },
	FLEET_CONNECT,
	{ NULL, NULL, NULL },
};
static const struct option_row fleet_destroy_options[] = {
	{ "force", NULL, "also if machines are running" },
	{ "keep-going", NULL, "after a machine's failure, go on with the others" }, FLEET_CONNECT,
	{ NULL, NULL, NULL },
};

static const struct option_row fleet_expire_options[] = {
	{ "force", NULL, "also if machines are running" },
	{ "dry-run", NULL, "remove nothing: show which would be" },
	{ NULL, NULL, NULL },
};

static const struct verb verbs[] = {
	{ "pool", "create", "FILE", 1, 1, 0, "make an empty pool in a file or on a block device",
	  "A file is made sparse and must not exist.", create_options, pool_create },
	{ "pool", "check", "FILE", 1, 1, VERB_JSON, "verify a pool that no pandod has open",
	  "Walks the whole pool, recounts every reference and verifies every checksum.  Exits 1 "
	  "with one line for each finding if anything is off, or is left after repairs.",
	  check_options, pool_check },
	{ "pool", "dump", "FILE [WHAT]...", 1, 4, 0, "show what lies on a pool that no pandod has open",
	  "As text, read-only, and verified no further than each structure in itself, so that damage "
	  "can be looked at.  WHAT is " FS_DUMPS ".  N and BLOCK are numbers, VOLUME may be "
	  "VOLUME@SNAPSHOT, AS is what to take a block for: index, inodes, volumes, dir, xattr, reap "
	  "or data.", NULL, pool_dump },
	{ "pool", "status", "", 0, 0, VERB_ONLINE | VERB_JSON, "show how the pool is doing", NULL,
	  NULL, cmd_pool_status },
	{ "pool", "checkpoint", "", 0, 0, VERB_ONLINE | VERB_JSON, "take a checkpoint now", NULL,
	  NULL, cmd_pool_checkpoint },
	{ "pool", "scrub", "", 0, 0, VERB_ONLINE | VERB_JSON, "look the whole pool over while it is in use",
	  "Verifies every block in use against its checksum, and every count against the pointers "
	  "that lead to it.  Goes on after a restart.  Exits 1 if a finished one has found anything.",
	  scrub_options, cmd_pool_scrub },
	{ "volume", "create", "NAME", 1, 1, VERB_ONLINE | VERB_JSON, "make a volume", NULL,
	  volume_options, volume_create },
	{ "volume", "list", "", 0, 0, VERB_ONLINE | VERB_JSON, "list the volumes", NULL, NULL,
	  volume_list },
	{ "volume", "show", "NAME", 1, 1, VERB_ONLINE | VERB_JSON, "show a volume", NULL, NULL,
	  volume_show },
	{ "volume", "set", "NAME [dedup=on|off]", 1, 2, VERB_ONLINE | VERB_JSON, "change a volume's settings",
	  NULL,
	  volume_options, volume_set },
	{ "volume", "destroy", "NAME", 1, 1, VERB_ONLINE, "remove a volume and all its files",
	  "There is no question and no way back.", destroy_options, volume_destroy },
	{ "volume", "clone", "SOURCE[@SNAPSHOT] NAME", 2, 2, VERB_ONLINE | VERB_JSON,
	  "make a volume of another, or of a snapshot",
	  "The time does not depend on what is in it.  The new volume can be written, begins with the "
	  "source's quota, exports and dedup, and depends on neither source nor snapshot.", NULL,
	  volume_clone },
	{ "quota", "set", "VOLUME:/directory", 1, 1, VERB_ONLINE | VERB_JSON, "limit what a directory holds",
	  "With all below it; what is there already counts, up to 10000 files at once.  Quotas don't nest, "
	  "and nothing is renamed or linked across their borders: mv copies then.", quota_options, quota_set },
	{ "quota", "show", "VOLUME:/path", 1, 1, VERB_ONLINE | VERB_JSON, "show the quota that a file or directory "
	  "counts for", NULL, NULL, quota_show },
	{ "quota", "list", "VOLUME", 1, 1, VERB_ONLINE | VERB_JSON, "list the directories that have quotas", NULL, NULL,
	  quota_list },
	{ "quota", "clear", "VOLUME:/directory", 1, 1, VERB_ONLINE, "take a directory's quota away",
	  "What is in it stays, however much it is, and counts for none.", NULL, quota_clear },
	{ "snapshot", "create", "VOLUME@NAME", 1, 1, VERB_ONLINE | VERB_JSON, "take a snapshot of a volume",
	  "The time does not depend on what is in it.  NFS clients find it in .snapshot/NAME of each "
	  "directory.", NULL, snapshot_create },
	{ "snapshot", "list", "VOLUME", 1, 1, VERB_ONLINE | VERB_JSON, "list a volume's snapshots, the oldest "
	  "first", NULL, NULL, snapshot_list },
	{ "snapshot", "restore", "VOLUME@NAME", 1, 1, VERB_ONLINE,
	  "make a volume what it was then",
	  "What has changed since is gone, but for what other snapshots have of it; all snapshots "
	  "stay.  There is no question: take a snapshot first.", restore_options, snapshot_restore },
	{ "snapshot", "destroy", "VOLUME@NAME...", 1, 1000000, VERB_ONLINE, "remove snapshots",
	  "In any order.  Their space is freed in the background.", NULL, snapshot_destroy },
	{ "dedup", "start", "VOLUME", 1, 1, VERB_ONLINE | VERB_JSON, "store equal blocks of a volume once",
	  "Compares what has equal checksums, byte for byte, while the volume is in use, and makes holes of "
	  "zeros.  What clones and snapshots share stays as it is; others come to share it.  Goes on "
	  "after a restart.  For what is written from now on, see 'pando volume set --dedup'.",
	  dedup_options, dedup_start },
	{ "dedup", "status", "", 0, 0, VERB_ONLINE | VERB_JSON, "show the job that runs, or the last", NULL,
	  dedup_status_options, dedup_status },
	{ "dedup", "cancel", "", 0, 0, VERB_ONLINE | VERB_JSON, "end the job that runs",
	  "What it has saved stays saved.", NULL, dedup_cancel },
	{ NULL, "import", "FILE VOLUME:/path", 2, 2, VERB_ONLINE | VERB_JSON,
	  "copy a disk image into the pool",
	  "FILE may be - for raw data from standard input.  Holes and zeros take no space.  The "
	  "file appears under its name when it is complete and durable.  Formats other than raw "
	  "are read through qemu-img, which needs room for a raw copy in $TMPDIR, or else beside "
	  "FILE.", import_options, image_import },
	{ NULL, "export", "VOLUME:/path FILE", 2, 2, VERB_ONLINE, "copy a file out of the pool",
	  "Holes stay holes.  The file may be in use: what is exported is one point in time, a "
	  "clone that is there, as .pando-export-..., while it is read.", export_options, image_export },
	{ NULL, "checkout", "VOLUME:/path FILE", 2, 2, VERB_ONLINE, "take a virtual disk away as a qcow2",
	  "What the disk is like is kept beside it, as a clone with a hidden name, until the check-in.",
	  checkout_options, cmd_checkout },
	{ NULL, "checkin", "FILE VOLUME:/path", 2, 2, VERB_ONLINE, "bring back what has changed in it",
	  "Only what differs is written, and takes space; the disk becomes what FILE is in one step.  It is "
	  "refused when the disk in the pool has changed as well.", checkin_options, cmd_checkin },
	{ NULL, "send", "VOLUME@SNAPSHOT", 1, 1, VERB_ONLINE, "send a snapshot as a stream",
	  "To standard output, which 'pando receive' takes, here or on another machine.  What is shared "
	  "between files travels once.  --from sends only what has changed since an older snapshot.",
	  send_options, cmd_send },
	{ NULL, "receive", "VOLUME [FILE]", 0, 2, VERB_ONLINE | VERB_JSON, "receive a stream as a volume",
	  "From FILE or standard input.  The volume, or its new state, appears with its snapshot when all has "
	  "come and is right; until then nothing of it can be seen.  What was interrupted can go on: the "
	  "message, and --list, say how.", receive_options, cmd_receive },
	{ NULL, "clone", "VOLUME:/source VOLUME:/clone", 2, 2, VERB_ONLINE | VERB_JSON,
	  "make a clone of a file, or many at once",
	  "The time does not depend on the file's size, and the clones are durable when the "
	  "command returns: all of them, or none.", clone_options, file_clone },
	{ NULL, "account", "[OBJECT]...", 0, 100000, VERB_ONLINE | VERB_JSON, "show where the space went",
	  "OBJECT is VOLUME, VOLUME@SNAPSHOT, VOLUME:/directory or VOLUME:/file; without any, the pool.  What has to be counted is "
	  "counted with --exact, and remembered, with its age, for later.", account_options, cmd_account },
	{ NULL, "diff", "[A] B", 1, 2, VERB_ONLINE | VERB_JSON,
	  "show what differs between two files, volumes or snapshots",
	  "A and B are files, VOLUME:/path or VOLUME@SNAPSHOT:/path, whose ranges are listed that differ; or VOLUME and "
	  "VOLUME@SNAPSHOT, whose files are listed: + added, - removed, M content, A attributes, R renamed, T times alone.  "
	  "A file alone is compared with what it was cloned from.  What both share costs nothing.", diff_options, cmd_diff },
	{ NULL, "tree", "VOLUME:/path", 1, 1, VERB_ONLINE | VERB_JSON, "show the family tree of a file",
	  "What it was cloned from, and all that was cloned from that, in all volumes.", tree_options, cmd_tree },
	{ NULL, "ls", "VOLUME:/path", 1, 1, VERB_ONLINE | VERB_JSON, "list a directory", NULL, NULL,
	  file_ls },
	{ NULL, "stat", "VOLUME:/path", 1, 1, VERB_ONLINE | VERB_JSON, "show a file's attributes",
	  NULL, NULL, file_stat },
	{ NULL, "rm", "VOLUME:/path...", 1, 1000000, VERB_ONLINE, "remove files and directories",
	  NULL, rm_options, file_rm },
	{ NULL, "mkdir", "VOLUME:/path...", 1, 1000000, VERB_ONLINE, "make directories", NULL,
	  owner_rows, file_mkdir },
	{ "golden", "import", "FILE VOLUME:/golden/NAME", 2, 2, VERB_ONLINE | VERB_JSON,
	  "import a golden image as its next version",
	  "It becomes VOLUME:/golden/NAME@N, raw.  Fleets name a version, or NAME for the newest.  --prepare "
	  "needs the package e2fsprogs, and an image with a root in an ext4 file system; FILE itself stays as "
	  "it is.", golden_import_options, golden_import },
	{ "golden", "list", "", 0, 0, VERB_ONLINE | VERB_JSON, "list the golden images, and who uses them", NULL,
	  NULL, golden_list },
	{ "golden", "show", "VOLUME:/golden/NAME[@N]", 1, 1, VERB_ONLINE | VERB_JSON,
	  "show a golden image, one version or all", NULL, NULL, golden_show },
	{ "golden", "retire", "VOLUME:/golden/NAME@N", 1, 1, VERB_ONLINE,
	  "remove a golden image that no fleet uses",
	  "Its number is not given again.", NULL, golden_retire },
	{ "fleet", "create", "FLEET", 1, 1, VERB_ONLINE | VERB_JSON, "make machines from a golden image",
	  "Each has a disk, a clone of the image, and a seed from which cloud-init takes its name and "
	  "addresses at the first boot; both in VOLUME:/fleets/FLEET, with the fleet's manifest.  After a "
	  "failure, give the command again with the fleet's name: it makes what is missing.",
	  fleet_create_options, fleet_create },
	{ "fleet", "list", "", 0, 0, VERB_ONLINE | VERB_JSON, "list the fleets", NULL, NULL, fleet_list },
	{ "fleet", "show", "FLEET [MACHINE]...", 1, 100001, VERB_ONLINE | VERB_JSON, "show a fleet and its machines",
	  "CHANGED is how many bytes of a machine's disk are not the golden image's any more,"
	  " and UP how long ago it was started by one of these commands.",
	  fleet_show_options, fleet_show },
	{ "fleet", "start", "FLEET [MACHINE]...", 1, 100001, VERB_ONLINE | VERB_JSON,
	  "start a fleet's machines", "Those that run already go on.", fleet_start_options, fleet_start },
	{ "fleet", "stop", "FLEET [MACHINE]...", 1, 100001, VERB_ONLINE | VERB_JSON,
	  "shut a fleet's machines down", "Returns when they are off.", fleet_stop_options, fleet_stop },
	{ "fleet", "refresh", "FLEET [MACHINE]...", 1, 100001, VERB_ONLINE | VERB_JSON,
	  "make machines' disks what the golden image was",
	  "What they have written is gone, but for what is on data disks.  Machines that run are switched "
	  "off (shut down, if they have data disks), and started again with their fresh disks.", fleet_refresh_options, fleet_refresh },
	{ "fleet", "recompose", "FLEET [MACHINE]...", 1, 100001, VERB_ONLINE | VERB_JSON,
	  "move machines to a new golden image",
	  "As a refresh, some at a time, with disks of the new image.  After a failure, the same command "
	  "goes on.", fleet_recompose_options, fleet_recompose },
	{ "fleet", "snapshot", "FLEET[/MACHINE] TAG", 2, 2, VERB_ONLINE | VERB_JSON,
	  "keep machines' disks as they are now",
	  "All disks of all machines at one instant, or those of one machine, as clones in the fleet's "
	  "folder.  Machines may run: they find their disks as after a power cut, when they are rolled back.",
	  fleet_snapshot_options, fleet_snapshot },
	{ "fleet", "rollback", "FLEET[/MACHINE] TAG", 2, 2, VERB_ONLINE | VERB_JSON,
	  "make machines' disks what they were in a snapshot",
	  "What they have written since is gone, on data disks too.  Machines that run are switched off, and "
	  "started again.  The snapshot stays.", fleet_rollback_options, fleet_rollback },
	{ "fleet", "attach", "FLEET[/MACHINE] VOLUME:/file", 2, 2, VERB_ONLINE | VERB_JSON,
	  "give a machine a raw file as one more disk",
	  "Or all machines, read-only.  Machines that run have it at once.  It stays the file that it is: no refresh, "
	  "snapshot or destroy of the fleet touches it.", fleet_attach_options, fleet_attach },
	{ "fleet", "detach", "FLEET[/MACHINE] VOLUME:/file", 2, 2, VERB_ONLINE | VERB_JSON,
	  "take such a disk away again",
	  "A system that runs is asked to let go of it: unmount it there first.",
	  fleet_detach_options, fleet_detach },
	{ "fleet", "resize", "FLEET", 1, 1, VERB_ONLINE | VERB_JSON, "give a fleet more machines, or fewer",
	  "Those with the highest numbers go first.  Spares become machines before others are made.",
	  fleet_resize_options, fleet_resize },
	{ "fleet", "replace", "FLEET MACHINE", 2, 2, VERB_ONLINE | VERB_JSON, "let a spare take a broken machine's place",
	  "It is started, if the machine ran.  What the machine has on its disks, and in snapshots, is gone; it is "
	  "made anew, as a spare.", fleet_replace_options, fleet_replace },
	{ "fleet", "expire", "", 0, 0, VERB_ONLINE | VERB_JSON, "remove the fleets whose time is over",
	  "Those that were made with --expires, as 'fleet destroy' does.  One that cannot be removed is told of, "
	  "and the others have their turn.", fleet_expire_options, fleet_expire },
	{ "fleet", "destroy", "FLEET", 1, 1, VERB_ONLINE, "remove a fleet with all its machines",
	  "There is no question and no way back.", fleet_destroy_options, fleet_destroy },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct option_row common_rows[] = {
	{ "json", NULL, "print JSON, with exact bytes" },
	{ "socket", "PATH", "pandod's socket (default /run/pando/pandod.sock, see pando(1))" },
	{ "help", NULL, "show this help" },
};

/* ---- help ------------------------------------------------------------------------------- */

static void verb_line(const struct verb *v, char *buf, size_t cap)
{
	snprintf(buf, cap, "pando%s%s %s", v->noun ? " " : "", v->noun ? v->noun : "", v->name);
}

static void print_wrapped(const char *text)
{
	size_t column = 0, n;

	while (*text) {
		text += strspn(text, " ");
		n = strcspn(text, " ");
		if (column && column + 1 + n > 78) {
			putchar('\n');
			column = 0;
		}
		column += (size_t)printf("%s%.*s", column ? " " : "", (int)n, text);
		text += n;
	}
	putchar('\n');
}

static void print_option(const struct option_row *o)
{
	char left[64];

	snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg && *o->arg != '[' ? " " : "",
		 o->arg ? o->arg : "");
	printf("  %-22s %s\n", left, o->help);
}

static int help_verb(const struct verb *v)
{
	const struct option_row *o;
	char line[64];

	verb_line(v, line, sizeof(line));
	printf("usage: %s [OPTION]... %s\n\n%c%s.\n", line, v->args, v->help[0] & ~0x20,
	       v->help + 1);
	if (v->details) {
		putchar('\n');
		print_wrapped(v->details);
	}
	printf("\nOptions:\n");
	for (o = v->options; o && o->name; o++)
		print_option(o);
	if (v->flags & VERB_JSON)
		print_option(&common_rows[0]);
	if (v->flags & VERB_ONLINE)
		print_option(&common_rows[1]);
	print_option(&common_rows[2]);
	return print_done();
}

static int help_all(const char *noun)
{
	char line[64], left[80];
	size_t i;

	printf("usage: pando %s%sVERB [OPTION]... [ARGUMENT]...\n\n", noun ? noun : "[NOUN]",
	       noun ? " " : " ");
	for (i = 0; i < VERBS; i++) {
		if (noun && (!verbs[i].noun || strcmp(noun, verbs[i].noun)))
			continue;
		verb_line(&verbs[i], line, sizeof(line));
		snprintf(left, sizeof(left), "%s %s", line, verbs[i].args);
		printf("  %-44s %s\n", left, verbs[i].help);
	}
	if (!noun)
		printf("\nObjects in a pool are written VOLUME:/path, in a snapshot VOLUME@SNAPSHOT:/path.\n'pando VERB --help' tells "
		       "more;\n'pando --version' prints the version.  Exit codes: 0 done, 1 "
		       "failed, 2 bad usage.\n");
	return print_done();
}

/* ---- errors ----------------------------------------------------------------------------- */

int fail(const char *fmt, ...)
{
	char text[1400], line[1500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_printable(text, strlen(text), line, sizeof(line));
	progress_end();
	fprintf(stderr, "pando: %s\n", line);
	return FAILED;
}

int usage(const struct cmd *c, const char *fmt, ...)
{
	char text[800], line[64] = "pando";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c && c->verb)
		verb_line(c->verb, line, sizeof(line));
	fail("%s; see '%s --help'", text, line);
	return BAD_USAGE;
}

/* ---- values ----------------------------------------------------------------------------- */

const char *cmd_option(const struct cmd *c, const char *name)
{
	const struct option_row *o;

	for (o = c->verb->options; o && o->name; o++)
		if (!strcmp(o->name, name))
			return c->values[o - c->verb->options];
	return NULL;
}

int cmd_size(const struct cmd *c, const char *option, uint64_t *value)
{
	const char *text = cmd_option(c, option);
	int err = text ? size_parse(text, value) : 0;

	if (err == -ERANGE)
		return usage(c, "--%s %s: too large", option, text);
	if (err)
		return usage(c, "--%s %s: not a size; write bytes, or a number with K, M, G or T "
			     "such as 100G", option, text);
	return DONE;
}

int cmd_number(const struct cmd *c, const char *option, uint64_t *value)
{
	const char *text = cmd_option(c, option);

	if (text && (number_parse(text, value) || *value > INT64_MAX))
		return usage(c, "--%s %s: not a whole number", option, text);
	return DONE;
}

int cmd_object(const struct cmd *c, const char *text, struct objpath *ret)
{
	char why[OBJNAME_WHY];
	int err = objpath_parse(text, strlen(text), ret, why);

	/* a name that is too long is well-formed, only impossible */
	if (err == -ENAMETOOLONG)
		return fail("%s", why);
	return err ? usage(c, "%s", why) : DONE;
}

/* ---- parsing ---------------------------------------------------------------------------- */

static const struct verb *verb_find(const char *noun, const char *name)
{
	size_t i;

	for (i = 0; i < VERBS; i++)
		if (!strcmp(verbs[i].name, name) &&
		    (noun ? verbs[i].noun && !strcmp(verbs[i].noun, noun) : !verbs[i].noun))
			return &verbs[i];
	return NULL;
}

static bool noun_known(const char *noun)
{
	size_t i;

	for (i = 0; i < VERBS; i++)
		if (verbs[i].noun && !strcmp(verbs[i].noun, noun))
			return true;
	return false;
}

enum { OPT_JSON = 1000, OPT_SOCKET, OPT_HELP };

/* The options of V for getopt_long(); one-letter forms for those that hands know. */
static void options_build(const struct verb *v, struct option *long_options, char *letters)
{
	const struct option_row *o;
	unsigned n = 0;

	*letters++ = ':';
	*letters++ = 'h';
	for (o = v->options; o && o->name; o++, n++) {
		long_options[n] = (struct option){ o->name, !o->arg ? no_argument :
			*o->arg == '[' ? optional_argument : required_argument, NULL, (int)n };
		if (!strcmp(o->name, "recursive"))
			*letters++ = 'r';
		if (!strcmp(o->name, "parents"))
			*letters++ = 'p';
	}
	if (v->flags & VERB_JSON)
		long_options[n++] = (struct option){ "json", no_argument, NULL, OPT_JSON };
	if (v->flags & VERB_ONLINE)
		long_options[n++] = (struct option){ "socket", required_argument, NULL,
				     OPT_SOCKET };
	long_options[n++] = (struct option){ "help", no_argument, NULL, OPT_HELP };
	long_options[n] = (struct option){ 0 };
	*letters = 0;
}

/* The option's value is TEXT, and what was given of it before, if it takes several. */
static int value_take(struct cmd *c, int o, const char *text)
{
	const char *arg = c->verb->options[o].arg, *dots = arg ? strstr(arg, "...") : NULL;
	char *all;

	if (!c->values[o] || !dots) {
		c->values[o] = text;
		return DONE;
	}
	if (asprintf(&all, "%s,%s", c->values[o], text) < 0)
		return fail("out of memory");
	free(c->joined);
	c->values[o] = c->joined = all;
	return DONE;
}

/* DONE, BAD_USAGE, or -1 when help was asked for. */
static int options_parse(struct cmd *c, int argc, char **argv)
{
	struct option long_options[OPTIONS_MAX + 4];
	char letters[8];
	int o;

	options_build(c->verb, long_options, letters);
	opterr = 0;
	optind = 1;
	while ((o = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
		if (o == 'h' || o == OPT_HELP)
			return -1;
		else if (o == OPT_JSON)
			c->json = true;
		else if (o == OPT_SOCKET)
			c->socket = optarg;
		else if (o == ':')
			return usage(c, "%s: needs a value", argv[optind - 1]);
		else if (o == '?')
			return usage(c, "%s: no such option", argv[optind - 1]);
		else if (o == 'r' || o == 'p')
			c->values[0] = "";	/* the first row of those that have them */
		else if (value_take(c, o, optarg ? optarg : ""))
			return FAILED;
	}
	c->argc = argc - optind;
	c->argv = argv + optind;
	if (c->argc < c->verb->min_args || c->argc > c->verb->max_args)
		return *c->verb->args ? usage(c, "it takes: %s", c->verb->args)
				      : usage(c, "%s: it takes no arguments", c->argv[0]);
	return DONE;
}

static int verb_run(const struct verb *v, int argc, char **argv)
{
	struct cmd c = { .verb = v };
	char socket_path[256];
	int err = options_parse(&c, argc, argv);

	if (err == -1)
		return help_verb(v);
	if (!err && !c.socket) {
		if (socket_default_path(socket_path, sizeof(socket_path)))
			err = usage(&c, "the default socket's path is too long; use --socket");
		c.socket = socket_path;
	}
	if (!err)
		err = v->run(&c);
	fleet_unlock(&c);
	client_done(&c);
	free(c.joined);
	return err;
}

/* How many words before the noun are options that all verbs have. */
static int globals_count(int argc, char **argv)
{
	int n = 1;

	while (n < argc) {
		if (!strcmp(argv[n], "--socket"))
			n += 2;
		else if (!strcmp(argv[n], "--json") || !strncmp(argv[n], "--socket=", 9))
			n++;
		else
			break;
	}
	return n - 1;
}

/* "pando --socket S pool status" is "pando pool status --socket S". */
static int globals_move(int argc, char **argv)
{
	int n = globals_count(argc, argv), words;
	char *moved[64];

	if (!n)
		return DONE;
	if (n + 1 > argc)
		return usage(NULL, "%s: needs a value", argv[argc - 1]);
	if (n > 64)
		return usage(NULL, "%s: too many options before the verb", argv[1]);
	if (n + 1 == argc)
		return usage(NULL, "a verb is missing");
	words = noun_known(argv[n + 1]) && n + 2 < argc ? 2 : 1;
	memcpy(moved, argv + 1, (size_t)n * sizeof(*argv));
	memmove(argv + 1, argv + 1 + n, (size_t)words * sizeof(*argv));
	memcpy(argv + 1 + words, moved, (size_t)n * sizeof(*argv));
	return DONE;
}

int main(int argc, char **argv)
{
	const struct verb *v;

	signal(SIGPIPE, SIG_IGN);
	if (globals_move(argc, argv))
		return BAD_USAGE;
	if (argc < 2)
		return usage(NULL, "a verb is missing");
	if (!strcmp(argv[1], "--version")) {
		printf("pando " PANDO_VERSION "\n");
		return print_done();
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help_all(NULL);
	if (noun_known(argv[1])) {
		if (argc < 3)
			return usage(NULL, "%s: a verb is missing", argv[1]);
		if (!strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))
			return help_all(argv[1]);
		if (*argv[2] == '-')
			return usage(NULL, "%s: a verb is missing", argv[1]);
		v = verb_find(argv[1], argv[2]);
		return v ? verb_run(v, argc - 2, argv + 2)
			 : usage(NULL, "%s %s: no such verb", argv[1], argv[2]);
	}
	v = verb_find(NULL, argv[1]);
	return v ? verb_run(v, argc - 1, argv + 1)
		 : usage(NULL, "%s: no such %s", argv[1], *argv[1] == '-' ? "option" : "verb");
}
