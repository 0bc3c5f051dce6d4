/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkout and checkin: a virtual disk is taken away as a qcow2, and what was changed in it is brought back.
 *
 * What the disk was like is kept beside it, as a clone with the hidden name .pando-checkout-ID.  FILE has the
 * name pando-checkout-ID as that of a bitmap, which QEMU keeps.  ID ends in a hash of the disk's name, so
 * FILE is known for what it is, and can't be checked in elsewhere.
 *
 * The check-in compares FILE with the clone, block by block, writes what differs to another clone of it that
 * nobody sees, and puts that in the disk's place in one step.
 */
#include "pando/pando.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"
#include "base/hash.h"

#define MARK "pando-checkout-"
#define RANDOM_DIGITS 16
#define ID_LEN 32
#define PIECE ((size_t)1 << 20)
#define BLOCK ((size_t)4096)
#define SECTOR 512u

struct disk {
	struct cmd *c;
	const char *file;
	char object[sizeof(struct objpath) + 1];	/* VOLUME:/path, in its short form */
	char id[ID_LEN + 1];
	char *kept;			/* the clone's name */
	/* check-in: */
	int fd;				/* FILE as raw */
	uint64_t size, kept_size, changed;
	char upload[40];
	struct transfer alive;
	char *ours;
	struct buf theirs;
};

static void id_finish(struct disk *d)
{
	snprintf(d->id + RANDOM_DIGITS, ID_LEN - RANDOM_DIGITS + 1, "%016llx",
		 (unsigned long long)hash64(d->object, strlen(d->object)));
}

static int kept_name(struct disk *d)
{
	int dir = (int)(strrchr(d->object, '/') + 1 - d->object);

	return asprintf(&d->kept, "%.*s." MARK "%s", dir, d->object, d->id) < 0 ? fail("out of memory") : DONE;
}

static bool kept_remove(struct disk *d)
{
	struct request r;

	request_init(&r, "DELETE", "/v1/files", NULL);
	request_arg(&r, "path", d->kept);
	return client_try(d->c, &r);
}

static int live_object(struct disk *d, const char *text)
{
	struct objpath path;
	int err = cmd_object(d->c, text, &path);

	if (err)
		return err;
	snprintf(d->object, sizeof(d->object), "%s:%s", path.volume, path.path);
	if (objpath_is_frozen(&path))
		return usage(d->c, "%s: is in a snapshot, where nothing can be brought back to; clone it first",
			     d->object);
	return objpath_is_root(&path) ? usage(d->c, "%s: name a disk's file", d->object) : DONE;
}

static int stat_of(struct disk *d, const char *path, json_t **ret)
{
	struct request r;

	request_init(&r, "GET", "/v1/files", NULL);
	request_arg(&r, "path", path);
	return client_find(d->c, &r, ret);
}

/* ---- checkout --------------------------------------------------------------------------------- */

/* QEMU keeps no bitmap in an image without size, so nobody could tell what it was. */
static int empty_check(struct disk *d)
{
	json_t *j = NULL;
	int err = stat_of(d, d->object, &j);

	if (!err && j && !strcmp(json_text(j, "type"), "file") && !json_u64(j, "size"))
		err = fail("%s: is empty, so there is nothing to take away", d->object);
	json_decref(j);
	return err;
}

static int clone_keep(struct disk *d)
{
	uint8_t random[RANDOM_DIGITS / 2];
	struct request r;
	int err;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return fail("no random numbers: %s", strerror(errno));
	for (unsigned i = 0; i < sizeof(random); i++)
		sprintf(d->id + 2 * i, "%02x", random[i]);
	id_finish(d);
	err = kept_name(d);
	if (err)
		return err;
	request_init(&r, "POST", "/v1/clones", NULL);
	request_arg(&r, "src", d->object);
	request_arg(&r, "dst", d->kept);
	return client_call(d->c, &r, NULL);
}

