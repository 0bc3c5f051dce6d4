/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon is told: by options, and by a configuration file that knows the same names.
 * An option goes before the file.
 */
#ifndef PANDOD_CONFIG_H
#define PANDOD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

#define LISTEN_MAX 16
#define CONFIG_WHY 400

struct config {
	char *pool;
	char *listen[LISTEN_MAX];
	unsigned nlisten;
	char *socket;
	char *socket_group;		/* NULL: none */
	uint64_t cache_bytes;
	char *portmap;			/* "auto", "on", "off", or an address to answer on */
	unsigned checkpoint_ms;
	unsigned upload_timeout_s;
	unsigned lease_s;
	unsigned grace_s;		/* 0: the lease */
	bool readonly;
	enum log_level log_level;
	int ready_fd;			/* -1: none */
};

enum config_result { CONFIG_RUN, CONFIG_EXIT, CONFIG_FAILED, CONFIG_USAGE };

/* Reads the options, the file that they name and fills in the defaults.  CONFIG_EXIT: help or
 * version was asked for and printed.  On the last two, WHY has one line. */
enum config_result config_read(int argc, char **argv, struct config *ret, char why[CONFIG_WHY]);
void config_done(struct config *cfg);

#endif
