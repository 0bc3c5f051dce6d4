/* SPDX-License-Identifier: Apache-2.0 */
/* pando pool scrub: start one, wait for it, show it, stop it. */
#include "pando/pando.h"

#include <stdio.h>

#define JOB "/v1/pool/scrub"

static void show_sizes(const json_t *j)
{
	struct table t;

	table_init(&t, "ll", "scrub", json_text(j, "state"));
	table_cell(&t, "looked over");
	table_size(&t, json_u64(j, "done_bytes"));
	table_cell(&t, "of");
	table_size(&t, json_u64(j, "total_bytes"));
	table_cell(&t, "data verified");
	table_size(&t, json_u64(j, "verified_bytes"));
	table_print(&t);
}

static int show(struct cmd *c, const json_t *j)
{
	const json_t *list = json_object_get(j, "messages");
	uint64_t findings = json_u64(j, "findings");
	bool bad = findings || job_is(j, "failed");
	int err;

	if (c->json) {
		err = print_json(j);
		return err ? err : bad;
	}
	if (job_is(j, "never")) {
		printf("there was no scrub yet\n");
		return print_done();
	}
	show_sizes(j);
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("%s\n", json_string_value(json_array_get(list, i)));
	if (findings > json_array_size(list))
		printf("%llu findings in all: pandod's log has them\n", (unsigned long long)findings);
	else if (job_is(j, "done") && !findings)
		printf("nothing is wrong\n");
	err = print_done();
	if (job_is(j, "failed"))
		return fail("the scrub failed: %s", json_text(j, "reason"));
	return err ? err : bad ? FAILED : DONE;
}

int cmd_pool_scrub(struct cmd *c)
{
	bool look = cmd_option(c, "status"), stop = cmd_option(c, "stop"), wait = cmd_option(c, "wait");
	uint64_t rate = 0;
	json_t *body = NULL, *j = NULL;
	int err;

	if (look + stop + !!cmd_option(c, "rate") > 1 || (wait && stop))
		return usage(c, "--rate, --status and --stop don't go together, nor --wait with --stop");
	err = cmd_size(c, "rate", &rate);
	if (err)
		return err;
	if (wait && !look) {			/* for one that runs, too */
		err = job_ask(c, "GET", JOB, NULL, &j);
		if (err)
			return err;
		look = job_is(j, "running");
	}
	if (!look && cmd_option(c, "rate"))
		body = json_pack("{s:I}", "rate", (json_int_t)rate);
	else if (!look && !stop)
		body = json_object();
	json_decref(j);
	j = NULL;
	err = job_ask(c, look ? "GET" : stop ? "DELETE" : "POST", JOB, body, &j);
	if (!err && wait)
		err = job_wait(c, "scrub", JOB, &j);
	if (!err)
		err = show(c, j);
	json_decref(j);
	return err;
}
