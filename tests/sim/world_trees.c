/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clones of directories in a world.  A client clones its own with all that is in it, finds there what it
 * knows, works there as at home, power cuts included, and finds home as it has left it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfs/handle.h"
#include "world.h"

enum { NOENT = 2 };

struct planting { const uint8_t *src, *root; char name[24]; bool too_big; };

static int plant(struct fs_req *req, void *arg)
{
	struct planting *p = arg;
	struct fs_id src, root;
	struct fs_attr attr;
	uint32_t count;
	uint8_t key[16];
	int err;

	fs_pool_secret(req->fs, key);
	sim_ok(handle_read(key, p->src, HANDLE_BYTES, &src));
	sim_ok(handle_read(key, p->root, HANDLE_BYTES, &root));
	err = fs_clone_tree(req, src, root, (struct fs_name){ p->name, strlen(p->name) }, &attr, &count);
	p->too_big = err == -E2BIG;
	return p->too_big ? 0 : err;
}

/* The directory's handle.  false: it isn't there, or nobody can tell. */
static bool find(struct client *c, const char *name, uint8_t *ret_dir, bool must)
{
	uint32_t len;
	uint64_t size;
	unsigned tries = 0;
	struct said v;

	do
		v = c->nfs->lookup(c, c->root, HANDLE_BYTES, name, ret_dir, &len, &size);
	while (client_again(c, v, tries++));
	if (v.status && (must || v.status != NOENT))
		client_excuse(c, "LOOKUP of a cloned directory", v.status);
	return !v.status;
}

static bool planted(struct client *c, struct planting *p, uint8_t *ret_dir)
{
	int err;

	snprintf(p->name, sizeof(p->name), "t%u-%u", c->id, ++c->serial);
	err = admin_risky_call(c, plant, p, "clone -r");
	/* Copying what is shared too often may be more than the cache holds. */
	sim_check(!p->too_big || c->w->cfg.max_refs || c->w->lean, "client %u: a small directory is too big",
		  c->id);
	if (err == NOBODY || p->too_big || (err && !admin_settled(c)))
		return false;
	return find(c, p->name, ret_dir, !err);
}

/* All that must be in the clone of its directory is there. */
static void arrive(struct client *c, const uint8_t *dir)
{
	memcpy(c->dir, dir, HANDLE_BYTES);
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (c->files[i].exists)
			c->files[i].doubt = true;
	for (unsigned i = 0; i < FILES_MAX; i++) {
		if (!c->files[i].exists)
			continue;
		client_adopt(c, &c->files[i]);
		if (c->files[i].exists)
			client_verify(c, &c->files[i]);
	}
	client_list(c);
	c->w->tree_clones++;
}

/* Files that it has forgotten may keep the directory where it is. */
static void fell(struct client *c, const char *name)
{
	struct said v;
	unsigned tries = 0;

	for (unsigned i = 0; i < FILES_MAX; i++)
		if (c->files[i].exists)
			client_remove(c, &c->files[i]);
	memcpy(c->dir, c->root, HANDLE_BYTES);
	do
		v = c->nfs->remove(c, name, true);
	while (client_again(c, v, tries++));
	if (v.status && !(v.status == NOENT && (v.restarted || tries > 1)) && !c->errors)
		client_excuse(c, "RMDIR", v.status);
}

/* What it has left at home. */
struct left { uint8_t dir[64]; struct file files[FILES_MAX]; };

void client_tree(struct client *c, const uint8_t *src, const struct file *files, void (*work)(struct client *c))
{
	struct planting p = { .src = src, .root = c->root };
	struct left *home;
	uint8_t dir[64];

	if (!client_quiet(c) || !planted(c, &p, dir))
		return;
	home = test_alloc(sizeof(*home));
	memcpy(home->dir, c->dir, sizeof(home->dir));
	memcpy(home->files, c->files, sizeof(home->files));
	if (files)
		memcpy(c->files, files, sizeof(c->files));
	arrive(c, dir);
	for (unsigned i = rng_below(&c->rng, 5); i > 0 && !c->w->closing; i--)
		work(c);
	fell(c, p.name);
	memcpy(c->dir, home->dir, sizeof(home->dir));
	memcpy(c->files, home->files, sizeof(home->files));
	c->npending = 0;
	free(home);
	for (unsigned i = 0; i < FILES_MAX; i++)
		if (c->files[i].exists)
			client_verify(c, &c->files[i]);
}
