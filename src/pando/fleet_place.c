/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which machines of a fleet are on which of its hosts.  New ones go where the most memory is left, when
 * what runs there, and the fleet's own machines that don't, have theirs.  A fleet with one host has
 * nothing to choose from, and its memory is looked at only when machines start.
 */
#include "pando/fleet_cmd.h"

#include <stdio.h>
#include <string.h>

#include "admin/size.h"

/* ---- placing ---------------------------------------------------------------------------- */

/* Of the hosts that answer; the others have nothing to give. */
static int memory_ask(const struct fleet *f, struct hosts *h, int64_t *left)
{
	int64_t each = (int64_t)setting_number(f, "memory");
	char why[FLEET_WHY], uri[FLEET_HOST];
	unsigned i;
	size_t k;

	for (i = 0; i < h->n; i++) {
		left[i] = INT64_MIN / 2;
		if (h->at[i].hv && hv_memory_left(h->at[i].hv, &left[i], why))
			return fail("%s: %.200s: %s", f->name, host_at(h->list, i, uri), why);
	}
	for (k = 0; k < f->n; k++)
		if (f->machines[k].host < h->n && f->machines[k].domain != DOMAIN_RUNNING)
			left[f->machines[k].host] -= each;
	return DONE;
}

/* "A 3.0 GiB, B none" */
static void left_text(const struct hosts *h, const int64_t *left, char *buf, size_t cap)
{
	char uri[FLEET_HOST], size[SIZE_TEXT];
	size_t len = 0;
	unsigned i;

	for (i = 0; i < h->n && len + 80 < cap; i++)
		len += (size_t)snprintf(buf + len, cap - len, "%s%.60s %s", i ? ", " : "", host_at(h->list, i, uri),
					left[i] > 0 ? size_text((uint64_t)left[i], size) : "none");
}

static int place(struct cmd *c, struct fleet *f, struct hosts *h)
{
	int64_t left[FLEET_HOSTS_MAX], before[FLEET_HOSTS_MAX];
	char text[700], need[SIZE_TEXT];
	uint64_t n = 0, over;
	size_t k;
	int err = memory_ask(f, h, left);

	if (err)
		return err;
	for (k = 0; k < f->n; k++)
		n += f->machines[k].host == HOST_NONE;
	memcpy(before, left, sizeof(left));
	over = fleet_place(f, left, h->n);
	if (!over || cmd_option(c, "overcommit"))
		return DONE;
	left_text(h, before, text, sizeof(text));
	return fail("%s: %llu new machines need %s of memory, and for %llu of them none is left on the hosts (%s); make "
		    "fewer, or give --overcommit", f->name, (unsigned long long)n,
		    size_text(n * setting_number(f, "memory"), need), (unsigned long long)over, text);
}

/* A machine that isn't on its host, and is on another, was moved there. */
static bool moved_note(struct fleet *f)
{
	struct machine *m;
	bool any = false;
	size_t k;

	for (k = 0; k < f->n; k++) {
		m = &f->machines[k];
		if (m->elsewhere == HOST_NONE || m->domain != DOMAIN_NONE)
			continue;
		m->host = m->elsewhere;
		any = true;
	}
	return any;
}

int machines_place(struct cmd *c, struct fleet *f, struct hosts *h, bool *ret_moved)
{
	bool moved = moved_note(f), homeless = false;
	char why[FLEET_WHY];
	size_t k;
	int err;

	for (k = 0; k < f->n; k++)
		homeless |= f->machines[k].host == HOST_NONE;
	if (moved)
		hosts_survey(h, f, why);
	err = hosts_settle(c, f, h, false);
	if (!err && homeless)
		err = place(c, f, h);
	if (!err && homeless)
		hosts_survey(h, f, why);
	*ret_moved |= moved;
	return err ? err : hosts_settle(c, f, h, false);
}

/* ---- telling ---------------------------------------------------------------------------- */

static void host_count(const struct fleet *f, unsigned i, uint64_t *ret_n, uint64_t *ret_running)
{
	size_t k;

	*ret_n = *ret_running = 0;
	for (k = 0; k < f->n; k++) {
		*ret_n += f->machines[k].host == i;
		*ret_running += f->machines[k].host == i && f->machines[k].domain == DOMAIN_RUNNING;
	}
}

json_t *hosts_json(const struct hosts *h, const struct fleet *f)
{
	json_t *list = h->n > 1 ? json_array() : NULL;
	char uri[FLEET_HOST];
	uint64_t n, running;
	unsigned i;

	for (i = 0; list && i < h->n; i++) {
		host_count(f, i, &n, &running);
		json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:s*}", "host", host_at(h->list, i, uri), "machines",
						      (json_int_t)n, "running", (json_int_t)running, "error",
						      *h->at[i].why ? h->at[i].why : NULL));
	}
	return list;
}

void hosts_print(const struct hosts *h, const struct fleet *f)
{
	char uri[FLEET_HOST];
	uint64_t n, running;
	unsigned i;

	for (i = 0; h->n > 1 && i < h->n; i++) {
		host_count(f, i, &n, &running);
		if (*h->at[i].why)
			named_print(15, "host", "%s; it has %llu machines", h->at[i].why, (unsigned long long)n);
		else
			named_print(15, "host", "%s: %llu machines, %llu running", host_at(h->list, i, uri),
				    (unsigned long long)n, (unsigned long long)running);
	}
}
