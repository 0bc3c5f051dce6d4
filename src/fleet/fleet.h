/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fleets: named sets of virtual machines made from one golden image.
 *
 * This layer knows what a fleet is and how it is written; it touches no storage.  The command
 * line (src/pando/fleet_*.c) carries it out through the management API, and through libvirt
 * (hypervisor.h).
 *
 *	settings (options)  --fleet_plan()-->  machines: name, UUID, MAC, address
 *	   |                                      |
 *	   +---- fleet_encode(): the manifest ----+      VOLUME:/fleets/NAME/fleet.json
 *	                                          |
 *	          machine_seed(): its seed image  +      VOLUME:/fleets/NAME/seeds/MACHINE.img
 *	          machine_xml(): its domain       +      libvirt
 *
 * The manifest is written before anything else is made, and holds everything that was asked
 * for, templates too: whoever finds it can finish the work, on any machine.  It is the truth
 * about which machines there are; settings only say how further ones would be made.
 *
 * Functions that can fail for a reason worth telling fill WHY with one line, and return 0 or
 * -EINVAL (what was asked for is wrong) or -ENOMEM.
 */
#ifndef FLEET_FLEET_H
#define FLEET_FLEET_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"

#define FLEET_WHY 400
#define FLEET_NAME_MAX 40
#define FLEET_MACHINES_MAX 100000
#define FLEET_LABEL_MAX 63		/* a machine's name is a host name */
#define FLEET_TEMPLATE_MAX (256 * 1024)	/* bytes of a template, and of what comes of it */
#define FLEET_UUID 37
#define FLEET_MAC 18
#define FLEET_ADDRESS 46
#define FLEET_HOST 513			/* libvirt's address of one, and NUL */
#define FLEET_HOSTS_MAX 64
#define HOST_NONE UINT_MAX

/* What became of a machine's domain, as the hypervisor tells it. */
enum domain_state {
	DOMAIN_UNKNOWN,			/* nobody was asked, or nobody answered */
	DOMAIN_NONE,			/* it isn't there */
	DOMAIN_STOPPED,
	DOMAIN_RUNNING,			/* or paused: QEMU has its disk open */
	DOMAIN_FOREIGN,			/* its name or UUID is another's: never touched */
};

struct machine {
	uint64_t number;
	uint64_t version;		/* of the fleet's golden share that its disk came from */
	char name[FLEET_LABEL_MAX + 1];
	char uuid[FLEET_UUID], mac[FLEET_MAC];
	char address[FLEET_ADDRESS];	/* "": none */
	bool spare;			/* beyond the count: complete, but not started */
	unsigned host;			/* its place among the fleet's; HOST_NONE: it has none yet */
	/* What was found of it; not in the manifest. */
	bool has_disk, has_seed, has_data; /* has_data also where there is to be none */
	bool has_fresh;			/* a clone that was to take its disk's place */
	bool chosen;			/* a command is about it */
	bool ran;			/* when the command began */
	bool changed_known;
	uint64_t changed;		/* bytes of its disk that aren't the golden share's */
	enum domain_state domain;	/* on its host */
	unsigned elsewhere;		/* another of the fleet's hosts has a domain of it; HOST_NONE: none */
	uint64_t up_since;		/* seconds since 1970 when we started it; 0: it doesn't run, or others did */
	bool saved;			/* it is stopped, and started again would go on with its memory */
	const char *domain_more;	/* "paused: I/O error"; NULL: nothing to add */
	char domain_name[80];		/* when somebody has renamed it, else "" */
};

enum fleet_state { FLEET_MAKING, FLEET_READY, FLEET_DESTROYING };

struct fleet {
	char name[FLEET_NAME_MAX + 1];
	char volume[64];
	char pool_uuid[FLEET_UUID], volume_uuid[FLEET_UUID];
	char created[32];		/* RFC 3339 */
	enum fleet_state state;
	uint64_t version;		/* of the golden share: 1 at first, raised by a recompose */
	json_t *settings;		/* an object, see settings.c for its keys */
	json_t *goldens;		/* {"1": "vms:/golden/debian12@1"}: what shares are of */
	json_t *snapshots;		/* NULL, or by tag and machine: snapshots.c */
	json_t *attached;		/* NULL, or by machine: attached.c */
	struct machine *machines;	/* by number */
	size_t n;
	/* Of a manifest that can't be used; not in it. */
	bool copy;			/* its volume is a clone: the machines are the original's */
};

void fleet_init(struct fleet *f);
void fleet_done(struct fleet *f);

