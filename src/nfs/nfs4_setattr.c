/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes that a client sets, in SETATTR and when it makes a file (RFC 8881 section 5, RFC 7862
 * section 12, RFC 8275).  They are decoded first, whatever they say; what is wrong with them, and
 * what it takes to look a name up, comes with nfs4_check_set().
 */
#include "nfs/names.h"
#include "nfs/nfs4_attr.h"

#define SUID_BITS 07000u

/* ---- decoding ------------------------------------------------------------------------ */

/* Users and groups are names, or numbers in decimal (RFC 8881 section 5.9). */
static void get_who(struct xdr_in *in, struct xdr_bytes *ret)
{
	*ret = xdr_get_opaque(in, NFS4_OPAQUE_MAX);
}

static struct fs_time get_set_time(struct xdr_in *in, uint32_t *mask, uint32_t now, uint32_t given)
{
	struct fs_time t = { 0 };

	if (!xdr_get_enum(in, 1)) {
		*mask |= now;
		return t;
	}
	*mask |= given;
	t.sec = xdr_get_u64(in);
	t.nsec = xdr_get_u32(in);
	return t;
}

static uint32_t get_masked(struct xdr_in *in, struct nfs4_set *s)
{
	uint32_t mode = xdr_get_u32(in), mask = xdr_get_u32(in);

	if (!(s->set.mask & FS_SET_MODE))
		s->keep = 07777;
	s->set.mask |= FS_SET_MODE;
	s->set.mode = (s->set.mode & ~mask) | (mode & mask);
	s->keep &= ~mask;
	return (mode | mask) & ~07777u ? NFS4ERR_INVAL : NFS4_OK;
}

static uint32_t get_one(struct xdr_in *in, unsigned bit, struct nfs4_set *s)
{
	struct fs_setattr *f = &s->set;

	switch (bit) {
	case SIZE:
		f->mask |= FS_SET_SIZE;
		f->size = xdr_get_u64(in);
		return NFS4_OK;
	case ACL:
		f->mask |= FS_SET_MODE;
		s->keep = SUID_BITS;
		return nfs4_get_acl(in, &f->mode);
	case MODE:			/* after an ACL: it has the last word */
		f->mask |= FS_SET_MODE;
		s->keep = 0;
		f->mode = xdr_get_u32(in);
		return f->mode & ~07777u ? NFS4ERR_INVAL : NFS4_OK;
	case OWNER:
		f->mask |= FS_SET_UID;
		get_who(in, &s->owner);
		return NFS4_OK;
	case OWNER_GROUP:
		f->mask |= FS_SET_GID;
		get_who(in, &s->group);
		return NFS4_OK;
	case TIME_ACCESS_SET:
		f->atime = get_set_time(in, &f->mask, FS_SET_ATIME_NOW, FS_SET_ATIME);
		return NFS4_OK;
	case TIME_MODIFY_SET:
		f->mtime = get_set_time(in, &f->mask, FS_SET_MTIME_NOW, FS_SET_MTIME);
		return NFS4_OK;
	case MODE_SET_MASKED:
		return get_masked(in, s);
	case MODE_UMASK:
		f->mask |= FS_SET_MODE;
		f->mode = xdr_get_u32(in) & 07777;
		f->mode &= ~(xdr_get_u32(in) & 0777);
		return NFS4_OK;
	default:
		return nfs4_attr_supported(2, bit) ? NFS4ERR_INVAL : NFS4ERR_ATTRNOTSUPP;
	}
}

void nfs4_get_set(struct xdr_in *in, struct nfs4_set *ret)
{
	struct xdr_bytes values;
	struct xdr_in v;

	*ret = (struct nfs4_set){ 0 };
	nfs4_get_bitmap(in, &ret->given);
	values = xdr_get_opaque(in, RPC_CALL_MAX);
	if (in->bad)
		return;
	xdr_in_init(&v, values.s, values.len);
	if (ret->given.beyond)
		ret->status = NFS4ERR_ATTRNOTSUPP;
	for (unsigned w = 0; w < NFS4_BITMAP_WORDS; w++)
		for (uint32_t bits = ret->given.w[w]; bits && !ret->status; bits &= bits - 1)
			ret->status = get_one(&v, w * 32 + __builtin_ctz(bits), ret);
	if (v.bad || (!ret->status && xdr_left(&v)))
		in->bad = true;
}

