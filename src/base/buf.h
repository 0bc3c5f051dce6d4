/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growable byte buffer with a maximum.  An append that fails (-ENOMEM, or -EMSGSIZE past
 * the maximum) changes nothing but `failed`, so that a chain of appends can be checked once
 * at its end.  The bytes are always followed by a NUL that does not count.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
	char *data;		/* NULL while nothing was ever appended */
	size_t len, cap, max;
	int failed;		/* the first error; 0 if none */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_release(struct buf *b);	/* frees the memory; the buffer is empty, as initialised */
void buf_clear(struct buf *b);		/* empty, keeps the memory, forgets the error */

int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_byte(struct buf *b, char c);
int buf_append_str(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Room for LEN more bytes, at *ret_room; they count only after buf_commit(). */
int buf_reserve(struct buf *b, size_t len, char **ret_room);
void buf_commit(struct buf *b, size_t len);
/* Drops the first LEN bytes (len at most b->len). */
void buf_consume(struct buf *b, size_t len);

/* The text, "" when empty; valid until the next change. */
const char *buf_str(const struct buf *b);

#endif