int cmd_checkout(struct cmd *c)
{
	struct disk d = { .c = c, .file = c->argv[1] };
	char mark[sizeof(MARK) + ID_LEN];
	int err = live_object(&d, c->argv[0]);

	if (!err)
		err = empty_check(&d);
	if (!err)
		err = clone_keep(&d);
	if (err) {
		free(d.kept);
		return err;
	}
	snprintf(mark, sizeof(mark), MARK "%s", d.id);
	err = image_export_as(c, d.kept, d.file, IMAGE_QCOW2, mark);
	if (err)
		kept_remove(&d);
	else
		printf("%s: checked out of %s\n", d.file, d.object);
	free(d.kept);
	return err ? err : print_done();
}

/* ---- checkin: what is it? ---------------------------------------------------------------------- */

static int identify(struct disk *d)
{
	char expect[ID_LEN + 1], *mark;
	int err = image_bitmap_find(d->file, MARK, &mark);

	if (err)
		return err;
	if (!mark || strlen(mark) != sizeof(MARK) - 1 + ID_LEN ||
	    strspn(mark + sizeof(MARK) - 1, "0123456789abcdef") != ID_LEN) {
		free(mark);
		return fail("%s: was not made by 'pando checkout'; use 'pando import --replace' to put it in the place "
			    "of %s", d->file, d->object);
	}
	memcpy(d->id, mark + sizeof(MARK) - 1, ID_LEN + 1);
	free(mark);
	memcpy(expect, d->id, sizeof(expect));
	id_finish(d);
	if (strcmp(expect, d->id))
		return fail("%s: was checked out of another disk than %s", d->file, d->object);
	return kept_name(d);
}

static int kept_find(struct disk *d)
{
	json_t *j = NULL;
	int err = stat_of(d, d->kept, &j);

	if (!err && !j)
		err = fail("%s: what %s was like when it was checked out is not kept any more (%s): it was checked in "
			   "already, or removed", d->file, d->object, d->kept);
	d->kept_size = json_u64(j, "size");
	json_decref(j);
	return err;
}

/* What is kept may be all that the pool has of it. */
static int disk_find(struct disk *d, json_t **ret)
{
	int err = stat_of(d, d->object, ret);

	return err || *ret ? err : fail("%s: is not there any more; 'pando clone %s %s' brings it back as it was",
					d->object, d->kept, d->object);
}

/* Whether the disk in the pool is another than when it was checked out.  A page may have nothing to say. */
static int pool_changed(struct disk *d, bool *ret)
{
	uint64_t next = 0;
	struct request r;
	bool more = true;
	json_t *j;
	int err;

	for (*ret = false; more && !*ret; json_decref(j)) {
		request_init(&r, "GET", "/v1/diff", NULL);
		request_arg(&r, "a", d->kept);
		request_arg(&r, "b", d->object);
		request_arg_u64(&r, "limit", 1);
		request_arg_u64(&r, "offset", next);
		err = client_call(d->c, &r, &j);
		if (err)
			return err;
		*ret = json_array_size(json_object_get(j, "ranges")) ||
		       json_u64(json_object_get(j, "a"), "size") != json_u64(json_object_get(j, "b"), "size");
		more = !json_is_null(json_object_get(j, "next"));
		next = json_u64(j, "next");
		if (d->upload[0])
			client_alive(d->c, &d->alive);
	}
	return DONE;
}

static int both_check(struct disk *d)
{
	bool changed = false;
	int err = cmd_option(d->c, "force") ? DONE : pool_changed(d, &changed);

	if (!err && !cmd_option(d->c, "force") && changed)
		return fail("%s: has changed since it was checked out, and so has %s; --force puts %s in its place, "
			    "--discard leaves it as it is", d->object, d->file, d->file);
	return err;
}

/* ---- checkin: bringing it back ----------------------------------------------------------------- */

