/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the space went: of the pool, a volume, a snapshot, a directory, a file.  What takes a walk is
 * counted when it is asked for, and kept in memory, with its age, for those who don't ask.
 */
#include "admin/admin_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/account.h"

#define BLOCK 4096ull
#define KEPT_MAX 256			/* exact accounts that are kept */
#define RUNNING_MAX 4			/* exact accounts at once, each within FS_ACCOUNT_MEMORY */

struct account_kept {
	struct fs_account a;		/* exact false: none */
	uint64_t all;			/* volumes: what they hold alone with all their snapshots, blocks */
	uint64_t seq;			/* the pool's last change by then */
};

struct account_args {
	struct objpath at;		/* of the object; a volume's or snapshot's root */
	const char *text;
	enum fs_account_of of;
	bool exact, is_path;
	struct fs_account now;		/* what is known at once */
	struct account_kept kept;
	uint64_t seq, now_ns;
	struct fs_status pool;
};

/* ---- what is kept ----------------------------------------------------------------------- */

static struct account_kept *kept_slot(struct admin *a, enum fs_account_of of, struct fs_id id)
{
	uint64_t h = (id.ino ^ (uint64_t)id.volume << 40 ^ (uint64_t)id.snapshot << 20 ^ of) * 0x9e3779b97f4a7c15ULL;

	if (!a->accounts)
		a->accounts = calloc(KEPT_MAX, sizeof(*a->accounts));
	return a->accounts ? &a->accounts[h >> 56 & (KEPT_MAX - 1)] : NULL;
}

/* Of a volume or a snapshot, any file will do. */
static struct fs_id kept_id(const struct account_args *a)
{
	struct fs_id id = a->now.id;

	if (a->of == FS_ACCOUNT_VOLUME || a->of == FS_ACCOUNT_SNAPSHOT)
		id.ino = id.generation = 0;
	return id;
}

static void keep(struct admin *admin, const struct account_args *a)
{
	struct account_kept *k = kept_slot(admin, a->of, kept_id(a));

	if (!k)
		return;
	*k = a->kept;
	k->a.id = kept_id(a);
}

static void recall(struct admin *admin, struct account_args *a)
{
	struct fs_id id = kept_id(a);
	const struct account_kept *k = kept_slot(admin, a->of, id);

	if (k && k->a.exact && k->a.of == a->of && k->a.id.volume == id.volume && k->a.id.snapshot == id.snapshot &&
	    k->a.id.ino == id.ino && k->a.id.generation == id.generation)
		a->kept = *k;
}

void accounts_stop(struct admin *a)
{
	free(a->accounts);
}

/* ---- in a fiber ------------------------------------------------------------------------- */

static int find_object(struct call *c, struct account_args *a)
{
	struct fs_attr attr;
	int err;

	if (a->of == FS_ACCOUNT_POOL)
		return 0;
	err = path_lookup(&c->req, &a->at, &attr);
	if (err)
		return err;
	if (attr.id.snapshot == FS_SNAPDIR)
		return -EINVAL;
	a->now.id = attr.id;
	if (a->is_path)
		a->of = attr.type == FS_DIR ? FS_ACCOUNT_TREE : FS_ACCOUNT_FILE;
	return 0;
}

static int take_exact(struct call *c, struct account_args *a)
{
	struct fs_account all = { .of = FS_ACCOUNT_VOLUME_ALL, .id = a->now.id, .exact = true,
				  .stop = &c->admin->stopping };
	int err = 0;

	if (a->of == FS_ACCOUNT_VOLUME)	/* what it has a limit of is looked for anyway */
		err = fs_volume_recount(&c->req, a->now.id.volume, &c->admin->stopping);
	if (err)
		return err;
	a->kept = (struct account_kept){ .a = { .of = a->of, .id = a->now.id, .exact = true,
						.stop = &c->admin->stopping }, .seq = fs_last_seq(c->req.fs) };
	err = fs_account(&c->req, &a->kept.a);
	if (!err && a->of == FS_ACCOUNT_VOLUME) {
		err = fs_account(&c->req, &all);
		a->kept.all = all.exclusive.data + all.exclusive.meta;
		a->kept.a.moved |= all.moved;
	}
	if (!err)
		keep(c->admin, a);
	return err;
}

