/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes (RFC 8881 section 5, RFC 7862 section 12, RFC 8275 and 8276): which there are, what
 * they are made of, how they are written and read.  docs/nfs4.md has the table for people.
 */
#include <stdlib.h>
#include "nfs/nfs4_attr.h"

#define PSEUDO_MOUNT ((uint64_t)1 << 32)	/* fileids in the pseudo root: and the volume */

/* The third word is of 4.1, the first two are 4.0's. */
static const uint32_t supported_41[NFS4_BITMAP_WORDS] = {
	B(SUPPORTED_ATTRS) | B(TYPE) | B(FH_EXPIRE_TYPE) | B(CHANGE) | B(SIZE) | B(LINK_SUPPORT) |
	B(SYMLINK_SUPPORT) | B(NAMED_ATTR) | B(FSID) | B(UNIQUE_HANDLES) | B(LEASE_TIME) |
	B(RDATTR_ERROR) | B(ACL) | B(ACLSUPPORT) | B(CANSETTIME) | B(CASE_INSENSITIVE) |
	B(CASE_PRESERVING) | B(CHOWN_RESTRICTED) | B(FILEHANDLE) | B(FILEID) | B(FILES_AVAIL) |
	B(FILES_FREE) | B(FILES_TOTAL) | B(FS_LOCATIONS) | B(HOMOGENEOUS) | B(MAXFILESIZE) |
	B(MAXLINK) | B(MAXNAME) | B(MAXREAD) | B(MAXWRITE),
	B(MODE) | B(NO_TRUNC) | B(NUMLINKS) | B(OWNER) | B(OWNER_GROUP) | B(QUOTA_AVAIL_HARD) |
	B(QUOTA_AVAIL_SOFT) | B(QUOTA_USED) | B(RAWDEV) | B(SPACE_AVAIL) | B(SPACE_FREE) |
	B(SPACE_TOTAL) | B(SPACE_USED) | B(TIME_ACCESS) | B(TIME_ACCESS_SET) | B(TIME_CREATE) |
	B(TIME_DELTA) | B(TIME_METADATA) | B(TIME_MODIFY) | B(TIME_MODIFY_SET) |
	B(MOUNTED_ON_FILEID),
	B(MODE_SET_MASKED) | B(SUPPATTR_EXCLCREAT) | B(FS_CHARSET_CAP),
};
static const uint32_t added_in_42 = B(CLONE_BLKSIZE) | B(CHANGE_ATTR_TYPE) | B(MODE_UMASK) |
				    B(XATTR_SUPPORT);
static const uint32_t settable[NFS4_BITMAP_WORDS] = {
	B(SIZE) | B(ACL), B(MODE) | B(OWNER) | B(OWNER_GROUP) | B(TIME_ACCESS_SET) |
	B(TIME_MODIFY_SET), B(MODE_SET_MASKED) | B(MODE_UMASK),
};

static uint32_t supported(uint32_t minor, unsigned w)
{
	if (w == 2 && !minor)
		return 0;
	return supported_41[w] | (w == 2 && minor >= 2 ? added_in_42 : 0);
}

bool nfs4_attr_supported(uint32_t minor, unsigned bit)
{
	return supported(minor, W(bit)) & B(bit);
}

/* ---- bitmaps ------------------------------------------------------------------------- */

bool nfs4_bit(const struct nfs4_bitmap *b, unsigned bit)
{
	return b->w[W(bit)] & B(bit);
}

void nfs4_bit_set(struct nfs4_bitmap *b, unsigned bit)
{
	b->w[W(bit)] |= B(bit);
}

void nfs4_get_bitmap(struct xdr_in *in, struct nfs4_bitmap *ret)
{
	uint32_t n = xdr_get_u32(in);

	*ret = (struct nfs4_bitmap){ 0 };
	if (n > 32)
		in->bad = true;
	for (uint32_t i = 0; i < n && !in->bad; i++) {
		uint32_t w = xdr_get_u32(in);

		if (i < NFS4_BITMAP_WORDS)
			ret->w[i] = w;
		else if (w)
			ret->beyond = true;
	}
}

