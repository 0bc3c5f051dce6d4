/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept of streams that were interrupted, and of those received: see receive_int.h. */
#include "repl/receive_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "base/err.h"

#define MAGIC 0x4445564945434552ULL	/* "RECEIVED" */
#define VERSION 2
#define LIST_BYTES 65536

static struct fs_name name_of(const char *s) { return (struct fs_name){ s, (uint32_t)strlen(s) }; }

/* ---- names ---------------------------------------------------------------------------------- */

void unfinished_key(const char *volume, char key[KEY_LEN + 1])
{
	snprintf(key, KEY_LEN + 1, "%016llx", (unsigned long long)hash64(volume, strlen(volume)));
}

void unfinished_hidden(const char *key, char hidden[FS_VOLUME_NAME_MAX + 1])
{
	snprintf(hidden, FS_VOLUME_NAME_MAX + 1, FS_HIDDEN_PREFIX "%s", key);
}

static void state_name(const char *key, char name[FILE_NAME_MAX])
{
	snprintf(name, FILE_NAME_MAX, "%s.state", key);
}

void map_name(const char *key, uint64_t mark, char name[FILE_NAME_MAX])
{
	snprintf(name, FILE_NAME_MAX, "%s.map%u", key, (unsigned)(mark & 1));
}

void kept_map_name(const uint8_t uuid[16], uint32_t volume, char name[FILE_NAME_MAX])
{
	for (unsigned i = 0; i < 16; i++)
		snprintf(name + 2 * i, 3, "%02x", uuid[i]);
	snprintf(name + 32, FILE_NAME_MAX - 32, "-%u.map", volume);
}

static int gone(int err) { return err == -ENOENT ? 0 : err; }

/* ---- files ---------------------------------------------------------------------------------- */

int receive_file(struct fs_req *req, const char *name, bool create, struct fs_id *ret)
{
	struct fs_create how = { .type = FS_REG, .how = FS_CREATE_GUARDED,
				 .set = { .mask = FS_SET_MODE, .mode = 0600 } };
	struct fs_id dir;
	struct fs_attr a;
	int err = fs_system_dir(req, RECEIVE_DIR, &dir);

	if (!err && !create)
		err = fs_lookup(req, dir, name_of(name), &a, NULL);
	if (!err && create) {
		err = fs_remove(req, dir, name_of(name), NULL);
		if (!err || err == -ENOENT)
			err = fs_create(req, dir, name_of(name), &how, &a, NULL);
	}
	if (!err)
		*ret = a.id;
	return err;
}

int receive_clone(struct fs_req *req, const char *from, const char *to, struct fs_id *ret)
{
	struct fs_name name = name_of(to);
	struct fs_attr a;
	struct fs_id dir;
	int err = fs_system_dir(req, RECEIVE_DIR, &dir);

	if (!err)
		err = gone(fs_remove(req, dir, name, NULL));
	if (!err)
		err = fs_lookup(req, dir, name_of(from), &a, NULL);
	if (!err)
		err = fs_clone(req, a.id, dir, &name, 1, NULL, &a);
	if (!err)
		*ret = a.id;
	return err;
}

int receive_rename(struct fs_req *req, const char *from, const char *to)
{
	struct fs_id dir;
	int err = fs_system_dir(req, RECEIVE_DIR, &dir);

	return err ? err : fs_rename(req, dir, name_of(from), dir, name_of(to), NULL, NULL);
}

int receive_remove(struct fs_req *req, const char *name)
{
	struct fs_id dir;
	int err = fs_system_dir(req, RECEIVE_DIR, &dir);

	return err ? err : fs_remove(req, dir, name_of(name), NULL);
}

static uint32_t crc_of(const struct unfinished *u)
{
	struct unfinished copy = *u;

	copy.crc = 0;
	return crc32c(0, &copy, sizeof(copy));
}

