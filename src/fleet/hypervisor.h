/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypervisors, by libvirt's C API.  A machine's domain is found by its UUID, and is ours only if
 * its metadata says so too: pool, fleet and number.  Everything else that has its name or its
 * UUID is foreign, and no function here changes it.
 *
 * All functions wait for libvirtd; they may be called in any thread, several at once.  On failure
 * (-EIO, or -EEXIST for what is foreign, -ENOENT for what isn't there) WHY says why, without the
 * machine's name.
 */
#ifndef FLEET_HYPERVISOR_H
#define FLEET_HYPERVISOR_H

#include "fleet/fleet.h"

struct hv;

/* A connection to URI, as "qemu:///system". */
int hv_open(const char *uri, struct hv **ret, char why[FLEET_WHY]);
void hv_close(struct hv *hv);		/* NULL: nothing */

/* What domains are there: "kvm", where the host has it, "qemu", "test". */
const char *hv_domain_type(const struct hv *hv);
/* The host's memory. */
int hv_memory(struct hv *hv, uint64_t *ret_bytes, char why[FLEET_WHY]);

/* What of it domains that run may take, in all. */
int hv_memory_promised(struct hv *hv, uint64_t *ret_bytes, char why[FLEET_WHY]);

/* What of it is left for more: what is free now, or less, if domains that run haven't taken all of theirs. */
int hv_memory_left(struct hv *hv, int64_t *ret_bytes, char why[FLEET_WHY]);

/* Asks for all domains at once, and sets domain and domain_name of the machines whose HOST this is, host of
 * those that have none and are found here, and elsewhere of others that are. */
int hv_survey(struct hv *hv, unsigned host, struct fleet *f, char why[FLEET_WHY]);

/* Defines the domain of M, which must not be there, or be ours: then it is defined anew. */
int hv_define(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
/* Of a domain that is there.  What is so already is no error. */
int hv_start(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
/* Asks its system to shut down; returns before it has. */
int hv_shutdown(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
/* As if the power was cut. */
int hv_kill(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
/* Of one that was saved, and is to boot. */
int hv_saved_remove(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
/*
 * hypervisor_disks.c: the domain has the disks that are attached to M and don't leave, also while it runs.  Those that
 * leave: hv_detach() asks a running system to let go of them, and returns before it has; hv_detached() tells whether
 * it has, and then takes them out of the domain.
 */
int hv_attach(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
int hv_detach(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);
int hv_detached(struct hv *hv, const struct fleet *f, const struct machine *m, bool *ret, char why[FLEET_WHY]);
/* With everything that libvirt keeps of it; one that isn't there is no error. */
int hv_undefine(struct hv *hv, const struct fleet *f, const struct machine *m, char why[FLEET_WHY]);

#endif