/* A fleet's name: letters, digits and dashes, as host names are made of it. */
int fleet_name_check(const char *name, char why[FLEET_WHY]);

/* ---- settings.c ------------------------------------------------------------------------- */

/* Puts a default where there is none, and refuses what makes no sense, alone or together. */
int settings_complete(json_t *settings, const char *fleet, char why[FLEET_WHY]);
/* NULL: not set.  The text lives as long as the settings. */
const char *setting_text(const struct fleet *f, const char *key);
uint64_t setting_number(const struct fleet *f, const char *key);
#define EXPIRES_MAX 315360000		/* seconds: ten years */
/* When its time is over; 0: never. */
time_t fleet_expiry(const struct fleet *f);
int fleet_expire_at(struct fleet *f, time_t over);
/* The keys, in the order in which people are shown them; NULL ends them. */
const char *setting_key(unsigned i);
bool setting_is_number(const char *key);

/* What the fleet's golden share of that version is of; "" if that isn't known.  NULL forgets it. */
const char *fleet_golden(const struct fleet *f, uint64_t version);
void fleet_golden_set(struct fleet *f, uint64_t version, const char *golden);

/* ---- plan.c ----------------------------------------------------------------------------- */

/* Makes the machines that the settings ask for.  Their UUIDs and MACs depend on nothing but the
 * pool, the fleet's name and the number: made again, they are the same. */
int fleet_plan(struct fleet *f, char why[FLEET_WHY]);
/* How many there are that aren't spares. */
uint64_t fleet_count(const struct fleet *f);
/* Spares become machines, those with the lowest numbers first, until there are COUNT. */
void fleet_promote(struct fleet *f, uint64_t count);
/* Chooses what is there beyond COUNT machines and SPARES: of each kind, those with the highest numbers. */
uint64_t fleet_surplus(struct fleet *f, uint64_t count, uint64_t spares);
/* After fleet_promote(), where there is no surplus: adds to what there is until there are COUNT machines and
 * SPARES, as the settings, which this becomes, make them; those that are there stay what they are.  On
 * failure F is as it was. */
int fleet_grow(struct fleet *f, uint64_t count, uint64_t spares, char why[FLEET_WHY]);
/* Forgets the machines that are chosen; what is left is the settings' count and spares. */
void fleet_shrink(struct fleet *f);
struct machine *fleet_machine(const struct fleet *f, const char *name);	/* NULL: none */

/* ---- hosts.c: where they are -------------------------------------------------------------- */

/* LIST: addresses with commas between; NULL for none. */
unsigned hosts_count(const char *list);
/* "" past the last. */
const char *host_at(const char *list, unsigned i, char buf[FLEET_HOST]);
unsigned host_find(const char *list, const char *uri);	/* HOST_NONE: it isn't there */
int hosts_check(const char *list, char why[FLEET_WHY]);
/* The first of LIST that is another machine by its address, as in qemu+ssh://kvm1/system; HOST_NONE: none is. */
unsigned host_remote(const char *list);
/* LIST becomes the fleet's hosts, and must have all on which machines are. */
int fleet_hosts_set(struct fleet *f, const char *list, char why[FLEET_WHY]);
/* Each machine that has no host goes to that of the N which has the most memory LEFT (bytes), to the first
 * of those that have as much; that memory is taken off.  Returns for how many there wasn't enough. */
uint64_t fleet_place(struct fleet *f, int64_t *left, unsigned n);

/* ---- snapshots.c: which machines have which snapshots ------------------------------------ */

/* Letters, digits, '.', '_', '-'; a file's name. */
int tag_check(const char *tag, char why[FLEET_WHY]);
/* VERSION (NULL: of no interest): of the golden share that the disk came from then. */
bool tag_has(const struct fleet *f, const char *tag, const char *machine, uint64_t *ret_version);
int tag_note(struct fleet *f, const char *tag, const struct machine *m, const char *created);
void tag_forget(struct fleet *f, const char *tag, const char *machine);
/* "before, after", or "none". */
void tags_text(const struct fleet *f, char *buf, size_t cap);
/* Whether any snapshot's disk came from that golden share. */
bool tags_need_version(const struct fleet *f, uint64_t version);

/* ---- attached.c: disks that machines have beside their own -------------------------------- */

