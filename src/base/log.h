/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: one line each to standard error, `TIME LEVEL TEXT`, written by one write() so
 * that lines of several threads don't mix.  Control characters in the text are replaced, so
 * that a name from the network cannot forge a line.  Any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The default is LOG_INFO. */
void log_set_level(enum log_level level);
/* "error", "warn", "info" or "debug"; -EINVAL for anything else. */
int log_level_parse(const char *name, enum log_level *ret_level);
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The arguments are not evaluated when the level is off. */
#define log_at(level, ...) \
	do { if (log_enabled(level)) log_write(level, __VA_ARGS__); } while (0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/* Tests: lines go to FN (without time and newline) instead of standard error; NULL: back. */
void log_capture(void (*fn)(void *arg, enum log_level level, const char *text), void *arg);

/*
 * For what can happen at the speed of the network: BURST lines at once, then one for each
 * INTERVAL_NS.  Zero-initialised but for these two.  One thread.
 *	static struct log_limit limit = { .burst = 5, .interval_ns = 1000000000 };
 *	if (log_limit_ok(&limit, &suppressed)) log_warn("... (%llu more like this)", ...);
 */
struct log_limit {
	unsigned burst;
	uint64_t interval_ns;
	uint64_t tokens_ns, last_ns, suppressed;
};
/* True: write the line; *ret_suppressed (may be NULL) is how many were not written before. */
bool log_limit_ok(struct log_limit *l, uint64_t *ret_suppressed);
bool log_limit_ok_at(struct log_limit *l, uint64_t now_ns, uint64_t *ret_suppressed);

#endif
