/* SPDX-License-Identifier: Apache-2.0 */
/* pando dedup: start a job, wait for it, show it, cancel it. */
#include "pando/pando.h"

#include <stdio.h>

#define JOB "/v1/dedup"

static int show_sizes(const json_t *j)
{
	struct table t;

	table_init(&t, "ll", "dedup", json_text(j, "state"));
	table_cell(&t, "volume");
	table_cell(&t, json_text(j, "volume"));
	table_cell(&t, "looked over");
	table_size(&t, json_u64(j, "done_bytes"));
	table_cell(&t, "of");
	table_size(&t, json_u64(j, "total_bytes"));
	table_cell(&t, "read to compare");
	table_size(&t, json_u64(j, "compared_bytes"));
	table_cell(&t, "saved");
	table_size(&t, json_u64(j, "saved_bytes"));
	table_cell(&t, "of it zeros");
	table_size(&t, json_u64(j, "zero_bytes"));
	table_cell(&t, "left to clones and snapshots");
	table_size(&t, json_u64(j, "kept_bytes"));
	return table_print(&t);
}

static int show(struct cmd *c, const json_t *j)
{
	int err;

	if (c->json)
		err = print_json(j);
	else if (job_is(j, "never")) {
		printf("there was no dedup job yet\n");
		return print_done();
	} else {
		err = show_sizes(j);
		if (json_u64(j, "unreadable"))
			printf("%llu blocks could not be read: see 'pando pool scrub'\n",
			       (unsigned long long)json_u64(j, "unreadable"));
		if (!err)
			err = print_done();
	}
	if (job_is(j, "failed") && !c->json)
		return fail("%s: the dedup job failed: %s", json_text(j, "volume"), json_text(j, "reason"));
	return err ? err : job_is(j, "failed") ? FAILED : DONE;
}

static int act(struct cmd *c, const char *method, json_t *body, bool wait)
{
	json_t *j = NULL;
	int err = job_ask(c, method, JOB, body, &j);

	if (!err && wait)
		err = job_wait(c, "dedup", JOB, &j);
	if (!err)
		err = show(c, j);
	json_decref(j);
	return err;
}

int dedup_start(struct cmd *c)
{
	char why[OBJNAME_WHY];
	uint64_t rate = 0;
	json_t *body;

	if (volume_name_check(c->argv[0], why))
		return fail("%s", why);
	if (cmd_size(c, "rate", &rate))
		return BAD_USAGE;
	body = json_pack("{s:s}", "volume", c->argv[0]);
	if (cmd_option(c, "rate"))
		json_object_set_new(body, "rate", json_integer((json_int_t)rate));
	return act(c, "POST", body, cmd_option(c, "wait"));
}

int dedup_status(struct cmd *c)
{
	return act(c, "GET", NULL, cmd_option(c, "wait"));
}

int dedup_cancel(struct cmd *c)
{
	return act(c, "DELETE", NULL, false);
}