void nfs4_put_bitmap(struct xdr_out *out, const struct nfs4_bitmap *b)
{
	uint32_t n = b->w[2] ? 3 : b->w[1] ? 2 : b->w[0] ? 1 : 0;

	xdr_put_u32(out, n);
	for (uint32_t i = 0; i < n; i++)
		xdr_put_u32(out, b->w[i]);
}

/* What can be set, but not asked for. */
static bool write_only(const struct nfs4_bitmap *b, uint32_t minor)
{
	return b->w[1] & (B(TIME_ACCESS_SET) | B(TIME_MODIFY_SET)) ||
	       (minor && b->w[2] & (B(MODE_SET_MASKED) | B(MODE_UMASK)));
}

static void cut(const struct nfs4_compound *cp, struct nfs4_bitmap *b)
{
	for (unsigned i = 0; i < NFS4_BITMAP_WORDS; i++)
		b->w[i] &= supported(cp->minor, i);
}

uint32_t nfs4_attrs_check(const struct nfs4_compound *cp, struct nfs4_bitmap *want)
{
	if (write_only(want, cp->minor))
		return NFS4ERR_INVAL;
	cut(cp, want);
	return NFS4_OK;
}

/* ---- loading ------------------------------------------------------------------------- */

uint64_t nfs4_pseudo_change(struct nfs_server *s)
{
	return s->nfs4->started_ns + fs_volume_epoch(s->fs);
}

static void load_pseudo(struct nfs4_compound *cp, struct nfs4_attrs *at)
{
	uint64_t ns = cp->st->started_ns;
	struct fs_time t = { ns / 1000000000, ns % 1000000000 };

	at->pseudo = true;
	at->a = (struct fs_attr){ .id.ino = FS_ROOT_INO, .type = FS_DIR, .mode = 0555, .nlink = 2,
				  .size = 4096, .change = nfs4_pseudo_change(cp->server),
				  .atime = t, .mtime = t, .ctime = t, .btime = t };
}

static uint32_t load_info(struct nfs4_compound *cp, struct nfs4_attrs *at)
{
	int err;

	at->info = nfs4_alloc(cp, sizeof(*at->info));
	err = at->info ? fs_volume_get(cp->f.req.fs, at->a.id.volume, at->info) : -ENOMEM;
	at->have_info = !err;
	return nfs4_status(err == -ENOENT ? -ESTALE : err);
}

uint32_t nfs4_attrs_load(struct nfs4_compound *cp, struct nfs4_attrs *at, const struct fs_id *id,
			 const struct nfs4_bitmap *want)
{
	const uint32_t statfs0 = B(FILES_AVAIL) | B(FILES_FREE) | B(FILES_TOTAL);
	const uint32_t statfs1 = B(SPACE_AVAIL) | B(SPACE_FREE) | B(SPACE_TOTAL) |
				 B(QUOTA_AVAIL_HARD) | B(QUOTA_AVAIL_SOFT) | B(QUOTA_USED);
	int err;

	at->cp = cp;
	at->pseudo = at->root = at->have_fsstat = at->have_info = false;
	at->fsstat = (struct fs_fsstat){ 0 };
	if (!id->volume) {
		load_pseudo(cp, at);
		return NFS4_OK;
	}
	if (want->w[0] & statfs0 || want->w[1] & statfs1) {
		err = fs_fsstat(&cp->f.req, *id, &at->fsstat, &at->a);
		at->have_fsstat = !err;
	} else {
		err = fs_getattr(&cp->f.req, *id, &at->a);
	}
	if (err)
		return nfs4_status(err);
	at->root = at->a.id.ino == FS_ROOT_INO && !at->a.id.snapshot;
	return want->w[0] & B(FS_LOCATIONS) ? load_info(cp, at) : NFS4_OK;
}

