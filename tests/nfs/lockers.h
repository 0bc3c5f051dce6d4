/* SPDX-License-Identifier: Apache-2.0 */
/* For the programs that test locks of NFSv4.1 in process: owners of locks, and what they do. */
#ifndef TESTS_NFS_LOCKERS_H
#define TESTS_NFS_LOCKERS_H

#include "compound.h"

/* A lock owner, of an open of "f". */
struct locker { const char *name; struct sid open, lock; bool has; };

U uint32_t lock(struct sess *s, struct locker *l, uint32_t type, uint64_t off, uint64_t len)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_LOCK);
	msg_u32(&M, type);
	msg_u32(&M, 0);
	put_range(off, len);
	msg_u32(&M, !l->has);
	if (!l->has) {
		msg_u32(&M, 0);
		put_sid(&l->open);
		msg_u32(&M, 0);
		put_owner(l->name);
	} else {
		put_sid(&l->lock);
		msg_u32(&M, 0);
	}
	run();
	ok_seq();
	ok(OP_PUTFH);
	status = res(OP_LOCK);
	if (!status) {
		l->lock = get_sid();
		l->has = true;
		end_of_reply();
	}
	return status;
}

U uint32_t unlock(struct sess *s, struct locker *l, uint64_t off, uint64_t len)
{
	uint32_t status;

	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_LOCKU);
	msg_u32(&M, 1);
	msg_u32(&M, 0);
	put_sid(&l->lock);
	put_range(off, len);
	status = run();
	ok_seq();
	ok(OP_PUTFH);
	assert_int_equal(res(OP_LOCKU), status);
	if (!status)
		l->lock = get_sid();
	return status;
}

U uint32_t test_lock(struct sess *s, const char *owner, uint32_t type, uint64_t off, uint64_t len)
{
	begin(2);
	seq(s);
	putfh(P.file);
	op(OP_LOCKT);
	msg_u32(&M, type);
	put_range(off, len);
	put_owner(owner);
	run();
	ok_seq();
	ok(OP_PUTFH);
	return res(OP_LOCKT);
}

#endif