static int raw_make(struct disk *d)
{
	CLEANUP_FREE char *path = NULL;
	struct stat st;
	int fd, err = image_check_alone(d->file, IMAGE_QCOW2);

	if (!err)
		err = temp_make(d->file, false, &path, &fd);
	if (err)
		return err;
	err = image_convert(d->file, IMAGE_QCOW2, path, IMAGE_RAW);
	close(fd);
	if (!err) {
		d->fd = open(path, O_RDONLY | O_CLOEXEC);
		if (d->fd < 0 || fstat(d->fd, &st))
			err = fail("%s: %s", path, strerror(errno));
		else
			d->size = (uint64_t)st.st_size;
	}
	unlink(path);
	return err;
}

/*
 * A qcow2 has whole sectors of 512 bytes, and a disk need not: where nothing but zeros came behind its end,
 * it has the size that it had.
 */
static int size_as_it_was(struct disk *d)
{
	size_t more = (size_t)(-d->kept_size % SECTOR), got = 0;
	ssize_t n;

	if (!more || d->size != d->kept_size + more)
		return DONE;
	while (got < more) {
		n = pread(d->fd, d->ours + got, more - got, (off_t)(d->kept_size + got));
		if (n <= 0)
			return fail("%s: cannot read it: %s", d->file, n ? strerror(errno) : "it became shorter");
		got += (size_t)n;
	}
	if (is_zero(d->ours, more))
		d->size = d->kept_size;
	return DONE;
}

/* The first difference: only now is anything made. */
static int upload_begin(struct disk *d)
{
	struct request r;
	json_t *file = NULL, *j;
	int err = both_check(d);

	if (!err)
		err = disk_find(d, &file);
	if (err)
		return err;
	request_init(&r, "POST", "/v1/uploads", NULL);
	request_arg(&r, "path", d->object);
	request_arg(&r, "like", d->kept);
	r.body = json_pack("{s:b,s:I,s:s,s:O,s:O}", "replace", 1, "size", (json_int_t)d->size, "mode",
			   json_text(file, "mode"), "uid", json_object_get(file, "uid"), "gid",
			   json_object_get(file, "gid"));
	err = client_call(d->c, &r, &j);
	json_decref(file);
	if (err)
		return err;
	snprintf(d->upload, sizeof(d->upload), "%s", json_text(j, "id"));
	json_decref(j);
	d->alive = (struct transfer){ "PUT", "/v1/uploads/", d->upload, 0 };
	return DONE;
}

static int run_write(struct disk *d, uint64_t offset, size_t at, size_t len)
{
	struct request r;
	int err = d->upload[0] ? DONE : upload_begin(d);

	if (err)
		return err;
	request_init(&r, "PUT", "/v1/uploads/", d->upload);
	request_arg_u64(&r, "offset", offset + at);
	r.data = d->ours + at;
	r.data_len = len;
	d->changed += len;
	return client_call(d->c, &r, NULL);
}

/* What differs of LEN bytes at OFFSET, in runs of blocks.  Behind the clone's end are zeros. */
static int piece_compare(struct disk *d, uint64_t offset, size_t len)
{
	size_t at, n, start = 0;
	bool in_run = false, same;
	int err = DONE;

	for (at = 0; at < len && !err; at += n) {
		size_t there = d->theirs.len > at ? d->theirs.len - at : 0;

		n = len - at < BLOCK ? len - at : BLOCK;
		there = there < n ? there : n;
		same = !memcmp(d->ours + at, d->theirs.data ? d->theirs.data + at : "", there) &&
		       is_zero(d->ours + at + there, n - there);
		if (same && in_run)
			err = run_write(d, offset, start, at - start);
		if (!same && !in_run)
			start = at;
		in_run = !same;
	}
	return !err && in_run ? run_write(d, offset, start, len - start) : err;
}

