/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifiers: is a block sound in itself, as what it is taken for?  A checksum says that it is what was
 * written; this, that it can have been written by a store without bugs.  Each is run when a block that
 * was read is first used as such (txn_block_as(), table.c, super.c, log.c); they read nothing but the
 * block, and take whatever is in it.
 */
#include "pool/pool_int.h"

#include "base/err.h"

/* ---- trees ----------------------------------------------------------------------------------- */

const char *root_verify(uint64_t ptr, unsigned depth)
{
	if (ptr & ~PTR_BLOCK_MASK)
		return "a pointer to a tree with flag bits";
	if (depth > TREE_DEPTH_MAX)
		return "a tree that is too deep";
	return !ptr && depth ? "an empty tree with a depth" : NULL;
}

const char *index_verify(const void *block, unsigned level, uint64_t nblocks)
{
	const uint64_t *slots = block;
	uint64_t allowed = PTR_BLOCK_MASK | (level == 2 ? PTR_MAPPED_MASK : level == 1 ? PTR_DUP : 0);
	bool any = false;

	if (!level || level > TREE_DEPTH_MAX)
		return "an impossible level";
	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		uint64_t mapped = (slots[i] & PTR_MAPPED_MASK) >> PTR_MAPPED_SHIFT;

		if (!slots[i])
			continue;
		any = true;
		if (slots[i] & ~allowed)
			return "unknown flag bits";
		if (!ptr_block(slots[i]) || ptr_block(slots[i]) >= nblocks)
			return "a pointer that leads out of the pool";
		if (level == 2 && (!mapped || mapped > INDEX_SLOTS))
			return "an impossible number of mapped blocks";
	}
	return any ? NULL : "an index block without pointers";
}

const char *reap_verify(const void *block)
{
	const struct reap_entry *e = block;

	for (unsigned i = 0; i < BLOCK_SIZE / sizeof(*e); i++) {
		unsigned level = e[i].block >> 48 & 0xff, kind = e[i].block >> 56;

		if (kind >= TREE_REAP || level > TREE_DEPTH_MAX)
			return "an entry of the reap list of no known kind";
		if (e[i].next > INDEX_SLOTS || (e[i].next && !e[i].block))
			return "an entry of the reap list with impossible progress";
	}
	return NULL;
}

/* What the block is taken for, as a number above 0; 0: nothing to verify. */
static uint8_t sound_tag(const struct pool *p, unsigned level, unsigned kind)
{
	if (level)
		return level <= TREE_DEPTH_MAX ? level : UINT8_MAX;
	return p->o.verify[kind] ? 1 + TREE_DEPTH_MAX + kind : 0;
}

int block_sound(struct pool *p, struct block *b, unsigned level, unsigned kind)
{
	uint8_t tag = sound_tag(p, level, kind);

	if (!tag || b->sound_as == tag)
		return 0;
	if (level ? index_verify(b->data, level, p->sb.nblocks) : p->o.verify[kind](b->data)) {
		p->stat.checksum_errors++;
		return -EDAMAGED;
	}
	b->sound_as = tag;
	return 0;
}

/* ---- tables ----------------------------------------------------------------------------------- */

const char *zones_verify(const struct dir_entry *e, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (e[i].slot > 1 && e[i].slot != SLOT_NONE)
			return "a summary in no slot";
		if (e[i].free > ZONE_BLOCKS - ZONE_HEADER_BLOCKS)
			return "more free blocks than a zone has";
		if (e[i].type > ZONE_MIXED || e[i].reserved || e[i].device || e[i].reserved2)
			return "a zone of no known type";
	}
	return NULL;
}

const char *summary_verify(const struct summary_entry e[ZONE_PAGES])
{
	for (unsigned i = 0; i < ZONE_PAGES; i++) {
		if (e[i].slot > 1 && e[i].slot != SLOT_NONE)
			return "a table page in no slot";
		if (e[i].free > PAGE_ENTRIES)
			return "more free blocks than a table page has";
	}
	return NULL;
}

