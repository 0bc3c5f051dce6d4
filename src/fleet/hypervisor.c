/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypervisors: see hypervisor.h.
 *
 * libvirt is loaded when the first connection is made.  It brings fifty libraries along, which would
 * double the time that every other command takes; and a machine that only keeps disks needs none
 * of them.
 */
#include "fleet/hypervisor_int.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIBRARY "libvirt.so.0"
#define ALIVE_S 5			/* a host is asked so often whether it is there, */
#define ALIVE_TIMES 3			/* and it is gone when it hasn't answered so many times */

struct lv_calls lv;

static void *events_run(void *arg)
{
	while (!lv.virEventRunDefaultImpl())
		;
	return NULL;
}

/* libvirt's timers are looked after for as long as the program runs. */
static void events_start(void)
{
	pthread_t thread;

	if (!lv.virEventRegisterDefaultImpl() && !pthread_create(&thread, NULL, events_run, NULL))
		pthread_detach(thread);
}

static int library_load(char why[FLEET_WHY])
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL), *symbol;

	if (!library)
		return refuse(why, -EIO, "libvirt cannot be loaded (%.250s); install the package "
			      "libvirt0", dlerror());
#define X(fn) \
	symbol = dlsym(library, #fn); \
	if (!symbol) \
		return refuse(why, -EIO, LIBRARY " has no " #fn "; install a newer one"); \
	memcpy(&lv.fn, &symbol, sizeof(symbol));
	LV_CALLS
#undef X
	lv.auth = dlsym(library, "virConnectAuthPtrDefault");
	if (lv.auth)
		events_start();
	return lv.auth ? 0 : refuse(why, -EIO, LIBRARY " has no virConnectAuthPtrDefault");
}

/* libvirt would print every error by itself, also those that are answers. */
static void say_nothing(void *arg, virErrorPtr error)
{
}

/* Of what it says, the first line: XML is quoted behind that. */
int libvirt_fail(char why[FLEET_WHY], const char *what)
{
	const char *text = lv.virGetLastErrorMessage();

	return refuse(why, -EIO, "%s: %.*s", what, (int)strcspn(text, "\n"), text);
}

/* ---- connections ------------------------------------------------------------------------ */

/* Whether the host's CPU runs the guests, or QEMU has to emulate one. */
static const char *type_find(virConnectPtr conn)
{
	const char *driver = lv.virConnectGetType(conn);
	char *text;

	if (driver && !strcasecmp(driver, "test"))
		return "test";
	text = lv.virConnectGetDomainCapabilities(conn, NULL, NULL, NULL, "kvm", 0);
	free(text);
	return text ? "kvm" : "qemu";
}

int hv_open(const char *uri, struct hv **ret, char why[FLEET_WHY])
{
	struct hv *hv;
	int err = lv.auth ? 0 : library_load(why);

	if (err)
		return err;
	hv = calloc(1, sizeof(*hv));
	if (!hv)
		return refuse(why, -ENOMEM, "out of memory");
	lv.virSetErrorFunc(NULL, say_nothing);
	if (!lv.virInitialize())
		hv->conn = lv.virConnectOpenAuth(uri, *lv.auth, 0);
	if (!hv->conn) {
		free(hv);
		return refuse(why, -EIO, "%.200s: cannot be reached: %s", uri,
			      lv.virGetLastErrorMessage());
	}
	lv.virConnectSetKeepAlive(hv->conn, ALIVE_S, ALIVE_TIMES);	/* not every driver can */
	hv->type = type_find(hv->conn);
	*ret = hv;
	return 0;
}

void hv_close(struct hv *hv)
{
	if (!hv)
		return;
	lv.virConnectClose(hv->conn);
	free(hv);
}

const char *hv_domain_type(const struct hv *hv)
{
	return hv->type;
}

int hv_memory(struct hv *hv, uint64_t *ret_bytes, char why[FLEET_WHY])
{
	virNodeInfo info;

	if (lv.virNodeGetInfo(hv->conn, &info))
		return libvirt_fail(why, "cannot tell the host's memory");
	*ret_bytes = (uint64_t)info.memory << 10;
	return 0;
}

/* What the host could give now, the memory of its caches too; 0: it doesn't tell. */
static uint64_t memory_free(struct hv *hv)
{
	static const char *const fields[] = {
		VIR_NODE_MEMORY_STATS_FREE, VIR_NODE_MEMORY_STATS_BUFFERS, VIR_NODE_MEMORY_STATS_CACHED,
	};
	virNodeMemoryStats stats[16];
	uint64_t kib = 0;
	int n = 0, i, k;

	if (!strcmp(hv->type, "test"))
		return 0;		/* its number has nothing to do with its memory */
	/* it must be told exactly how many there are */
	if (lv.virNodeGetMemoryStats(hv->conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL, &n, 0) || n > 16 ||
	    lv.virNodeGetMemoryStats(hv->conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, stats, &n, 0))
		return lv.virNodeGetFreeMemory(hv->conn);
	for (i = 0; i < n; i++)
		for (k = 0; k < 3; k++)
			if (!strcmp(stats[i].field, fields[k]))
				kib += stats[i].value;
	return kib << 10;
}

int hv_memory_promised(struct hv *hv, uint64_t *ret_bytes, char why[FLEET_WHY])
{
	virDomainPtr *doms = NULL;
	virDomainInfo info;
	int n = lv.virConnectListAllDomains(hv->conn, &doms, VIR_CONNECT_LIST_DOMAINS_ACTIVE), k;

	if (n < 0)
		return libvirt_fail(why, "cannot list the domains");
	*ret_bytes = 0;
	for (k = 0; k < n; k++) {
		if (!lv.virDomainGetInfo(doms[k], &info))	/* else it has just ended */
			*ret_bytes += (uint64_t)info.memory << 10;
		lv.virDomainFree(doms[k]);
	}
	free(doms);
	return 0;
}

int hv_memory_left(struct hv *hv, int64_t *ret_bytes, char why[FLEET_WHY])
{
	uint64_t all = 0, promised = 0, now;
	int err = hv_memory(hv, &all, why);

	if (!err)
		err = hv_memory_promised(hv, &promised, why);
	if (err)
		return err;
	now = memory_free(hv);
	*ret_bytes = (int64_t)all - (int64_t)promised;
	if (now && (int64_t)now < *ret_bytes)
		*ret_bytes = (int64_t)now;
	return 0;
}

/* ---- whose is it? ----------------------------------------------------------------------- */

/* Whether the element TEXT has the attribute KEY with that value: one that needs no escapes. */
static bool attribute_is(const char *text, const char *key, const char *value)
{
	size_t key_len = strlen(key), len = strlen(value);
	const char *s = text;

	while ((s = strstr(s, key))) {
		if (s > text && strchr(" \n\t", s[-1]) && s[key_len] == '=' &&
		    (s[key_len + 1] == '\'' || s[key_len + 1] == '"'))
			return !strncmp(s + key_len + 2, value, len) &&
			       s[key_len + 2 + len] == s[key_len + 1];
		s += key_len;
	}
	return false;
}

/* A domain that is gone by now is nobody's. */
static int whose(virDomainPtr dom, const struct fleet *f, const struct machine *m, bool *ret_ours,
		 char why[FLEET_WHY])
{
	CLEANUP_FREE char *text = lv.virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, FLEET_XMLNS,
							  0);
	char number[24];

	snprintf(number, sizeof(number), "%" PRIu64, m->number);
	*ret_ours = text && attribute_is(text, "pool", f->pool_uuid) &&
		    attribute_is(text, "fleet", f->name) && attribute_is(text, "number", number);
	if (text || lv.virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA ||
	    lv.virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
		return 0;
	return libvirt_fail(why, "cannot tell whose its domain is");
}

/* The domain of M: *ret is NULL if there is none. */
static int domain_find(struct hv *hv, const struct fleet *f, const struct machine *m,
		       virDomainPtr *ret, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr dom = lv.virDomainLookupByUUIDString(hv->conn, m->uuid);
	bool ours;
	int err;

	*ret = NULL;
	if (!dom && lv.virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
		return 0;
	if (!dom)
		return libvirt_fail(why, "cannot look for its domain");
	err = whose(dom, f, m, &ours, why);
	if (err)
		return err;
	if (!ours)
		return refuse(why, -EEXIST, "libvirt has a domain with its UUID, %s, that is not of this "
			      "fleet", lv.virDomainGetName(dom));
	*ret = steal_ptr(dom);
	return 0;
}

int domain_get(struct hv *hv, const struct fleet *f, const struct machine *m, virDomainPtr *ret,
	       char why[FLEET_WHY])
{
	int err = domain_find(hv, f, m, ret, why);

	if (!err && !*ret)
		err = refuse(why, -ENOENT, "has no domain; 'pando fleet create %s' makes it", f->name);
	return err;
}

/* ---- all of them ------------------------------------------------------------------------ */

/* The machine that DOM has to do with, by its UUID or else its name; NULL for most domains. */
static struct machine *machine_of(struct fleet *f, const json_t *by_uuid, const json_t *by_name,
				  virDomainPtr dom, bool *ret_uuid)
{
	char uuid[VIR_UUID_STRING_BUFLEN] = "";
	const json_t *at;

	lv.virDomainGetUUIDString(dom, uuid);
	at = json_object_get(by_uuid, uuid);
	*ret_uuid = at != NULL;
	if (!at)
		at = json_object_get(by_name, lv.virDomainGetName(dom));
	return at ? &f->machines[json_integer_value(at)] : NULL;
}

/* What libvirt says beside running or not; a machine whose storage failed is paused. */
static const char *more_text(int state, int reason)
{
	if (state == VIR_DOMAIN_PAUSED)
		return reason == VIR_DOMAIN_PAUSED_IOERROR ? "paused: I/O error" :
		       reason == VIR_DOMAIN_PAUSED_CRASHED ? "paused: crashed" : "paused";
	if (state == VIR_DOMAIN_SHUTOFF)
		return reason == VIR_DOMAIN_SHUTOFF_CRASHED ? "crashed" :
		       reason == VIR_DOMAIN_SHUTOFF_FAILED ? "failed to start" : NULL;
	return state == VIR_DOMAIN_SHUTDOWN ? "shutting down" : state == VIR_DOMAIN_CRASHED ? "crashed" :
	       state == VIR_DOMAIN_PMSUSPENDED ? "suspended" : NULL;
}

/*
 * libvirt doesn't tell since when a domain runs.  So it is told when it is started, in metadata that end with the run:
 * who is started by others has none.
 */
static void up_note(virDomainPtr dom)
{
	char text[64];

	snprintf(text, sizeof(text), "<up since='%lld'/>", (long long)time(NULL));
	(void)lv.virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, text, "pando-up", FLEET_UP_XMLNS,
				      VIR_DOMAIN_AFFECT_LIVE);	/* not every driver can */
}

static uint64_t up_since(virDomainPtr dom)
{
	CLEANUP_FREE char *text = lv.virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, FLEET_UP_XMLNS,
							  VIR_DOMAIN_AFFECT_LIVE);
	const char *at = text ? strstr(text, " since=") : NULL;

	return at ? strtoull(at + strlen(" since='"), NULL, 10) : 0;
}

