/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that come to a domain, and go from it, also while it runs.
 *
 * What a domain has is read out of libvirt's own XML, which it always writes in the same way.  A domain that runs has
 * two: what it has now, and what it will have when it is started again.
 */
#include "fleet/hypervisor_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The disk at TARGET in a domain's XML, up to its end; NULL: there is none. */
static const char *disk_at(const char *xml, const char *target, const char **ret_end)
{
	char text[40];
	const char *disk = xml, *end, *at;

	snprintf(text, sizeof(text), "<target dev='%s'", target);
	while ((disk = strstr(disk, "<disk "))) {
		end = strstr(disk, "</disk>");
		at = strstr(disk, text);
		if (end && at && at < end) {
			*ret_end = end;
			return disk;
		}
		disk++;
	}
	return NULL;
}

/* What a disk is: the path in its first source, with XML's escapes; up to *RET_LEN. */
static const char *source_of(const char *disk, const char *end, size_t *ret_len)
{
	static const char *const keys[] = { " file='", " name='" };
	const char *source = strstr(disk, "<source "), *close = source ? strchr(source, '>') : NULL, *at;
	int i;

	for (i = 0; i < 2 && close && close < end; i++) {
		at = strstr(source, keys[i]);
		if (!at || at > close)
			continue;
		at += strlen(keys[i]);
		*ret_len = strcspn(at, "'");
		return at;
	}
	return NULL;
}

enum presence { ABSENT, PRESENT, OTHER };	/* OTHER: something else is in its place */

static enum presence presence_in(const char *xml, const char *element, const char *target)
{
	size_t len = 0, own_len = 0;
	const char *end, *disk = disk_at(xml, target, &end);
	const char *source = disk ? source_of(disk, end, &len) : NULL;
	const char *own = source_of(element, element + strlen(element), &own_len);

	if (!disk)
		return ABSENT;
	return source && own && len == own_len && !memcmp(source, own, len) ? PRESENT : OTHER;
}

/* A disk, and where M's domain has it. */
struct place {
	virDomainPtr dom;
	struct attached a;
	struct buf element;
	bool active;
	enum presence live, config;
};

static void place_done(struct place *p)
{
	buf_release(&p->element);
}

static int place_look(struct place *p, const struct fleet *f, char why[FLEET_WHY])
{
	CLEANUP_FREE char *live = NULL, *config = NULL;
	int err = attached_xml(f, &p->a, &p->element, why);

	if (err)
		return err;
	p->active = lv.virDomainIsActive(p->dom) == 1;
	config = lv.virDomainGetXMLDesc(p->dom, VIR_DOMAIN_XML_INACTIVE);
	live = p->active ? lv.virDomainGetXMLDesc(p->dom, 0) : NULL;
	if (!config || (p->active && !live))
		return libvirt_fail(why, "cannot tell what disks its domain has");
	p->config = presence_in(config, buf_str(&p->element), p->a.target);
	p->live = live ? presence_in(live, buf_str(&p->element), p->a.target) : ABSENT;
	return 0;
}

/* FN for each disk of M that leaves, or for each that doesn't. */
static int each_place(struct hv *hv, const struct fleet *f, const struct machine *m, bool leaving,
		      int (*fn)(struct place *p, void *arg, char why[FLEET_WHY]), void *arg, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr dom = NULL;
	struct place p;
	size_t i;
	int err = domain_get(hv, f, m, &dom, why);

	for (i = 0; !err; i++) {
		p = (struct place){ .dom = dom };
		if (!attached_at(f, m->name, i, &p.a))
			break;
		if (p.a.leaving != leaving)
			continue;
		err = place_look(&p, f, why);
		if (!err)
			err = fn(&p, arg, why);
		place_done(&p);
	}
	return err;
}

static int attach_one(struct place *p, void *arg, char why[FLEET_WHY])
{
	unsigned flags = (p->config == ABSENT ? VIR_DOMAIN_AFFECT_CONFIG : 0) |
			 (p->active && p->live == ABSENT ? VIR_DOMAIN_AFFECT_LIVE : 0);

	if (p->live == OTHER || p->config == OTHER)
		return refuse(why, -EEXIST, "its domain has another disk at %s; choose another place with --target",
			      p->a.target);
	if (!flags)
		return 0;
	return lv.virDomainAttachDeviceFlags(p->dom, buf_str(&p->element), flags) ?
		libvirt_fail(why, "cannot attach it") : 0;
}

int hv_attach(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	return each_place(hv, f, m, false, attach_one, NULL, why);
}

static int detach_one(struct place *p, void *arg, char why[FLEET_WHY])
{
	if (p->live != PRESENT || !lv.virDomainDetachDeviceFlags(p->dom, buf_str(&p->element), VIR_DOMAIN_AFFECT_LIVE))
		return 0;
	/* A system that was asked before, and hasn't answered yet, cannot be asked again. */
	if (strstr(lv.virGetLastErrorMessage(), "in the process of unplug"))
		return 0;
	return libvirt_fail(why, "cannot detach it");
}

int hv_detach(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	return each_place(hv, f, m, true, detach_one, NULL, why);
}

static int detached_one(struct place *p, void *arg, char why[FLEET_WHY])
{
	bool *all = arg;

	if (p->live == PRESENT) {
		*all = false;
		return 0;
	}
	if (p->config == PRESENT &&
	    lv.virDomainDetachDeviceFlags(p->dom, buf_str(&p->element), VIR_DOMAIN_AFFECT_CONFIG))
		return libvirt_fail(why, "cannot take it out of its domain");
	return 0;
}

int hv_detached(struct hv *hv, const struct fleet *f, const struct machine *m, bool *ret, char why[FLEET_WHY])
{
	*ret = true;
	return each_place(hv, f, m, true, detached_one, ret, why);
}
