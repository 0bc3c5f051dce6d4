/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plain model of one directory: which names are there, and under which keys.  do_x() does it to
 * the directory (on the store of dir_store.h) and to the model, and asserts that both agree.
 */
#ifndef TESTS_UNIT_DIR_MODEL_H
#define TESTS_UNIT_DIR_MODEL_H

#include "dir_store.h"

/* ---- operations as transactions run them --------------------------------------------------- */

struct op {
	struct fs_name name, old;
	uint64_t ino;
	const struct fs_name *names;
	uint32_t n, bad;
	struct dir_found found;
};

int op_lookup(struct dir *d, void *arg);
int op_insert(struct dir *d, void *arg);
int op_replace(struct dir *d, void *arg);
int op_remove(struct dir *d, void *arg);
int op_rename(struct dir *d, void *arg);	/* OLD to NAME, within the directory */
int op_bulk(struct dir *d, void *arg);
/* A new store with an empty directory. */
int make(uint32_t nframes, bool guard, uint64_t seed);

/* ---- the model ----------------------------------------------------------------------------- */

extern struct entry { uint64_t ino, key; uint8_t type; } *M;	/* by id; ino 0: not there */
extern uint32_t M_n, M_present;
extern unsigned M_pad;			/* names are padded to random lengths below this */

/* The name of an id: the same for ever. */
struct fs_name name_of(uint32_t id, char buf[256]);
void model_new(uint32_t n, unsigned pad);
void model_free(void);
void lookup_check(uint32_t id);
void do_insert(uint32_t id, uint64_t ino);
void do_remove(uint32_t id);
void do_replace(uint32_t id, uint64_t ino);
void do_rename(uint32_t from, uint32_t to, uint64_t ino);
/* The lowest key that a new name of this id must get; 0: all taken. */
uint64_t key_expected(uint32_t id, char *buf);

/* ---- checks of the whole ------------------------------------------------------------------- */

struct walk { uint64_t entries, pages, leaves; uint8_t *seen; };
struct walk check_tree(void);		/* every page, by a walk of its own */
extern uint32_t *sorted;		/* ids that are there, in key order: by sort_model() */
uint32_t sort_model(void);
void check_all(void);			/* the tree, lists from everywhere, look-ups */

extern struct fs_name *bulk_names;	/* names and their memory, for operations on many */
extern char (*bulk_bufs)[256];
void bulk_alloc(uint32_t n);
void bulk_release(void);

#endif
