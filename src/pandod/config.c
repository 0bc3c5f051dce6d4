/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's options and its configuration file: one table for both, see config.h. */
#include "pandod/config.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/size.h"
#include "admin/sockpath.h"
#include "rpc/server.h"

#define CACHE_MIN ((uint64_t)16 << 20)
#define CACHE_DEFAULT ((uint64_t)256 << 20)
#define PORTMAP_TEXT "auto, on, off or an address"

/* While options and file are read. */
struct reader {
	struct config *cfg;
	char *why;
	const char *file;		/* of --config; NULL: options are being read */
	bool from_options[32];		/* by row: the file doesn't count any more */
};

static int refuse(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(struct reader *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, CONFIG_WHY, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- values ----------------------------------------------------------------------------- */

static int text_set(struct reader *r, char **field, const char *value)
{
	char *copy = strdup(value);

	if (!*value || !copy) {
		free(copy);
		return refuse(r, "needs a value");
	}
	free(*field);
	*field = copy;
	return 0;
}

static int set_pool(struct reader *r, const char *value)
{
	return text_set(r, &r->cfg->pool, value);
}

static int set_listen(struct reader *r, const char *value)
{
	struct rpc_addr addr;
	char why[200];

	if (rpc_parse_listen(value, &addr, why, sizeof(why)))
		return refuse(r, "%s", why);
	if (r->cfg->nlisten == LISTEN_MAX)
		return refuse(r, "more than %d addresses", LISTEN_MAX);
	return text_set(r, &r->cfg->listen[r->cfg->nlisten++], value);
}

static int set_socket(struct reader *r, const char *value)
{
	return text_set(r, &r->cfg->socket, value);
}

static int set_socket_group(struct reader *r, const char *value)
{
	return text_set(r, &r->cfg->socket_group, value);
}

static int set_cache(struct reader *r, const char *value)
{
	if (size_parse(value, &r->cfg->cache_bytes))
		return refuse(r, "%s: not a size; write a number with M or G such as 512M", value);
	if (r->cfg->cache_bytes < CACHE_MIN)
		return refuse(r, "%s: too small; the least is 16M", value);
	return 0;
}

static int set_portmap(struct reader *r, const char *value)
{
	struct rpc_addr addr;
	char with_port[80], why[200];

	if (strcmp(value, "auto") && strcmp(value, "on") && strcmp(value, "off")) {
		snprintf(with_port, sizeof(with_port), strchr(value, ':') ? "[%s]:111" : "%s:111",
			 value);
		if (rpc_parse_listen(with_port, &addr, why, sizeof(why)))
			return refuse(r, "%s: write " PORTMAP_TEXT, value);
	}
	return text_set(r, &r->cfg->portmap, value);
}

static int set_checkpoint(struct reader *r, const char *value)
{
	uint64_t seconds;

	if (number_parse(value, &seconds) || seconds < 1 || seconds > 3600)
		return refuse(r, "%s: write seconds, from 1 to 3600", value);
	r->cfg->checkpoint_ms = (unsigned)seconds * 1000;
	return 0;
}

static int set_upload_timeout(struct reader *r, const char *value)
{
	uint64_t seconds;

	if (number_parse(value, &seconds) || seconds < 1 || seconds > 86400)
		return refuse(r, "%s: write seconds, from 1 to 86400", value);
	r->cfg->upload_timeout_s = (unsigned)seconds;
	return 0;
}

static int hour_set(struct reader *r, unsigned *field_s, const char *value)
{
	uint64_t seconds;

	if (number_parse(value, &seconds) || seconds < 1 || seconds > 3600)
		return refuse(r, "%s: write seconds, from 1 to 3600", value);
	*field_s = (unsigned)seconds;
	return 0;
}

static int set_lease(struct reader *r, const char *value)
{
	return hour_set(r, &r->cfg->lease_s, value);
}

static int set_grace(struct reader *r, const char *value)
{
	return hour_set(r, &r->cfg->grace_s, value);
}

static int set_readonly(struct reader *r, const char *value)
{
	if (*value && strcmp(value, "yes") && strcmp(value, "no"))
		return refuse(r, "%s: write yes or no", value);
	r->cfg->readonly = strcmp(value, "no");
	return 0;
}

static int set_log_level(struct reader *r, const char *value)
{
	if (log_level_parse(value, &r->cfg->log_level))
		return refuse(r, "%s: write error, warn, info or debug", value);
	return 0;
}

static int set_ready_fd(struct reader *r, const char *value)
{
	uint64_t fd;

	if (number_parse(value, &fd) || fd > 65535)
		return refuse(r, "%s: not a file descriptor", value);
	r->cfg->ready_fd = (int)fd;
	return 0;
}

static int set_config(struct reader *r, const char *value)
{
	if (r->file)
		return refuse(r, "a configuration file cannot name another");
	r->file = value;	/* of argv, or what set it back; read after the options */
	return 0;
}

static const struct row {
	const char *name, *arg, *help;
	int (*set)(struct reader *r, const char *value);
} rows[] = {
	{ "pool", "FILE", "the pool: a file or a block device; must be given", set_pool },
	{ "listen", "ADDR:PORT", "serve NFS here (default 127.0.0.1:2049); may be repeated",
	  set_listen },
	{ "socket", "PATH", "the management socket (default /run/pando/pandod.sock)", set_socket },
	{ "socket-group", "GROUP", "let this group use the socket, not only its owner",
	  set_socket_group },
	{ "config", "FILE", "read more options from a file, one NAME = VALUE in a line",
	  set_config },
	{ "cache", "SIZE", "memory for blocks (default 256M, or a quarter of a small memory)",
	  set_cache },
	{ "portmap", "MODE", "answer on port 111: " PORTMAP_TEXT " (default auto)", set_portmap },
	{ "checkpoint", "SECONDS", "longest time between checkpoints (default 5)", set_checkpoint },
	{ "upload-timeout", "SECONDS", "give up an import, a send or a receive that is silent that long (default 60)",
	  set_upload_timeout },
	{ "lease", "SECONDS", "how long NFSv4 clients may be silent and keep locks (default 90)",
	  set_lease },
	{ "grace", "SECONDS", "how long they may reclaim locks after a start (default: the lease)",
	  set_grace },
	{ "read-only", NULL, "serve the pool without changing anything", set_readonly },
	{ "log-level", "LEVEL", "error, warn, info (the default) or debug", set_log_level },
	{ "ready-fd", "N", "write one line to this descriptor when everything is served",
	  set_ready_fd },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))
_Static_assert(ROWS <= sizeof((struct reader){ 0 }.from_options), "a flag for each row");
enum { OPT_HELP = ROWS, OPT_VERSION };

/* ---- the file --------------------------------------------------------------------------- */

static int on_line(void *arg, const char *section, const char *name, const char *value)
{
	struct reader *r = arg;
	char why[CONFIG_WHY];
	size_t i;

	if (r->why[0])
		return 0;
	if (*section && strcmp(section, "pandod")) {
		refuse(r, "[%s]: no such section; options stand under [pandod]", section);
		return 0;
	}
	for (i = 0; i < ROWS; i++)
		if (!strcmp(name, rows[i].name))
			break;
	if (i == ROWS) {
		refuse(r, "%s: no such option; see pandod(8)", name);
		return 0;
	}
	if (r->from_options[i] && rows[i].set != set_config)
		return 1;
	if (rows[i].set(r, value ? value : "")) {
		snprintf(why, sizeof(why), "%s", r->why);
		refuse(r, "%s: %s", name, why);
		return 0;
	}
	return 1;
}

static int file_read(struct reader *r)
{
	const char *path = r->file;
	char why[CONFIG_WHY];
	int line = ini_parse(path, on_line, r);

	if (line < 0)
		return refuse(r, "%s: cannot read the configuration: %s", path, strerror(errno));
	if (line) {
		snprintf(why, sizeof(why), "%s", r->why);
		return refuse(r, "%s: line %d: %s", path, line,
			      *why ? why : "not understood; write NAME = VALUE");
	}
	return 0;
}

/* ---- options ---------------------------------------------------------------------------- */

static enum config_result help_print(void)
{
	char left[64];
	size_t i;

	printf("usage: pandod --pool FILE [OPTION]...\n\n"
	       "Serves a pool over NFS, and its management on a Unix socket.\n\nOptions:\n");
	for (i = 0; i < ROWS; i++) {
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "");
		printf("  %-24s %s\n", left, rows[i].help);
	}
	printf("  %-24s %s\n  %-24s %s\n", "--help", "show this help", "--version",
	       "print the version");
	return fflush(stdout) ? CONFIG_FAILED : CONFIG_EXIT;
}

