/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One command at a time changes a fleet: /fleets/NAME/lock is there for as long, made in one step that fails
 * if there is one.  In it is who holds it:
 *
 *	{"place": BOOT ID and PID NAMESPACE, "pid": N, "born": N, "host": ..., "verb": ..., "since": ...}
 *
 * A holder that was killed leaves it.  Where it can be told that there is no such process any more (the same
 * place) it is taken over; from elsewhere nobody can tell, and people are told how to go on.
 */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LOCK_MAX 4096

/* When process PID was born, in ticks since the boot; 0: there is none. */
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

/* Who holds it; *RET is NULL if nobody does. */
static int holder_read(struct cmd *c, const char *path, json_t **ret)
{
	CLEANUP_BUF struct buf text = { .max = LOCK_MAX };
	struct request r;
	json_t *stat;
	int err;

	*ret = NULL;
	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", path);
	err = client_find(c, &r, &stat);
	if (err || !stat)
		return err;
	json_decref(stat);
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", path);
	request_arg_u64(&r, "length", LOCK_MAX);
	err = client_data(c, &r, &text);
	if (!err)
		*ret = json_loadb(buf_str(&text), text.len, 0, NULL);
	if (!err && !json_is_object(*ret)) {
		json_decref(*ret);
		*ret = json_object();
	}
	return err;
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

static bool lock_make(struct cmd *c, const struct fleet *f)
{
	json_t *holder = holder_make(c), *files = json_array();
	char *text = json_dumps(holder, 0), path[300];
	struct request r;

	fleet_path(f, "", path, sizeof(path));
	json_array_append_new(files, json_pack("{s:s,s:o}", "name", "lock", "data", json_base64(text, strlen(text))));
	free(text);
	json_decref(holder);
	request_init(&r, "POST", "/v1/files", NULL);
	r.body = json_pack("{s:s,s:s,s:o}", "path", path, "mode", "0600", "files", files);
	return client_try(c, &r);
}

int fleet_lock(struct cmd *c, const struct fleet *f)
{
	char path[300];
	json_t *holder;
	bool gone, there;
	int i, err;

	fleet_path(f, "/lock", path, sizeof(path));
	for (i = 0; i < 3; i++) {
		if (lock_make(c, f)) {
			snprintf(c->lock, sizeof(c->lock), "%s", path);
			return DONE;
		}
		err = holder_read(c, path, &holder);
		if (err)
			return err;
		there = holder != NULL;
		gone = !there || is_gone(holder);
		if (!gone)
			err = held_fail(f, path, holder);
		json_decref(holder);
		if (!err && there)
			err = fleet_file_remove(c, f, "/lock", false);
		if (err)
			return err;
	}
	return fail("%s: cannot be made; is the volume full, or read-only?", path);
}

void fleet_unlock(struct cmd *c)
{
	struct request r;

	if (!*c->lock)
		return;
	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", c->lock);
	client_try(c, &r);
	c->lock[0] = 0;
}
