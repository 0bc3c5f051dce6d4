/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACLs (RFC 8881 section 6) as far as a mode can say the same.
 *
 * To the client: what the mode denies the owner or the group although others are allowed it, then
 * what each is allowed.  From the client: for each of the three kinds of users the entries are
 * walked in order, the first that speaks of a permission decides it, and what none speaks of is
 * denied.  GROUP@ is not looked at for the owner, as in a mode.  What a mode can't say (entries
 * for somebody by name, inheritance, audit; denying what a mode always allows) is refused, so that
 * nobody ever gets more than the ACL gives him.
 */
#include <string.h>
#include "nfs/nfs4_state.h"

enum { ALLOW = 0, DENY = 1, ALARM = 3 };
enum { KNOWN_FLAGS = 0xff, IDENTIFIER_GROUP = 0x40 };
enum {
	READ_DATA = 1, WRITE_DATA = 2, APPEND_DATA = 4, EXECUTE = 0x20, DELETE_CHILD = 0x40,
	READ_ATTRIBUTES = 0x80, WRITE_ATTRIBUTES = 0x100, READ_ACL = 0x20000, WRITE_ACL = 0x40000,
	SYNCHRONIZE = 0x100000, KNOWN_MASK = 0x1f07ff,
	EVERYBODYS = READ_ATTRIBUTES | READ_ACL | SYNCHRONIZE,
	OWNERS = EVERYBODYS | WRITE_ATTRIBUTES | WRITE_ACL,
	MODES = READ_DATA | WRITE_DATA | APPEND_DATA | EXECUTE,
};

/* ---- to the client ------------------------------------------------------------------- */

static uint32_t mask_of(uint32_t rwx, bool dir)
{
	return (rwx & 4 ? READ_DATA : 0) | (rwx & 1 ? EXECUTE : 0) |
	       (rwx & 2 ? WRITE_DATA | APPEND_DATA | (dir ? DELETE_CHILD : 0) : 0);
}

static void put_ace(struct xdr_out *out, uint32_t type, uint32_t mask, const char *who)
{
	xdr_put_u32(out, type);
	xdr_put_u32(out, 0);
	xdr_put_u32(out, mask);
	xdr_put_string(out, who);
}

void nfs4_put_acl(struct xdr_out *out, uint32_t mode, bool dir)
{
	uint32_t u = mode >> 6 & 7, g = mode >> 3 & 7, o = mode & 7;
	uint32_t not_u = (g | o) & ~u, not_g = o & ~g;

	xdr_put_u32(out, 3 + !!not_u + !!not_g);
	if (not_u)
		put_ace(out, DENY, mask_of(not_u, dir), "OWNER@");
	put_ace(out, ALLOW, mask_of(u, dir) | OWNERS, "OWNER@");
	if (not_g)
		put_ace(out, DENY, mask_of(not_g, dir), "GROUP@");
	put_ace(out, ALLOW, mask_of(g, dir) | EVERYBODYS, "GROUP@");
	put_ace(out, ALLOW, mask_of(o, dir) | EVERYBODYS, "EVERYONE@");
}

/* ---- from the client ----------------------------------------------------------------- */

enum { OWNER, GROUP, OTHER, KINDS };
struct decided { uint32_t bits, allowed; };

static bool is(struct xdr_bytes who, const char *name)
{
	return who.len == strlen(name) && !memcmp(who.s, name, who.len);
}

static uint32_t take_ace(struct decided d[KINDS], uint32_t type, uint32_t flags, uint32_t mask,
			 struct xdr_bytes who)
{
	bool all = is(who, "EVERYONE@"), owner = is(who, "OWNER@"), group = is(who, "GROUP@");

	if (!who.len || type > ALARM || flags & ~(uint32_t)KNOWN_FLAGS ||
	    mask & ~(uint32_t)KNOWN_MASK)
		return NFS4ERR_INVAL;
	if (type > DENY || flags & ~(uint32_t)IDENTIFIER_GROUP)
		return NFS4ERR_ATTRNOTSUPP;
	if (type == DENY && mask & ~(uint32_t)(MODES | (mask & WRITE_DATA ? DELETE_CHILD : 0)))
		return NFS4ERR_ATTRNOTSUPP;
	if (!all && !owner && !group)		/* nothing given, nothing taken: nothing said */
		return mask & ~(uint32_t)EVERYBODYS ? NFS4ERR_ATTRNOTSUPP : NFS4_OK;
	for (int k = OWNER; k < KINDS; k++) {
		uint32_t fresh = mask & MODES & ~d[k].bits;

		if (!all && k != (owner ? OWNER : GROUP))
			continue;
		d[k].bits |= fresh;
		d[k].allowed |= type == ALLOW ? fresh : 0;
	}
	return NFS4_OK;
}

static uint32_t rwx_of(const struct decided *d)
{
	const uint32_t write = WRITE_DATA | APPEND_DATA;

	return (d->allowed & READ_DATA ? 4 : 0) | ((d->allowed & write) == write ? 2 : 0) |
	       (d->allowed & EXECUTE ? 1 : 0);
}

uint32_t nfs4_get_acl(struct xdr_in *in, uint32_t *ret_mode)
{
	struct decided d[KINDS] = { { 0 } };
	uint32_t n = xdr_get_u32(in), status = NFS4_OK;

	for (; n && !in->bad; n--) {
		uint32_t type = xdr_get_u32(in), flags = xdr_get_u32(in), mask = xdr_get_u32(in);
		struct xdr_bytes who = xdr_get_opaque(in, NFS4_OPAQUE_MAX);
		uint32_t one = in->bad ? NFS4_OK : take_ace(d, type, flags, mask, who);

		status = status ? status : one;
	}
	*ret_mode = rwx_of(&d[OWNER]) << 6 | rwx_of(&d[GROUP]) << 3 | rwx_of(&d[OTHER]);
	return status;
}
