/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See nfs4_records.h.
 *
 * The set in memory is the truth while the server runs.  A record is in it from before its entry
 * is made until after that has gone durably, and nobody else touches the directory: so each entry
 * there has its record here.
 */
#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"
#include "fs/fs.h"
#include "nfs/nfs4_records.h"

#define DIR_NAME "clients"
#define BUCKETS 1024
#define LIST_BYTES (16u << 10)
enum { NAME_LEN = 1 + 2 * NFS4_RECORD_KEY };	/* the kind, the key in hexadecimal */

struct nfs4_records {
	struct fs *fs;
	struct fs_id dir;
	int broken;			/* not 0: why there are none in this run */
	uint64_t removed_seq;		/* when this is stable, what was removed is gone for good */
	unsigned n;
	struct nfs4_record *buckets[BUCKETS];
};

static unsigned bucket_of(const uint8_t key[NFS4_RECORD_KEY])
{
	uint16_t h;

	memcpy(&h, key, sizeof(h));
	return h % BUCKETS;
}

static struct nfs4_record *find(const struct nfs4_records *rs, enum nfs4_record_kind kind,
				const uint8_t key[NFS4_RECORD_KEY])
{
	struct nfs4_record *r = rs->buckets[bucket_of(key)];

	while (r && (r->kind != kind || memcmp(r->key, key, NFS4_RECORD_KEY)))
		r = r->next;
	return r;
}

static struct nfs4_record *insert(struct nfs4_records *rs, enum nfs4_record_kind kind,
				  const uint8_t key[NFS4_RECORD_KEY])
{
	struct nfs4_record *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->kind = kind;
	memcpy(r->key, key, NFS4_RECORD_KEY);
	r->next = rs->buckets[bucket_of(key)];
	rs->buckets[bucket_of(key)] = r;
	rs->n++;
	return r;
}

static void forget(struct nfs4_records *rs, struct nfs4_record *r)
{
	struct nfs4_record **p = &rs->buckets[bucket_of(r->key)];

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	rs->n--;
	free(r);
}

static void make_key(struct xdr_bytes owner, uint8_t ret_key[NFS4_RECORD_KEY])
{
	_Static_assert(NFS4_RECORD_KEY >= crypto_generichash_BYTES_MIN, "a key is a BLAKE2b");
	crypto_generichash(ret_key, NFS4_RECORD_KEY, owner.s, owner.len, NULL, 0);
}

static struct fs_name make_name(const struct nfs4_record *r, char buf[NAME_LEN + 1])
{
	buf[0] = '0' + r->kind;
	sodium_bin2hex(buf + 1, NAME_LEN, r->key, NFS4_RECORD_KEY);
	return (struct fs_name){ buf, NAME_LEN };
}

/* ---- opening ------------------------------------------------------------------------- */

static int take_entry(struct nfs4_records *rs, const struct fs_dirent *e)
{
	uint8_t key[NFS4_RECORD_KEY];
	struct nfs4_record *r;
	size_t len;

	if (e->name_len != NAME_LEN || e->name[0] < '0' + NFS4_RECORD_40 ||
	    e->name[0] > '0' + NFS4_RECORD_NLM ||
	    sodium_hex2bin(key, sizeof(key), e->name + 1, NAME_LEN - 1, NULL, &len, NULL) ||
	    len != sizeof(key))
		return 0;			/* "." and "..", or a newer version's */
	r = insert(rs, e->name[0] - '0', key);
	if (!r)
		return -ENOMEM;
	r->state = NFS4_RECORD_KEPT;
	r->earlier = true;
	return 0;
}

static int read_dir(struct nfs4_records *rs, struct fs_dirlist *list)
{
	struct fs_req req;
	uint64_t cookie = 0;
	int err = 0;

	fs_req_admin(&req, rs->fs);
	do {
		const struct fs_dirent *e = list->buf;

		err = fs_readdir(&req, rs->dir, cookie, false, list);
		for (unsigned i = 0; !err && i < list->n; i++, e = fs_dirent_next(e)) {
			cookie = e->cookie;
			err = take_entry(rs, e);
		}
	} while (!err && !list->eof);
	return err;
}

static int load(struct nfs4_records *rs)
{
	struct fs_dirlist list = { .cap = LIST_BYTES, .buf = malloc(LIST_BYTES) };
	struct fs_req req;
	int err = list.buf ? 0 : -ENOMEM;

	fs_req_admin(&req, rs->fs);
	if (!err)
		err = fs_system_dir(&req, DIR_NAME, &rs->dir);
	if (!err)
		err = read_dir(rs, &list);
	free(list.buf);
	return err;
}

int nfs4_records_open(struct fs *fs, struct nfs4_records **ret_records)
{
	struct nfs4_records *rs = calloc(1, sizeof(*rs));
	int err;

	if (!rs)
		return -ENOMEM;
	rs->fs = fs;
	err = load(rs);
	if (err == -ENOMEM) {
		nfs4_records_close(rs);
		return err;
	}
	rs->broken = err;
	if (err && err != -EROFS)		/* a pool that is read-only knows that itself */
		log_error("the records of NFS clients can't be had (%s): no client can reclaim its "
			  "locks now, nor after the next restart", err_text(err));
	*ret_records = rs;
	return 0;
}

