/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet's hypervisors: reaching them, what they have, and starting machines on them.
 *
 * All hosts are asked by each command, also those that have none of the machines that are meant: libvirt
 * can move a machine from one to another behind our back, and one that was started at both would ruin
 * its disk.
 */
#include "pando/fleet_cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"

#define AT_ONCE 4			/* more wait for each other in libvirtd */
#define AT_ONCE_MAX 64

int hosts_open(struct cmd *c, struct fleet *f, struct hosts *h)
{
	const char *own = setting_text(f, "connect"), *list = cmd_option(c, "connect");
	char why[FLEET_WHY], uri[FLEET_HOST];
	unsigned i, n = hosts_count(own);
	size_t k;

	if (!list)
		list = own;
	if (!list || !strcmp(list, "none"))
		return DONE;
	if (hosts_check(list, why))
		return usage(c, "%s", why);
	if (hosts_count(list) != (n ? n : 1) && list != own)
		return usage(c, "--connect: names %u hosts, and %s has %u; name them all, in the order that 'pando fleet "
			     "show' has, as they are reached from here", hosts_count(list), f->name, n);
	h->at = calloc(hosts_count(list), sizeof(*h->at));
	if (!h->at)
		return fail("out of memory");
	h->n = hosts_count(list);
	h->list = list;
	for (i = 0; i < h->n; i++)
		hv_open(host_at(list, i, uri), &h->at[i].hv, h->at[i].why);
	for (k = 0; k < f->n && h->n == 1; k++)
		f->machines[k].host = 0;
	return DONE;
}

void hosts_close(struct hosts *h)
{
	unsigned i;

	for (i = 0; i < h->n; i++)
		hv_close(h->at[i].hv);
	free(h->at);
	h->at = NULL;
	h->n = 0;
}

int hosts_survey(struct hosts *h, struct fleet *f, char why[FLEET_WHY])
{
	char uri[FLEET_HOST], what[FLEET_WHY];
	struct machine *m;
	unsigned i;
	size_t k;
	int err = 0;

	for (k = 0; k < f->n; k++) {
		m = &f->machines[k];
		m->domain = m->host < h->n ? DOMAIN_UNKNOWN : DOMAIN_NONE;
		m->elsewhere = HOST_NONE;
		m->domain_name[0] = 0;
		m->domain_more = NULL;
		m->saved = false;
		m->up_since = 0;
	}
	for (i = 0; i < h->n; i++) {
		if (!h->at[i].hv || !hv_survey(h->at[i].hv, i, f, what))
			continue;
		hv_close(h->at[i].hv);
		h->at[i].hv = NULL;
		snprintf(h->at[i].why, FLEET_WHY, "%.150s: %.240s", host_at(h->list, i, uri), what);
		if (!err)
			memcpy(why, h->at[i].why, FLEET_WHY);
		err = -EIO;
	}
	return err;
}

/* "desk-001, desk-003 and 48 more": what host I has, or of it those that are meant. */
static uint64_t names_text(const struct fleet *f, unsigned i, bool meant, char *buf, size_t cap)
{
	const struct machine *m;
	uint64_t n = 0, shown = 0;
	size_t k, len = 0;

	snprintf(buf, cap, "no machine");
	for (k = 0; k < f->n; k++) {
		m = &f->machines[k];
		if (m->host != i || (meant && !m->chosen))
			continue;
		n++;
		if (len + strlen(m->name) + 40 > cap || shown < n - 1)
			continue;
		len += (size_t)snprintf(buf + len, cap - len, "%s%s", shown ? ", " : "", m->name);
		shown++;
	}
	if (n > shown)
		snprintf(buf + len, cap - len, " and %llu more", (unsigned long long)(n - shown));
	return n;
}

/* Host I doesn't answer. */
static int host_settle(struct fleet *f, struct hosts *h, unsigned i, bool leave_out, bool could)
{
	char names[700];
	size_t k;

	if (h->n == 1)
		return fail("%s: %s", f->name, h->at[i].why);
	if (!leave_out) {
		names_text(f, i, false, names, sizeof(names));
		return fail("%s: %s; it has %s%s", f->name, h->at[i].why, names,
			    could ? "; --keep-going leaves that host out" : "");
	}
	if (names_text(f, i, true, names, sizeof(names))) {
		fail("%s: %s; left out: %s", f->name, h->at[i].why, names);
		h->left_out = true;
	}
	for (k = 0; k < f->n; k++)
		f->machines[k].chosen &= f->machines[k].host != i;
	return DONE;
}

