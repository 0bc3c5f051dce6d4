/* SPDX-License-Identifier: Apache-2.0 */
/* See receive_scenes.h. */
#include "receive_scenes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE_BLOCKS 8192
#define TARGET_BLOCKS 6000

static const struct fs_config quiet = { .cache_bytes = 16 << 20, .seed = 1, .no_background = true };

/* ---- what is sent ------------------------------------------------------------------------------ */

static void change(struct rig *r, const char *name, uint64_t offset, uint32_t len, uint64_t seed)
{
	rig_write(r, rig_find(r, name), offset, len, seed);
}

static void set_xattr(struct rig *r, const char *file, const char *name, uint32_t len)
{
	char *value = test_alloc(len);

	memset(value, name[5], len);
	sim_ok(fs_xattr_set(&r->req, rig_find(r, file), name_of(name), value, len, FS_XATTR_EITHER, NULL));
	free(value);
}

static void give(struct rig *r, const char *name, uint32_t user)
{
	struct fs_setattr set = { .mask = FS_SET_UID | FS_SET_MTIME, .uid = user, .mtime = { -user, 5 } };

	sim_ok(fs_setattr(&r->req, rig_find(r, name), &set, NULL));
}

static struct fs_id make_in(struct rig *r, struct fs_id dir, const char *name, enum fs_type type)
{
	struct fs_create how = { .type = type, .how = FS_CREATE_GUARDED, .target = "where it leads" };
	struct fs_attr a;

	sim_ok(fs_create(&r->req, dir, name_of(name), &how, &a, NULL));
	return a.id;
}

static void make_first(struct rig *r)
{
	struct fs_id dir;

	rig_write(r, rig_create(r, "golden"), 0, 150000, 1);
	change(r, "golden", 3 << 20, 5000, 2);
	rig_clone(r, rig_find(r, "golden"), "vm");
	change(r, "vm", 8192, 9000, 3);
	dir = make_in(r, r->root, "dir", FS_DIR);
	rig_write(r, make_in(r, dir, "file", FS_REG), 100, 40000, 4);
	make_in(r, dir, "link", FS_LNK);
	make_in(r, make_in(r, dir, "sub", FS_DIR), "pipe", FS_FIFO);
	sim_ok(fs_link(&r->req, rig_find(r, "vm"), dir, name_of("hard"), false, NULL, NULL));
	set_xattr(r, "vm", "user.a", 100);
	set_xattr(r, "dir", "user.b", 2900);
	give(r, "vm", 7);
	rig_write(r, rig_create(r, "goes"), 0, 5000, 5);
	for (char name[] = "a"; *name < 'g'; ++*name)
		rig_write(r, rig_create(r, name), 0, 25000, *name);
}

static void change_it(struct rig *r)
{
	struct fs_id dir = rig_find(r, "dir");

	change(r, "vm", 12288, 50000, 6);
	rig_clone(r, rig_find(r, "vm"), "vm2");
	change(r, "vm2", 0, 4096, 7);
	rig_remove(r, "goes");
	rig_write(r, rig_create(r, "comes"), 0, 60000, 8);
	rig_truncate(r, rig_find(r, "golden"), 100000);
	for (char name[] = "a"; *name < 'd'; ++*name)
		change(r, name, 0, 22000, *name + 1);
	sim_ok(fs_rename(&r->req, dir, name_of("file"), r->root, name_of("moved"), NULL, NULL));
	give(r, "golden", 8);
	set_xattr(r, "vm", "user.c", 200);
	sim_ok(fs_xattr_remove(&r->req, dir, name_of("user.b"), NULL));
}

/* Directories and files that change places, files with several names, some that come and some that go. */
static void make_names(struct rig *r)
{
	struct fs_id d[4], f;
	char name[16];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		d[i] = make_in(r, i ? d[i - 1] : r->root, name, FS_DIR);
	}
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		f = rig_create(r, name);
		rig_write(r, f, 0, 5000 * (1 + i % 3), 1 + i);
		sim_ok(fs_link(&r->req, f, d[i % 4], name_of(name), false, NULL, NULL));
		sim_ok(fs_xattr_set(&r->req, f, name_of("x"), name, 3, FS_XATTR_EITHER, NULL));
	}
	sim_ok(fs_snapshot_create(&r->req, "names", "s1", NULL));
	sim_ok(fs_rename(&r->req, d[0], name_of("d1"), r->root, name_of("up"), NULL, NULL));
	sim_ok(fs_rename(&r->req, r->root, name_of("d0"), d[3], name_of("down"), NULL, NULL));
	for (unsigned i = 0; i < 12; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		if (i % 3 == 1)
			rig_write(r, rig_find(r, name), 4096, 3000, 100 + i);
		sim_ok(fs_rename(&r->req, r->root, name_of(name), d[(i + 1) % 4], name_of(i % 2 ? name : "moved"), NULL,
				 NULL));
		if (i % 3 == 0)
			sim_ok(fs_remove(&r->req, d[i % 4], name_of(name), NULL));
	}
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "new%u", i);
		rig_write(r, rig_create(r, name), 0, 6000, 200 + i);
		snprintf(name, sizeof(name), "nd%u", i);
		make_in(r, d[i % 4], name, FS_DIR);
	}
	sim_ok(fs_snapshot_create(&r->req, "names", "s2", NULL));
}