int unfinished_read(struct fs_req *req, const char *key, struct unfinished *ret)
{
	struct fs_read *r = malloc(sizeof(*r));
	struct unfinished u = { 0 };
	char name[FILE_NAME_MAX];
	struct fs_id id;
	int err = r ? 0 : -ENOMEM;

	state_name(key, name);
	if (!err)
		err = receive_file(req, name, false, &id);
	if (!err)
		err = fs_read(req, id, 0, sizeof(u), r);
	if (!err) {
		if (r->len == sizeof(u) && r->niov == 1)
			memcpy(&u, r->iov[0].iov_base, sizeof(u));
		fs_read_done(req->fs, r);
		if (u.magic != MAGIC || u.version != VERSION || u.crc != crc_of(&u))
			err = -EDAMAGED;
	}
	free(r);
	if (!err)
		*ret = u;
	return err;
}

int unfinished_write(struct fs_req *req, const char *key, struct unfinished *u)
{
	struct iovec iov = { u, sizeof(*u) };
	char name[FILE_NAME_MAX];
	struct fs_id id;
	int err;

	u->magic = MAGIC;
	u->version = VERSION;
	u->crc = crc_of(u);
	state_name(key, name);
	err = receive_file(req, name, false, &id);
	if (err == -ENOENT)
		err = receive_file(req, name, true, &id);
	if (!err)
		err = fs_write(req, id, 0, &iov, 1, sizeof(*u), true, NULL);
	return err ? err : fs_wait_stable(req->fs, req->stable_seq);
}

int unfinished_drop(struct fs *fs, const char *key)
{
	char hidden[FS_VOLUME_NAME_MAX + 1], name[FILE_NAME_MAX];
	struct fs_req req;
	int err;

	fs_req_admin(&req, fs);
	unfinished_hidden(key, hidden);
	err = gone(fs_hidden_destroy(&req, hidden));
	for (unsigned i = 0; i < 2 && !err; i++) {
		map_name(key, i, name);
		err = gone(receive_remove(&req, name));
	}
	state_name(key, name);		/* last: it says that there is the rest */
	return err ? err : gone(receive_remove(&req, name));
}

/* ---- all of them ---------------------------------------------------------------------------- */

struct names { char (*a)[FILE_NAME_MAX]; size_t n, cap; };

static int name_add(struct names *all, const struct fs_dirent *e)
{
	size_t cap = all->cap ? 2 * all->cap : 64;
	void *more;

	if (e->name_len >= FILE_NAME_MAX)
		return 0;		/* none of ours */
	if (all->n == all->cap) {
		more = realloc(all->a, cap * sizeof(*all->a));
		if (!more)
			return -ENOMEM;
		all->a = more;
		all->cap = cap;
	}
	memcpy(all->a[all->n++], e->name, e->name_len + 1);
	return 0;
}

static int names_read(struct fs_req *req, struct names *ret)
{
	struct fs_dirlist list = { .buf = malloc(LIST_BYTES), .cap = LIST_BYTES };
	const struct fs_dirent *e;
	uint64_t cookie = 2;
	struct fs_id dir;
	int err = list.buf ? fs_system_find(req, RECEIVE_DIR, &dir) : -ENOMEM;

	*ret = (struct names){ 0 };
	while (!err && !list.eof) {
		err = fs_readdir(req, dir, cookie, false, &list);
		e = list.buf;
		for (unsigned i = 0; !err && i < list.n; i++, e = fs_dirent_next(e)) {
			cookie = e->cookie;
			err = name_add(ret, e);
		}
	}
	free(list.buf);
	return gone(err);
}

/* Whose state, or map, a file is. */
static bool name_is(const char *name, const char *suffix, char key[KEY_LEN + 1])
{
	if (strspn(name, "0123456789abcdef") != KEY_LEN || strcmp(name + KEY_LEN, suffix))
		return false;
	memcpy(key, name, KEY_LEN);
	key[KEY_LEN] = 0;
	return true;
}

