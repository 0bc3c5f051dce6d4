/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations that are worth trying on a model's state.  See sim.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

void gen_init(struct gen *g, uint64_t seed)
{
	static const unsigned weights[OP_KINDS] = {
		[OP_CREATE] = 12, [OP_MKDIR] = 5, [OP_SYMLINK] = 3, [OP_MKNOD] = 1,
		[OP_UNNAMED] = 1, [OP_FORGET] = 1, [OP_LINK] = 4, [OP_WRITE] = 34,
		[OP_SETATTR] = 14, [OP_CLONE] = 8, [OP_REMOVE] = 12, [OP_RMDIR] = 4,
		[OP_RENAME] = 9, [OP_VCREATE] = 0, [OP_VDESTROY] = 0, [OP_READ] = 14,
		[OP_RANGE] = 12, [OP_PUNCH] = 7, [OP_ALLOCATE] = 4, [OP_XSET] = 8,
		[OP_XREMOVE] = 3, [OP_HOLD] = 5, [OP_QUOTA] = 4,
	};

	*g = (struct gen){ .names = 30, .users = MUSERS, .max_write = FS_IO_MAX, .max_clones = 12,
			   .far = true, .odd = true };
	memcpy(g->weights, weights, sizeof(weights));
	rng_init(&g->rng, seed);
}

static uint64_t below(struct gen *g, uint64_t n)
{
	return rng_below(&g->rng, n);
}

struct mnode *gen_node(struct gen *g, struct model *m, enum fs_type type)
{
	uint32_t at = below(g, m->nnodes);

	for (uint32_t i = 0; i < m->nnodes; i++) {
		struct mnode *n = m->nodes[(at + i) % m->nnodes];

		if (type == FS_FREE || n->type == type)
			return n;
	}
	return NULL;
}

struct fs_id gen_stale(struct gen *g, struct model *m)
{
	struct fs_id id = gen_node(g, m, FS_FREE)->id;

	switch (below(g, 3)) {
	case 0:
		id.generation += 1 + below(g, 3);
		break;
	case 1:
		id.ino += 100000 + below(g, 1ULL << 40);
		break;
	default:
		id.volume += 1000;
	}
	return id;
}

/* In a snapshot, if there is any. */
static struct mnode *gen_frozen(struct gen *g, struct model *m, enum fs_type type)
{
	return m->nsnaps ? gen_node(g, m->snaps[below(g, m->nsnaps)]->m, type) : NULL;
}

static struct fs_id pick(struct gen *g, struct model *m, enum fs_type type)
{
	struct mnode *n;

	if (g->odd && m->nsnaps && rng_one_in(&g->rng, 80)) {
		n = gen_frozen(g, m, type);
		if (n)
			return n->id;
	}

	if (g->odd && rng_one_in(&g->rng, 60))
		return gen_stale(g, m);
	if (g->odd && rng_one_in(&g->rng, 40))
		type = FS_FREE;
	n = gen_node(g, m, type);
	return n ? n->id : gen_node(g, m, FS_FREE)->id;
}

/* A file to read from. */
static struct fs_id pick_source(struct gen *g, struct model *m)
{
	struct mnode *n = m->nsnaps && rng_one_in(&g->rng, 3) ? gen_frozen(g, m, FS_REG) : NULL;

	return n ? n->id : pick(g, m, FS_REG);
}

void gen_name(struct gen *g, char *buf, uint32_t *ret_len)
{
	static const char *const bad[] = { ".", "..", "", "a/b", "/" };
	uint32_t len;

	memset(buf, 0, OP_NAME_BUF);
	if (g->odd && rng_one_in(&g->rng, 150)) {
		strcpy(buf, bad[below(g, 5)]);
		*ret_len = strlen(buf);
		return;
	}
	len = snprintf(buf, OP_NAME_BUF, "n%u", (unsigned)below(g, g->names));
	if (g->odd && rng_one_in(&g->rng, 50)) {
		uint32_t want = rng_one_in(&g->rng, 4) ? FS_NAME_MAX + 1 : FS_NAME_MAX;

		memset(buf + len, 'x', want - len);
		len = want;
	}
	*ret_len = len;
}