/* ---- checking ------------------------------------------------------------------------ */

static uint32_t find_who(struct nfs4_compound *cp, bool group, struct xdr_bytes who, uint32_t *ret)
{
	int err = names_find(cp->server->names, group, who.s, who.len, ret);

	return err == -ENOENT ? NFS4ERR_BADOWNER : err ? NFS4ERR_DELAY : NFS4_OK;
}

/* What may not come together, or not here. */
static uint32_t check_given(const struct nfs4_compound *cp, const struct nfs4_set *s, bool creating)
{
	bool masked = nfs4_bit(&s->given, MODE_SET_MASKED);
	bool umask = nfs4_bit(&s->given, MODE_UMASK);
	const struct fs_setattr *f = &s->set;

	if ((masked && !nfs4_attr_supported(cp->minor, MODE_SET_MASKED)) ||
	    (umask && !nfs4_attr_supported(cp->minor, MODE_UMASK)))
		return NFS4ERR_ATTRNOTSUPP;
	if (masked + umask + nfs4_bit(&s->given, MODE) > 1 || (umask && !creating))
		return NFS4ERR_INVAL;
	if ((f->mask & FS_SET_ATIME && f->atime.nsec >= 1000000000) ||
	    (f->mask & FS_SET_MTIME && f->mtime.nsec >= 1000000000))
		return NFS4ERR_INVAL;
	return f->mask & FS_SET_SIZE && f->size > (uint64_t)FS_MAX_SIZE ? NFS4ERR_FBIG : NFS4_OK;
}

uint32_t nfs4_check_set(struct nfs4_compound *cp, struct nfs4_set *s, bool creating)
{
	uint32_t status = !cp->minor && s->given.w[2] ? NFS4ERR_ATTRNOTSUPP : s->status;

	if (!status)
		status = check_given(cp, s, creating);
	if (!status && s->set.mask & FS_SET_UID)
		status = find_who(cp, false, s->owner, &s->set.uid);
	if (!status && s->set.mask & FS_SET_GID)
		status = find_who(cp, true, s->group, &s->set.gid);
	return status;
}

struct nfs4_bitmap nfs4_settable(const struct nfs4_set *s)
{
	return s->given;
}

/* ---- SETATTR ------------------------------------------------------------------------- */

static uint32_t check_size(struct nfs4_compound *cp, const struct nfs4_op *op,
			   const struct fs_attr *a)
{
	uint32_t status = nfs4_wrong_type(a->type, FS_REG);

	if (status == NFS4ERR_SYMLINK || (status == NFS4ERR_ISDIR && cp->minor))
		return NFS4ERR_WRONG_TYPE;	/* ISDIR is 4.0's */
	return status ? status : nfs4_stateid_io(cp, &cp->cur, &op->setattr.id, NFS4_OPEN_WRITE);
}

uint32_t nfs4_setattr(struct nfs4_compound *cp, struct nfs4_op *op)
{
	struct fs_setattr *set = &op->setattr.set.set;
	uint32_t status = nfs4_check_set(cp, &op->setattr.set, false);
	struct fs_attr a;

	if (status)
		return status;
	if (!set->mask || set->mask & FS_SET_SIZE || op->setattr.set.keep) {
		status = nfs4_status(fs_getattr(&cp->f.req, cp->cur.id, &a));
		if (status || !set->mask)
			return status;
		set->mode |= a.mode & op->setattr.set.keep;
	}
	if (set->mask & FS_SET_SIZE)
		status = check_size(cp, op, &a);
	return status ? status : nfs4_status(fs_setattr(&cp->f.req, cp->cur.id, set, NULL));
}
