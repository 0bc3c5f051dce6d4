/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the findings can be set right, noted as it is found.  There is room for so many at a time;
 * what does not fit is found again when these are done.
 */
#include "fs/check_int.h"

#include <stdlib.h>
#include <string.h>

static uint64_t room(const struct check *c)
{
	uint64_t n = c->memory / 16 / sizeof(struct fix);

	return n < FINDINGS_MAX ? FINDINGS_MAX : n;
}

void fix_add(struct check *c, const struct fix *f)
{
	struct fix *to;

	if (f->type > FS_FIFO)
		return;			/* nothing can lead to that */
	if (!c->fix || c->quiet || c->nfixes >= room(c) ||
	    !grow(c, &c->fixes, c->nfixes, &c->fixes_cap, sizeof(*c->fixes)))
		return;
	to = &c->fixes[c->nfixes];
	*to = *f;
	if (f->name) {
		to->name = malloc(f->name_len);
		if (!to->name) {
			c->err = -ENOMEM;
			return;
		}
		memcpy(to->name, f->name, f->name_len);
	}
	c->nfixes++;
}

void fix_volume(struct check *c, const struct check_volume *v, enum fix_kind kind, uint64_t value)
{
	fix_add(c, &(struct fix){ .kind = kind, .volume = v->place + 1, .value = value });
}

void fix_ino(struct check *c, const struct where *w, enum fix_kind kind, uint64_t value)
{
	if (w->volume)
		fix_add(c, &(struct fix){ .kind = kind, .volume = c->volumes[w->volume - 1].place + 1,
					  .ino = w->ino, .value = value });
}

void fix_index(struct check *c, const struct where *w, enum fix_kind kind, uint8_t tree_kind, uint64_t block,
	       uint64_t leaf)
{
	if (w->reap || w->xattr)	/* the one is let go of, the other is never that deep */
		return;
	fix_add(c, &(struct fix){ .kind = kind, .type = tree_kind, .ino = w->ino, .value = leaf,
				  .volume = w->volume ? c->volumes[w->volume - 1].place + 1 : 0,
				  .generation = block });
}

void fixes_release(struct check *c)
{
	for (uint64_t i = 0; i < c->nfixes; i++)
		free(c->fixes[i].name);
	free(c->fixes);
}