/* A directory that has names, mostly. */
static struct fs_id pick_full(struct gen *g, struct model *m)
{
	for (int i = 0; i < 10; i++) {
		struct mnode *n = gen_node(g, m, FS_DIR);

		if (n->nents)
			return n->id;
	}
	return pick(g, m, FS_DIR);
}

/* A name that is there, mostly, and mostly of an inode that TYPE allows. */
static void old_name(struct gen *g, struct model *m, struct fs_id dir, enum fs_type type, char *buf,
		     uint32_t *ret_len)
{
	struct mnode *d = model_find(m, dir);
	struct mdirent *e;

	if (!d || !d->nents || rng_one_in(&g->rng, 20)) {
		gen_name(g, buf, ret_len);
		return;
	}
	for (int i = 0; i < 6; i++) {
		e = &d->ents[below(g, d->nents)];
		if (type == FS_FREE || (type == FS_DIR) == (e->node->type == FS_DIR))
			break;
	}
	memset(buf, 0, OP_NAME_BUF);
	memcpy(buf, e->name, e->len);
	*ret_len = e->len;
}

uint64_t gen_offset(struct gen *g, const struct mnode *n)
{
	uint64_t size = n && n->type == FS_REG ? n->size : 0;

	switch (below(g, g->far ? 9 : 7)) {
	case 0:
		return 0;
	case 1:
		return below(g, 16) * MBLOCK;
	case 2:
		return below(g, 65536);
	case 3:
		return size;
	case 4:
		return size ? below(g, size) : 0;
	case 5:
		return size ? below(g, size) / MBLOCK * MBLOCK : 0;
	case 6:
		return below(g, 600) * MBLOCK;
	case 7:		/* near a power of two, on either side: where trees grow */
		return (1ULL << rng_range(&g->rng, 12, 60)) + below(g, 3 * MBLOCK) - 2 * MBLOCK;
	default:
		return below(g, 1ULL << rng_range(&g->rng, 20, 60));
	}
}

static uint32_t gen_len(struct gen *g, uint64_t *offset)
{
	uint32_t len;

	switch (below(g, 8)) {
	case 0:
		len = below(g, 100);
		break;
	case 1:
		len = MBLOCK;
		break;
	case 2:
		len = rng_range(&g->rng, 1, 3 * MBLOCK);
		break;
	case 3: case 4:		/* whole blocks */
		len = MBLOCK * rng_range(&g->rng, 1, 16);
		*offset &= ~(uint64_t)(MBLOCK - 1);
		break;
	case 5:			/* large and aligned: goes to the device at once */
		len = MBLOCK * rng_range(&g->rng, 16, rng_one_in(&g->rng, 4) ? 256 : 64);
		*offset &= ~(uint64_t)(MBLOCK - 1);
		break;
	case 6:
		len = rng_range(&g->rng, 1, 65536);
		break;
	default:
		len = rng_range(&g->rng, 1, rng_one_in(&g->rng, 8) ? FS_IO_MAX : 20000);
	}
	return len < g->max_write ? len : g->max_write;
}

static void gen_write(struct gen *g, struct model *m, struct op *op)
{
	op->id = pick(g, m, FS_REG);
	op->offset = gen_offset(g, model_find(m, op->id));
	op->len = gen_len(g, &op->offset);
	op->seed = rng_u64(&g->rng) | 4;
	if (rng_one_in(&g->rng, 5))
		op->seed = below(g, 3) + 16 * below(g, 4);	/* zeros, and equal blocks */
	if (g->equal && rng_one_in(&g->rng, 2)) {
		op->seed = 3 + 16 * below(g, 3);
		if (rng_one_in(&g->rng, 2))
			op->offset = op->offset / MBLOCK * MBLOCK;
	}
	op->stable = rng_one_in(&g->rng, 4);
}

static void gen_read(struct gen *g, struct model *m, struct op *op)
{
	op->id = pick_source(g, m);
	op->offset = gen_offset(g, model_find_any(m, op->id));
	op->len = rng_one_in(&g->rng, 3) ? FS_IO_MAX : rng_range(&g->rng, 1, 40000);
}