static void source_volume(struct rig *r, const char *name)
{
	struct fs_volume_info v;

	sim_ok(fs_volume_create(&r->req, name, &v));
	r->root = v.root;
}

static void make_source(struct rig *r)
{
	*r = (struct rig){ .cfg = quiet };
	r->dev = sim_disk_new(SOURCE_BLOCKS, 1);
	sim_ok(fs_format(r->dev, &(struct fs_format_opts){ .uuid = { 1 } }));
	rig_open(r);
	source_volume(r, "main");
	make_first(r);
	sim_ok(fs_snapshot_create(&r->req, "main", "s1", NULL));
	change_it(r);
	sim_ok(fs_snapshot_create(&r->req, "main", "s2", NULL));
	source_volume(r, "names");
	make_names(r);
}

/* ---- targets to begin with --------------------------------------------------------------------- */

/* A pool with something of its own. */
static struct dev_sim_image *empty_target(void)
{
	struct rig t;

	target_open(&t, TARGET_BLOCKS, 5);
	source_volume(&t, "main");
	rig_write(&t, rig_create(&t, "own"), 0, 30000, 99);
	return target_close_image(&t);
}

static struct dev_sim_image *after_all_of(struct dev_sim_image *base, const struct stream *s)
{
	struct rig t;

	target_open_image(&t, base, &quiet, 1);
	sim_ok(repl_receive(t.fs, "copy", s, false, NULL, NULL));
	return target_close_image(&t);
}

struct dev_sim_image *scene_part(const struct scene *s, unsigned percent, struct stream_token *ret)
{
	struct stream part = s->stream;
	struct rig t;
	bool kept;

	part.len = part.len * percent / 100;
	target_open_image(&t, s->base, &quiet, 1);
	sim_check(repl_receive(t.fs, "copy", &part, false, &kept, ret) == -EPIPE && kept,
		  "%s: no mark in what came", s->name);
	return target_close_image(&t);
}

void scene_send(const struct scenes *s, const struct scene *scene, const struct stream_token *token,
		struct stream *ret)
{
	repl_send(s->source.fs, scene->volume, scene->snapshot, scene->from, token, scene->mark_bytes, ret);
}

void scenes_make(struct scenes *s)
{
	struct scene *whole = &s->a[WHOLE], *more = &s->a[MORE], *rest = &s->a[REST], *names = &s->a[NAMES];
	struct stream stream;

	make_source(&s->source);
	*whole = (struct scene){ .name = "whole", .volume = "main", .snapshot = "s1", .mark_bytes = 20000 };
	whole->base = empty_target();
	scene_send(s, whole, NULL, &whole->stream);

	*more = *whole;
	more->name = "more", more->snapshot = "s2", more->from = "s1";
	more->base = after_all_of(whole->base, &whole->stream);
	scene_send(s, more, NULL, &more->stream);

	*rest = *more;
	rest->name = "rest", rest->unfinished = true;
	rest->base = scene_part(more, 75, &rest->token);
	scene_send(s, rest, &rest->token, &rest->stream);

	*names = *more;
	names->name = "names", names->volume = "names", names->mark_bytes = 500;
	repl_send(s->source.fs, "names", "s1", NULL, NULL, 0, &stream);
	names->base = after_all_of(whole->base, &stream);
	stream_free(&stream);
	scene_send(s, names, NULL, &names->stream);
}

void scenes_done(struct scenes *s)
{
	for (unsigned i = 0; i < NSCENES; i++) {
		dev_sim_image_put(s->a[i].base);
		stream_free(&s->a[i].stream);
	}
	sim_ok(fs_close(s->source.fs));
	dev_close(s->source.dev);
}
