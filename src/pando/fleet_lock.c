/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One command at a time changes a fleet: /fleets/NAME/lock is there for as long, made in one step that fails
 * if there is one.  In it is who holds it:
 *
 *	{"place": BOOT ID and PID NAMESPACE, "pid": N, "born": N, "host": ..., "verb": ..., "since": ...}
 *
 * A holder that was killed leaves it.  Where it can be told that there is no such process any more (the same
 * place) it is taken over; from elsewhere nobody can tell, and people are told how to go on.
 *
 * Several may find the same dead holder at once.  Nobody ever removes "the lock": only that file, by its inode
 * and generation, which he has read or made.  So the second finds nothing to remove, and then a living holder.
 */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LOCK_MAX 4096
#define TRIES 50			/* others take it and let it go meanwhile */

/* When process PID was born, in ticks since the boot; 0: there is none, or it is dead and only not yet buried. */
static uint64_t born_of(uint64_t pid)
{
	char path[64], text[1024] = "";
	CLEANUP_FILE FILE *f = NULL;
	unsigned long long born = 0;
	const char *s;
	int i;

	snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	f = fopen(path, "re");
	if (!f || !fread(text, 1, sizeof(text) - 1, f))
		return 0;
	s = strrchr(text, ')');			/* the name before may hold anything */
	if (!s || !s[1] || strchr("ZX", s[2]))
		return 0;
	for (i = 2; s && i < 22; i++)
		s = strchr(s + 1, ' ');
	return s && sscanf(s, "%llu", &born) == 1 ? born : 0;
}

/* Where a process id means the same process: this boot, and this namespace of them. */
static void place_text(char buf[160])
{
	char boot[64] = "", ns[64] = "";
	CLEANUP_FILE FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	ssize_t n = readlink("/proc/self/ns/pid", ns, sizeof(ns) - 1);

	if (!f || !fgets(boot, sizeof(boot), f) || n < 0)
		boot[0] = 0;
	boot[strcspn(boot, "\n")] = 0;
	snprintf(buf, 160, "%s %s", boot, ns);
}

static json_t *holder_make(const struct cmd *c)
{
	char place[160], host[64] = "", since[32];

	place_text(place);
	gethostname(host, sizeof(host) - 1);
	now_text(since);
	return json_pack("{s:s,s:I,s:I,s:s,s:s,s:s}", "place", place, "pid", (json_int_t)getpid(), "born",
			 (json_int_t)born_of((uint64_t)getpid()), "host", host, "verb", c->verb->name, "since", since);
}

/* A lock that was found. */
struct held {
	json_t *holder;			/* NULL: there was none; an object without keys: it makes no sense */
	uint64_t inode, generation;
};

/* Who holds it. */
static int held_read(struct cmd *c, const char *path, struct held *ret)
{
	CLEANUP_BUF struct buf text = { .max = LOCK_MAX };
	struct request r;
	json_t *stat;
	int err;

	memset(ret, 0, sizeof(*ret));
	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", path);
	err = client_find(c, &r, &stat);
	if (err || !stat)
		return err;
	ret->inode = json_u64(stat, "inode");
	ret->generation = json_u64(stat, "generation");
	json_decref(stat);
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", path);
	request_arg_u64(&r, "inode", ret->inode);
	request_arg_u64(&r, "generation", ret->generation);
	request_arg_u64(&r, "length", LOCK_MAX);
	if (!client_try_data(c, &r, &text))
		return DONE;		/* it is another's by now: as if there was none */
	ret->holder = json_loadb(buf_str(&text), text.len, 0, NULL);
	if (!json_is_object(ret->holder)) {
		json_decref(ret->holder);
		ret->holder = json_object();
	}
	return DONE;
}

/* That one; it may be gone. */
static bool held_remove(struct cmd *c, const char *path, uint64_t inode, uint64_t generation)
{
	struct request r;

	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", path);
	request_arg_u64(&r, "inode", inode);
	request_arg_u64(&r, "generation", generation);
	return client_try(c, &r);
}

static bool is_gone(const json_t *holder)
{
	char place[160];
	uint64_t born = json_u64(holder, "born");

	place_text(place);
	return born && place[0] != ' ' && !strcmp(json_text(holder, "place"), place) &&
	       born_of(json_u64(holder, "pid")) != born;
}

static int held_fail(const struct fleet *f, const char *path, const json_t *holder)
{
	char pid[24];

	snprintf(pid, sizeof(pid), "%llu", (unsigned long long)json_u64(holder, "pid"));
	return fail("%s: 'pando fleet %s' (process %s on %s) is at work on it since %s; try again when it is done, or, "
		    "if there is no such process, 'pando rm %s'", f->name, json_text(holder, "verb"), pid,
		    *json_text(holder, "host") ? json_text(holder, "host") : "?", json_text(holder, "since"), path);
}

/* LOUD: tells why it cannot be made. */
static bool lock_make(struct cmd *c, const struct fleet *f, const json_t *mine, bool loud)
{
	json_t *files = json_array();
	char *text = json_dumps(mine, 0), path[300];
	struct request r;

	fleet_path(f, "", path, sizeof(path));
	json_array_append_new(files, json_pack("{s:s,s:o}", "name", "lock", "data", json_base64(text, strlen(text))));
	free(text);
	request_init(&r, "POST", "/v1/files", NULL);
	/* also in a full pool: a destroy begins with it */
	r.body = json_pack("{s:s,s:s,s:b,s:o}", "path", path, "mode", "0600", "makes_room", true, "files", files);
	return loud ? client_call(c, &r, NULL) == DONE : client_try(c, &r);
}

/* One try; *RET_HELD: it is this command's now. */
static int lock_try(struct cmd *c, const struct fleet *f, const json_t *mine, bool loud, bool *ret_held)
{
	char path[300];
	struct held h;
	int err;

	*ret_held = false;
	fleet_path(f, "/lock", path, sizeof(path));
	if (!lock_make(c, f, mine, loud) && loud)
		return FAILED;
	err = held_read(c, path, &h);
	if (err || !h.holder)
		return err;
	*ret_held = json_equal(h.holder, mine);
	if (*ret_held) {
		snprintf(c->lock, sizeof(c->lock), "%s", path);
		c->lock_inode = h.inode;
		c->lock_generation = h.generation;
	} else if (is_gone(h.holder)) {
		held_remove(c, path, h.inode, h.generation);
	} else {
		err = held_fail(f, path, h.holder);
	}
	json_decref(h.holder);
	return err;
}

int fleet_lock(struct cmd *c, const struct fleet *f)
{
	json_t *mine = holder_make(c);
	bool held = false;
	int i, err = mine ? DONE : fail("out of memory");

	for (i = 1; i <= TRIES && !held && !err; i++)
		err = lock_try(c, f, mine, i == TRIES, &held);
	json_decref(mine);
	return held || err ? err : fail("%s: others came first, %d times; try again", f->name, TRIES);
}

void fleet_unlock(struct cmd *c)
{
	if (*c->lock)
		held_remove(c, c->lock, c->lock_inode, c->lock_generation);
	c->lock[0] = 0;
}
