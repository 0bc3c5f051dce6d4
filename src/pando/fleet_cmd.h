/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the fleet verbs: what they share.  All functions return an exit code, after a
 * message if it isn't DONE.
 */
#ifndef PANDO_FLEET_CMD_H
#define PANDO_FLEET_CMD_H

#include "fleet/fleet.h"
#include "fleet/hypervisor.h"
#include "pando/pando.h"

/* ---- fleet_store.c: a fleet's files in its volume, by pandod ---------------------------- */

/* The fleet NAME in any volume.  *ret_found: whether there is one; F is fleet_init()ed. */
int fleet_find(struct cmd *c, const char *name, struct fleet *f, bool *ret_found);
/* The same, where a missing one is a failure. */
int fleet_load(struct cmd *c, const char *name, struct fleet *f);
/* The same for who changes it: nobody else does until fleet_unlock(). */
int fleet_load_locked(struct cmd *c, const char *name, struct fleet *f);
int fleet_lock(struct cmd *c, const struct fleet *f);	/* fleet_lock.c */
/* FN for every fleet of the pool; WHY is NULL, or says what is wrong with its manifest, and then
 * only F's name and volume are known, and whether it is a copy.  Ends at the first that isn't DONE. */
int fleet_each(struct cmd *c, int (*fn)(void *arg, struct fleet *f, const char *why), void *arg);

/* What a fleet has in its folder, beside what its machines have (has_...). */
struct fleet_files {
	bool golden;			/* its own shares of the golden image, all that it needs */
	char foreign[300];		/* something there that is not a fleet's; "": nothing */
	char unfinished[80];		/* a snapshot that was cut short; "": none */
	char lost[300];			/* a snapshot's file that is gone: "before: disks/desk-001.raw" */
};
int fleet_survey(struct cmd *c, struct fleet *f, struct fleet_files *ret_files);

/* "VOLUME:/fleets/NAME" and REST. */
void fleet_path(const struct fleet *f, const char *rest, char *buf, size_t cap);
extern const char *const fleet_folders[];	/* disks, seeds, data, as REST */
/* FN for all entries of a folder, page by page; one that isn't there has none. */
typedef int (*entry_fn)(void *arg, const json_t *entry);
int entries_each(struct cmd *c, const char *path, entry_fn fn, void *arg);
int stat_find(struct cmd *c, const char *path, json_t **ret);	/* NULL: it isn't there */
void now_text(char buf[32]);		/* RFC 3339, UTC */

/* ---- fleet_make.c: making and removing them --------------------------------------------- */

/* Writes the manifest.  FIRST: fails if there is one. */
int fleet_save(struct cmd *c, const struct fleet *f, bool first);
int fleet_folders_make(struct cmd *c, const struct fleet *f);
/* A golden image's content becomes the fleet's own: a clone, made once. */
int fleet_golden_share(struct cmd *c, const struct fleet *f, uint64_t version);
/* All of them that machines need and that aren't there. */
int fleet_golden_shares(struct cmd *c, const struct fleet *f);
/* Clones for all machines that WANT wants, in one atomic call; named PREFIX and the disk's name.
 * Adds to the count and the server's time. */
typedef bool (*machine_want)(const struct machine *m);
int fleet_disks_clone(struct cmd *c, const struct fleet *f, const char *prefix, machine_want want,
		      uint64_t *count, uint64_t *elapsed_us);
/* Fresh clones by that prefix take the places of the machines' disks. */
int fleet_disks_replace(struct cmd *c, const struct fleet *f, const char *prefix, machine_want want);
/* FILES, as POST /v1/files takes them, into FOLDER of the fleet, MODE or what they have of their own; *FILES
 * is a new list then.  HOW: */
#define FILES_REPLACE 1			/* those that are there */
#define FILES_MAKE_ROOM 2		/* they are to take others' places, or to lead to deletes */
int fleet_files_send(struct cmd *c, const struct fleet *f, const char *folder, const char *mode,
		     unsigned how, json_t **files);
json_t *json_base64(const void *data, size_t len);
int fleet_seeds_put(struct cmd *c, const struct fleet *f, machine_want want, uint64_t *count);
/* Empty data disks, for a fleet that has them. */
int fleet_data_put(struct cmd *c, const struct fleet *f, machine_want want);
/* Golden shares of versions that no machine has; or all. */
int fleet_shares_remove(struct cmd *c, struct fleet *f, bool unused_only);
/* Everything in its folder, the manifest last; and the folder. */
int fleet_files_remove(struct cmd *c, struct fleet *f);
/* One of its files or folders, if it is there; RECURSIVE: with all that is in it. */
int fleet_file_remove(struct cmd *c, const struct fleet *f, const char *name, bool recursive);

/* ---- fleet_formats.c: for other hypervisors than QEMU ------------------------------------ */

/* Whether disks of so many bytes can be made in the fleet's format. */
int format_check(const struct fleet *f, const char *golden, uint64_t size);
/* fleet_disks_clone() of one version, for a fleet of VHDs. */
int vhds_clone(struct cmd *c, const struct fleet *f, uint64_t version, const char *prefix, machine_want want,
	       uint64_t *count, uint64_t *elapsed_us);
