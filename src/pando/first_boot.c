/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden import --first-boot: what a system without cloud-init needs to be its own machine, by its seed.  It is the
 * same for all machines, so it is written into the golden image once; first-boot.sh says what it does there.
 *
 *	/etc/pando/first-boot					first-boot.sh
 *	/etc/systemd/system/pando-first-boot.service		first-boot.service
 *	/etc/systemd/system/multi-user.target.wants/...		a link to that
 */
#include "pando/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char program[] =
#include "first-boot.sh.inc"
;
static const char service[] =
#include "first-boot.service.inc"
;
static const struct { const char *dir, *name, *text; } files[] = {
	{ "/etc/pando", "first-boot", program },
	{ "/etc/systemd/system", "pando-first-boot.service", service },
};
#define FILES (sizeof(files) / sizeof(files[0]))
_Static_assert(FILES == FIRST_BOOT_TEMPS, "a temporary file for each");

static int text_put(int fd, const char *text)
{
	size_t len = strlen(text);
	bool whole = write(fd, text, len) == (ssize_t)len && !fchmod(fd, 0644);

	return close(fd) || !whole ? fail("cannot write a temporary file: %s", strerror(errno)) : DONE;
}

int first_boot_script(FILE *script, const char *beside, char *temps[FIRST_BOOT_TEMPS])
{
	size_t i;
	int fd, err = DONE;

	fprintf(script, "mkdir /etc/pando\n");
	for (i = 0; i < FILES && !err; i++) {
		err = temp_make(beside, false, &temps[i], &fd);
		if (!err)
			err = text_put(fd, files[i].text);
		if (!err)
			fprintf(script, "cd %s\nwrite \"%s\" %s\nsif %s uid 0\nsif %s gid 0\n", files[i].dir, temps[i],
				files[i].name, files[i].name, files[i].name);
	}
	fprintf(script, "mkdir multi-user.target.wants\nsymlink multi-user.target.wants/pando-first-boot.service "
			"/etc/systemd/system/pando-first-boot.service\n");
	return err;
}