static int account_run(struct call *c, void *arg)
{
	struct account_args *a = arg;
	int err = find_object(c, a);

	if (!err && a->exact && c->admin->accounts_running >= RUNNING_MAX)
		return -EAGAIN;
	if (!err && a->exact) {
		c->admin->accounts_running++;
		err = take_exact(c, a);
		c->admin->accounts_running--;
	}
	a->now.of = a->of;
	if (!err)
		err = fs_account(&c->req, &a->now);
	if (!err && !a->exact)
		recall(c->admin, a);
	a->seq = fs_last_seq(c->req.fs);
	a->now_ns = loop_realtime_ns();
	fs_status(c->req.fs, &a->pool);
	return err;
}

/* ---- the answer ------------------------------------------------------------------------- */

static uint64_t less(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

static json_t *json_ratio(uint64_t a, uint64_t b)
{
	return b ? json_real((double)a / (double)b) : json_null();
}

/* What was saved, by what: each is what the one before it left over.  A pool has no sizes of its files without a walk
 * over all inodes of all volumes and snapshots. */
static void set_saved(json_t *j, const struct fs_account *a)
{
	uint64_t different = less(a->mapped_blocks, a->stored.data);
	uint64_t dedup = a->dedup_blocks < different ? a->dedup_blocks : different;
	bool sizes = a->of != FS_ACCOUNT_POOL;
	json_t *saved = json_object();

	if (sizes)
		json_set_u64(saved, "holes", less(a->size_blocks, a->file_blocks) * BLOCK);
	json_set_u64(saved, "cloning", (different - dedup) * BLOCK);
	json_set_u64(saved, "dedup", dedup * BLOCK);
	json_set_u64(saved, "compression", 0);
	json_object_set_new(j, "saved", saved);
	json_object_set_new(j, "ratios", json_pack("{s:o?,s:o?,s:o?,s:f}",
		"holes", json_ratio(a->size_blocks, sizes ? a->file_blocks : 0),
		"cloning", json_ratio(a->mapped_blocks, a->stored.data + dedup),
		"dedup", json_ratio(a->stored.data + dedup, a->stored.data), "compression", 1.0));
}

static json_t *json_exact(const struct account_args *a)
{
	const struct fs_account *k = &a->kept.a;
	struct fs_time when = { (int64_t)(k->when_ns / 1000000000), (uint32_t)(k->when_ns % 1000000000) };
	uint64_t stored = k->stored.data + k->stored.meta, own = k->exclusive.data + k->exclusive.meta;
	json_t *j = json_pack("{s:o?,s:b,s:b}", "taken", json_time(&when), "moved", k->moved, "changed_since",
			      a->seq != a->kept.seq);

	if (!j)
		return NULL;
	json_set_u64(j, "age_ms", less(a->now_ns, k->when_ns) / 1000000);
	json_set_u64(j, "reaping", k->reaping);
	if (k->of != FS_ACCOUNT_POOL)
		json_set_u64(j, "size", k->size_bytes);
	json_set_u64(j, "mapped", k->mapped_blocks * BLOCK);
	json_set_u64(j, "stored", stored * BLOCK);
	json_set_u64(j, "stored_data", k->stored.data * BLOCK);
	json_set_u64(j, "stored_metadata", k->stored.meta * BLOCK);
	if (k->of != FS_ACCOUNT_POOL) {
		json_set_u64(j, "exclusive", own * BLOCK);
		json_set_u64(j, "shared", less(stored + k->record_blocks, own) * BLOCK);
	}
	if (k->of == FS_ACCOUNT_VOLUME)
		json_set_u64(j, "exclusive_with_snapshots", a->kept.all * BLOCK);
	set_saved(j, k);
	return j;
}

static void set_pool(json_t *j, const struct account_args *a)
{
	const struct fs_status *p = &a->pool;
	uint64_t used = p->size_blocks - p->meta_blocks - p->free_blocks - p->pending_free_blocks;

	json_set_u64(j, "size", p->size_blocks * BLOCK);
	json_set_u64(j, "fixed", p->meta_blocks * BLOCK);
	json_set_u64(j, "used", used * BLOCK);
	json_set_u64(j, "pending_free", p->pending_free_blocks * BLOCK);
	json_set_u64(j, "free", p->free_blocks * BLOCK);
	json_set_u64(j, "available", less(p->free_blocks, p->reserved_blocks + p->held_blocks) * BLOCK);
	json_set_u64(j, "reap_entries", p->reap_entries);
	json_object_set_new(j, "ratio", json_ratio(a->now.mapped_blocks, used));
}

static json_t *json_account(const struct account_args *a)
{
	static const char *const kinds[] = { [FS_ACCOUNT_POOL] = "pool", [FS_ACCOUNT_VOLUME] = "volume",
		[FS_ACCOUNT_SNAPSHOT] = "snapshot", [FS_ACCOUNT_TREE] = "directory", [FS_ACCOUNT_FILE] = "file" };
	json_t *j = json_pack("{s:s}", "kind", kinds[a->of]);

	if (!j)
		return NULL;
	json_set_name(j, "object", a->text, strlen(a->text));
	if (a->of == FS_ACCOUNT_POOL) {
		set_pool(j, a);
		json_set_u64(j, "snapshots", a->now.snapshots);
	}
	if (a->is_path)
		json_set_u64(j, "size", a->now.size_bytes);
	json_set_u64(j, "files", a->now.files);
	json_set_u64(j, "mapped", a->now.mapped_blocks * BLOCK);
	json_object_set_new(j, "exact", a->kept.a.exact ? json_exact(a) : json_null());
	return j;
}

static void account_fail(struct call *c, const struct account_args *a, int err)
{
	if (err == -EAGAIN)
		call_fail(c, 503, "busy", "%s: %d exact accounts are being taken already; try again later", a->text,
			  RUNNING_MAX);
	else if (err == -EBUSY)
		call_fail(c, 409, "busy", "%s: a scrub holds the pool, so that nobody can tell whose a block is; stop it "
			  "('pando pool scrub --stop') or wait, or leave out --exact", a->text);
	else if (err == -E2BIG)
		call_fail(c, 413, "too_large", "%s: more shared index blocks, or names of files that have several, than "
			  "%u MiB of memory hold; ask for its parts", a->text, FS_ACCOUNT_MEMORY >> 20);
	else if (err == -EINVAL)
		call_fail(c, 400, "invalid", "%s: is where snapshots are found, and holds nothing itself; name one of them, "
			  "as VOLUME@SNAPSHOT", a->text);
	else if (err == -ENOMEDIUM || err == -ESRCH)
		call_fail_err(c, err, "%s", a->at.volume);
	else
		call_fail_err(c, err, "%s", a->text);
}

static bool arg_object(struct call *c, struct account_args *a)
{
	char why[OBJNAME_WHY];
	struct objsnap s = { 0 };
	size_t len;
	int err;

	a->text = "the pool";
	if (!arg_given(c, "object"))
		return true;
	if (!arg_text(c, "object", &a->text, &len))
		return false;
	if (memchr(a->text, ':', len)) {
		a->is_path = true;
		a->of = FS_ACCOUNT_FILE;
		return arg_path(c, "object", &a->at);
	}
	err = objsnap_parse(a->text, len, true, &s, why);
	if (err) {
		call_fail(c, 400, err == -ENAMETOOLONG ? "name_too_long" : "bad_name", "%s", why);
		return false;
	}
	a->of = s.snapshot[0] ? FS_ACCOUNT_SNAPSHOT : FS_ACCOUNT_VOLUME;
	snprintf(a->at.volume, sizeof(a->at.volume), "%s%s%s", s.volume, s.snapshot[0] ? "@" : "", s.snapshot);
	strcpy(a->at.path, "/");
	return true;
}

void get_account(struct call *c)
{
	struct account_args *a = calloc(1, sizeof(*a));
	int err;

	c->state = a;
	if (!a) {
		call_fail_err(c, -ENOMEM, "account");
		return;
	}
	if (!arg_object(c, a) || !arg_bool(c, "exact", &a->exact))
		return;
	err = call_run(c, account_run, a);
	if (err)
		account_fail(c, a, err);
	else
		call_reply(c, 200, json_account(a));
}