/* One that is gone by now has stopped. */
static void state_note(struct machine *m, virDomainPtr dom)
{
	int state = VIR_DOMAIN_SHUTOFF, reason = 0;

	if (lv.virDomainGetState(dom, &state, &reason, 0))
		state = VIR_DOMAIN_SHUTOFF;
	m->domain = state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_NOSTATE ? DOMAIN_STOPPED : DOMAIN_RUNNING;
	m->domain_more = more_text(state, reason);
	m->up_since = m->domain == DOMAIN_RUNNING ? up_since(dom) : 0;
}

static int domain_note(struct fleet *f, unsigned host, const json_t *by_uuid, const json_t *by_name,
		       virDomainPtr dom, char why[FLEET_WHY])
{
	bool same_uuid, ours = false;
	struct machine *m = machine_of(f, by_uuid, by_name, dom, &same_uuid);
	const char *name = lv.virDomainGetName(dom);
	int err = m && same_uuid ? whose(dom, f, m, &ours, why) : 0;

	if (err || !m)
		return err;
	if (ours && m->host == HOST_NONE)
		m->host = host;
	if (m->host != host) {
		m->elsewhere = ours ? host : m->elsewhere;	/* what others have elsewhere is not in the way */
		return 0;
	}
	/* ours was renamed, if another has its name: that one is in nobody's way */
	if (!ours && (m->domain == DOMAIN_RUNNING || m->domain == DOMAIN_STOPPED))
		return 0;
	if (ours)
		state_note(m, dom);
	else
		m->domain = DOMAIN_FOREIGN;
	if (!ours || strcmp(name, m->name))
		snprintf(m->domain_name, sizeof(m->domain_name), "%.79s", name);
	if (*m->domain_name && m->domain == DOMAIN_RUNNING && !m->domain_more)
		m->domain_more = "running";	/* its name stands where that would */
	return 0;
}

