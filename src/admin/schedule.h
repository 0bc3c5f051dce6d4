/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedules of snapshots: "hourly:24,daily:7,weekly:4" takes one at the first look in each hour, day and
 * week (UTC; weeks begin on Monday), and keeps the newest 24, 7 and 4 of them.
 *
 * Their names say of which slot they are: hourly-20261125-2300.  A slot that has its snapshot gets no
 * other, whatever the clock does; only names of this form are ever destroyed by a schedule.
 */
#ifndef ADMIN_SCHEDULE_H
#define ADMIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>
#include "admin/objname.h"

enum schedule_kind { SCHEDULE_HOURLY, SCHEDULE_DAILY, SCHEDULE_WEEKLY, SCHEDULE_KINDS };
#define SCHEDULE_KEEP_MAX 10000
struct schedule { uint32_t keep[SCHEDULE_KINDS]; };	/* 0: none of this kind */

/* Empty text is no schedule.  -EINVAL with WHY. */
int schedule_parse(const char *text, struct schedule *ret, char why[OBJNAME_WHY]);
/* The snapshot of the slot that second T of the epoch is in. */
void schedule_name(enum schedule_kind kind, int64_t t, char buf[OBJNAME_VOLUME_MAX + 1]);
bool schedule_made(enum schedule_kind kind, const char *name);	/* is it such a name? */

#endif
