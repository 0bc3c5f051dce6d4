/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over a volume: every leaf of every regular file, in order, with the CRC that the block table has
 * of its block.  No data is read.  A step is one index block of level 1; what it saw is a hint by
 * the time that it is used, and is looked at again then.  Each index block is walked once, however many
 * ways lead to it, even if it leads to itself; one that gets the place of another meanwhile is passed over.
 *
 * The first block with a CRC leads; one that can't be moved takes its place.  Those that can be moved are
 * candidates to become pointers to it.
 */
#include "fs/dedup.h"

#include <stdlib.h>
#include "base/crc.h"

#define INODES_A_BLOCK ((uint64_t)INODES_PER_BLOCK * INDEX_SLOTS)	/* of index: passed over if it is bad */
#define AHEAD 16			/* index blocks that are asked for at once */

/* ---- leaders and candidates --------------------------------------------------------------------- */

static uint32_t *head_of(const struct dedup_job *j, uint32_t crc)
{
	return &j->heads[(crc * 0x9e3779b1u >> 4) & j->heads_mask];
}

static uint32_t of_crc(const struct dedup_job *j, uint32_t k, uint32_t crc)
{
	while (k != LEADER_NONE && j->leaders[k].crc != crc)
		k = j->leaders[k].next;
	return k;
}

uint32_t dedup_next_leader(const struct dedup_job *j, uint32_t k)
{
	return of_crc(j, j->leaders[k].next, j->leaders[k].crc);
}

static void link_leader(struct dedup_job *j, uint32_t k)
{
	uint32_t *head = head_of(j, j->leaders[k].crc);

	j->leaders[k].next = *head;
	*head = k;
}

#define SAME_CRC_MAX 4			/* leaders; what is different from all of them stays as it is */

void dedup_lead_too(struct dedup_job *j, const struct dedup_candidate *c)
{
	uint32_t last = c->leader, n = 1;
	struct dedup_leader *l;

	for (uint32_t k; (k = dedup_next_leader(j, last)) != LEADER_NONE; last = k)
		n++;
	if (n >= SAME_CRC_MAX || j->nleaders == j->leaders_max)
		return;
	l = &j->leaders[j->nleaders];
	*l = (struct dedup_leader){ j->leaders[last].crc, j->leaders[last].next, c->ino, c->index, 0 };
	j->leaders[last].next = j->nleaders++;	/* behind the others: they are asked first */
}

static void candidate(struct dedup_job *j, uint64_t ino, uint64_t index, uint32_t leader)
{
	j->cands[j->ncands++] = (struct dedup_candidate){ ino, index, leader };
}

/* A block that was met.  There is room for a leader and for a candidate. */
static void met(struct dedup_job *j, uint64_t ino, uint64_t index, uint64_t block, uint32_t crc, bool movable)
{
	uint32_t k = of_crc(j, *head_of(j, crc), crc);
	struct dedup_leader *l = &j->leaders[k == LEADER_NONE ? j->nleaders : k];
	const struct dedup_leader fresh = { crc, LEADER_NONE, ino, index, block | (movable ? 0 : LEADER_FIXED) };

	if (crc == j->zero_crc && movable) {
		candidate(j, ino, index, LEADER_NONE);
	} else if (k == LEADER_NONE) {
		*l = fresh;
		link_leader(j, j->nleaders++);
	} else if ((l->block & ~LEADER_FIXED) == block) {
		return;
	} else if (movable) {
		candidate(j, ino, index, k);
	} else if (l->block & LEADER_FIXED) {
		j->st.kept_bytes += BLOCK_SIZE;
	} else {
		uint32_t next = l->next;

		candidate(j, l->ino, l->index, k);
		*l = fresh;
		l->next = next;
	}
}

/* There are too many leaders: the pass takes the lower half of its CRCs only. */
static int narrow(struct dedup_job *j)
{
	uint32_t n = 0;
	int err = dedup_flush(j);

	if (err || j->hi - j->lo < 2)
		return err;
	j->hi = j->lo + (j->hi - j->lo) / 2;
	j->width = j->hi - j->lo;
	memset(j->heads, 0xff, (j->heads_mask + 1ull) * sizeof(*j->heads));
	for (uint32_t k = 0; k < j->nleaders; k++) {
		if (k % 65536 == 0)
			fiber_yield();
		if (j->leaders[k].crc >= j->hi)
			continue;
		j->leaders[n] = j->leaders[k];
		link_leader(j, n++);
	}
	j->nleaders = n;
	return 0;
}

static int make_room(struct dedup_job *j)
{
	bool full = j->ncands == j->cands_max || j->nleaders == j->leaders_max;
	int err = j->ncands == j->cands_max ? dedup_flush(j) : 0;

	if (full)			/* moving copies index blocks, and their old places are given to others */
		seen_done(&j->seen);
	while (!err && j->nleaders == j->leaders_max && j->hi - j->lo > 1)
		err = narrow(j);
	if (!err && j->nleaders == j->leaders_max)
		j->nleaders--;		/* of one CRC only: the last is forgotten */
	return err;
}