static int piece_read(struct disk *d, uint64_t offset, size_t len)
{
	struct request r;
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		n = pread(d->fd, d->ours + got, len - got, (off_t)(offset + got));
		if (n <= 0)
			return fail("%s: cannot read it: %s", d->file, n ? strerror(errno) : "it became shorter");
		got += (size_t)n;
	}
	buf_clear(&d->theirs);
	if (offset >= d->kept_size)
		return DONE;
	request_init(&r, "GET", "/v1/data", NULL);
	request_arg(&r, "path", d->kept);
	request_arg_u64(&r, "offset", offset);
	request_arg_u64(&r, "length", len);
	return client_data(d->c, &r, &d->theirs);
}

/* No block differs from what is kept.  With --force, the disk becomes that all the same. */
static int no_difference(struct disk *d)
{
	bool changed = d->size != d->kept_size;
	json_t *file = NULL;
	int err = disk_find(d, &file);

	json_decref(file);
	if (!err && !changed && cmd_option(d->c, "force"))
		err = pool_changed(d, &changed);
	return !err && changed ? upload_begin(d) : err;
}

static int compare_all(struct disk *d)
{
	uint64_t at;
	size_t len;
	int err = DONE;

	for (at = 0; at < d->size && !err; at += len) {
		len = d->size - at < PIECE ? (size_t)(d->size - at) : PIECE;
		err = piece_read(d, at, len);
		if (!err)
			err = piece_compare(d, at, len);
		if (d->upload[0])	/* where nothing differs, it hears nothing else */
			client_alive(d->c, &d->alive);
		if (!err && interrupted)
			err = fail("%s: interrupted; nothing has changed", d->object);
		progress(d->object, at + len, d->size);
	}
	return !err && !d->upload[0] ? no_difference(d) : err;
}

static int upload_end(struct disk *d, int err)
{
	struct request r;

	if (!d->upload[0])
		return err;
	if (!err)
		err = both_check(d);	/* it took a while */
	if (err) {
		request_init(&r, "DELETE", "/v1/uploads/", d->upload);
		client_try(d->c, &r);
		return err;
	}
	request_init(&r, "POST", "/v1/uploads/", d->upload);
	request_arg_u64(&r, "size", d->size);
	return client_call(d->c, &r, NULL);
}

static int bring_back(struct disk *d)
{
	int err = raw_make(d);

	if (!err)
		err = size_as_it_was(d);
	if (!err)
		err = compare_all(d);
	err = upload_end(d, err);
	progress_end();
	if (d->fd >= 0)
		close(d->fd);
	return err;
}

static int checkin(struct disk *d)
{
	char size[SIZE_TEXT];
	int err = identify(d);

	if (!err)
		err = kept_find(d);
	if (!err && !cmd_option(d->c, "discard"))
		err = bring_back(d);
	if (err)
		return err;
	if (!kept_remove(d))
		fprintf(stderr, "pando: %s: could not be removed; it is not needed any more\n", d->kept);
	if (cmd_option(d->c, "discard"))
		printf("%s: is as it was; %s is not checked out any more\n", d->object, d->file);
	else if (!d->upload[0])
		printf("%s: checked in; nothing was changed in %s\n", d->object, d->file);
	else
		printf("%s: checked in, %s were brought back\n", d->object, size_text(d->changed, size));
	return print_done();
}

int cmd_checkin(struct cmd *c)
{
	struct disk d = { .c = c, .file = c->argv[0], .fd = -1 };
	CLEANUP_FREE char *ours = malloc(PIECE);
	int err;

	if (cmd_option(c, "force") && cmd_option(c, "discard"))
		return usage(c, "--force keeps what is in FILE, and --discard what is in the pool; give one of them");
	err = live_object(&d, c->argv[1]);
	d.ours = ours;
	if (!err && !ours)
		err = fail("out of memory");
	if (err)
		return err;
	interrupt_catch();
	buf_init(&d.theirs, PIECE + 1);
	err = checkin(&d);
	buf_release(&d.theirs);
	free(d.kept);
	return err;
}