struct attached {
	const char *target;		/* "vdd": its place in the domain */
	const char *object;		/* "vms:/tools.raw" */
	bool read_only;
	bool leaving;			/* is being detached */
};
/* Whether OBJECT may be attached to this fleet's machines, as far as it can be told by its name. */
int attached_check(const struct fleet *f, const char *object, bool read_only, char why[FLEET_WHY]);
/* The I-th of MACHINE; false: it has no more. */
bool attached_at(const struct fleet *f, const char *machine, size_t i, struct attached *ret);
bool attached_has(const struct fleet *f, const char *machine, const char *object);
/* The machine, other than BUT (NULL: none), that has OBJECT so that nobody else may: one of the two writes. */
const char *attached_clash(const struct fleet *f, const char *object, bool read_only, const char *but);
/* At WANTED, or the first place that is free if that is NULL.  No error if it is there just so; -EEXIST, -ENOSPC. */
int attached_note(struct fleet *f, const char *machine, const char *object, bool read_only, const char *wanted,
		  char why[FLEET_WHY]);
/* One that MACHINE has is to go; it is struck when its domain hasn't it any more. */
void attached_leave(struct fleet *f, const char *machine, const char *object);
void attached_strike(struct fleet *f, const char *machine, const char *object);
/* All of a machine that goes. */
void attached_forget(struct fleet *f, const char *machine);

/* ---- manifest.c ------------------------------------------------------------------------- */

/* The manifest as text; the caller's to release. */
int fleet_encode(const struct fleet *f, struct buf *ret_text);
/* From an untrusted text: all of it is checked.  F is as fleet_init() left it, also on failure. */
int fleet_decode(const char *text, size_t len, struct fleet *f, char why[FLEET_WHY]);
const char *fleet_state_name(enum fleet_state s);

/* ---- custom.c: what makes a machine its own --------------------------------------------- */

/* The seed image of M (seed.h), rendered from the fleet's templates.  *ret_size is the file's
 * size: before *ret_offset, and behind the bytes in ret_image, it is zeros. */
int machine_seed(const struct fleet *f, const struct machine *m, struct buf *ret_image, uint64_t *ret_offset,
		 uint64_t *ret_size, char why[FLEET_WHY]);

/* The domain of M for libvirt; TYPE: "kvm", "qemu", "test". */
int machine_xml(const struct fleet *f, const struct machine *m, const char *type,
		struct buf *ret_xml, char why[FLEET_WHY]);

/* Whether the templates make XML and YAML of M, where they are to. */
int machine_check(const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);

/* A disk that is attached to it, as an element of that. */
int attached_xml(const struct fleet *f, const struct attached *a, struct buf *ret_xml, char why[FLEET_WHY]);

/* What names end in: ".raw" or ".vhd" of disks, ".img" or ".iso" of seeds, ".raw" or ".vhd" of data disks. */
const char *disk_suffix(const struct fleet *f);
const char *seed_suffix(const struct fleet *f);
const char *data_suffix(const struct fleet *f);
/* A new fleet's settings that follow from its others; older fleets have what they were made with. */
void settings_begin(json_t *settings);
/* The data disk's own UUID, in a VHD. */
void machine_data_uuid(const struct machine *m, char ret[FLEET_UUID]);
/* Where its files are, in the volume: "/fleets/NAME/disks/MACHINE.raw". */
void machine_disk_path(const struct fleet *f, const struct machine *m, char *buf, size_t cap);
void machine_seed_path(const struct fleet *f, const struct machine *m, char *buf, size_t cap);
void machine_data_path(const struct fleet *f, const struct machine *m, char *buf, size_t cap);
/* The golden share's name in the fleet's folder: "golden.raw", or "golden-2.raw". */
void golden_share_name(uint64_t version, char *buf, size_t cap);

/* ---- formats.c: what other hypervisors want beside a raw disk ---------------------------- */

#define VHD_FOOTER 512
#define VHD_MAX ((uint64_t)2040 << 30)
/* What makes a fixed VHD of a raw disk, behind it. */
void vhd_footer(uint64_t disk_bytes, const char *uuid, unsigned char ret[VHD_FOOTER]);
/* A VMDK descriptor of a raw disk at the relative path EXTENT, and a machine as VMware's .vmx.  -ENOMEM. */
int vmdk_descriptor(uint64_t disk_bytes, const char *extent, uint32_t id, struct buf *ret);
int machine_vmx(const struct fleet *f, const struct machine *m, struct buf *ret);

/* In the domain's metadata: whose it is. */
#define FLEET_XMLNS "urn:pando:fleet:1"
/* And, while it runs, since when. */
#define FLEET_UP_XMLNS "urn:pando:fleet:up:1"

#endif