/* 1: it can; 0: never. */
static int can_go_on(struct fs_req *req, const char *key, struct unfinished *u)
{
	char hidden[FS_VOLUME_NAME_MAX + 1], mark[32];
	struct fs_snapshot_info s;
	int err = unfinished_read(req, key, u);

	if (err)
		return err == -EDAMAGED ? 0 : gone(err);
	if (!u->token.number)
		return 0;
	unfinished_hidden(key, hidden);
	snprintf(mark, sizeof(mark), "m%llu", (unsigned long long)u->token.number);
	err = fs_snapshot_find(req->fs, hidden, mark, &s);
	return err ? gone(err) : 1;
}

int unfinished_each(struct fs *fs, int (*fn)(void *arg, const struct unfinished_info *u), void *arg)
{
	struct unfinished_info info;
	char key[KEY_LEN + 1];
	struct unfinished u;
	struct names names;
	struct fs_req req;
	int err, known;

	fs_req_admin(&req, fs);
	err = names_read(&req, &names);
	for (size_t i = 0; !err && i < names.n; i++) {
		if (!name_is(names.a[i], ".state", key))
			continue;
		known = can_go_on(&req, key, &u);
		err = known < 0 ? known : 0;
		if (known <= 0)
			continue;
		snprintf(info.volume, sizeof(info.volume), "%s", u.volume);
		snprintf(info.source, sizeof(info.source), "%s", u.begin.volume_name);
		snprintf(info.snapshot, sizeof(info.snapshot), "%s", u.begin.snapshot_name);
		snprintf(info.from, sizeof(info.from), "%s", u.begin.from_name);
		info.token = u.token;
		err = fn(arg, &info);
	}
	free(names.a);
	return err;
}

int unfinished_forget(struct fs *fs, const char *volume)
{
	char key[KEY_LEN + 1];
	struct unfinished u;
	struct fs_req req;
	int err;

	fs_req_admin(&req, fs);
	unfinished_key(volume, key);
	err = unfinished_read(&req, key, &u);
	if (!err || err == -EDAMAGED)
		err = unfinished_drop(fs, key);
	return err ? err : fs_wait_stable(fs, fs_last_seq(fs));
}

/* 1: the map of a snapshot that was received, and is there no more; 0: it is there, or that is no map. */
static int map_is_old(struct fs_req *req, const char *name)
{
	uint8_t uuid[16];
	unsigned byte, volume;
	char expect[FILE_NAME_MAX];
	struct fs_snapshot_info s = { 0 };
	int err;

	for (unsigned i = 0; i < 16; i++) {
		if (sscanf(name + 2 * i, "%2x", &byte) != 1)
			return 0;
		uuid[i] = (uint8_t)byte;
	}
	if (sscanf(name + 32, "-%u.map", &volume) != 1)
		return 0;
	kept_map_name(uuid, volume, expect);
	if (strcmp(name, expect))
		return 0;
	while (!(err = fs_snapshot_next(req->fs, volume, s.id, &s)))
		if (!memcmp(s.uuid, uuid, 16))
			return 0;
	return err == -ENOENT ? 1 : err;
}

static int sweep_one(struct fs_req *req, const char *name)
{
	char key[KEY_LEN + 1];
	struct unfinished u;
	int known;

	if (name_is(name, ".state", key) || name_is(name, ".map0", key) || name_is(name, ".map1", key)) {
		known = can_go_on(req, key, &u);
		return known ? known < 0 ? known : 0 : unfinished_drop(req->fs, key);
	}
	known = strlen(name) > 36 ? map_is_old(req, name) : 0;
	return known > 0 ? gone(receive_remove(req, name)) : known;
}

/* What can't be read just now is not lost: it stays. */
int unfinished_sweep(struct fs *fs)
{
	struct names names;
	struct fs_req req;
	int err;

	fs_req_admin(&req, fs);
	err = names_read(&req, &names);
	for (size_t i = 0; !err && i < names.n; i++)
		err = sweep_one(&req, names.a[i]);
	free(names.a);
	return err;
}
