/* SPDX-License-Identifier: Apache-2.0 */
/* What golden images there are, what is known of them, and who uses them: see golden.h. */
#include "pando/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"

#define FOLDER "/golden/"

/* ---- names ------------------------------------------------------------------------------ */

bool golden_parse(const struct objpath *p, struct golden_name *ret)
{
	const char *leaf = p->path + strlen(FOLDER), *at;
	size_t len;

	if (strncmp(p->path, FOLDER, strlen(FOLDER)) || strchr(leaf, '/') || strchr(p->volume, '@'))
		return false;
	at = strrchr(leaf, '@');
	len = at ? (size_t)(at - leaf) : strlen(leaf);
	ret->version = 0;
	if (!len || len > GOLDEN_NAME_MAX ||
	    strspn(leaf, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len || *leaf == '.')
		return false;
	if (at && (number_parse(at + 1, &ret->version) || !ret->version || ret->version > GOLDEN_VERSIONS_MAX ||
		   at[1] == '0'))
		return false;
	snprintf(ret->volume, sizeof(ret->volume), "%.63s", p->volume);
	snprintf(ret->name, sizeof(ret->name), "%.*s", (int)len, leaf);
	return true;
}

void golden_path(const struct golden_name *g, char buf[GOLDEN_PATH])
{
	if (g->version)
		snprintf(buf, GOLDEN_PATH, "%s:" FOLDER "%s@%llu", g->volume, g->name,
			 (unsigned long long)g->version);
	else
		snprintf(buf, GOLDEN_PATH, "%s:" FOLDER "%s", g->volume, g->name);
}

int golden_name_take(struct cmd *c, const char *text, struct golden_name *ret)
{
	struct objpath p;
	int err = cmd_object(c, text, &p);

	if (err)
		return err;
	return golden_parse(&p, ret) ? DONE :
		usage(c, "%s: is not VOLUME:" FOLDER "NAME or VOLUME:" FOLDER "NAME@VERSION; a name has letters, "
		      "digits, '.', '_' and '-'", text);
}

/* ---- what there is ---------------------------------------------------------------------- */

struct golden_walk {
	struct cmd *c;
	const char *volume, *name;	/* name: NULL for all */
	json_t *list;			/* objects with name, version, and image or known */
};

static json_t *walk_find(struct golden_walk *w, const struct golden_name *g)
{
	char key[GOLDEN_PATH];
	json_t *j;

	golden_path(g, key);
	j = json_object_get(w->list, key);
	if (j)
		return j;
	j = json_pack("{s:s,s:s,s:s,s:I}", "golden", key, "volume", g->volume, "name", g->name, "version",
		      (json_int_t)g->version);
	json_object_set_new(w->list, key, j);
	return j;
}

static int walk_entry(void *arg, const json_t *entry)
{
	struct golden_walk *w = arg;
	struct objpath p;
	struct golden_name g;
	const char *leaf = json_text(entry, "name");
	size_t len = strlen(leaf);
	bool known = len > 5 && !strcmp(leaf + len - 5, ".json");
	json_t *j;

	if (strcmp(json_text(entry, "type"), "file") || len > OBJNAME_NAME_MAX)
		return DONE;
	snprintf(p.volume, sizeof(p.volume), "%s", w->volume);
	snprintf(p.path, sizeof(p.path), FOLDER "%.*s", (int)(known ? len - 5 : len), leaf);
	if (!golden_parse(&p, &g) || !g.version || (w->name && strcmp(w->name, g.name)))
		return DONE;
	j = walk_find(w, &g);
	if (known) {
		json_object_set_new(j, "known", json_true());
	} else {
		json_object_set(j, "size", json_object_get(entry, "size"));
		json_object_set(j, "mapped", json_object_get(entry, "mapped"));
	}
	return DONE;
}

/* Why it can't be read; no failure if that is because an import has failed meanwhile, and removed it. */
static int known_gone(struct cmd *c, const char *path)
{
	CLEANUP_BUF struct buf text = { .max = 65536 };
	struct request r;
	json_t *stat;
	int err = stat_find(c, path, &stat);

	if (err || !stat)
		return err;
	json_decref(stat);
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", path);
	request_arg_u64(&r, "length", 65536);
	return client_data(c, &r, &text);
}

/* What was written down of it, from somebody who may have edited it. */
int golden_known_read(struct cmd *c, json_t *golden)
{
	static const char *const keys[] = { "note", "created", "source", "format", "prepared", "retired", "begun" };
	CLEANUP_BUF struct buf text = { .max = 65536 };
	char path[GOLDEN_PATH + 8];
	struct request r;
	json_t *j, *v;
	size_t i;

	snprintf(path, sizeof(path), "%s.json", json_text(golden, "golden"));
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", path);
	request_arg_u64(&r, "length", 65536);
	if (!client_try_data(c, &r, &text))
		return known_gone(c, path);
	j = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(j))
		json_object_set_new(golden, "note", json_string("(its .json file is not readable)"));
	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		v = json_object_get(j, keys[i]);
		if (json_is_string(v) || json_is_boolean(v))
			json_object_set(golden, keys[i], v);
	}
	json_decref(j);
	return DONE;
}

/* All versions of NAME (NULL: of all) in VOLUME, added to *LIST, which is by path. */
int golden_walk(struct cmd *c, const char *volume, const char *name, json_t *list)
{
	struct golden_walk w = { .c = c, .volume = volume, .name = name, .list = list };
	char path[128];

	snprintf(path, sizeof(path), "%s:/golden", volume);
	return entries_each(c, path, walk_entry, &w);
}

int golden_known_all(struct cmd *c, json_t *list)
{
	const char *key;
	json_t *j;
	int err = DONE;

	json_object_foreach(list, key, j)
		if (!err && json_object_get(j, "known"))
			err = golden_known_read(c, j);
	return err;
}

