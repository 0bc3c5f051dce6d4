/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More of compound.h for the programs that test NFSv4.0: clients, owners and their numbers.
 *
 *	C = client40("name"); on40(P.file); op(OP_...); ...; assert_int_equal(run40(), NFS4_OK);
 *	ok(OP_...);
 */
#ifndef TESTS_NFS_COMPOUND40_H
#define TESTS_NFS_COMPOUND40_H

#include "compound.h"

struct own { const char *name; uint32_t seqid; };	/* the number of his next request */

static uint64_t C;			/* the clientid of who asks */

/* ---- clients ------------------------------------------------------------------------- */

U uint32_t setclientid(const char *id, uint64_t verifier, const char *netid, const char *addr,
		       uint64_t *ret_clientid, uint64_t *ret_confirm)
{
	uint32_t status;

	begin(0);
	op(OP_SETCLIENTID);
	msg_u64(&M, verifier);
	msg_string(&M, id);
	msg_u32(&M, 0x40000000);
	msg_string(&M, netid);
	msg_string(&M, addr);
	msg_u32(&M, 7);
	status = run();
	assert_int_equal(res(OP_SETCLIENTID), status);
	if (!status) {
		*ret_clientid = xdr_get_u64(&R);
		*ret_confirm = xdr_get_u64(&R);
		end_of_reply();
	}
	return status;
}

U uint32_t setclientid_confirm(uint64_t clientid, uint64_t confirm)
{
	begin(0);
	op(OP_SETCLIENTID_CONFIRM);
	msg_u64(&M, clientid);
	msg_u64(&M, confirm);
	return run();
}

U uint32_t renew(uint64_t clientid)
{
	begin(0);
	op(OP_RENEW);
	msg_u64(&M, clientid);
	return run();
}

U uint64_t client40(const char *id)
{
	uint64_t c = 0, confirm = 0;

	assert_int_equal(setclientid(id, 1, "tcp", "0.0.0.0.0.0", &c, &confirm), NFS4_OK);
	assert_int_equal(setclientid_confirm(c, confirm), NFS4_OK);
	return c;
}

/* ---- COMPOUNDs ----------------------------------------------------------------------- */

U void on40(const uint8_t fh[HANDLE_BYTES])
{
	begin(0);
	putfh(fh);
}

U uint32_t run40(void)
{
	uint32_t status = run();

	ok(OP_PUTFH);
	return status;
}

/* RFC 7530 section 9.1.7: the statuses that leave an owner his number. */
U bool counts40(uint32_t status)
{
	static const uint32_t not[] = {
		E(STALE_CLIENTID), E(STALE_STATEID), E(BAD_STATEID), E(BAD_SEQID), E(BADXDR),
		E(RESOURCE), E(NOFILEHANDLE), E(MOVED),
	};

	for (size_t i = 0; i < sizeof(not) / sizeof(*not); i++)
		if (status == not[i])
			return false;
	return true;
}

U void count40(struct own *o, uint32_t status) { o->seqid += counts40(status); }

/* Runs a COMPOUND whose last operation, NUM, is numbered by O. */
U uint32_t run_numbered(struct own *o, uint32_t num)
{
	uint32_t status = run40();

	assert_int_equal(res(num), status);
	count40(o, status);
	return status;
}

/* ---- opens --------------------------------------------------------------------------- */

U void put_open40(const struct own *o, uint32_t access, uint32_t deny, const char *name)
{
	op(OP_OPEN);
	msg_u32(&M, o->seqid);
	msg_u32(&M, access);
	msg_u32(&M, deny);
	msg_u64(&M, C);
	msg_string(&M, o->name);
	msg_u32(&M, 0);
	msg_u32(&M, 0);
	msg_string(&M, name);
}

/* OPEN that makes a file with mode 0640, or (EXCLUSIVE) by VERF. */
U void put_create40(const struct own *o, uint32_t how, uint64_t verf, const char *name)
{
	op(OP_OPEN);
	msg_u32(&M, o->seqid);
	msg_u32(&M, 3);
	msg_u32(&M, 0);
	msg_u64(&M, C);
	msg_string(&M, o->name);
	msg_u32(&M, 1);
	msg_u32(&M, how);
	if (how >= NFS4_CREATE_EXCLUSIVE)
		msg_u64(&M, verf);
	if (how != NFS4_CREATE_EXCLUSIVE)
		put_mode(0640);
	msg_u32(&M, 0);
	msg_string(&M, name);
}

/* The results of an OPEN; whether it has to be confirmed. */
U struct sid get_open40(bool *ret_confirm)
{
	struct sid s = get_sid();
	uint32_t flags;

	xdr_get_fixed(&R, 20);
	flags = xdr_get_u32(&R);
	assert_int_equal(flags & ~6u, 0);
	assert_true(flags & 4);
	*ret_confirm = flags & 2;
	for (uint32_t n = xdr_get_u32(&R); n; n--)
		xdr_get_u32(&R);
	assert_int_equal(xdr_get_u32(&R), 0);
	assert_false(R.bad);
	return s;
}