/* ---- a step --------------------------------------------------------------------------------------- */

struct step {
	struct dedup_job *j;
	uint64_t ino, index;		/* where it begins; then, what it is about */
	uint64_t next_ino, next_index;	/* where the next one begins, whether this one succeeds or not */
	bool end, fixed;
	bool lost;			/* not even the volume can be read */
	struct { uint64_t block, base; } path[TREE_DEPTH_MAX + 1];
	unsigned n;
	uint64_t mapped;		/* blocks of the volume */
	struct { uint64_t index, block; uint32_t crc, refs; } leaf[INDEX_SLOTS];
};

static uint64_t span(unsigned level) { return 1ULL << (level * INDEX_BITS); }

static void next_file(struct step *s)
{
	s->next_ino = s->ino + 1;
	s->next_index = 0;
}

static int leaves(struct txn *t, struct step *s, const uint64_t *slots, unsigned n, uint64_t base)
{
	int pending = 0;

	s->n = 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t block = slots[i] & PTR_BLOCK_MASK;
		struct block_facts f;
		int err = block ? txn_look(t, block, &f) : -ENOENT;

		if (err == -ERESTART_PASS)
			pending = err;
		if (err)
			continue;
		s->leaf[s->n].index = base + i;
		s->leaf[s->n].block = block;
		s->leaf[s->n].crc = f.crc;
		s->leaf[s->n++].refs = f.refs;
	}
	return pending;
}

/* Starts to read the index blocks after this one, and the table pages of what they begin with. */
static void ask_ahead(struct txn *t, const uint64_t *slots, unsigned i)
{
	for (unsigned k = i; k < i + AHEAD && k < INDEX_SLOTS; k++) {
		struct block_facts f;
		struct block *b;
		uint64_t first;

		if (!(slots[k] & PTR_BLOCK_MASK) || txn_block_as(t, slots[k], 1, TREE_FILE, &b))
			continue;
		first = ((const uint64_t *)b->data)[0] & PTR_BLOCK_MASK;
		if (first)
			txn_look(t, first, &f);
	}
}

/* The last step was in the same block, and not at another place where it hangs. */
static bool goes_on(const struct step *s, unsigned level)
{
	return level > 1 && s->path[level].block == s->j->path[level].block &&
	       s->path[level].base == s->j->path[level].base;
}

/* Down to the leaves at or behind s->index.  Where there are none below a block, the next step begins
 * behind it. */
static int descend(struct txn *t, struct step *s, uint64_t ptr, unsigned depth)
{
	uint64_t base = 0;

	if (!depth)
		return leaves(t, s, &ptr, 1, 0);
	for (unsigned level = depth; ; level--) {
		struct block_facts f;
		const uint64_t *slots;
		struct block *b;
		unsigned i = s->index > base ? (s->index - base) / span(level - 1) : 0;
		int err;

		if (level < depth || base)
			s->next_index = base + span(level);
		err = txn_look(t, ptr, &f);
		if (err)
			return err;
		s->path[level].block = ptr & PTR_BLOCK_MASK;
		s->path[level].base = base;
		s->fixed |= f.refs > 1;
		if (!goes_on(s, level) && seen_has(&s->j->seen, s->path[level].block))
			return 0;
		err = txn_block_as(t, ptr, level, TREE_FILE, &b);
		if (err)
			return err;
		slots = (const uint64_t *)b->data;
		if (level == 1) {
			s->next_index = base + INDEX_SLOTS;
			return leaves(t, s, slots, INDEX_SLOTS, base);
		}
		while (i < INDEX_SLOTS && !(slots[i] & PTR_BLOCK_MASK))
			i++;
		if (i == INDEX_SLOTS)
			return 0;
		if (level == 2 && (i % AHEAD == 0 || base + i * span(1) > s->index))
			ask_ahead(t, slots, i);
		ptr = slots[i];
		base += i * span(level - 1);
		if (s->index < base)
			s->index = base;
		s->next_index = base + span(level - 1);
	}
}

