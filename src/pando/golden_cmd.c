/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden import, list, show and retire: golden images in versions.
 *
 *	VOLUME:/golden/NAME@N		the image: raw, never changed, whole when it has its name
 *	VOLUME:/golden/NAME@N.json	what is known of it; written after it, and kept when it is retired,
 *					so that no number comes to mean another image
 *
 * Who uses it, the fleets' manifests say: nothing here is counted.  A fleet has a share of its own and would
 * go on without the image; it is kept for those who want to know what their machines are made of.
 */
#include "pando/golden.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"

#define FOLDER "/golden/"
#define NOTE_MAX 500

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

static int name_take(struct cmd *c, const char *text, struct golden_name *ret)
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

/* What was written down of it, from somebody who may have edited it. */
static int known_read(struct cmd *c, json_t *golden)
{
	static const char *const keys[] = { "note", "created", "source", "format", "prepared", "retired" };
	CLEANUP_BUF struct buf text = { .max = 65536 };
	char path[GOLDEN_PATH + 8];
	struct request r;
	json_t *j, *v;
	size_t i;
	int err;

	snprintf(path, sizeof(path), "%s.json", json_text(golden, "golden"));
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", path);
	request_arg_u64(&r, "length", 65536);
	err = client_data(c, &r, &text);
	if (err)
		return err;
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
static int golden_walk(struct cmd *c, const char *volume, const char *name, json_t *list)
{
	struct golden_walk w = { .c = c, .volume = volume, .name = name, .list = list };
	char path[128];

	snprintf(path, sizeof(path), "%s:/golden", volume);
	return entries_each(c, path, walk_entry, &w);
}

static int known_all(struct cmd *c, json_t *list)
{
	const char *key;
	json_t *j;
	int err = DONE;

	json_object_foreach(list, key, j)
		if (!err && json_object_get(j, "known"))
			err = known_read(c, j);
	return err;
}

/* The greatest version that is there; ANY: or was. */
static uint64_t newest(const json_t *list, bool any)
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

	g->version = newest(list, false);
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
	*ret = err ? NULL : strdup(plain ? text : path);
	return err ? err : *ret ? DONE : fail("out of memory");
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
	size_t len = strlen(text);

	return !strncmp(golden, text, len) && (!golden[len] || golden[len] == '@');
}

/* ---- who uses it ------------------------------------------------------------------------ */

struct users {
	const char *golden;
	json_t *list;			/* {fleet, machines} */
	char unreadable[FLEET_WHY];
};

static int users_add(void *arg, struct fleet *f, const char *why)
{
	struct users *u = arg;
	uint64_t n = 0;
	bool uses = false;
	size_t i;

	if (why) {
		snprintf(u->unreadable, sizeof(u->unreadable), "%s", why);
		return DONE;
	}
	for (i = 0; i < f->n; i++)
		n += !strcmp(fleet_golden(f, f->machines[i].version), u->golden);
	for (i = 1; i <= f->version; i++)
		uses |= !strcmp(fleet_golden(f, i), u->golden);
	if (uses)
		json_array_append_new(u->list, json_pack("{s:s,s:I}", "fleet", f->name, "machines", (json_int_t)n));
	return DONE;
}

static int users_find(struct cmd *c, struct users *u)
{
	u->list = json_array();
	return fleet_each(c, users_add, u);
}

static int users_set(struct cmd *c, json_t *list)
{
	const char *key;
	json_t *j;
	int err = DONE;

	json_object_foreach(list, key, j) {
		struct users u = { .golden = key };

		if (err || !json_object_get(j, "size"))
			continue;
		err = users_find(c, &u);
		json_object_set_new(j, "users", u.list);
	}
	return err;
}

/* ---- import ----------------------------------------------------------------------------- */

static int known_write(struct cmd *c, const char *golden, const json_t *known)
{
	char folder[128], *text = json_dumps(known, JSON_INDENT(1)), name[GOLDEN_PATH];
	json_t *files = json_array();
	struct request r;
	int err;

	snprintf(folder, sizeof(folder), "%.*s:/golden", (int)strcspn(golden, ":"), golden);
	snprintf(name, sizeof(name), "%s.json", strrchr(golden, '/') + 1);
	json_array_append_new(files, json_pack("{s:s,s:o}", "name", name, "data", json_base64(text, strlen(text))));
	free(text);
	request_init(&r, "POST", "/v1/files", NULL);
	r.body = json_pack("{s:s,s:b,s:o}", "path", folder, "replace", 1, "files", files);
	err = client_call(c, &r, NULL);
	return err;
}

static int version_new(struct cmd *c, struct golden_name *g, char golden[GOLDEN_PATH])
{
	char folder[128];
	json_t *list = json_object();
	struct request r;
	int err;

	snprintf(folder, sizeof(folder), "%s:/golden", g->volume);
	request_init(&r, "POST", "/v1/directories", NULL);
	request_arg(&r, "path", folder);
	request_arg(&r, "parents", "1");
	err = client_call(c, &r, NULL);
	if (!err)
		err = golden_walk(c, g->volume, g->name, list);
	g->version = newest(list, true) + 1;
	json_decref(list);
	golden_path(g, golden);
	return err;
}