static void known_request(const char *golden, const json_t *known, bool replace, struct request *r)
{
	char folder[128], *text = json_dumps(known, JSON_INDENT(1)), name[GOLDEN_PATH];
	json_t *files = json_array();

	snprintf(folder, sizeof(folder), "%.*s:/golden", (int)strcspn(golden, ":"), golden);
	snprintf(name, sizeof(name), "%s.json", strrchr(golden, '/') + 1);
	json_array_append_new(files, json_pack("{s:s,s:o}", "name", name, "data", json_base64(text, strlen(text))));
	free(text);
	request_init(r, "POST", "/v1/files", NULL);
	r->body = json_pack("{s:s,s:b,s:o}", "path", folder, "replace", replace, "files", files);
}

int golden_known_write(struct cmd *c, const char *golden, const json_t *known)
{
	struct request r;

	known_request(golden, known, true, &r);
	return client_call(c, &r, NULL);
}

bool golden_number_take(struct cmd *c, const char *golden, const json_t *known, bool loud)
{
	struct request r;

	known_request(golden, known, false, &r);
	return loud ? client_call(c, &r, NULL) == DONE : client_try(c, &r);
}

/* The greatest version that is there; ANY: or was. */
uint64_t golden_newest(const json_t *list, bool any)
{
	uint64_t v, max = 0;
	const char *key;
	json_t *j;

	json_object_foreach((json_t *)list, key, j) {
		v = json_u64(j, "version");
		if (v > max && (any || json_object_get(j, "size")))
			max = v;
	}
	return max;
}

/* The newest version, if there is one; else G stays without. */
static int version_newest(struct cmd *c, struct golden_name *g)
{
	json_t *list = json_object();
	int err = golden_walk(c, g->volume, g->name, list);

	g->version = golden_newest(list, false);
	json_decref(list);
	return err;
}

int golden_resolve(struct cmd *c, const char *text, char **ret)
{
	char path[GOLDEN_PATH];
	struct golden_name g;
	struct objpath p;
	struct request r;
	json_t *j = NULL;
	bool plain;
	int err = cmd_object(c, text, &p);

	if (err)
		return err;
	plain = !golden_parse(&p, &g) || g.version;
	if (!plain) {
		request_init(&r, "GET", "/v1/files", NULL);
		request_arg(&r, "path", text);
		err = client_find(c, &r, &j);
	}
	if (!err && !plain && !j)
		err = version_newest(c, &g);
	plain |= j || !g.version;
	json_decref(j);
	if (!plain)
		golden_path(&g, path);
	if (!err && asprintf(ret, "%s%s%s", plain ? p.volume : path, plain ? ":" : "", plain ? p.path : "") < 0)
		err = fail("out of memory");
	return err;
}

bool golden_has_version(const char *golden)
{
	char why[OBJNAME_WHY];
	struct golden_name g;
	struct objpath p;

	return !objpath_parse(golden, strlen(golden), &p, why) && golden_parse(&p, &g) && g.version;
}

bool golden_is(const char *golden, const char *text)
{
	char why[OBJNAME_WHY], name[sizeof(struct objpath) + 2];
	struct objpath p;
	size_t len;

	if (objpath_parse(text, strlen(text), &p, why))
		return false;
	len = (size_t)snprintf(name, sizeof(name), "%s:%s", p.volume, p.path);
	return !strncmp(golden, name, len) && (!golden[len] || golden[len] == '@');
}

/* ---- who uses it ------------------------------------------------------------------------ */

/* Adds F to the users of GOLDEN if it is one. */
static void user_note(const struct fleet *f, const char *golden, json_t *users)
{
	uint64_t n = 0;
	bool uses = false;
	size_t i;

	for (i = 0; i < f->n; i++)
		n += !strcmp(fleet_golden(f, f->machines[i].version), golden) || attached_has(f, f->machines[i].name, golden);
	for (i = 1; i <= f->version; i++)
		uses |= !strcmp(fleet_golden(f, i), golden);
	if (uses || n)
		json_array_append_new(users, json_pack("{s:s,s:I}", "fleet", f->name, "machines", (json_int_t)n));
}

static int users_add(void *arg, struct fleet *f, const char *why)
{
	struct golden_users *u = arg;

	if (why && !f->copy)
		snprintf(u->unreadable, sizeof(u->unreadable), "%s", why);
	else if (!f->copy)
		user_note(f, u->golden, u->list);
	return DONE;
}

int golden_users_find(struct cmd *c, struct golden_users *u)
{
	u->list = json_array();
	return fleet_each(c, users_add, u);
}

static int users_add_all(void *arg, struct fleet *f, const char *why)
{
	const char *key;
	json_t *j;

	json_object_foreach((json_t *)arg, key, j)
		if (!why && json_object_get(j, "users"))
			user_note(f, key, json_object_get(j, "users"));
	return DONE;
}

/* Each manifest is read once, however many images there are. */
int golden_users_set(struct cmd *c, json_t *list)
{
	const char *key;
	json_t *j;

	json_object_foreach(list, key, j)
		if (json_object_get(j, "size"))
			json_object_set_new(j, "users", json_array());
	return fleet_each(c, users_add_all, list);
}

void golden_users_text(const json_t *golden, char *buf, size_t cap)
{
	const json_t *u;
	size_t i, n = 0;

	snprintf(buf, cap, "-");
	json_array_foreach(json_object_get(golden, "users"), i, u)
		if (n < cap)
			n += (size_t)snprintf(buf + n, cap - n, "%s%s (%llu)", n ? ", " : "", json_text(u, "fleet"),
					      (unsigned long long)json_u64(u, "machines"));
}