/* What VMware registers, for a fleet of that format; disks and seeds are there. */
int fleet_vmware_put(struct cmd *c, const struct fleet *f, machine_want want);
/* Takes has_seed from those that lack it. */
int vmware_survey(struct cmd *c, struct fleet *f, const json_t *index, struct fleet_files *files);

/* ---- fleet_snapshot.c: their disks as they were at some time ----------------------------- */

/* Sets what of FILES is about snapshots.  INDEX: the machines by name. */
int tags_survey(struct cmd *c, const struct fleet *f, const json_t *index, struct fleet_files *files);
/* What chosen machines have in any snapshot; the manifest isn't written. */
int tags_remove(struct cmd *c, struct fleet *f);

/* ---- fleet_hosts.c: the fleet's hypervisors --------------------------------------------- */

struct host {
	struct hv *hv;			/* NULL: it cannot be asked */
	char why[FLEET_WHY];		/* why not */
};
struct hosts {
	unsigned n;			/* 0: the fleet has none */
	const char *list;		/* their addresses, as they are reached now */
	struct host *at;
	bool left_out;			/* machines that were meant, with --keep-going */
};

/* By --connect, or else by the fleet's own setting.  One that cannot be reached is no failure yet. */
int hosts_open(struct cmd *c, struct fleet *f, struct hosts *h);
void hosts_close(struct hosts *h);
/* What domains there are.  A host that doesn't answer any more is closed; the first of those is told of in
 * WHY, and is -EIO. */
int hosts_survey(struct hosts *h, struct fleet *f, char why[FLEET_WHY]);
/* Whether the machines that are meant can be worked on: all hosts answer, and have their machines.  With
 * --keep-going, unless it is for ALL or none, those that can't are told of, and aren't meant any more. */
int hosts_settle(struct cmd *c, struct fleet *f, struct hosts *h, bool all);
/* All three. */
int fleet_hosts(struct cmd *c, struct fleet *f, struct hosts *h, bool all);
/* Sets which machines are meant: those named behind the fleet, or all.  */
int fleet_choose(struct cmd *c, struct fleet *f);
/* No machine that is meant may have its name or UUID taken by somebody else's domain. */
int fleet_no_foreign(const struct fleet *f);
/* The hosts' memory must do for all that are meant and all that run, unless --overcommit. */
int fleet_memory_check(struct cmd *c, struct hosts *h, const struct fleet *f);
/* Starts those that are meant and don't run. */
int fleet_run(struct cmd *c, struct hosts *h, struct fleet *f, const char *at_once, uint64_t *ret_done);
/* "--start[=N]", "--at-once N": N, or a default. */
int fleet_at_once(struct cmd *c, const char *option, const char *text, unsigned *ret);
#define DOMAIN_TEXT (FLEET_HOST + 16)
const char *domain_text(const struct hosts *h, const struct machine *m, char buf[DOMAIN_TEXT]);

/* ---- fleet_place.c: which machines are on which of several hosts -------------------------- */

/* After a survey: machines without a host get one, whose memory must do unless --overcommit; those that were
 * moved to another are noted there, and *ret_moved is set. */
int machines_place(struct cmd *c, struct fleet *f, struct hosts *h, bool *ret_moved);
/* How many there are on each, and how many run; NULL: they are fewer than two. */
json_t *hosts_json(const struct hosts *h, const struct fleet *f);
void hosts_print(const struct hosts *h, const struct fleet *f);

/* ---- fleet_crew.c: the same for many machines, a few at once ---------------------------- */

struct crew_work {
	const char *what;		/* for the progress line: "starting" */
	machine_want want;
	int (*fn)(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
	unsigned at_once;		/* 64 at most */
	bool keep_going;		/* after a failure, with all others */
	bool to_the_end;		/* the same, but only the first failure is told */
};
/* Each failure is told with its machine's name.  *ret_done: how many it was done for. */
int crew_run(struct hosts *h, struct fleet *f, const struct crew_work *work, uint64_t *ret_done);

/* ---- fleet_options.c: the settings that a command line has ------------------------------- */

/* Into the object GIVEN. */
int fleet_options(struct cmd *c, json_t *given);

/* ---- fleet_changed.c -------------------------------------------------------------------- */

/* Sets changed, where it can be told, of those that are chosen and have disks. */
void fleet_changed(struct cmd *c, struct fleet *f);

/* ---- fleet_create.c --------------------------------------------------------------------- */

/* Makes what F lacks and tells of it; F is taken over.  CHANGED: its manifest is written first,
 * when nothing has been found to be in the way.  TAKEN: the spare that has just become a machine, or NULL. */
int fleet_complete(struct cmd *c, struct fleet *f, bool changed, const char *taken);
/* Whether it is a file, and raw by its first bytes. */
int disk_look(struct cmd *c, const char *object, uint64_t *ret_size);
/* Whether machines' disks can be made of this image. */
int golden_look(struct cmd *c, const struct fleet *f, const char *golden);

#define FRESH_PREFIX ".fresh-"		/* of disks on their way to replace others */

#endif