/* Those whose memory libvirt has saved, as its hosts do when they shut down.  A driver that knows no such thing has none. */
static void saved_note(struct hv *hv, unsigned host, struct fleet *f, const json_t *by_uuid, const json_t *by_name)
{
	virDomainPtr *doms = NULL;
	int n = lv.virConnectListAllDomains(hv->conn, &doms, VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE), k;
	struct machine *m;
	bool same_uuid;

	for (k = 0; k < n; k++) {
		m = machine_of(f, by_uuid, by_name, doms[k], &same_uuid);
		if (m && same_uuid && m->host == host && m->domain == DOMAIN_STOPPED) {
			m->saved = true;
			m->domain_more = "saved";
		}
		lv.virDomainFree(doms[k]);
	}
	free(doms);
}

int hv_survey(struct hv *hv, unsigned host, struct fleet *f, char why[FLEET_WHY])
{
	json_t *by_uuid = json_object(), *by_name = json_object();
	virDomainPtr *doms = NULL;
	int n, k, err = 0;
	size_t i;

	n = lv.virConnectListAllDomains(hv->conn, &doms, 0);
	if (n < 0) {
		json_decref(by_uuid);
		json_decref(by_name);
		return libvirt_fail(why, "cannot list the domains");
	}
	for (i = 0; i < f->n; i++) {
		if (f->machines[i].host == host) {
			f->machines[i].domain = DOMAIN_NONE;
			f->machines[i].domain_name[0] = 0;
			f->machines[i].domain_more = NULL;
			f->machines[i].saved = false;
			f->machines[i].up_since = 0;
		}
		json_object_set_new(by_uuid, f->machines[i].uuid, json_integer((json_int_t)i));
		json_object_set_new(by_name, f->machines[i].name, json_integer((json_int_t)i));
	}
	for (k = 0; k < n; k++) {
		if (!err)
			err = domain_note(f, host, by_uuid, by_name, doms[k], why);
		lv.virDomainFree(doms[k]);
	}
	free(doms);
	saved_note(hv, host, f, by_uuid, by_name);
	json_decref(by_uuid);
	json_decref(by_name);
	for (i = 0; err && i < f->n; i++)
		if (f->machines[i].host == host)
			f->machines[i].domain = DOMAIN_UNKNOWN;
	return err;
}