/* ---- ranges --------------------------------------------------------------------------------- */

#define GEN_LEAF (512ULL * MBLOCK)	/* what one index block of the lowest level covers */
#define GEN_GIB (1ULL << 30)

static uint64_t block_offset(struct gen *g, const struct mnode *n)
{
	return gen_offset(g, n) / MBLOCK * MBLOCK;
}

/*
 * So few pieces that it is one step (what is not atomic can't be compared), and so few blocks that
 * models stay small.
 */
static bool range_fits(const struct mnode *src, const struct mnode *dst, const struct op *op)
{
	uint64_t end = op->src_offset + op->length, last = UINT64_MAX;
	unsigned leaves = 0, blocks = 0;

	for (uint32_t i = 0; i < src->content->n; i++) {
		uint64_t index = src->content->e[i].index;

		if (index < op->src_offset / MBLOCK || index > end / MBLOCK)
			continue;
		blocks++;
		leaves += index / 512 != last;
		last = index / 512;
	}
	if (dst->content->n + blocks > 3000)
		return false;
	if (op->length <= (FS_RANGE_PIECES - 100ULL) * MBLOCK || (src != dst && leaves <= 1))
		return true;
	/* Congruent: head and tail are no more than one index block's leaves and a few. */
	if (op->src_offset % GEN_GIB == op->offset % GEN_GIB && !(op->offset % GEN_GIB))
		return end % GEN_LEAF <= 16 * MBLOCK && op->length <= 3 * GEN_GIB + 16 * MBLOCK;
	return op->src_offset % GEN_LEAF == op->offset % GEN_LEAF &&
	       end % GEN_LEAF <= op->offset % GEN_LEAF + 16 * MBLOCK && op->length <= 16 * GEN_LEAF;
}

static void range_shape(struct gen *g, const struct mnode *src, const struct mnode *dst,
			struct op *op)
{
	uint64_t unit, delta = below(g, 512) * MBLOCK;

	op->src_offset = block_offset(g, src);
	op->offset = block_offset(g, dst);
	op->length = below(g, rng_one_in(&g->rng, 3) ? 1500 : 20) * MBLOCK;
	switch (below(g, 8)) {
	case 0:				/* a whole file onto the beginning of another */
		op->src_offset = op->offset = 0;
		op->length = rng_one_in(&g->rng, 2) ? 0 : src->size;
		break;
	case 1: case 2:			/* to the end, which may be within a block */
		if (op->src_offset < src->size)
			op->length = src->size - op->src_offset;
		if (rng_one_in(&g->rng, 2))
			op->offset = (dst->size + MBLOCK - 1) / MBLOCK * MBLOCK;
		break;
	case 3: case 4:			/* congruent */
		unit = g->far && rng_one_in(&g->rng, 3) ? GEN_GIB : GEN_LEAF;
		if (unit == GEN_GIB || rng_one_in(&g->rng, 2))
			delta = 0;
		op->src_offset = op->src_offset / unit * unit + delta;
		op->offset = rng_one_in(&g->rng, 2) ? op->offset / unit * unit + delta :
			     below(g, 4) * unit + delta;
		op->length = rng_range(&g->rng, 1, 3) * unit + below(g, 4) * MBLOCK;
		break;
	case 5:				/* as far as there is anything */
		op->length = src->size / MBLOCK * MBLOCK;
		break;
	}
	if (op->length && op->src_offset < src->size && op->length > src->size - op->src_offset &&
	    !rng_one_in(&g->rng, 8))
		op->length = src->size - op->src_offset;
	/* Not in the middle of a longer file: mostly whole blocks. */
	if (op->length % MBLOCK && op->length > MBLOCK && op->offset + op->length < dst->size)
		op->length -= op->length % MBLOCK;
}

