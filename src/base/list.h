/* SPDX-License-Identifier: Apache-2.0 */
/* Doubly linked, intrusive, circular lists.  The owner of an entry is its container. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list { struct list *next, *prev; };

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }

static inline void list_insert(struct list *e, struct list *before)
{
	e->prev = before->prev;
	e->next = before;
	before->prev->next = e;
	before->prev = e;
}

static inline void list_add_tail(struct list *l, struct list *e) { list_insert(e, l); }
static inline void list_add_head(struct list *l, struct list *e) { list_insert(e, l->next); }

/* Safe on an entry that is in no list, if it was list_init()ed. */
static inline void list_del(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

static inline struct list *list_pop(struct list *l)
{
	struct list *e = l->next;

	if (e == l)
		return NULL;
	list_del(e);
	return e;
}

/* Moves all of SRC to the end of DST; SRC is empty afterwards. */
static inline void list_splice_tail(struct list *dst, struct list *src)
{
	if (list_empty(src))
		return;
	src->next->prev = dst->prev;
	src->prev->next = dst;
	dst->prev->next = src->next;
	dst->prev = src->prev;
	list_init(src);
}

#define list_each(pos, l) for ((pos) = (l)->next; (pos) != (l); (pos) = (pos)->next)
#define list_each_safe(pos, tmp, l) \
	for ((pos) = (l)->next, (tmp) = (pos)->next; (pos) != (l); (pos) = (tmp), (tmp) = (pos)->next)

#endif
