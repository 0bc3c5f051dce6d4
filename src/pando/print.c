/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line prints: JSON, tables, progress. */
#include "pando/pando.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/size.h"
#include "base/cleanup.h"

int print_done(void)
{
	if (fflush(stdout) || ferror(stdout))
		return fail("standard output: %s", strerror(errno));
	return DONE;
}

int print_json(const json_t *j)
{
	if (json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY))
		return fail("standard output: cannot write the answer");
	putchar('\n');
	return print_done();
}

uint64_t json_u64(const json_t *j, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(j, key));
}

const char *json_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

/* ---- tables ----------------------------------------------------------------------------- */

void table_init(struct table *t, const char *align, ...)
{
	unsigned i;
	va_list ap;

	memset(t, 0, sizeof(*t));
	t->align = align;
	t->columns = (unsigned)strlen(align);
	va_start(ap, align);
	for (i = 0; i < t->columns; i++)
		table_cell(t, va_arg(ap, const char *));
	va_end(ap);
}

void named_print(unsigned width, const char *name, const char *fmt, ...)
{
	CLEANUP_FREE char *text = NULL, *safe = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL;
		return;
	}
	safe = malloc(4 * (size_t)n + 1);
	if (!safe)
		return;
	text_printable(text, (size_t)n, safe, 4 * (size_t)n + 1);
	printf("%-*s %s\n", (int)width, name, safe);
}

void table_cell(struct table *t, const char *text)
{
	size_t cap = 4 * strlen(text) + 1;
	char **cells, *cell;

	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		cells = realloc(t->cells, t->cap * sizeof(*cells));
		if (!cells) {
			t->cap = t->n;
			t->failed = true;
			return;
		}
		t->cells = cells;
	}
	cell = malloc(cap);
	if (!cell) {
		t->failed = true;
		return;
	}
	text_printable(text, strlen(text), cell, cap);
	t->cells[t->n++] = cell;
}

void table_size(struct table *t, uint64_t bytes)
{
	char text[SIZE_TEXT];

	table_cell(t, size_text(bytes, text));
}

const char *duration_text(uint64_t seconds, char *buf, size_t cap)
{
	static const struct { unsigned seconds; const char *name; } units[] = {
		{ 86400, "days" }, { 3600, "h" }, { 60, "min" }, { 1, "s" },
	};
	unsigned i = 0;

	while (i < 3 && seconds < 2 * units[i].seconds)
		i++;
	snprintf(buf, cap, "%llu %s", (unsigned long long)seconds / units[i].seconds, units[i].name);
	return buf;
}

static size_t text_width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;	/* characters, not bytes */
	return n;
}

int table_print(struct table *t)
{
	size_t width[16] = { 0 }, w, pad;
	unsigned i, col;

	for (i = 0; i < t->n; i++) {
		w = text_width(t->cells[i]);
		if (w > width[i % t->columns])
			width[i % t->columns] = w;
	}
	for (i = 0; i < t->n && !t->failed; i++) {
		col = i % t->columns;
		pad = width[col] - text_width(t->cells[i]);
		if (t->align[col] == 'r')
			printf("%*s%s", (int)pad, "", t->cells[i]);
		else if (col + 1 < t->columns)
			printf("%s%*s", t->cells[i], (int)pad, "");
		else
			fputs(t->cells[i], stdout);
		fputs(col + 1 < t->columns ? "  " : "\n", stdout);
	}
	for (i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	return t->failed ? fail("out of memory") : print_done();
}

/* ---- progress --------------------------------------------------------------------------- */

static bool progress_shown;

uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Whether a line may be shown now: on a terminal, ten times a second at most. */
static bool progress_due(void)
{
	static uint64_t last_ns;
	uint64_t now_ns = clock_ns();

	if (!isatty(STDERR_FILENO) || now_ns - last_ns < 100000000u)
		return false;
	last_ns = now_ns;
	progress_shown = true;
	return true;
}

void progress(const char *what, uint64_t done, uint64_t total)
{
	char a[SIZE_TEXT], b[SIZE_TEXT];

	if (!progress_due())
		return;
	if (total)
		fprintf(stderr, "\r%s: %s of %s, %u %%\033[K", what, size_text(done, a),
			size_text(total, b), (unsigned)((double)done / (double)total * 100));
	else
		fprintf(stderr, "\r%s: %s\033[K", what, size_text(done, a));
}

void progress_count(const char *what, uint64_t done, uint64_t total, uint64_t started_ns)
{
	double spent_s = (double)(clock_ns() - started_ns) / 1e9;

	if (!progress_due())
		return;
	fprintf(stderr, "\r%s: %llu of %llu", what, (unsigned long long)done,
		(unsigned long long)total);
	if (done && spent_s > 1)	/* before, nobody can know */
		fprintf(stderr, ", %.0f s left",
			spent_s / (double)done * (double)(total - done));
	fputs("\033[K", stderr);
}

void progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}
