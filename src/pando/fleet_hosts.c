/* SPDX-License-Identifier: Apache-2.0 */
/* A fleet's hypervisor: reaching it, what it has, and starting machines on it. */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <string.h>

#include "admin/size.h"

#define AT_ONCE 4			/* more wait for each other in libvirtd */
#define AT_ONCE_MAX 64

int fleet_connect(struct cmd *c, const struct fleet *f, struct hv **ret)
{
	const char *uri = cmd_option(c, "connect");
	char why[FLEET_WHY];

	*ret = NULL;
	if (!uri)
		uri = setting_text(f, "connect");
	if (!uri || !strcmp(uri, "none"))
		return DONE;
	return hv_open(uri, ret, why) ? fail("%s", why) : DONE;
}

int fleet_hosts(struct cmd *c, struct fleet *f, struct hv **ret)
{
	char why[FLEET_WHY];
	int err = fleet_connect(c, f, ret);

	if (err)
		return err;
	if (!*ret)
		return fail("%s: has no hypervisor; say which with --connect", f->name);
	if (!hv_survey(*ret, f, why))
		return DONE;
	hv_close(*ret);
	*ret = NULL;
	return fail("%s: %s", f->name, why);
}

int fleet_choose(struct cmd *c, struct fleet *f)
{
	struct machine *m;
	size_t i;
	int k;

	for (i = 0; i < f->n; i++)
		f->machines[i].chosen = c->argc == 1;
	for (k = 1; k < c->argc; k++) {
		m = fleet_machine(f, c->argv[k]);
		if (!m)
			return fail("%s: no such machine in the fleet %s", c->argv[k], f->name);
		m->chosen = true;
	}
	return DONE;
}

int fleet_no_foreign(const struct fleet *f)
{
	const struct machine *m;
	size_t i;

	for (i = 0; i < f->n; i++) {
		m = &f->machines[i];
		if (m->chosen && m->domain == DOMAIN_FOREIGN)
			return fail("%s: the domain %s is there already and not of this fleet; rename "
				    "or remove it, or name the machines otherwise", m->name,
				    m->domain_name);
	}
	return DONE;
}

int fleet_at_once(struct cmd *c, const char *option, const char *text, unsigned *ret)
{
	uint64_t n;

	*ret = AT_ONCE;
	if (!text || !*text)
		return DONE;
	if (number_parse(text, &n) || n < 1 || n > AT_ONCE_MAX)
		return usage(c, "--%s %s: must be a number from 1 to %d", option, text, AT_ONCE_MAX);
	*ret = (unsigned)n;
	return DONE;
}

static bool to_start(const struct machine *m)
{
	return m->chosen && m->domain != DOMAIN_RUNNING;
}

/* A host that swaps its guests is slower than one that says no. */
int fleet_memory_check(struct cmd *c, struct hv *hv, const struct fleet *f)
{
	char why[FLEET_WHY], need[SIZE_TEXT], have[SIZE_TEXT];
	uint64_t host, n = 0, each = setting_number(f, "memory");
	size_t i;

	if (cmd_option(c, "overcommit"))
		return DONE;
	if (hv_memory(hv, &host, why))
		return fail("%s: %s", f->name, why);
	for (i = 0; i < f->n; i++)
		n += f->machines[i].chosen || f->machines[i].domain == DOMAIN_RUNNING;
	if (n <= host / each)
		return DONE;
	return fail("%s: %llu running machines need %s of memory, and the host has %s; start fewer, or "
		    "give --overcommit", f->name, (unsigned long long)n, size_text(n * each, need),
		    size_text(host, have));
}

int fleet_run(struct cmd *c, struct hv *hv, struct fleet *f, const char *at_once, uint64_t *ret_done)
{
	struct crew_work work = { .what = "starting", .want = to_start, .fn = hv_start,
				  .keep_going = cmd_option(c, "keep-going") != NULL };
	int err = fleet_memory_check(c, hv, f);

	*ret_done = 0;
	if (!err)
		err = fleet_at_once(c, "at-once", at_once, &work.at_once);
	return err ? err : crew_run(hv, f, &work, ret_done);
}

const char *domain_text(const struct machine *m, char buf[96])
{
	static const char *const texts[] = {
		[DOMAIN_UNKNOWN] = "unknown", [DOMAIN_NONE] = "none", [DOMAIN_STOPPED] = "stopped",
		[DOMAIN_RUNNING] = "running", [DOMAIN_FOREIGN] = "foreign",
	};

	if (!*m->domain_name)
		return texts[m->domain];
	snprintf(buf, 96, "%s: %s", m->domain == DOMAIN_FOREIGN ? "foreign" : "renamed", m->domain_name);
	return buf;
}
