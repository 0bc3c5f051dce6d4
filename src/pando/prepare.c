/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden import --prepare: takes the identity out of a system that was installed, before machines are made
 * of it.  Nothing is mounted: debugfs and e2fsck (e2fsprogs) work on the ext4 file system inside the raw
 * image, "FILE?offset=BYTES".
 *
 *	check, and replay its journal	e2fsck -fp
 *	look	which of what identifies it is there	debugfs "ls -p DIR"
 *	edit	in one script	debugfs -w
 *	look again, and check	what was to go must be gone
 */
#include "pando/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "pando/partition.h"

#define DEPTH_MAX 12
#define LISTING_MAX ((size_t)16 << 20)

struct prepare {
	const char *name;		/* of the image, for people */
	char *target;			/* what e2fsprogs are told: path and offset */
	FILE *script;
	bool edits;			/* else what there would be to do is only counted */
	bool first_boot;
	unsigned removed;
};

/* What goes from a directory: names by their first letters; and with those in it. */
static const struct row { const char *dir, *prefix; bool deep, dirs_too; } rows[] = {
	{ "/etc", "machine-id", false, false },
	{ "/etc/ssh", "ssh_host_", false, false },
	{ "/var/lib/dbus", "machine-id", false, false },
	{ "/var/lib/systemd", "random-seed", false, false },
	{ "/var/lib/systemd", "credential.secret", false, false },
	{ "/var/lib/urandom", "random-seed", false, false },
	{ "/var/lib/dhcp", "", false, false },
	{ "/var/lib/NetworkManager", "", false, false },
	{ "/var/lib/cloud", "", true, true },
	{ "/var/log/journal", "", true, true },
	{ "/var/log", "", true, false },
	{ "/etc/pando", "done", false, false },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* What --first-boot writes, and so removes before. */
static const struct row first_rows[] = {
	{ "/etc/pando", "first-boot", false, false },
	{ "/etc/systemd/system", "pando-first-boot.service", false, false },
	{ "/etc/systemd/system/multi-user.target.wants", "pando-first-boot.service", false, false },
};
#define FIRST_ROWS (sizeof(first_rows) / sizeof(first_rows[0]))

/* ---- the programs ----------------------------------------------------------------------- */

/* Runs ARGV, what it prints into *RET; its exit code. */
static int run(char *const argv[], struct buf *ret)
{
	CLEANUP_FILE FILE *out = tmpfile(), *err = tmpfile();
	char piece[4096];
	size_t n;
	int code;

	if (!out || !err)
		return 127;
	code = program_run(argv, fileno(out), fileno(err));
	rewind(out);
	while (ret && (n = fread(piece, 1, sizeof(piece), out)) > 0)
		if (buf_append(ret, piece, n))
			return 127;
	return code;
}

static int check(const struct prepare *p)
{
	char *argv[] = { "e2fsck", "-fp", p->target, NULL };
	int code = run(argv, NULL);

	if (code == 127)
		return fail("%s: e2fsck cannot be run; install the package e2fsprogs", p->name);
	return code & ~3 ? fail("%s: its root file system is damaged, and e2fsck would not repair it unasked; "
				"repair it first", p->name) : DONE;
}

/* One directory's listing, lines of /inode/mode/uid/gid/name/size/; one that isn't there has none. */
static int dir_list(const struct prepare *p, const char *dir, struct buf *ret)
{
	CLEANUP_FREE char *request = NULL;
	char *argv[] = { "debugfs", "-R", NULL, p->target, NULL };
	int code;

	if (strpbrk(dir, "\"\n") || asprintf(&request, "ls -p \"%s\"", dir) < 0)
		return fail("%s: %s: debugfs cannot be told such a name; remove it first", p->name, dir);
	argv[2] = request;
	code = run(argv, ret);
	return code ? fail("%s: debugfs cannot read it; install the package e2fsprogs", p->name) : DONE;
}

/* ---- looking ---------------------------------------------------------------------------- */

/* The next name in LISTING, cut out of it; NULL at the end. */
static char *name_next(char **listing, bool *ret_dir)
{
	char *line, *mode, *name, *end;

	while ((line = strsep(listing, "\n"))) {
		if (line[0] != '/' || line[1] == '0')		/* not in use */
			continue;
		mode = strchr(line + 1, '/');
		name = mode ? strchr(mode + 1, '/') : NULL;
		name = name ? strchr(name + 1, '/') : NULL;
		name = name ? strchr(name + 1, '/') : NULL;
		end = strrchr(line, '/');
		if (!name || end <= name || end[1])
			continue;
		*ret_dir = !strncmp(mode + 1, "04", 2);
		*end = 0;
		end = strrchr(name + 1, '/');			/* its size follows */
		if (!end)
			continue;
		*end = 0;
		if (strcmp(name + 1, ".") && strcmp(name + 1, ".."))
			return name + 1;
	}
	return NULL;
}

static int edit(struct prepare *p, const char *verb, const char *path)
{
	if (strpbrk(path, "\"\n"))
		return fail("%s: %s: debugfs cannot be told such a name; remove it first", p->name, path);
	p->removed += !strcmp(verb, "rm");
	if (p->edits)
		fprintf(p->script, "%s \"%s\"\n", verb, path);
	return DONE;
}

static int dir_clear(struct prepare *p, const char *dir, const struct row *row, unsigned depth)
{
	CLEANUP_BUF struct buf text = { .max = LISTING_MAX };
	char *listing, *name;
	bool is_dir;
	int err = dir_list(p, dir, &text);

	if (!err && depth > DEPTH_MAX)
		err = fail("%s: %s: is too deep to be cleared", p->name, dir);
	listing = (char *)buf_str(&text);
	while (!err && (name = name_next(&listing, &is_dir))) {
		CLEANUP_FREE char *path = NULL;

		if (strncmp(name, row->prefix, strlen(row->prefix)) || (is_dir && !row->deep))
			continue;
		if (asprintf(&path, "%s/%s", dir, name) < 0)
			return fail("out of memory");
		if (is_dir && strcmp(path, "/var/log/journal"))
			err = dir_clear(p, path, row, depth + 1);
		if (!err && (!is_dir || row->dirs_too))
			err = edit(p, is_dir ? "rmdir" : "rm", path);
	}
	return err;
}

static int all_clear(struct prepare *p)
{
	size_t i;
	int err = DONE;

	p->removed = 0;
	for (i = 0; i < ROWS && !err; i++)
		err = dir_clear(p, rows[i].dir, &rows[i], 0);
	for (i = 0; i < FIRST_ROWS && !err && p->first_boot; i++)
		err = dir_clear(p, first_rows[i].dir, &first_rows[i], 0);
	return err;
}

static int dir_has(const struct prepare *p, const char *dir, const char *wanted, bool *ret)
{
	CLEANUP_BUF struct buf text = { .max = LISTING_MAX };
	char *listing, *name;
	bool is_dir;
	int err = dir_list(p, dir, &text);

	*ret = false;
	listing = (char *)buf_str(&text);
	while (!err && !*ret && (name = name_next(&listing, &is_dir)))
		*ret = !strcmp(name, wanted);
	return err;
}

/* A file system that has /etc/passwd is a root. */
static int is_root(const struct prepare *p, bool *ret)
{
	return dir_has(p, "/etc", "passwd", ret);
}

/* It needs systemd, and nobody else who does the same. */
static int first_boot_look(const struct prepare *p)
{
	bool systemd, cloud_init;
	int err = dir_has(p, "/usr/bin", "cloud-init", &cloud_init);

	if (!err && cloud_init)
		return fail("%s: has cloud-init, which does at the first boot what --first-boot is for; import it without",
			    p->name);
	if (!err)
		err = dir_has(p, "/usr/lib/systemd", "systemd", &systemd);
	if (!err && !systemd)
		err = dir_has(p, "/lib/systemd", "systemd", &systemd);
	return err || systemd ? err : fail("%s: has no systemd, which --first-boot needs; import it without, and have the "
					   "system read its seed (a disk with the label CIDATA, pando.conf in it) by itself",
					   p->name);
}

static int no_root_fail(const struct prepare *p, const struct partitions *parts)
{
	char found[300] = "";
	size_t n = 0;
	unsigned i;

	for (i = 0; i < parts->n && n < sizeof(found); i++)
		n += (size_t)snprintf(found + n, sizeof(found) - n, parts->list[i].number ? "%spartition %u is %s" :
				      "%sall of it%.0u is %s", i ? ", " : "", parts->list[i].number,
				      parts->list[i].kind);
	return fail("%s: has no root in an ext4 file system, which alone can be prepared (%s); prepare it in the "
		    "system itself, with 'cloud-init clean --logs --machine-id', and import it without --prepare",
		    p->name, found);
}

static int root_find(struct prepare *p, const char *path)
{
	CLEANUP_FREE struct partitions *parts = malloc(sizeof(*parts));
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	unsigned i;
	bool root;
	int err;

	if (!parts || fd < 0 || fstat(fd, &st))
		return fail("%s: %s", path, strerror(errno));
	partitions_find(fd, (uint64_t)st.st_size, parts);
	for (i = 0; i < parts->n; i++) {
		if (strncmp(parts->list[i].kind, "ext", 3))
			continue;
		if (asprintf(&p->target, "%s?offset=%llu", path, (unsigned long long)parts->list[i].start) < 0)
			return fail("out of memory");
		err = is_root(p, &root);
		if (err || root)
			return err;
		free(p->target);
		p->target = NULL;
	}
	return no_root_fail(p, parts);
}

/* ---- editing ---------------------------------------------------------------------------- */

/* systemd takes an empty machine-id for a first boot. */
static int machine_id_write(struct prepare *p, const char *empty)
{
	return fprintf(p->script, "cd /etc\nwrite \"%s\" machine-id\n", empty) < 0 ? fail("out of memory") : DONE;
}

static int script_run(struct prepare *p, const char *script)
{
	char *argv[] = { "debugfs", "-w", "-f", (char *)script, p->target, NULL };

	if (fflush(p->script))
		return fail("%s: %s", script, strerror(errno));
	return run(argv, NULL) ? fail("%s: debugfs failed", p->name) : DONE;
}

/* debugfs tells of no failure by its exit code.  What was written is all that is left: the machine-id, and what is
 * for the first boot. */
static int look_again(struct prepare *p)
{
	p->edits = false;
	if (all_clear(p))
		return FAILED;
	return p->removed == 1 + (p->first_boot ? FIRST_ROWS : 0) ? check(p) :
		fail("%s: debugfs did not do what it was told; nothing was imported", p->name);
}

static int first_boot_write(struct prepare *p, const char *script)
{
	char *temps[FIRST_BOOT_TEMPS] = { NULL };
	unsigned i;
	int err = p->first_boot ? first_boot_script(p->script, script, temps) : DONE;

	if (!err)
		err = script_run(p, script);
	for (i = 0; i < FIRST_BOOT_TEMPS; i++) {
		if (temps[i])
			unlink(temps[i]);
		free(temps[i]);
	}
	return err;
}

static int prepare(struct prepare *p, const char *script, const char *empty, unsigned *ret_removed)
{
	int err = check(p);

	if (!err && p->first_boot)
		err = first_boot_look(p);
	p->edits = true;
	if (!err)
		err = all_clear(p);
	*ret_removed = p->removed;
	if (!err)
		err = machine_id_write(p, empty);
	if (!err)
		err = first_boot_write(p, script);
	return err ? err : look_again(p);
}

int image_prepare(const char *path, const char *name, bool first_boot, unsigned *ret_removed)
{
	struct prepare p = { .name = name, .first_boot = first_boot };
	CLEANUP_FREE char *script = NULL, *empty = NULL;
	int script_fd, empty_fd, err = root_find(&p, path);

	if (!err)
		err = temp_make(path, false, &script, &script_fd);
	if (!err && !(p.script = fdopen(script_fd, "w")))
		err = fail("out of memory");
	if (!err) {
		err = temp_make(path, false, &empty, &empty_fd);
		if (!err) {
			fchmod(empty_fd, 0444);
			close(empty_fd);
			err = prepare(&p, script, empty, ret_removed);
			unlink(empty);
		}
	}
	if (script)
		unlink(script);
	if (p.script)
		fclose(p.script);
	free(p.target);
	return err;
}