static enum config_result options_read(struct reader *r, int argc, char **argv)
{
	struct option options[ROWS + 3];
	char why[CONFIG_WHY];
	size_t i;
	int o;

	for (i = 0; i < ROWS; i++)
		options[i] = (struct option){ rows[i].name, rows[i].arg ? required_argument
									: no_argument, NULL,
									  (int)i };
	options[i] = (struct option){ "help", no_argument, NULL, OPT_HELP };
	options[i + 1] = (struct option){ "version", no_argument, NULL, OPT_VERSION };
	options[i + 2] = (struct option){ 0 };
	opterr = 0;
	while ((o = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (o == OPT_HELP || o == 'h')
			return help_print();
		if (o == OPT_VERSION) {
			printf("pandod " PANDO_VERSION "\n");
			return fflush(stdout) ? CONFIG_FAILED : CONFIG_EXIT;
		}
		if (o == ':' || o == '?') {
			refuse(r, "%s: %s; see 'pandod --help'", argv[optind - 1],
			       o == ':' ? "needs a value" : "no such option");
			return CONFIG_USAGE;
		}
		if (rows[o].set(r, optarg ? optarg : "")) {
			snprintf(why, sizeof(why), "%s", r->why);
			refuse(r, "--%s: %s", rows[o].name, why);
			return CONFIG_USAGE;
		}
		r->from_options[o] = true;
	}
	if (optind < argc) {
		refuse(r, "%s: pandod takes only options; see 'pandod --help'", argv[optind]);
		return CONFIG_USAGE;
	}
	return CONFIG_RUN;
}

/* ---- defaults --------------------------------------------------------------------------- */

static uint64_t cache_default(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t quarter = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4
						 : CACHE_DEFAULT;

	quarter = quarter < CACHE_MIN ? CACHE_MIN : quarter;
	return quarter < CACHE_DEFAULT ? quarter : CACHE_DEFAULT;
}

static enum config_result defaults_set(struct reader *r)
{
	struct config *cfg = r->cfg;
	char path[256];