static int import_report(struct cmd *c, const char *golden, const struct golden_name *g, const struct imported *got)
{
	char size[SIZE_TEXT], mapped[SIZE_TEXT];
	json_t *j;
	int err;

	if (c->json) {
		j = json_pack("{s:s,s:I,s:I,s:I,s:b,s:I}", "golden", golden, "version", (json_int_t)g->version, "size",
			      (json_int_t)got->size, "mapped", (json_int_t)json_u64(got->file, "mapped"), "prepared",
			      got->prepare, "removed", (json_int_t)got->removed);
		err = print_json(j);
		json_decref(j);
		return err;
	}
	printf("%s: %s imported, %s of it data", golden, size_text(got->size, size),
	       size_text(json_u64(got->file, "mapped"), mapped));
	if (got->prepare)
		printf("; %u files of its old identity removed", got->removed);
	putchar('\n');
	return print_done();
}

int golden_import(struct cmd *c)
{
	const char *note = cmd_option(c, "note"), *source = strrchr(c->argv[0], '/');
	struct imported got = { .prepare = cmd_option(c, "prepare") != NULL };
	char golden[GOLDEN_PATH], created[32];
	struct golden_name g;
	json_t *known = json_pack("[s,s]", note ? note : "", source ? source + 1 : c->argv[0]);
	int err = name_take(c, c->argv[1], &g);

	if (!err && g.version)
		err = usage(c, "%s: give the name alone; the next version is pando's to find", c->argv[1]);
	if (!err && note && (strlen(note) > NOTE_MAX || strpbrk(note, "\n\r")))
		err = usage(c, "--note: one line of %d bytes is the most", NOTE_MAX);
	if (!err && !known)
		err = usage(c, "FILE's name and --note must be UTF-8 text");
	json_decref(known);
	if (!err && strcmp(c->argv[0], "-") && access(c->argv[0], R_OK))
		err = fail("%s: %s", c->argv[0], strerror(errno));
	if (!err)
		err = version_new(c, &g, golden);
	if (!err)
		err = image_import_to(c, c->argv[0], golden, &got);
	if (!err) {
		now_text(created);
		known = json_pack("{s:s,s:s,s:s,s:s,s:b}", "created", created, "note", note ? note : "", "source",
				  source ? source + 1 : c->argv[0], "format", image_format_name(got.format), "prepared",
				  got.prepare);
		err = known ? known_write(c, golden, known) : fail("%s: is there, but without its note: out of memory",
								   golden);
		json_decref(known);
	}
	if (!err)
		err = import_report(c, golden, &g, &got);
	json_decref(got.file);
	return err;
}

/* ---- list and show ---------------------------------------------------------------------- */

static int by_version(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int r = strcmp(json_text(x, "volume"), json_text(y, "volume"));
	uint64_t v = json_u64(x, "version"), w = json_u64(y, "version");

	r = r ? r : strcmp(json_text(x, "name"), json_text(y, "name"));
	return r ? r : v < w ? -1 : v > w;
}

/* In order, without what is only of use here. */
static json_t *list_sort(json_t *list)
{
	size_t n = json_object_size(list), i = 0;
	json_t **all = calloc(n + 1, sizeof(*all)), *ret = json_array(), *j;
	const char *key;

	json_object_foreach(list, key, j)
		if (all)
			all[i++] = j;
	if (all)
		qsort(all, i, sizeof(*all), by_version);
	for (n = i, i = 0; i < n; i++) {
		json_object_del(all[i], "known");
		json_array_append(ret, all[i]);
	}
	free(all);
	return ret;
}

static void users_text(const json_t *golden, char *buf, size_t cap)
{
	const json_t *u;
	size_t i, n = 0;

	snprintf(buf, cap, "-");
	json_array_foreach(json_object_get(golden, "users"), i, u)
		if (n < cap)
			n += (size_t)snprintf(buf + n, cap - n, "%s%s (%llu)", n ? ", " : "", json_text(u, "fleet"),
					      (unsigned long long)json_u64(u, "machines"));
}

static int list_print(const json_t *list)
{
	struct table t;
	const json_t *j;
	char users[300];
	size_t i;

	table_init(&t, "lrrlll", "GOLDEN IMAGE", "SIZE", "MAPPED", "CREATED", "USED BY", "NOTE");
	json_array_foreach(list, i, j) {
		bool there = json_object_get(j, "size") != NULL;

		users_text(j, users, sizeof(users));
		table_cell(&t, json_text(j, "golden"));
		if (there) {
			table_size(&t, json_u64(j, "size"));
			table_size(&t, json_u64(j, "mapped"));
		} else {
			table_cell(&t, "-");
			table_cell(&t, "-");
		}
		table_cell(&t, *json_text(j, "created") ? json_text(j, "created") : "-");
		table_cell(&t, there ? users : "retired");
		table_cell(&t, json_text(j, "note"));
	}
	return table_print(&t);
}