/* M's domain is on a host that the manifest doesn't have for it: if it ran at both, its disk would be lost. */
static int moved_settle(struct fleet *f, struct hosts *h, struct machine *m, bool leave_out)
{
	char at[FLEET_HOST], on[FLEET_HOST];

	host_at(h->list, m->host, on);
	host_at(h->list, m->elsewhere, at);
	if (m->domain == DOMAIN_NONE)
		fail("%s: was moved from %.200s to %.200s; 'pando fleet create %s' notes that", m->name, on, at, f->name);
	else
		fail("%s: is on %.200s, and on %.200s too; undefine it where it doesn't belong", m->name, on, at);
	m->chosen = false;
	h->left_out = true;
	return leave_out ? DONE : FAILED;
}

int hosts_settle(struct cmd *c, struct fleet *f, struct hosts *h, bool all)
{
	bool leave_out = !all && cmd_option(c, "keep-going");
	unsigned i, down = 0;
	size_t k;
	int err = DONE;

	for (i = 0; i < h->n; i++)
		down += !h->at[i].hv;
	for (i = 0; i < h->n && !err; i++)
		if (!h->at[i].hv)
			err = host_settle(f, h, i, leave_out && down < h->n, !all && down < h->n);
	for (k = 0; k < f->n && !err; k++)
		if (f->machines[k].chosen && f->machines[k].elsewhere != HOST_NONE)
			err = moved_settle(f, h, &f->machines[k], leave_out);
	return err;
}

int fleet_hosts(struct cmd *c, struct fleet *f, struct hosts *h, bool all)
{
	char why[FLEET_WHY];
	int err = hosts_open(c, f, h);

	if (err)
		return err;
	hosts_survey(h, f, why);
	return hosts_settle(c, f, h, all);
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
	return m->chosen && !m->spare && m->domain != DOMAIN_RUNNING;
}

static int host_memory_check(struct hosts *h, unsigned i, const struct fleet *f)
{
	char why[FLEET_WHY], need[SIZE_TEXT], have[SIZE_TEXT], taken[SIZE_TEXT], uri[FLEET_HOST] = "";
	uint64_t host, others, n = 0, running = 0, each = setting_number(f, "memory");
	const struct machine *m;
	size_t k;

	if (hv_memory(h->at[i].hv, &host, why) || hv_memory_promised(h->at[i].hv, &others, why))
		return fail("%s: %s", f->name, why);
	for (k = 0; k < f->n; k++) {
		m = &f->machines[k];
		running += m->host == i && m->domain == DOMAIN_RUNNING;
		n += m->host == i && ((m->chosen && !m->spare) || m->domain == DOMAIN_RUNNING);
	}
	others -= others < running * each ? others : running * each;
	if (n == running || (others < host && n <= (host - others) / each))
		return DONE;
	if (h->n > 1)
		host_at(h->list, i, uri);
	return fail("%s: %llu running machines need %s of memory, and the host %s%shas %s, of which other domains have %s; "
		    "start fewer, or give --overcommit", f->name, (unsigned long long)n, size_text(n * each, need), uri,
		    *uri ? " " : "", size_text(host, have), size_text(others, taken));
}

/* A host that swaps its guests is slower than one that says no. */
int fleet_memory_check(struct cmd *c, struct hosts *h, const struct fleet *f)
{
	unsigned i;
	int err = DONE;

	for (i = 0; i < h->n && !err && !cmd_option(c, "overcommit"); i++)
		if (h->at[i].hv)
			err = host_memory_check(h, i, f);
	return err;
}

int fleet_run(struct cmd *c, struct hosts *h, struct fleet *f, const char *at_once, uint64_t *ret_done)
{
	struct crew_work work = { .what = "starting", .want = to_start, .fn = hv_start,
				  .keep_going = cmd_option(c, "keep-going") != NULL };
	int err = fleet_memory_check(c, h, f);

	*ret_done = 0;
	if (!err)
		err = fleet_at_once(c, "at-once", at_once, &work.at_once);
	return err ? err : crew_run(h, f, &work, ret_done);
}

const char *domain_text(const struct hosts *h, const struct machine *m, char buf[DOMAIN_TEXT])
{
	static const char *const texts[] = {
		[DOMAIN_UNKNOWN] = "unknown", [DOMAIN_NONE] = "none", [DOMAIN_STOPPED] = "stopped",
		[DOMAIN_RUNNING] = "running", [DOMAIN_FOREIGN] = "foreign",
	};

	if (m->elsewhere != HOST_NONE) {
		char uri[FLEET_HOST];

		host_at(h->list, m->elsewhere, uri);
		snprintf(buf, DOMAIN_TEXT, "%s %s", m->domain == DOMAIN_NONE ? "moved to" : "also on", uri);
		return buf;
	}
	if (!*m->domain_name)
		return texts[m->domain];
	snprintf(buf, DOMAIN_TEXT, "%s: %s", m->domain == DOMAIN_FOREIGN ? "foreign" : "renamed", m->domain_name);
	return buf;
}