static void gen_range(struct gen *g, struct model *m, struct op *op)
{
	struct mnode *src, *dst;

	op->id = op->src = pick(g, m, FS_REG);
	for (int i = 0; i < 4 && !rng_one_in(&g->rng, 5); i++) {
		op->src = pick_source(g, m);
		src = model_find_any(m, op->src);
		if (src && src->type == FS_REG && src->content->n &&
		    op->src.volume == op->id.volume)
			break;
	}
	src = model_find_any(m, op->src);
	dst = model_find(m, op->id);
	if (!src || !dst || src->type != FS_REG || dst->type != FS_REG) {
		op->length = MBLOCK;
		return;
	}
	range_shape(g, src, dst, op);
	if (!range_fits(src, dst, op))
		op->length = rng_range(&g->rng, 1, 64) * MBLOCK;
	if (!op->length && src->size > op->src_offset && !range_fits(src, dst, &(struct op){
	    .src_offset = op->src_offset, .length = src->size - op->src_offset }))
		op->length = MBLOCK;
	if (g->odd && rng_one_in(&g->rng, 25))
		*(uint64_t *[]){ &op->offset, &op->src_offset, &op->length }[below(g, 3)] +=
			rng_one_in(&g->rng, 2) ? 1 + below(g, MBLOCK - 1) : rng_u64(&g->rng);
}

static void gen_punch(struct gen *g, struct model *m, struct op *op)
{
	struct mnode *n;

	op->id = pick(g, m, FS_REG);
	n = model_find(m, op->id);
	op->offset = gen_offset(g, n);
	op->length = below(g, 1ULL << rng_range(&g->rng, 1, rng_one_in(&g->rng, 4) ? 60 : 22));
	if (rng_one_in(&g->rng, 3)) {
		op->offset = op->offset / MBLOCK * MBLOCK;
		op->length = op->length / MBLOCK * MBLOCK;
	}
	if (rng_one_in(&g->rng, 6))
		op->length = UINT64_MAX - below(g, 2) * op->offset;
	if (rng_one_in(&g->rng, 10))
		op->offset = 0;
	if (g->odd && rng_one_in(&g->rng, 50))
		op->offset = rng_u64(&g->rng);
}

static void gen_allocate(struct gen *g, struct model *m, struct op *op)
{
	op->id = pick(g, m, FS_REG);
	op->offset = gen_offset(g, model_find(m, op->id));
	op->length = below(g, 1ULL << rng_range(&g->rng, 1, rng_one_in(&g->rng, 15) ? 60 : 18));
	if (g->odd && rng_one_in(&g->rng, 50))
		op->offset = rng_u64(&g->rng);
	if (!g->odd && !op->length)
		op->length = 1;
	if (op->offset > FS_MAX_SIZE / 2 && !g->odd)
		op->offset = op->length = 1;
}

/* Few names, so that they meet; mostly small, as attributes are. */
static void gen_xattr(struct gen *g, struct model *m, struct op *op)
{
	static const unsigned bits[] = { 4, 4, 7, 7, 9, 12, 13, 16 };
	struct mnode *n;

	op->id = pick(g, m, rng_one_in(&g->rng, 5) ? FS_DIR : FS_REG);
	n = model_find(m, op->id);
	op->name_len = snprintf(op->name, OP_NAME_BUF, "x%u", (unsigned)below(g, 7));
	if (n && n->xattrs && rng_one_in(&g->rng, 2)) {
		const struct mxattr *x = &n->xattrs->x[below(g, n->xattrs->n)];

		memcpy(op->name, x->name, x->name_len);
		op->name_len = x->name_len;
	}
	if (g->odd && rng_one_in(&g->rng, 30)) {
		op->name_len = rng_one_in(&g->rng, 3) ? FS_NAME_MAX + 1 : FS_NAME_MAX;
		memset(op->name, 'x', op->name_len);
	} else if (g->odd && rng_one_in(&g->rng, 100)) {
		op->name_len = 0;
	}
	if (op->kind == OP_XREMOVE)
		return;
	op->len = below(g, 1u << bits[below(g, sizeof(bits) / sizeof(*bits))]);
	if (g->odd && rng_one_in(&g->rng, 60))
		op->len = FS_XATTR_VALUE_MAX + below(g, 2);
	op->seed = rng_one_in(&g->rng, 4) ? below(g, 32) : rng_u64(&g->rng);
	op->xattr_how = below(g, rng_one_in(&g->rng, 3) ? 3 : 1);
}