static int list_end(struct cmd *c, json_t *list, int err)
{
	json_t *sorted;

	if (!err)
		err = known_all(c, list);
	if (!err)
		err = users_set(c, list);
	sorted = list_sort(list);
	if (!err)
		err = c->json ? print_json(sorted) : list_print(sorted);
	json_decref(sorted);
	json_decref(list);
	return err;
}

int golden_list(struct cmd *c)
{
	json_t *volumes, *v, *list = json_object();
	struct request r;
	size_t i;
	int err;

	request_init(&r, "GET", "/v1/volumes", NULL);
	err = client_call(c, &r, &volumes);
	if (!err) {
		json_array_foreach(json_object_get(volumes, "volumes"), i, v)
			if (!err)
				err = golden_walk(c, json_text(v, "name"), NULL, list);
		json_decref(volumes);
	}
	return list_end(c, list, err);
}

static void lines_print(const json_t *j)
{
	char size[SIZE_TEXT], users[300];

	named_print(10, "image", "%s", json_text(j, "golden"));
	if (json_object_get(j, "size"))
		printf("%-10s %s", "size", size_text(json_u64(j, "size"), size));
	if (json_object_get(j, "size"))
		printf(", %s of it data\n", size_text(json_u64(j, "mapped"), size));
	if (*json_text(j, "retired"))
		named_print(10, "retired", "%s", json_text(j, "retired"));
	named_print(10, "created", "%s", *json_text(j, "created") ? json_text(j, "created") : "-");
	named_print(10, "from", "%s, %s%s", json_text(j, "source"), json_text(j, "format"),
		   json_is_true(json_object_get(j, "prepared")) ? ", prepared" : "");
	if (*json_text(j, "note"))
		named_print(10, "note", "%s", json_text(j, "note"));
	users_text(j, users, sizeof(users));
	named_print(10, "used by", "%s", users);
}

int golden_show(struct cmd *c)
{
	json_t *list = json_object(), *j, *sorted;
	struct golden_name g;
	char golden[GOLDEN_PATH];
	size_t i;
	int err = name_take(c, c->argv[0], &g);

	if (!err)
		err = golden_walk(c, g.volume, g.name, list);
	if (!err && g.version) {
		golden_path(&g, golden);
		j = json_incref(json_object_get(list, golden));
		json_object_clear(list);
		if (j)
			json_object_set_new(list, golden, j);
	}
	if (!err && !json_object_size(list))
		err = fail("%s: there is no such golden image; 'pando golden list' shows what there is", c->argv[0]);
	if (!err)
		err = known_all(c, list);
	if (!err)
		err = users_set(c, list);
	sorted = list_sort(list);
	if (!err && c->json) {
		err = print_json(sorted);
	} else if (!err) {
		json_array_foreach(sorted, i, j) {
			if (i)
				putchar('\n');
			lines_print(j);
		}
		err = print_done();
	}
	json_decref(sorted);
	json_decref(list);
	return err;
}

/* ---- retire ----------------------------------------------------------------------------- */

static int retire_look(struct cmd *c, const char *golden, json_t *list)
{
	struct users u = { .golden = golden };
	char text[300];
	json_t *j = json_object_get(list, golden);
	int err;

	if (!json_object_get(j, "size"))
		return j ? fail("%s: is retired already", golden) :
			   fail("%s: there is no such golden image; 'pando golden list' shows what there is", golden);
	err = users_find(c, &u);
	json_object_set_new(j, "users", u.list);
	if (!err && *u.unreadable)
		err = fail("%s: who uses it cannot be told: %s", golden, u.unreadable);
	users_text(j, text, sizeof(text));
	return !err && json_array_size(u.list) ? fail("%s: is used by %s; recompose or destroy them first", golden,
						      text) : err;
}

int golden_retire(struct cmd *c)
{
	json_t *list = json_object(), *j;
	char golden[GOLDEN_PATH], now[32];
	struct golden_name g;
	struct request r;
	int err = name_take(c, c->argv[0], &g);

	if (!err && !g.version)
		err = usage(c, "%s: say which version, as %s@1", c->argv[0], c->argv[0]);
	if (!err)
		err = golden_walk(c, g.volume, g.name, list);
	golden_path(&g, golden);
	if (!err)
		err = retire_look(c, golden, list);
	j = json_object_get(list, golden);
	if (!err && json_object_get(j, "known"))
		err = known_read(c, j);
	if (!err) {
		now_text(now);
		json_object_set_new(j, "retired", json_string(now));
		json_object_del(j, "users");
		json_object_del(j, "known");
		err = known_write(c, golden, j);
	}
	if (!err) {
		request_init(&r, "DELETE", "/v1/files", NULL);
		request_arg(&r, "path", golden);
		err = client_call(c, &r, NULL);
	}
	json_decref(list);
	return err;
}