static int step(struct txn *t, void *arg)
{
	struct step *s = arg;
	struct volume *vol;
	struct tree_root inodes;
	struct inode *i;
	uint64_t leaf;
	bool owned;
	int err;

	s->n = 0;
	s->fixed = false;
	memset(s->path, 0, sizeof(s->path));
	if (pool_held(t->pool)->ptr)
		return -EBUSY;
	s->lost = true;
	err = volume_get(t, s->j->st.volume_id, &vol);
	if (err)
		return err;
	s->lost = false;
	s->mapped = vol->mapped;
	s->end = s->ino >= vol->next_ino;
	if (s->end)
		return 0;
	s->next_ino = (s->ino / INODES_A_BLOCK + 1) * INODES_A_BLOCK;
	inodes = (struct tree_root){ vol->inodes_root, vol->inodes_depth };
	err = tree_seek(t, &inodes, s->ino / INODES_PER_BLOCK, true, &leaf);
	if (err)
		return err;
	s->end = leaf == UINT64_MAX;
	if (s->end)
		return 0;
	if (leaf > s->ino / INODES_PER_BLOCK) {
		s->ino = leaf * INODES_PER_BLOCK;
		s->index = 0;
	}
	s->next_ino = (leaf + 1) * INODES_PER_BLOCK;
	s->next_index = 0;
	err = inode_get(t, vol, s->ino, 0, &i);
	if (err && err != -ESTALE)
		return err;
	next_file(s);
	if (err || i->type != FS_REG || !i->root || (s->index && s->index >= span(i->depth)))
		return 0;
	err = tree_owned(t, &inodes, leaf, true, &owned);
	if (err)
		return err;
	s->fixed = !owned;
	if (i->depth) {
		s->next_ino = s->ino;
		s->next_index = span(i->depth);
	}
	return descend(t, s, i->root, i->depth);
}

static int take(struct step *s)
{
	struct dedup_job *j = s->j;
	int err = 0;

	for (unsigned level = 1; level <= TREE_DEPTH_MAX && err >= 0; level++)
		if (s->path[level].block && !goes_on(s, level))
			err = seen_set(&j->seen, s->path[level].block);
	memcpy(j->path, s->path, sizeof(j->path));
	j->walked += s->n;
	j->st.total_bytes = s->mapped * BLOCK_SIZE;
	for (unsigned k = 0; k < s->n && err >= 0; k++) {
		uint32_t crc = s->leaf[k].crc;

		if (!crc || crc < j->lo || crc >= j->hi)
			continue;
		err = make_room(j);
		if (!err && crc < j->hi)
			met(j, s->ino, s->leaf[k].index, s->leaf[k].block, crc, !s->fixed && s->leaf[k].refs == 1);
	}
	return err < 0 ? err : 0;
}

static int run_step(struct step *s)
{
	struct txn t;
	int err;

	txn_begin(&t, s->j->fs->pool);
	err = txn_run(&t, false, step, s);
	txn_end(&t);
	return err;
}

static void begin_pass(struct dedup_job *j)
{
	j->nleaders = j->ncands = 0;
	j->walked = 0;
	memset(j->heads, 0xff, (j->heads_mask + 1ull) * sizeof(*j->heads));
	memset(j->path, 0, sizeof(j->path));
	seen_done(&j->seen);
}

int dedup_walk(struct dedup_job *j)
{
	struct step *s = calloc(1, sizeof(*s));
	int err = s ? 0 : -ENOMEM;

	begin_pass(j);
	while (!err && !s->end) {
		if (dedup_interrupted(j)) {
			err = -EINTR;
			break;
		}
		s->j = j;
		if (s->ino != s->next_ino)
			memset(j->path, 0, sizeof(j->path));
		s->ino = s->next_ino;
		s->index = s->next_index;
		next_file(s);
		err = run_step(s);
		if (err == -EBUSY) {		/* a scrub holds everything */
			s->next_ino = s->ino;
			s->next_index = s->index;
			err = dedup_wait(j);
			continue;
		}
		if ((err == -EIO || err == -EDAMAGED) && !s->lost) {
			j->st.unreadable++;
			err = 0;
			continue;
		}
		if (!err)
			err = take(s);
		pace_by(&j->pace, j->st.rate, BLOCK_SIZE, dedup_interrupted, j);
	}
	free(s);
	return err;
}

int dedup_walk_init(struct dedup_job *j)
{
	uint64_t n = j->st.total_bytes / BLOCK_SIZE + 1024;
	uint32_t heads = 1024;

	j->leaders_max = n < LEADERS_MAX ? n : LEADERS_MAX;
	if (j->fs->cfg.dedup_leaders)
		j->leaders_max = j->fs->cfg.dedup_leaders;
	j->cands_max = j->leaders_max < CANDIDATES_MAX ? j->leaders_max : CANDIDATES_MAX;
	while (heads < j->leaders_max)
		heads *= 2;
	j->heads_mask = heads - 1;
	j->leaders = malloc(j->leaders_max * sizeof(*j->leaders));
	j->cands = malloc(j->cands_max * sizeof(*j->cands));
	j->heads = malloc(heads * sizeof(*j->heads));
	j->zero_crc = crc32c(0, j->fs->zeros, BLOCK_SIZE);
	return j->leaders && j->cands && j->heads ? 0 : -ENOMEM;
}

void dedup_walk_done(struct dedup_job *j)
{
	free(j->leaders);
	free(j->cands);
	free(j->heads);
	j->leaders = NULL;
	j->cands = NULL;
	j->heads = NULL;
	seen_done(&j->seen);
}
