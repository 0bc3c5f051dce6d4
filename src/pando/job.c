/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that pandod runs in the background: to ask for one, and to wait for its end. */
#include "pando/pando.h"

#include <string.h>
#include <unistd.h>

#define POLL_US 300000

int job_ask(struct cmd *c, const char *method, const char *path, json_t *body, json_t **ret)
{
	struct request r;

	request_init(&r, method, path, NULL);
	r.body = body;
	return client_call(c, &r, ret);
}

bool job_is(const json_t *j, const char *state)
{
	return !strcmp(json_text(j, "state"), state);
}

int job_wait(struct cmd *c, const char *what, const char *path, json_t **j)
{
	bool ran = job_is(*j, "running");
	int err = DONE;

	while (!err && job_is(*j, "running")) {
		progress(what, json_u64(*j, "done_bytes"), json_u64(*j, "total_bytes"));
		usleep(POLL_US);
		json_decref(*j);
		*j = NULL;
		err = job_ask(c, "GET", path, NULL, j);
	}
	progress_end();
	if (!err && ran && (job_is(*j, "cancelled") || job_is(*j, "stopped")))
		err = fail("the %s was %s meanwhile, before it was done", what, json_text(*j, "state"));
	return err;
}
