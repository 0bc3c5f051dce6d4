/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of IP addresses for machines: "10.0.0.10-10.0.0.200/24", "fd00::10-fd00::ff/64". */
#ifndef FLEET_ADDRESS_H
#define FLEET_ADDRESS_H

#include <stdint.h>

#include "fleet/fleet.h"

struct address_range {
	int family;			/* AF_INET, AF_INET6 */
	unsigned len;			/* bytes in an address: 4, 16 */
	unsigned prefix;		/* bits that are the network's */
	uint8_t first[16], last[16];
};

int address_range_parse(const char *text, struct address_range *ret, char why[FLEET_WHY]);
/* How many it has; UINT64_MAX if more. */
uint64_t address_range_count(const struct address_range *r);
/* Address number I, from 0, which is in the range. */
void address_range_at(const struct address_range *r, uint64_t i, char ret_text[FLEET_ADDRESS]);

/* Whether TEXT, which is about WHAT, is an address of that network, and none of the range. */
int address_beside(const struct address_range *r, const char *what, const char *text, char why[FLEET_WHY]);
/* Calls FN, unless it is NULL, for each of LIST, which has commas between, up to the first that is no address. */
int address_list_each(const char *what, const char *list, void (*fn)(void *arg, const char *address), void *arg,
		      char why[FLEET_WHY]);

#endif