/* What has names, mostly: or nothing would come of it. */
static void gen_hold(struct gen *g, struct model *m, struct op *op)
{
	op->id = pick(g, m, rng_one_in(&g->rng, 5) ? FS_FREE : FS_REG);
	op->user = 0;
}

static const uint32_t modes[] = { 0644, 0644, 0600, 0755, 0777, 0, 0444, 0222, 0111, 0660, 0640 };
static uint32_t gen_mode(struct gen *g, bool dir)
{
	if (dir && rng_one_in(&g->rng, 2))
		return rng_one_in(&g->rng, 5) ? 01777 : 0777;
	return modes[below(g, sizeof(modes) / sizeof(*modes))];
}

static void gen_setattr(struct gen *g, struct model *m, struct op *op)
{
	struct mnode *n;
	struct fs_setattr *s = &op->set;

	op->id = pick(g, m, rng_one_in(&g->rng, 4) ? FS_FREE : FS_REG);
	n = model_find(m, op->id);
	s->mask = 1u << below(g, 8);
	if (rng_one_in(&g->rng, 2))
		s->mask = FS_SET_SIZE;
	if (rng_one_in(&g->rng, 8))
		s->mask |= 1u << below(g, 8);
	if (s->mask & FS_SET_MTIME)
		s->mask &= ~FS_SET_MTIME_NOW;
	if (s->mask & FS_SET_ATIME)
		s->mask &= ~FS_SET_ATIME_NOW;
	s->mode = gen_mode(g, n && n->type == FS_DIR);
	s->uid = rng_one_in(&g->rng, 3) ? 0 : 1000 + below(g, 2);
	s->gid = rng_one_in(&g->rng, 3) ? 100 : 1000 + below(g, 2);
	s->size = gen_offset(g, n);
	s->mtime = (struct fs_time){ below(g, 4000000000u), below(g, 1000000000) };
	s->atime = (struct fs_time){ below(g, 4000000000u), below(g, 1000000000) };
	s->guard = rng_one_in(&g->rng, 20);
	if (s->guard && n && rng_one_in(&g->rng, 2))
		s->guard_ctime = n->ctime;
}

static void gen_create(struct gen *g, struct model *m, struct op *op)
{
	op->dir = pick(g, m, FS_DIR);
	gen_name(g, op->name, &op->name_len);
	op->how = FS_CREATE_GUARDED;
	if (op->kind == OP_CREATE)
		op->how = below(g, 3);
	if (op->how == FS_CREATE_EXCLUSIVE)
		op->verifier = 1 + below(g, 4);
	else if (!rng_one_in(&g->rng, 4))
		op->set = (struct fs_setattr){ .mask = FS_SET_MODE,
					       .mode = gen_mode(g, op->kind == OP_MKDIR) };
	if (op->how == FS_CREATE_UNCHECKED && rng_one_in(&g->rng, 2))
		op->set.mask |= FS_SET_SIZE;
	if (op->kind == OP_SYMLINK) {
		uint32_t len = rng_range(&g->rng, 1, rng_one_in(&g->rng, 3) ? 1024 : 60);

		if (g->odd && rng_one_in(&g->rng, 20))
			len = FS_SYMLINK_MAX + 1;
		op->set.mask = 0;
		op->target = calloc(1, len + 1);
		for (uint32_t i = 0; i < len; i++)
			op->target[i] = 'a' + below(g, 26);
	}
	if (op->kind == OP_MKNOD) {
		op->type = (enum fs_type[]){ FS_FIFO, FS_SOCK, FS_BLK, FS_CHR }[below(g, 4)];
		if (op->type == FS_BLK || op->type == FS_CHR) {
			op->rdev_major = below(g, 1000);
			op->rdev_minor = below(g, 1000);
			op->user &= 1;		/* devices are root's to make */
		}
	}
}

static void gen_link(struct gen *g, struct model *m, struct op *op)
{
	struct mnode *n = NULL;

	for (uint32_t i = 0; i < m->nnodes; i++)
		if (m->nodes[i]->unnamed && rng_one_in(&g->rng, 2))
			n = m->nodes[i];
	op->id = n ? n->id : pick(g, m, FS_REG);
	op->dir = pick(g, m, FS_DIR);
	op->replace = rng_one_in(&g->rng, 3);
	gen_name(g, op->name, &op->name_len);
}

