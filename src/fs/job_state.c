/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/job_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/log.h"

static const struct fs_name state_name = { "state", 5 };

static int state_file(struct fs_req *req, const char *job, struct fs_attr *ret)
{
	const struct fs_create how = { .type = FS_REG, .how = FS_CREATE_UNCHECKED };
	struct fs_id dir;
	int err = fs_system_dir(req, job, &dir);

	return err ? err : fs_create(req, dir, state_name, &how, ret, NULL);
}

void job_state_save(struct fs *fs, const char *job, char text[JOB_STATE_BYTES])
{
	struct iovec iov = { text, JOB_STATE_BYTES };
	struct fs_attr a;
	struct fs_req req;
	int err;

	fs_req_admin(&req, fs);
	err = state_file(&req, job, &a);
	if (!err)
		err = fs_write(&req, a.id, 0, &iov, 1, JOB_STATE_BYTES, false, NULL);
	if (err)
		log_error("%s: where it stands could not be written down: %s", job, err_text(err));
}

int job_state_load(struct fs *fs, const char *job, char text[JOB_STATE_BYTES + 1])
{
	struct fs_read *r = malloc(sizeof(*r));
	struct fs_id dir;
	struct fs_attr a;
	struct fs_req req;
	int err = r ? 0 : -ENOMEM;

	fs_req_admin(&req, fs);
	if (!err)
		err = fs_system_dir(&req, job, &dir);
	if (!err)
		err = fs_lookup(&req, dir, state_name, &a, NULL);
	if (!err)
		err = fs_read(&req, a.id, 0, JOB_STATE_BYTES, r);
	if (!err) {
		if (r->niov)
			memcpy(text, r->iov[0].iov_base, r->iov[0].iov_len < JOB_STATE_BYTES ?
			       r->iov[0].iov_len : JOB_STATE_BYTES);
		fs_read_done(fs, r);
	}
	free(r);
	return err;
}
