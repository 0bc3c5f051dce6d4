/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges of IP addresses: see address.h.  An address is its bytes, highest first. */
#include "fleet/address.h"

#include <arpa/inet.h>
#include <string.h>

#include "admin/size.h"
#include "fleet/fleet_int.h"

static int address_parse(const char *text, size_t len, int *ret_family, uint8_t out[16])
{
	char copy[FLEET_ADDRESS];

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = 0;
	*ret_family = strchr(copy, ':') ? AF_INET6 : AF_INET;
	return inet_pton(*ret_family, copy, out) == 1 ? 0 : -EINVAL;
}

/* Whether all bits of A behind the prefix are BIT. */
static bool host_bits_are(const uint8_t *a, unsigned len, unsigned prefix, unsigned bit)
{
	unsigned i;

	for (i = prefix; i < 8 * len; i++)
		if (((a[i / 8] >> (7 - i % 8)) & 1) != bit)
			return false;
	return true;
}

static bool same_network(const struct address_range *r, const uint8_t *a)
{
	unsigned i;

	for (i = 0; i < r->prefix; i++)
		if ((r->first[i / 8] ^ a[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

/* Not a group's, nor the machine's own way to itself, nor "no address". */
static bool is_a_machines(const uint8_t *a, unsigned len)
{
	static const uint8_t zeros[12];

	return len == 4 ? a[0] && a[0] != 127 && a[0] < 224 : a[0] != 0xff && memcmp(a, zeros, sizeof(zeros));
}

static int range_check(const char *text, const struct address_range *r, char why[FLEET_WHY])
{
	if (r->prefix < 1 || r->prefix > 8 * r->len)
		return refuse(why, -EINVAL, "%s: a prefix here is from 1 to %u bits", text,
			      8 * r->len);
	if (memcmp(r->first, r->last, r->len) > 0)
		return refuse(why, -EINVAL, "%s: the first address is behind the last; exchange "
			      "them", text);
	if (!same_network(r, r->last))
		return refuse(why, -EINVAL, "%s: the two are not in one network of /%u", text,
			      r->prefix);
	if (!is_a_machines(r->first, r->len) || !is_a_machines(r->last, r->len))
		return refuse(why, -EINVAL, "%s: these are no addresses that machines can have", text);
	if (r->len == 4 && r->prefix < 31 &&
	    (host_bits_are(r->first, 4, r->prefix, 0) || host_bits_are(r->last, 4, r->prefix, 1)))
		return refuse(why, -EINVAL, "%s: the network's own address and its broadcast "
			      "address cannot be a machine's; leave them out", text);
	return 0;
}

int address_range_parse(const char *text, struct address_range *ret, char why[FLEET_WHY])
{
	const char *dash = strchr(text, '-'), *slash = strchr(text, '/');
	struct address_range r = { 0 };
	int last_family;
	uint64_t prefix;

	if (!dash || !slash || slash < dash || number_parse(slash + 1, &prefix) || prefix > 128 ||
	    address_parse(text, (size_t)(dash - text), &r.family, r.first) ||
	    address_parse(dash + 1, (size_t)(slash - dash - 1), &last_family, r.last) ||
	    r.family != last_family)
		return refuse(why, -EINVAL, "%s: not a range of addresses; write it as "
			      "10.0.0.10-10.0.0.200/24", text);
	r.prefix = (unsigned)prefix;
	r.len = r.family == AF_INET ? 4 : 16;
	if (range_check(text, &r, why))
		return -EINVAL;
	*ret = r;
	return 0;
}

uint64_t address_range_count(const struct address_range *r)
{
	uint64_t n = 0;
	unsigned i, borrow = 0, digit;
	uint8_t diff[16];

	for (i = r->len; i-- > 0; borrow = digit >> 8 & 1) {
		digit = r->last[i] - r->first[i] - borrow;
		diff[i] = (uint8_t)digit;
	}
	for (i = 0; i < r->len; i++) {
		if (n >> 56)
			return UINT64_MAX;
		n = n << 8 | diff[i];
	}
	return n == UINT64_MAX ? n : n + 1;
}

void address_range_at(const struct address_range *r, uint64_t i, char ret_text[FLEET_ADDRESS])
{
	uint8_t a[16];
	unsigned at, sum, carry = 0;

	for (at = r->len; at-- > 0; i >>= 8, carry = sum >> 8) {
		sum = r->first[at] + (unsigned)(i & 0xff) + carry;
		a[at] = (uint8_t)sum;
	}
	inet_ntop(r->family, a, ret_text, FLEET_ADDRESS);
}

int address_beside(const struct address_range *r, const char *what, const char *text, char why[FLEET_WHY])
{
	uint8_t a[16];
	int family;

	if (address_parse(text, strlen(text), &family, a) || family != r->family || !same_network(r, a))
		return refuse(why, -EINVAL, "%s: %s: is no address in the network of the machines' addresses", what, text);
	return memcmp(a, r->first, r->len) >= 0 && memcmp(a, r->last, r->len) <= 0 ?
		refuse(why, -EINVAL, "%s: %s: is one of the machines' addresses; leave it out of them", what, text) : 0;
}

int address_list_each(const char *what, const char *list, void (*fn)(void *arg, const char *address), void *arg,
		      char why[FLEET_WHY])
{
	char one[FLEET_ADDRESS];
	uint8_t a[16];
	size_t len;
	int family;

	for (;; list += len + 1) {
		len = strcspn(list, ",");
		if (address_parse(list, len, &family, a))
			return refuse(why, -EINVAL, "%s: '%.*s': is no IP address; write them with commas between", what,
				      (int)(len < 100 ? len : 100), list);
		snprintf(one, sizeof(one), "%.*s", (int)len, list);
		if (fn)
			fn(arg, one);
		if (!list[len])
			return 0;
	}
}
