/* SPDX-License-Identifier: Apache-2.0 */
/* fleet create: a fleet's settings, as the command line has them. */
#include "pando/fleet_cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"
#include "base/cleanup.h"

static int template_read(const char *option, const char *file, json_t **ret)
{
	CLEANUP_FREE char *text = malloc(FLEET_TEMPLATE_MAX + 1);
	CLEANUP_FD int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t got = 0;
	ssize_t n = 1;

	if (fd < 0 || !text)
		return fail("%s: %s", file, strerror(errno));
	while (n > 0 && got <= FLEET_TEMPLATE_MAX) {
		n = read(fd, text + got, FLEET_TEMPLATE_MAX + 1 - got);
		got += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		return fail("%s: cannot read it: %s", file, strerror(errno));
	if (got > FLEET_TEMPLATE_MAX)
		return fail("%s: has more than %d bytes, the most for --%s", file, FLEET_TEMPLATE_MAX,
			    option);
	*ret = memchr(text, 0, got) ? NULL : json_stringn(text, got);
	return *ret ? DONE : fail("%s: is not UTF-8 text", file);
}

/* "30d" in seconds. */
static int lifetime_take(struct cmd *c, const char *text, json_t **ret)
{
	static const struct { char unit; unsigned seconds; } rows[] = {
		{ 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 },
	};
	size_t len = strlen(text), i;
	char digits[12] = "";
	uint64_t n;

	for (i = 0; i < 4 && len && len < sizeof(digits); i++) {
		if (text[len - 1] != rows[i].unit)
			continue;
		memcpy(digits, text, len - 1);
		if (number_parse(digits, &n) || !n || n > EXPIRES_MAX / rows[i].seconds)
			break;
		*ret = json_integer((json_int_t)(n * rows[i].seconds));
		return DONE;
	}
	return usage(c, "--expires %s: write a number with m, h, d or w, such as 30d, ten years at most", text);
}

/* One option's value as the setting KEY; *ret stays NULL when it wasn't given. */
static int option_take(struct cmd *c, const char *option, const char *key, json_t **ret)
{
	const char *text = cmd_option(c, option);
	uint64_t number = 0;
	int err;

	if (!text)
		return DONE;
	if (!strcmp(key, "user_data") || !strcmp(key, "network_config") || !strcmp(key, "domain") ||
	    !strcmp(key, "unattend"))
		return template_read(option, text, ret);
	if (!strcmp(key, "expires"))
		return lifetime_take(c, text, ret);
	if (setting_is_number(key)) {
		err = strcmp(key, "memory") && strcmp(key, "data") ? cmd_number(c, option, &number)
								   : cmd_size(c, option, &number);
		*ret = err ? NULL : json_integer((json_int_t)number);
		return err;
	}
	*ret = json_string(text);
	return *ret ? DONE : usage(c, "--%s: must be UTF-8 text", option);
}

int fleet_options(struct cmd *c, json_t *given)
{
	char option[40];
	const char *key;
	json_t *value;
	unsigned i;
	size_t n;
	int err;

	for (i = 0; (key = setting_key(i)); i++) {
		for (n = 0; key[n]; n++)
			option[n] = key[n] == '_' ? '-' : key[n];
		option[n] = 0;
		value = NULL;
		err = option_take(c, option, key, &value);
		if (err)
			return err;
		if (value)
			json_object_set_new(given, key, value);
	}
	/* "none" is no hypervisor's address */
	if (!strcmp(json_text(given, "connect"), "none"))
		json_object_del(given, "connect");
	return DONE;
}