U uint32_t open_confirm(struct own *o, const uint8_t *fh, struct sid *s)
{
	uint32_t status;

	on40(fh);
	op(OP_OPEN_CONFIRM);
	put_sid(s);
	msg_u32(&M, o->seqid);
	status = run_numbered(o, OP_OPEN_CONFIRM);
	if (!status)
		*s = get_sid();
	return status;
}

/* OPEN of what is there, and OPEN_CONFIRM if wanted. */
U uint32_t open40(struct own *o, uint32_t access, uint32_t deny, const char *name,
		  struct sid *ret_sid)
{
	struct xdr_bytes got;
	uint32_t status;
	uint8_t fh[HANDLE_BYTES];
	bool confirm;

	on40(P.root);
	put_open40(o, access, deny, name);
	op(OP_GETFH);
	run40();
	status = res(OP_OPEN);
	count40(o, status);
	if (status)
		return status;
	*ret_sid = get_open40(&confirm);
	ok(OP_GETFH);
	got = xdr_get_opaque(&R, HANDLE_BYTES);
	assert_int_equal(got.len, HANDLE_BYTES);
	memcpy(fh, got.s, got.len);
	end_of_reply();
	return confirm ? open_confirm(o, fh, ret_sid) : NFS4_OK;
}

U uint32_t close40(struct own *o, const uint8_t *fh, const struct sid *s)
{
	on40(fh);
	op(OP_CLOSE);
	msg_u32(&M, o->seqid);
	put_sid(s);
	return run_numbered(o, OP_CLOSE);
}

U uint32_t downgrade40(struct own *o, struct sid *s, uint32_t access, uint32_t deny)
{
	uint32_t status;

	on40(P.file);
	op(OP_OPEN_DOWNGRADE);
	put_sid(s);
	msg_u32(&M, o->seqid);
	msg_u32(&M, access);
	msg_u32(&M, deny);
	status = run_numbered(o, OP_OPEN_DOWNGRADE);
	if (!status)
		*s = get_sid();
	return status;
}

U uint32_t read40(const uint8_t *fh, const struct sid *s)
{
	on40(fh);
	op(OP_READ);
	put_sid(s);
	msg_u64(&M, 0);
	msg_u32(&M, 10);
	return run40();
}

U uint32_t write40(const uint8_t *fh, const struct sid *s)
{
	on40(fh);
	op(OP_WRITE);
	put_sid(s);
	msg_u64(&M, 0);
	msg_u32(&M, 0);
	msg_string(&M, "x");
	return run40();
}

/* ---- locks --------------------------------------------------------------------------- */

/* A lock owner's first LOCK, that opener O numbers too, under his open S. */
U uint32_t first_lock40(struct own *o, const struct sid *open, struct own *l, uint32_t type,
			uint64_t off, uint64_t len, struct sid *ret_lock)
{
	uint32_t status;

	on40(P.file);
	op(OP_LOCK);
	msg_u32(&M, type);
	msg_u32(&M, 0);
	put_range(off, len);
	msg_u32(&M, 1);
	msg_u32(&M, o->seqid);
	put_sid(open);
	msg_u32(&M, l->seqid);
	msg_u64(&M, C);
	msg_string(&M, l->name);
	status = run_numbered(o, OP_LOCK);
	if (!status) {
		*ret_lock = get_sid();
		l->seqid++;
	}
	return status;
}

U uint32_t lock40(struct own *l, struct sid *s, uint32_t type, uint64_t off, uint64_t len)
{
	uint32_t status;

	on40(P.file);
	op(OP_LOCK);
	msg_u32(&M, type);
	msg_u32(&M, 0);
	put_range(off, len);
	msg_u32(&M, 0);
	put_sid(s);
	msg_u32(&M, l->seqid);
	status = run_numbered(l, OP_LOCK);
	if (!status)
		*s = get_sid();
	return status;
}

U uint32_t unlock40(struct own *l, struct sid *s, uint64_t off, uint64_t len)
{
	uint32_t status;

	on40(P.file);
	op(OP_LOCKU);
	msg_u32(&M, 1);
	msg_u32(&M, l->seqid);
	put_sid(s);
	put_range(off, len);
	status = run_numbered(l, OP_LOCKU);
	if (!status)
		*s = get_sid();
	return status;
}

U uint32_t test_lock40(uint64_t clientid, const char *owner, uint32_t type, uint64_t off,
		       uint64_t len)
{
	on40(P.file);
	op(OP_LOCKT);
	msg_u32(&M, type);
	put_range(off, len);
	msg_u64(&M, clientid);
	msg_string(&M, owner);
	return run40();
}

U uint32_t release_lockowner(uint64_t clientid, const char *owner)
{
	begin(0);
	op(OP_RELEASE_LOCKOWNER);
	msg_u64(&M, clientid);
	msg_string(&M, owner);
	return run();
}

U int setup40(void **state)
{
	setup(state);
	C = client40("client");
	P.ctl->changes = P.ctl->stable_waits = 0;
	return 0;
}

#define T40(x) cmocka_unit_test_setup_teardown(x, setup40, teardown)

#endif