static void gen_clone(struct gen *g, struct model *m, struct op *op)
{
	op->id = pick_source(g, m);
	op->dir = pick(g, m, FS_DIR);
	op->count = rng_one_in(&g->rng, 3) ? rng_range(&g->rng, 1, g->max_clones) : 1;
	if (g->odd && rng_one_in(&g->rng, 50))
		op->count = 0;
	if (rng_one_in(&g->rng, 4))
		gen_name(g, op->name, &op->name_len);
	else
		op->name_len = snprintf(op->name, OP_NAME_BUF, "c%u", g->serial++);
	if (op->count > 1 && (op->name_len > 240 || memchr(op->name, '/', op->name_len) ||
			      !op->name_len || op->name[0] == '.'))
		op->count = 1;
}

static void gen_volume_op(struct gen *g, struct model *m, struct op *op)
{
	op->user = 0;
	op->name_len = snprintf(op->name, OP_NAME_BUF, "vol%u", (unsigned)below(g, 4));
	if (op->kind == OP_VDESTROY && m->nvolumes < 2)
		op->name_len = snprintf(op->name, OP_NAME_BUF, "none");
}

static void gen_snapshot_op(struct gen *g, struct model *m, struct op *op)
{
	const struct mvolume *v = &m->volumes[below(g, m->nvolumes)];
	const struct mfrozen *f = m->nsnaps ? m->snaps[below(g, m->nsnaps)] : NULL;

	if (f && op->kind != OP_SNAP)
		for (uint32_t i = 0; i < m->nvolumes; i++)
			if (m->volumes[i].id == f->volume)
				v = &m->volumes[i];
	op->user = 0;
	op->name_len = snprintf(op->name, OP_NAME_BUF, "%s", v->name);
	if (f && op->kind != OP_SNAP && !rng_one_in(&g->rng, 5))
		op->name2_len = snprintf(op->name2, OP_NAME_BUF, "%s", f->name);
	else if (op->kind != OP_VCLONE)
		op->name2_len = snprintf(op->name2, OP_NAME_BUF, "s%u", (unsigned)below(g, 6));
	op->force = rng_one_in(&g->rng, 2);
	if (op->kind != OP_VCLONE)
		return;
	op->target = calloc(1, 16);
	snprintf(op->target, 16, "vol%u", (unsigned)below(g, 4));
}

static unsigned nodes_below(const struct mnode *n)
{
	unsigned sum = 1;

	for (uint32_t i = 0; i < n->nents; i++)
		sum += nodes_below(n->ents[i].node);
	return sum;
}

/* Trees that are small enough for the model; mostly out of a snapshot, if there is any. */
static void gen_tree(struct gen *g, struct model *m, struct op *op)
{
	struct mnode *n = NULL;

	for (int i = 0; i < 10 && (!n || nodes_below(n) > 60); i++) {
		n = rng_one_in(&g->rng, 2) ? gen_frozen(g, m, FS_DIR) : NULL;
		if (!n)
			n = gen_node(g, m, FS_DIR);
	}
	op->user = 0;
	op->id = nodes_below(n) > 60 ? gen_stale(g, m) : n->id;
	op->dir = pick(g, m, FS_DIR);
	op->name_len = snprintf(op->name, OP_NAME_BUF, "t%u", rng_one_in(&g->rng, 5) ? 0 : g->serial++);
}

static void gen_unnamed(struct gen *g, struct model *m, struct op *op)
{
	struct mnode *n = NULL;

	op->user = 0;
	op->set = (struct fs_setattr){ .mask = FS_SET_MODE, .mode = 0640 };
	if (op->kind == OP_UNNAMED) {
		op->id = gen_node(g, m, FS_DIR)->id;
		return;
	}
	for (uint32_t i = 0; i < m->nnodes; i++)
		if (m->nodes[i]->unnamed)
			n = m->nodes[i];
	if (n)
		op->id = n->id;
	else
		op->id = gen_stale(g, m);
}

