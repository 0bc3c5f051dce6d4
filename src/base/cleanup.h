/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Release at the end of the scope:
 *	CLEANUP_FREE char *name = strdup(s);
 *	CLEANUP_FD int fd = open(...);
 * The variable must be initialised where it is declared.  steal_ptr() and steal_fd() hand
 * it on.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"

static inline void cleanup_free(void *p) { free(*(void **)p); }

static inline void cleanup_fd(int *fd)
{
	int saved_errno = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved_errno;
}

static inline void cleanup_file(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define CLEANUP_FREE CLEANUP(cleanup_free)
#define CLEANUP_FD CLEANUP(cleanup_fd)		/* negative: none */
#define CLEANUP_FILE CLEANUP(cleanup_file)
#define CLEANUP_BUF CLEANUP(buf_release)

/* Defines cleanup_NAME(TYPE **) that calls FN unless the pointer is NULL. */
#define CLEANUP_DEFINE(name, type, fn) \
	static inline void cleanup_##name(type **p) { if (*p) fn(*p); }

#define steal_ptr(p) ({ __typeof__(p) *pp_ = &(p), v_ = *pp_; *pp_ = NULL; v_; })
static inline int steal_fd(int *fd) { int v = *fd; *fd = -1; return v; }

#endif
