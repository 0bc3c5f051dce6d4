/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of machines after they were made: what start, stop, refresh, recompose, snapshot,
 * rollback, resize, replace and destroy share.
 *
 * Each begins by asking what there is, and refuses as a whole if something is in the way.  All
 * functions return an exit code, after a message if it isn't DONE.
 */
#ifndef PANDO_FLEET_LIFE_H
#define PANDO_FLEET_LIFE_H

#include "pando/fleet_cmd.h"

struct life {
	struct cmd *c;
	struct fleet f;
	struct fleet_files files;
	struct hosts hosts;
	uint64_t done;			/* for how many machines it was */
};

/* Reads the fleet that the first argument names, and chooses machines by the others. */
int life_begin(struct life *l);
/* The same where that is FLEET, for all, or FLEET/MACHINE; not of a fleet that is being destroyed. */
int life_choose(struct life *l);
/* Tells what was done, and lets everything go. */
int life_end(struct life *l, int err, const char *what);
/* Of a fleet that is being destroyed nothing else becomes. */
int life_alive(const struct life *l);
/* Nothing of others may go with what is the fleet's; after life_look(). */
int strangers_fail(const struct life *l);
/* What files it has, and what domains, if it has hypervisors.  ALL: of machines that were chosen none is
 * left out. */
int life_look(struct life *l, bool all);

/* Of what is about nothing but domains: the second, and it must have hypervisors. */
int domains_look(struct life *l);

bool is_chosen(const struct machine *m);
bool runs(const struct machine *m);	/* chosen, and running */
uint64_t how_many(const struct fleet *f, machine_want want);
struct crew_work work_of(const struct life *l, const char *what, machine_want want,
			 int (*fn)(struct hv *hv, const struct fleet *f, const struct machine *m,
				   char why[FLEET_WHY]));

/* "--timeout SECONDS" */
int timeout_take(struct cmd *c, uint64_t *ret_s);
/* Those chosen machines that run are told to shut down, and it is waited for that, unless --force. */
int machines_stop(struct life *l, uint64_t timeout_s);
/* Before their disks change: notes which run (m->ran), and switches them off; POLITE: as above.  With --keep-going,
 * those that can't be are not meant any more. */
int machines_pause(struct life *l, bool polite, uint64_t timeout_s);
/* Starts those that ran, also after the failure ERR, which is passed on. */
int machines_resume(struct life *l, int err);
/* Clones that a refresh left when it was cut short. */
int leftovers_remove(struct life *l);
/* The volume's snapshot that one of the fleet's left when it was cut short.  fleet_snapshot.c */
int tag_leftover_remove(struct life *l);

#endif