/* ---- writing ------------------------------------------------------------------------- */

static void put_time(struct xdr_out *out, struct fs_time t)
{
	xdr_put_u64(out, t.sec);
	xdr_put_u32(out, t.nsec);
}

/* In decimal.  Every GETATTR has two of them: printf() takes longer than all else of it. */
static void put_number(struct xdr_out *out, uint32_t v)
{
	char text[10], *end = text + sizeof(text), *p = end;

	do
		*--p = '0' + v % 10;
	while (v /= 10);
	xdr_put_opaque(out, p, end - p);
}

static void put_supported(struct xdr_out *out, uint32_t minor, const uint32_t *only)
{
	struct nfs4_bitmap b = { 0 };

	for (unsigned i = 0; i < NFS4_BITMAP_WORDS; i++)
		b.w[i] = supported(minor, i) & (only ? only[i] : UINT32_MAX);
	nfs4_put_bitmap(out, &b);
}

static void put_handle(struct xdr_out *out, const struct nfs4_attrs *at)
{
	uint8_t *p;

	xdr_put_u32(out, HANDLE_BYTES);
	p = xdr_room(out, HANDLE_BYTES);
	if (p)
		handle_make(at->cp->server->cfg.handle_key, &at->a.id, p);
}

/* Where it is (our own path), and no other place. */
static void put_locations(struct xdr_out *out, const struct nfs4_attrs *at)
{
	xdr_put_u32(out, at->have_info);
	if (at->have_info)
		xdr_put_string(out, at->info->name);
	xdr_put_u32(out, 0);
}

static uint64_t mounted_on(const struct nfs4_attrs *at)
{
	return at->root ? PSEUDO_MOUNT | at->a.id.volume : fs_mounted_fileid(at->a.id);
}

/* The first word: 0 to 31. */
static void put_word0(struct xdr_out *out, const struct nfs4_attrs *at, unsigned bit)
{
	switch (bit) {
	case SUPPORTED_ATTRS: put_supported(out, at->cp->minor, NULL); break;
	case TYPE: xdr_put_u32(out, at->a.type); break;
	case FH_EXPIRE_TYPE: xdr_put_u32(out, 0); break;	/* persistent */
	case CHANGE: xdr_put_u64(out, at->a.change); break;
	case SIZE: xdr_put_u64(out, at->a.size); break;
	case LINK_SUPPORT: xdr_put_bool(out, !at->pseudo); break;
	case SYMLINK_SUPPORT: xdr_put_bool(out, !at->pseudo); break;
	case NAMED_ATTR: xdr_put_bool(out, false); break;
	case FSID: xdr_put_u64(out, at->a.fsid); xdr_put_u64(out, 0); break;
	case UNIQUE_HANDLES: xdr_put_bool(out, true); break;
	case LEASE_TIME: xdr_put_u32(out, at->cp->server->cfg.lease_s); break;
	case RDATTR_ERROR: xdr_put_u32(out, NFS4_OK); break;
	case ACL: nfs4_put_acl(out, at->a.mode, at->a.type == FS_DIR); break;
	case ACLSUPPORT: xdr_put_u32(out, 3); break;		/* ALLOW, DENY */
	case CANSETTIME: xdr_put_bool(out, true); break;
	case CASE_INSENSITIVE: xdr_put_bool(out, false); break;
	case CASE_PRESERVING: xdr_put_bool(out, true); break;
	case CHOWN_RESTRICTED: xdr_put_bool(out, true); break;
	case FILEHANDLE: put_handle(out, at); break;
	case FILEID: xdr_put_u64(out, fs_fileid(at->a.id)); break;
	case FILES_AVAIL: xdr_put_u64(out, at->fsstat.free_files); break;
	case FILES_FREE: xdr_put_u64(out, at->fsstat.free_files); break;
	case FILES_TOTAL: xdr_put_u64(out, at->fsstat.total_files); break;
	case FS_LOCATIONS: put_locations(out, at); break;
	case HOMOGENEOUS: xdr_put_bool(out, true); break;
	case MAXFILESIZE: xdr_put_u64(out, FS_MAX_SIZE); break;
	case MAXLINK: xdr_put_u32(out, FS_LINK_MAX); break;
	case MAXNAME: xdr_put_u32(out, FS_NAME_MAX); break;
	case MAXREAD: xdr_put_u64(out, NFS4_IO_MAX); break;
	case MAXWRITE: xdr_put_u64(out, NFS4_IO_MAX); break;
	}
}

