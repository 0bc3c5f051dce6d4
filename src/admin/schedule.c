/* SPDX-License-Identifier: Apache-2.0 */
/* How schedules and the names of what they make are written: see schedule.h. */
#include "admin/schedule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOUR 3600
#define DAY 86400

static const char *const kinds[SCHEDULE_KINDS] = { "hourly", "daily", "weekly" };

static int refuse(char why[OBJNAME_WHY], const char *item, size_t len)
{
	char shown[100];

	text_printable(item, len, shown, sizeof(shown));
	snprintf(why, OBJNAME_WHY, "%s: not a part of a schedule; write hourly:N, daily:N and weekly:N, each "
		 "at most once, N from 1 to %d, with commas between them", shown, SCHEDULE_KEEP_MAX);
	return -EINVAL;
}

static int item_parse(const char *s, size_t len, struct schedule *ret)
{
	for (unsigned k = 0; k < SCHEDULE_KINDS; k++) {
		size_t n = strlen(kinds[k]);
		uint32_t keep = 0;

		if (len < n + 2 || memcmp(s, kinds[k], n) || s[n] != ':' || ret->keep[k])
			continue;
		for (size_t i = n + 1; i < len; i++) {
			if (s[i] < '0' || s[i] > '9' || keep > SCHEDULE_KEEP_MAX)
				return -EINVAL;
			keep = keep * 10 + (uint32_t)(s[i] - '0');
		}
		ret->keep[k] = keep;
		return keep && keep <= SCHEDULE_KEEP_MAX ? 0 : -EINVAL;
	}
	return -EINVAL;
}

int schedule_parse(const char *text, struct schedule *ret, char why[OBJNAME_WHY])
{
	struct schedule s = { { 0 } };

	while (*text) {
		size_t len = strcspn(text, ",");

		if (item_parse(text, len, &s) || (text[len] && !text[len + 1]))
			return refuse(why, text, len);
		text += len + (text[len] == ',');
	}
	*ret = s;
	return 0;
}

void schedule_name(enum schedule_kind kind, int64_t t, char buf[OBJNAME_VOLUME_MAX + 1])
{
	int64_t day = t / DAY;
	time_t slot = kind == SCHEDULE_HOURLY ? t - t % HOUR :
		      kind == SCHEDULE_DAILY ? day * DAY : (day - (day + 3) % 7) * DAY;	/* day 0: Thursday */
	struct tm tm;
	char when[32];

	gmtime_r(&slot, &tm);
	strftime(when, sizeof(when), "%Y%m%d-%H%M", &tm);
	snprintf(buf, OBJNAME_VOLUME_MAX + 1, "%s-%s", kinds[kind], when);
}

bool schedule_made(enum schedule_kind kind, const char *name)
{
	size_t n = strlen(kinds[kind]);

	if (strncmp(name, kinds[kind], n) || name[n] != '-')
		return false;
	name += n + 1;
	return strlen(name) == 13 && name[8] == '-' && strspn(name, "0123456789") == 8 &&
	       strspn(name + 9, "0123456789") == 4;
}