/* Of a directory that has one, if there is any. */
static void end_quota(struct gen *g, struct model *m, struct op *op)
{
	uint32_t at = below(g, m->nnodes);

	for (uint32_t i = 0; i < m->nnodes; i++)
		if (m->nodes[(at + i) % m->nnodes]->has_quota)
			op->id = m->nodes[(at + i) % m->nnodes]->id;
}

static void gen_quota(struct gen *g, struct model *m, struct op *op)
{
	op->id = pick(g, m, FS_DIR);
	op->replace = rng_one_in(&g->rng, 2);
	if (op->replace || rng_one_in(&g->rng, 4))
		end_quota(g, m, op);
	if (!op->replace && rng_one_in(&g->rng, 2))
		op->length = 1 + below(g, rng_one_in(&g->rng, 2) ? 30 : 600);
}

static void gen_reserve(struct gen *g, struct model *m, struct op *op)
{
	const struct mvolume *v = &m->volumes[below(g, m->nvolumes)];

	op->user = 0;
	strcpy(op->name, v->name);
	op->name_len = strlen(op->name);
	op->length = v->reserve && rng_one_in(&g->rng, 2) ? 0 : 1 + below(g, 300);
}

static enum op_kind gen_kind(struct gen *g)
{
	unsigned sum = 0, k, at;

	for (k = 0; k < OP_KINDS; k++)
		sum += g->weights[k];
	at = below(g, sum);
	for (k = 0; at >= g->weights[k]; k++)
		at -= g->weights[k];
	return k;
}

void gen_op(struct gen *g, struct model *m, struct op *op)
{
	*op = (struct op){ .kind = gen_kind(g) };
	if (op->kind == OP_HOLD && m->nheld > MHELD_MAX / 2)	/* leaves room for a batch */
		op->kind = OP_READ;
	if (g->users > 1 && rng_one_in(&g->rng, 4))
		op->user = below(g, g->users);
	switch (op->kind) {
	case OP_CREATE: case OP_MKDIR: case OP_SYMLINK: case OP_MKNOD:
		gen_create(g, m, op);
		break;
	case OP_UNNAMED: case OP_FORGET:
		gen_unnamed(g, m, op);
		break;
	case OP_LINK:
		gen_link(g, m, op);
		break;
	case OP_WRITE:
		gen_write(g, m, op);
		break;
	case OP_SETATTR:
		gen_setattr(g, m, op);
		break;
	case OP_CLONE:
		gen_clone(g, m, op);
		break;
	case OP_REMOVE: case OP_RMDIR:
		op->dir = pick_full(g, m);
		old_name(g, m, op->dir, op->kind == OP_RMDIR ? FS_DIR : FS_REG, op->name,
			 &op->name_len);
		break;
	case OP_RENAME:
		op->dir = pick_full(g, m);
		op->dir2 = rng_one_in(&g->rng, 2) ? op->dir : pick(g, m, FS_DIR);
		old_name(g, m, op->dir, FS_FREE, op->name, &op->name_len);
		if (rng_one_in(&g->rng, 2))
			gen_name(g, op->name2, &op->name2_len);
		else
			old_name(g, m, op->dir2, FS_FREE, op->name2, &op->name2_len);
		break;
	case OP_VCREATE: case OP_VDESTROY:
		gen_volume_op(g, m, op);
		break;
	case OP_SNAP: case OP_UNSNAP: case OP_RESTORE: case OP_VCLONE:
		gen_snapshot_op(g, m, op);
		break;
	case OP_TREE:
		gen_tree(g, m, op);
		break;
	case OP_READ:
		gen_read(g, m, op);
		break;
	case OP_RANGE:
		gen_range(g, m, op);
		break;
	case OP_PUNCH:
		gen_punch(g, m, op);
		break;
	case OP_ALLOCATE:
		gen_allocate(g, m, op);
		break;
	case OP_XSET: case OP_XREMOVE:
		gen_xattr(g, m, op);
		break;
	case OP_HOLD:
		gen_hold(g, m, op);
		break;
	case OP_QUOTA:
		gen_quota(g, m, op);
		break;
	case OP_RESERVE:
		gen_reserve(g, m, op);
		break;
	case OP_KINDS:
		abort();
	}
}
