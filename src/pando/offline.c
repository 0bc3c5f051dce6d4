/* SPDX-License-Identifier: Apache-2.0 */
/* Work on a pool that no daemon has open: storage's own functions in a fiber of a loop of their own. */
#include "pando/pando.h"

#include <errno.h>

#include "base/err.h"
#include "base/fiber.h"
#include "base/loop.h"

struct offline {
	struct loop *loop;
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static void offline_fiber(void *arg)
{
	struct offline *o = arg;

	o->result = o->fn(o->arg);
	loop_stop(o->loop);
}

int run_offline(int (*fn)(void *arg), void *arg)
{
	struct offline o = { .fn = fn, .arg = arg };
	int err = loop_new(LOOP_AUTO, &o.loop);

	if (err)
		return fail("cannot start an event loop: %s", err_text(err));
	err = fiber_spawn(offline_fiber, &o, "offline");
	if (!err)
		err = loop_run(o.loop);
	if (err)
		return fail("cannot run the event loop: %s", err_text(err));
	loop_free(o.loop);
	return o.result;
}

int open_fail(const char *path, int err)
{
	if (err == -EBUSY)
		return fail("%s: the pool is open elsewhere; stop the pandod that has it", path);
	if (err == -ENOENT)
		return fail("%s: no such file; 'pando pool create' makes a pool", path);
	if (err == -EISDIR)
		return fail("%s: is a directory; name a file or a block device", path);
	return fail("%s: cannot open it: %s", path, err_text(err));
}
