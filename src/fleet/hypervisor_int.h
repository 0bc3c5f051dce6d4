/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the hypervisors: libvirt's calls, and what the files that make them share. */
#ifndef FLEET_HYPERVISOR_INT_H
#define FLEET_HYPERVISOR_INT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "base/cleanup.h"
#include "fleet/fleet_int.h"
#include "fleet/hypervisor.h"

struct hv {
	virConnectPtr conn;
	const char *type;
};

#define LV_CALLS \
	X(virConnectClose) \
	X(virConnectGetDomainCapabilities) \
	X(virConnectGetType) \
	X(virConnectListAllDomains) \
	X(virConnectOpenAuth) \
	X(virConnectSetKeepAlive) \
	X(virDomainAttachDeviceFlags) \
	X(virDomainCreate) \
	X(virDomainDefineXML) \
	X(virDomainDestroy) \
	X(virDomainDetachDeviceFlags) \
	X(virDomainFree) \
	X(virDomainGetInfo) \
	X(virDomainGetMetadata) \
	X(virDomainGetName) \
	X(virDomainGetState) \
	X(virDomainGetUUIDString) \
	X(virDomainGetXMLDesc) \
	X(virDomainIsActive) \
	X(virDomainLookupByUUIDString) \
	X(virDomainManagedSaveRemove) \
	X(virDomainSetMetadata) \
	X(virDomainShutdown) \
	X(virDomainUndefine) \
	X(virDomainUndefineFlags) \
	X(virEventRegisterDefaultImpl) \
	X(virEventRunDefaultImpl) \
	X(virGetLastErrorCode) \
	X(virGetLastErrorMessage) \
	X(virInitialize) \
	X(virNodeGetFreeMemory) \
	X(virNodeGetInfo) \
	X(virNodeGetMemoryStats) \
	X(virSetErrorFunc)

/* Its functions, under their own names; NULL until it is loaded. */
extern struct lv_calls {
#define X(fn) __typeof__(&fn) fn;
	LV_CALLS
#undef X
	virConnectAuthPtr *auth;
} lv;

static inline void domain_put(virDomainPtr *dom)
{
	if (*dom)
		lv.virDomainFree(*dom);
}
#define CLEANUP_DOMAIN CLEANUP(domain_put)

/* -EIO: WHAT, and why libvirt says so. */
int libvirt_fail(char why[FLEET_WHY], const char *what);
/* The domain of M, which must be there and ours. */
int domain_get(struct hv *hv, const struct fleet *f, const struct machine *m, virDomainPtr *ret,
	       char why[FLEET_WHY]);

#endif
