/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fleet's hosts: libvirt's addresses of them, in the setting "connect" with commas between, and which
 * machines go where.  A machine knows its host by the place in that list; the manifest has the address.
 */
#include <string.h>

#include "fleet/fleet_int.h"

/* The first of LIST; *NEXT: behind it and its comma, NULL when it is the last. */
static size_t first_len(const char *list, const char **next)
{
	size_t n = strcspn(list, ",");

	*next = list[n] ? list + n + 1 : NULL;
	return n;
}

unsigned hosts_count(const char *list)
{
	unsigned n = 0;

	for (; list; n++)
		first_len(list, &list);
	return n;
}

const char *host_at(const char *list, unsigned i, char buf[FLEET_HOST])
{
	const char *next = list;
	size_t n = 0;

	for (i++; i && next; i--) {
		list = next;
		n = first_len(list, &next);
	}
	snprintf(buf, FLEET_HOST, "%.*s", i ? 0 : (int)n, list ? list : "");
	return buf;
}

unsigned host_find(const char *list, const char *uri)
{
	unsigned i;
	size_t n;

	for (i = 0; list; i++) {
		const char *host = list;

		n = first_len(list, &list);
		if (n == strlen(uri) && !strncmp(host, uri, n))
			return i;
	}
	return HOST_NONE;
}

unsigned host_remote(const char *list)
{
	static const char *const here[] = { "localhost", "127.0.0.1", "[::1]" };
	char uri[FLEET_HOST], *name;
	unsigned i, k, n = hosts_count(list);

	for (i = 0; i < n; i++) {
		name = strstr(host_at(list, i, uri), "://");
		if (!name)
			continue;
		name += 3;
		name[strcspn(name, "/?")] = 0;
		if (strrchr(name, '@'))
			name = strrchr(name, '@') + 1;
		for (k = 0; k < 3 && strncmp(name, here[k], strlen(here[k])); k++)
			;
		if (*name && k == 3)
			return i;
	}
	return HOST_NONE;
}

int hosts_check(const char *list, char why[FLEET_WHY])
{
	char uri[FLEET_HOST];
	const char *rest = list;
	unsigned i;
	size_t n;

	for (i = 0; rest; i++) {
		n = first_len(rest, &rest);
		if (!n || n >= FLEET_HOST)
			return refuse(why, -EINVAL, "connect: %.200s: write addresses of 1 to %d bytes, with commas between", list,
				      FLEET_HOST - 1);
		host_at(list, i, uri);
		if (host_find(list, uri) != i)
			return refuse(why, -EINVAL, "connect: %.200s is there twice", uri);
		if (!strcmp(uri, "none"))
			return refuse(why, -EINVAL, "connect: none stands alone");
	}
	return i <= FLEET_HOSTS_MAX ? 0 :
		refuse(why, -EINVAL, "connect: %u hosts are too many; %d are the most", i, FLEET_HOSTS_MAX);
}

int fleet_hosts_set(struct fleet *f, const char *list, char why[FLEET_WHY])
{
	const char *old = setting_text(f, "connect");
	unsigned at[FLEET_HOSTS_MAX], i, n = hosts_count(old);
	char uri[FLEET_HOST];
	struct machine *m;
	size_t k;

	if (hosts_check(list, why))
		return -EINVAL;
	for (i = 0; i < n; i++)
		at[i] = host_find(list, host_at(old, i, uri));
	for (k = 0; k < f->n; k++) {
		m = &f->machines[k];
		if (m->host < n && at[m->host] == HOST_NONE)
			return refuse(why, -EINVAL, "%s is on %.150s, which is not in %.150s; name every host that has "
				      "machines, or destroy the fleet first", m->name, host_at(old, m->host, uri), list);
	}
	for (k = 0; k < f->n; k++)
		if (f->machines[k].host < n)
			f->machines[k].host = at[f->machines[k].host];
	return json_object_set_new(f->settings, "connect", json_string(list)) ?
		refuse(why, -ENOMEM, "out of memory") : 0;
}

uint64_t fleet_place(struct fleet *f, int64_t *left, unsigned n)
{
	int64_t each = (int64_t)setting_number(f, "memory");
	uint64_t over = 0;
	unsigned i, best;
	size_t k;

	for (k = 0; k < f->n; k++) {
		if (f->machines[k].host != HOST_NONE)
			continue;
		for (best = 0, i = 1; i < n; i++)
			if (left[i] > left[best])
				best = i;
		f->machines[k].host = best;
		over += left[best] < each;
		left[best] -= each;
	}
	return over;
}