/* ---- one of them ------------------------------------------------------------------------ */

/* That no other domain has its name, libvirt itself sees to. */
int hv_define(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr old = NULL, dom = NULL;
	CLEANUP_BUF struct buf xml = { 0 };
	bool ours;
	int err = domain_find(hv, f, m, &old, why);

	if (!err)
		err = machine_xml(f, m, hv->type, &xml, why);
	if (err)
		return err;
	dom = lv.virDomainDefineXML(hv->conn, buf_str(&xml));
	if (!dom)
		return libvirt_fail(why, "cannot define its domain");
	err = old ? 0 : whose(dom, f, m, &ours, why);
	if (err || old || ours)
		return err;
	lv.virDomainUndefine(dom);
	return refuse(why, -EINVAL, "the template of its domain has {metadata} where libvirt doesn't "
		      "keep it, or {uuid} where it isn't the domain's; see docs/fleets.md");
}

int hv_start(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr dom = NULL;
	int err = domain_get(hv, f, m, &dom, why);

	if (err || lv.virDomainIsActive(dom) == 1)
		return err;
	if (lv.virDomainCreate(dom))
		return libvirt_fail(why, "cannot start");
	up_note(dom);
	return 0;
}

int hv_shutdown(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr dom = NULL;
	int err = domain_get(hv, f, m, &dom, why);

	if (err || !lv.virDomainIsActive(dom))
		return err;
	return lv.virDomainShutdown(dom) && lv.virDomainIsActive(dom) ? libvirt_fail(why, "cannot shut down") : 0;
}

int hv_kill(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr dom = NULL;
	int err = domain_find(hv, f, m, &dom, why);

	if (err || !dom || !lv.virDomainIsActive(dom))
		return err;
	return lv.virDomainDestroy(dom) && lv.virDomainIsActive(dom) ? libvirt_fail(why, "cannot switch off") : 0;
}

int hv_saved_remove(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	CLEANUP_DOMAIN virDomainPtr dom = NULL;
	int err = domain_find(hv, f, m, &dom, why);

	return err || !dom || !lv.virDomainManagedSaveRemove(dom, 0) ? err : libvirt_fail(why, "cannot remove its saved memory");
}

/* Not every driver knows every flag. */
int hv_undefine(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY])
{
	static const unsigned flags[] = {
		VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
		VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_NVRAM |
		VIR_DOMAIN_UNDEFINE_TPM,
		VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA, 0,
	};
	CLEANUP_DOMAIN virDomainPtr dom = NULL;
	int err = domain_find(hv, f, m, &dom, why);
	size_t i;

	for (i = 0; !err && dom && i < 3; i++) {
		if (!lv.virDomainUndefineFlags(dom, flags[i]) || lv.virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
			return 0;
		if (lv.virGetLastErrorCode() != VIR_ERR_INVALID_ARG)
			break;
	}
	return err || !dom ? err : libvirt_fail(why, "cannot undefine its domain");
}
