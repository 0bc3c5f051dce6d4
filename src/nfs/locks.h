/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-range locks of files, whoever takes them: NFSv4's lock owners and NLM's.  So that a lock
 * of the one excludes one of the other.
 *
 *	struct lock_set       of a file      ranges by offset, and who waits
 *	   |
 *	struct lock_holder    an owner's on that file: ranges that don't overlap
 *
 * They are as POSIX has them: an owner's own locks don't conflict, a new one replaces what it
 * covers, unlocking may split, neighbours of the same kind become one.  Both structures are
 * embedded in what their users keep of a file and of an owner on a file.
 *
 * Every call takes time that grows with the logarithm of the file's ranges, and with the number
 * of those that it takes away.  Nothing here waits.
 */
#ifndef NFS_LOCKS_H
#define NFS_LOCKS_H

#include "base/list.h"
#include "base/treap.h"

struct lock_span {
	uint64_t first, last;		/* both included */
	bool write;
};

struct lock_range {
	struct lock_span span;
	struct lock_holder *holder;
	/* locks.c's */
	struct treap_node in_file, in_holder;
	uint64_t max, write_max;	/* greatest ends in its subtree of the file's */
	bool writes;			/* there is a range for writing in it */
};

struct lock_set {
	struct treap_node *ranges;
	struct list waiters;		/* first come, first told */
	bool telling, again;		/* locks.c's */
};

/* How many ranges somebody may have, and all together; shared by the holders that point to it. */
struct lock_quota {
	unsigned used, max;
	struct lock_quota *all;		/* NULL: there is no such limit */
};

enum lock_kind { LOCK_NFS4, LOCK_NLM };

struct lock_holder {
	struct lock_set *set;
	struct lock_quota *quota;
	struct treap_node *ranges;
	unsigned nranges;
	enum lock_kind kind;		/* what it is embedded in */
};

/*
 * Who would like to have SPAN of a file.  When something in it gets free, freed() is called; from
 * there it may take itself out of the set and take the lock, but must leave other waiters alone.
 */
struct lock_waiter {
	struct list in_set;
	struct lock_span span;
	enum lock_kind kind;
	void (*freed)(struct lock_waiter *w);
};

void lock_set_init(struct lock_set *s);
/* Nobody holds a range or waits for one. */
bool lock_set_idle(const struct lock_set *s);

void lock_holder_init(struct lock_holder *h, struct lock_set *s, struct lock_quota *q,
		      enum lock_kind kind);
/* Lets go of all that it holds. */
void lock_holder_done(struct lock_holder *h);

/* The first range of others (all but SELF's; NULL: of all) that excludes SPAN; or NULL. */
const struct lock_range *lock_conflict(const struct lock_set *s, const struct lock_holder *self,
				       struct lock_span span);
/*
 * Gives H what there is no conflict about.  -ENOSPC beyond its quota, -ENOMEM; then nothing has
 * changed.
 */
int lock_take(struct lock_holder *h, struct lock_span span);
/* The same errors, only when a range has to be split. */
int lock_release(struct lock_holder *h, struct lock_span span);

void lock_wait(struct lock_set *s, struct lock_waiter *w);
/* Safe on one that was taken out. */
void lock_wait_end(struct lock_waiter *w);

#endif