void nfs4_records_close(struct nfs4_records *rs)
{
	if (!rs)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (rs->buckets[i])
			forget(rs, rs->buckets[i]);
	free(rs);
}

/* ---- looking ------------------------------------------------------------------------- */

unsigned nfs4_records_count(const struct nfs4_records *rs)
{
	return rs->n;
}

struct nfs4_record *nfs4_records_next(const struct nfs4_records *rs, const struct nfs4_record *r)
{
	unsigned i = r ? bucket_of(r->key) + 1 : 0;

	if (r && r->next)
		return r->next;
	while (i < BUCKETS && !rs->buckets[i])
		i++;
	return i < BUCKETS ? rs->buckets[i] : NULL;
}

struct nfs4_record *nfs4_record_find(const struct nfs4_records *rs, enum nfs4_record_kind kind,
				     struct xdr_bytes owner)
{
	uint8_t key[NFS4_RECORD_KEY];

	make_key(owner, key);
	return find(rs, kind, key);
}

int nfs4_record_note(struct nfs4_records *rs, const struct nfs4_record *r,
		     char ret_note[NFS4_RECORD_NOTE_MAX + 1])
{
	char name[NAME_LEN + 1];
	struct fs_attr a, dir;
	struct fs_req req;
	int err;

	_Static_assert(NFS4_RECORD_NOTE_MAX == FS_SYMLINK_MAX, "a note is a symlink's target");
	fs_req_admin(&req, rs->fs);
	err = fs_lookup(&req, rs->dir, make_name(r, name), &a, &dir);
	if (!err && a.type != FS_LNK)
		err = -ENOENT;
	return err ? err : fs_readlink(&req, a.id, ret_note, &a);
}

/* ---- changing ------------------------------------------------------------------------ */

/* An entry is made, with its note, in one operation: so it is whole or not there. */
static int make_entry(struct nfs4_records *rs, const struct nfs4_record *r, const char *note)
{
	const struct fs_create how = { .type = note ? FS_LNK : FS_REG, .how = FS_CREATE_GUARDED,
				       .target = note };
	char name[NAME_LEN + 1];
	struct fs_attr a;
	struct fs_req req;
	int err;

	fs_req_admin(&req, rs->fs);
	err = fs_create(&req, rs->dir, make_name(r, name), &how, &a, NULL);
	return err ? err : fs_wait_stable(rs->fs, req.stable_seq);
}

int nfs4_record_add(struct nfs4_records *rs, enum nfs4_record_kind kind, struct xdr_bytes owner,
		    const char *note)
{
	uint8_t key[NFS4_RECORD_KEY];
	struct nfs4_record *r;
	int err;

	if (rs->broken)
		return rs->broken;
	make_key(owner, key);
	r = find(rs, kind, key);
	if (r && r->state != NFS4_RECORD_KEPT)
		return -EAGAIN;
	if (!r) {
		if (rs->n >= NFS4_RECORDS_MAX)
			return -ENOSPC;
		r = insert(rs, kind, key);
		if (!r)
			return -ENOMEM;
		r->state = NFS4_RECORD_ADDING;
		err = make_entry(rs, r, note);
		if (err) {
			forget(rs, r);
			return err;
		}
		r->state = NFS4_RECORD_KEPT;
	}
	r->current = true;
	return 0;
}

void nfs4_record_doom(struct nfs4_records *rs, struct nfs4_record *r)
{
	assert(r->state != NFS4_RECORD_ADDING);
	r->state = NFS4_RECORD_DOOMED;
}

static int remove_entry(struct nfs4_records *rs, const struct nfs4_record *r)
{
	char name[NAME_LEN + 1];
	struct fs_req req;
	int err;

	fs_req_admin(&req, rs->fs);
	err = fs_remove(&req, rs->dir, make_name(r, name), NULL);
	if (req.stable_seq > rs->removed_seq)
		rs->removed_seq = req.stable_seq;
	return err == -ENOENT ? 0 : err;	/* removed before, by a purge that failed later */
}

/* A wait for stable storage fails with -EIO then, and what was removed is not found again. */
static bool takes_no_changes(const struct nfs4_records *rs, int err)
{
	struct fs_status status;

	if (err)
		fs_status(rs->fs, &status);
	return err == -EROFS || (err && status.readonly);
}

int nfs4_records_purge(struct nfs4_records *rs)
{
	struct nfs4_record **gone = calloc(rs->n + 1, sizeof(*gone)), *r;
	unsigned n = 0, done = 0;
	int err = gone ? 0 : -ENOMEM;

	for (r = nfs4_records_next(rs, NULL); !err && r; r = nfs4_records_next(rs, r))
		if (r->state == NFS4_RECORD_DOOMED)
			gone[n++] = r;
	while (!err && done < n) {
		err = remove_entry(rs, gone[done]);
		done += !err;
	}
	if (done) {
		int unstable = fs_wait_stable(rs->fs, rs->removed_seq);

		err = unstable ? unstable : err;
		done = unstable ? 0 : done;
	}
	if (takes_no_changes(rs, err)) {
		done = n;
		err = 0;
	}
	for (unsigned i = 0; i < done; i++)
		forget(rs, gone[i]);
	free(gone);
	return err;
}