	if (!cfg->pool) {
		refuse(r, "--pool: must be given: the file or block device that holds the pool");
		return CONFIG_USAGE;
	}
	if (!cfg->nlisten && set_listen(r, "127.0.0.1:2049"))
		return CONFIG_FAILED;
	if (!cfg->portmap && set_portmap(r, "auto"))
		return CONFIG_FAILED;
	if (!cfg->cache_bytes)
		cfg->cache_bytes = cache_default();
	if (cfg->socket)
		return CONFIG_RUN;
	if (socket_default_path(path, sizeof(path)) || text_set(r, &cfg->socket, path)) {
		refuse(r, "the default socket's path is too long; use --socket");
		return CONFIG_FAILED;
	}
	return CONFIG_RUN;
}

enum config_result config_read(int argc, char **argv, struct config *ret, char why[CONFIG_WHY])
{
	struct reader r = { .cfg = ret, .why = why };
	enum config_result result;

	memset(ret, 0, sizeof(*ret));
	ret->ready_fd = -1;
	ret->log_level = LOG_INFO;
	ret->checkpoint_ms = 5000;
	ret->upload_timeout_s = 60;
	ret->lease_s = 90;
	why[0] = 0;
	result = options_read(&r, argc, argv);
	if (result != CONFIG_RUN)
		return result;
	if (r.file && file_read(&r))
		return CONFIG_FAILED;
	return defaults_set(&r);
}

void config_done(struct config *cfg)
{
	unsigned i;

	free(cfg->pool);
	for (i = 0; i < cfg->nlisten; i++)
		free(cfg->listen[i]);
	free(cfg->socket);
	free(cfg->socket_group);
	free(cfg->portmap);
}