static void put_rest(struct xdr_out *out, const struct nfs4_attrs *at, unsigned bit)
{
	switch (bit) {
	case MODE: xdr_put_u32(out, at->a.mode); break;
	case NO_TRUNC: xdr_put_bool(out, true); break;
	case NUMLINKS: xdr_put_u32(out, at->a.nlink); break;
	case OWNER: put_number(out, at->a.uid); break;
	case OWNER_GROUP: put_number(out, at->a.gid); break;
	case QUOTA_AVAIL_HARD: xdr_put_u64(out, at->fsstat.avail_bytes); break;
	case QUOTA_AVAIL_SOFT: xdr_put_u64(out, at->fsstat.soft_avail_bytes); break;
	case QUOTA_USED: xdr_put_u64(out, at->fsstat.used_bytes); break;
	case RAWDEV:
		xdr_put_u32(out, at->a.rdev_major);
		xdr_put_u32(out, at->a.rdev_minor);
		break;
	case SPACE_AVAIL: xdr_put_u64(out, at->fsstat.avail_bytes); break;
	case SPACE_FREE: xdr_put_u64(out, at->fsstat.free_bytes); break;
	case SPACE_TOTAL: xdr_put_u64(out, at->fsstat.total_bytes); break;
	case SPACE_USED: xdr_put_u64(out, fs_used_bytes(&at->a)); break;
	case TIME_ACCESS: put_time(out, at->a.atime); break;
	case TIME_CREATE: put_time(out, at->a.btime); break;
	case TIME_DELTA: put_time(out, (struct fs_time){ 0, 1 }); break;
	case TIME_METADATA: put_time(out, at->a.ctime); break;
	case TIME_MODIFY: put_time(out, at->a.mtime); break;
	case MOUNTED_ON_FILEID: xdr_put_u64(out, mounted_on(at)); break;
	/* an exclusive create can set all that a SETATTR can */
	case SUPPATTR_EXCLCREAT: put_supported(out, at->cp->minor, settable); break;
	case FS_CHARSET_CAP: xdr_put_u32(out, 1); break;	/* names are bytes */
	case CLONE_BLKSIZE: xdr_put_u32(out, NFS4_CLONE_BLOCK); break;
	case CHANGE_ATTR_TYPE: xdr_put_u32(out, 0); break;	/* MONOTONIC_INCR */
	case XATTR_SUPPORT: xdr_put_bool(out, !at->pseudo); break;
	}
}

void nfs4_put_attrs(struct xdr_out *out, const struct nfs4_attrs *at,
		    const struct nfs4_bitmap *want)
{
	uint8_t *len_at;
	uint32_t len;

	nfs4_put_bitmap(out, want);
	len_at = xdr_room(out, 4);
	for (unsigned w = 0; w < NFS4_BITMAP_WORDS; w++)
		for (uint32_t bits = want->w[w]; bits; bits &= bits - 1) {
			if (w)
				put_rest(out, at, w * 32 + __builtin_ctz(bits));
			else
				put_word0(out, at, __builtin_ctz(bits));
		}
	if (out->full)
		return;
	len = htobe32(out->p - len_at - 4);
	memcpy(len_at, &len, 4);
}