const char *table_verify(const struct table_entry e[PAGE_ENTRIES], const struct superblock *sb, uint64_t page)
{
	for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
		uint64_t block = page * PAGE_ENTRIES + i;

		if (e[i].refs > REFS_MAX)
			return "a count above the greatest";
		if (e[i].refs && (block >= sb->nblocks || block_is_fixed(sb, block)))
			return "a count of a block that can't be given out";
	}
	return NULL;
}

/* ---- superblock ------------------------------------------------------------------------------- */

static const char *log_wrong(const struct superblock *sb)
{
	if (sb->log_block < ZONE_HEADER_BLOCKS || sb->log_blocks < 16 || sb->log_blocks > ZONE_BLOCKS / 2 ||
	    sb->log_block > ZONE_BLOCKS - sb->log_blocks ||
	    sb->log_block + sb->log_blocks > sb->nblocks - SUPER_END_BLOCKS)
		return "its log lies where it can't";
	if (sb->log_offset >= sb->log_blocks * BLOCK_SIZE || sb->log_offset % 8)
		return "its log begins where it can't";
	if (!sb->log_seq || !sb->log_life || sb->log_life > sb->life ||
	    sb->log_seq >> EVENT_LIFE_SHIFT > sb->life || sb->last_event >> EVENT_LIFE_SHIFT > sb->life)
		return "its log is of a life to come";
	return NULL;
}

const char *super_verify(const struct superblock *sb)
{
	uint64_t zones = sb->nblocks / ZONE_BLOCKS + (sb->nblocks % ZONE_BLOCKS != 0);
	const char *why;

	if (sb->nblocks < 4096 || zones > (uint64_t)DIRS_MAX * DIR_ZONES)
		return "its size is impossible";
	if (sb->ndirs != (zones + DIR_ZONES - 1) / DIR_ZONES)
		return "it has the wrong number of directory pages for its size";
	for (unsigned k = 0; k < sb->ndirs; k++)
		if (sb->dirs[k].slot > 1)
			return "a directory page lies in no slot";
	if (!sb->generation || sb->generation > UINT64_MAX / 2)
		return "its generation is impossible";	/* 0 stands for none in memory: it must not come round */
	why = log_wrong(sb);
	if (!why)
		why = root_verify(sb->volumes.ptr, sb->volumes.depth);
	if (!why)
		why = root_verify(sb->reap.ptr, sb->reap.depth);
	if (!why)
		why = root_verify(sb->held.ptr, sb->held.depth);
	if (!why && !sb->reap_entries != !sb->reap.ptr)
		why = "its reap list is not as long as it says";
	if (!why && sb->reap_entries > sb->nblocks)
		why = "its reap list is longer than there are blocks";
	return why;
}

/* ---- log -------------------------------------------------------------------------------------- */

/* Both ends of the runs of blocks that R names: false if they don't fit in it. */
static bool runs_fit(const struct log_record *r)
{
	uint64_t at = sizeof(*r) + ((r->payload_len + 7ULL) & ~7ULL);

	for (unsigned i = 0; i < r->nruns; i++) {
		uint64_t head;

		if (at + sizeof(head) > r->len)
			return false;
		memcpy(&head, (const uint8_t *)r + at, sizeof(head));
		if (!(head >> 48))
			return false;
		at += sizeof(head) + (((head >> 48) * 4 + 7) & ~7ULL);
	}
	return at == r->len;
}

const char *record_verify_head(const struct log_record *r, uint64_t ring_bytes)
{
	if (r->magic != LOG_MAGIC)
		return "not a log record";
	if (r->len < sizeof(*r) || r->len % 8 || r->len > ring_bytes ||
	    r->payload_len > r->len - sizeof(*r))
		return "a log record of an impossible length";
	return NULL;
}

const char *record_verify(const struct log_record *r, uint64_t ring_bytes)
{
	const char *why = record_verify_head(r, ring_bytes);

	if (why)
		return why;
	if (r->hash != log_hash(r))
		return "a log record whose hash is wrong";
	return runs_fit(r) ? NULL : "a log record whose list of blocks is cut off";
}
