/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines to standard error.  The line is built on the stack: logging cannot run out of
 * memory, and a line longer than the buffer is cut and says so. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static enum log_level max_level = LOG_INFO;
static void (*capture_fn)(void *arg, enum log_level level, const char *text);
static void *capture_arg;

static const char *const names[] = { "error", "warn", "info", "debug" };

void log_set_level(enum log_level level)
{
	__atomic_store_n(&max_level, level, __ATOMIC_RELAXED);
}

bool log_enabled(enum log_level level)
{
	return level <= __atomic_load_n(&max_level, __ATOMIC_RELAXED);
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (int i = 0; i < 4; i++) {
		if (!strcmp(name, names[i])) {
			*ret_level = i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_capture(void (*fn)(void *arg, enum log_level level, const char *text), void *arg)
{
	capture_fn = fn;
	capture_arg = arg;
}

static size_t prefix(char *line, size_t size, enum log_level level)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + snprintf(line + n, size - n, ".%03ldZ %-5s ", ts.tv_nsec / 1000000,
			    names[level]);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	static const char cut[] = " [cut]";
	char line[LINE_MAX_BYTES];
	size_t start, room, n;
	int saved_errno = errno, len;
	va_list ap;

	start = capture_fn ? 0 : prefix(line, sizeof(line), level);
	room = sizeof(line) - start - 1;	/* for the newline */
	va_start(ap, fmt);
	len = vsnprintf(line + start, room, fmt, ap);
	va_end(ap);
	if (len < 0)
		len = snprintf(line + start, room, "(log line could not be formatted: %s)", fmt);
	n = start + ((size_t)len < room ? (size_t)len : room - 1);
	if ((size_t)len >= room)
		memcpy(line + n - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
	for (size_t i = start; i < n; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	if (capture_fn) {
		line[n] = 0;
		capture_fn(capture_arg, level, line);
	} else {
		line[n++] = '\n';
		if (write(STDERR_FILENO, line, n) < 0) {
			/* nothing can be done about a log that cannot be written */
		}
	}
	errno = saved_errno;
}

bool log_limit_ok_at(struct log_limit *l, uint64_t now_ns, uint64_t *ret_suppressed)
{
	uint64_t full = l->burst * l->interval_ns;

	/* a bucket of time: a line costs one interval, and it holds `burst` of them */
	if (!l->last_ns)
		l->tokens_ns = full;
	else if (now_ns > l->last_ns) {
		l->tokens_ns += now_ns - l->last_ns;
		if (l->tokens_ns > full)
			l->tokens_ns = full;
	}
	l->last_ns = now_ns ? now_ns : 1;
	if (l->tokens_ns < l->interval_ns) {
		l->suppressed++;
		return false;
	}
	l->tokens_ns -= l->interval_ns;
	if (ret_suppressed)
		*ret_suppressed = l->suppressed;
	l->suppressed = 0;
	return true;
}

bool log_limit_ok(struct log_limit *l, uint64_t *ret_suppressed)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return log_limit_ok_at(l, ts.tv_sec * 1000000000ull + ts.tv_nsec, ret_suppressed);
}
