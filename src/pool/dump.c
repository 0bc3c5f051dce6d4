/* SPDX-License-Identifier: Apache-2.0 */
/* See dump.h. */
#include "pool/dump.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/crc.h"
#include "pool/pool.h"

static const char *const kind_names[] = { "file", "inodes", "volumes", "reap list" };
static const char *const zone_types[] = { "unused", "metadata", "data", "mixed" };

void dump_line(const struct dump *d, const char *fmt, ...)
{
	char line[1500];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	d->line(d->arg, line);
}

void dump_verdict(const struct dump *d, const char *why)
{
	dump_line(d, "verified: %s", why ? why : "sound");
}

void dump_bytes(const struct dump *d, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	bool starred = false;

	while (n && !p[n - 1])
		n--;
	for (size_t at = 0; at < n; at += 16) {
		char hex[16 * 3 + 1] = "", text[17] = "";
		size_t len = n - at < 16 ? n - at : 16;

		if (at && len == 16 && !memcmp(p + at, p + at - 16, 16)) {
			if (!starred)
				dump_line(d, "  *");
			starred = true;
			continue;
		}
		starred = false;
		for (size_t i = 0; i < len; i++) {
			snprintf(hex + 3 * i, 4, "%02x ", p[at + i]);
			text[i] = p[at + i] >= ' ' && p[at + i] < 0x7f ? p[at + i] : '.';
		}
		dump_line(d, "  %04zx  %-48s %s", at, hex, text);
	}
}

static const char *slot_text(unsigned slot)
{
	static char bufs[4][8];
	static unsigned turn;
	char *buf = bufs[turn++ % 4];

	if (slot == SLOT_NONE)
		return "none";
	snprintf(buf, sizeof(bufs[0]), "%u", slot);
	return buf;
}

/* ---- superblock ---------------------------------------------------------------------------- */

static void dump_uuid(const struct dump *d, const char *label, const uint8_t u[16])
{
	dump_line(d, "%s: %02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", label, u[0],
		  u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
		  u[15]);
}

static void dump_root(const struct dump *d, const char *label, const struct disk_root *r)
{
	dump_line(d, "%s: block %" PRIu64 ", depth %u", label, dump_ptr(r->ptr), r->depth);
}

void dump_super(const struct dump *d, const struct superblock *sb)
{
	uint32_t crc = crc32c(0, sb, offsetof(struct superblock, crc));

	dump_line(d, "magic: %.7s", sb->magic);
	dump_line(d, "version: %u", sb->version);
	dump_line(d, "block size: %u", sb->block_size);
	dump_line(d, "features: incompatible 0x%" PRIx64 ", read-only 0x%" PRIx64 ", compatible 0x%" PRIx64,
		  sb->incompat, sb->ro_compat, sb->compat);
	dump_uuid(d, "uuid", sb->uuid);
	dump_line(d, "life: %" PRIu64, sb->life);
	dump_line(d, "generation: %" PRIu64, sb->generation);
	dump_line(d, "blocks: %" PRIu64, sb->nblocks);
	dump_line(d, "log: %" PRIu64 " blocks from %" PRIu64 " on", sb->log_blocks, sb->log_block);
	dump_line(d, "log begins: record 0x%" PRIx64 ", at byte %" PRIu64 ", life %" PRIu64
		  ", after hash 0x%016" PRIx64, sb->log_seq, sb->log_offset, sb->log_life, sb->log_chain);
	dump_root(d, "volume table", &sb->volumes);
	dump_root(d, "reap list", &sb->reap);
	dump_line(d, "reap entries: %" PRIu64, sb->reap_entries);
	dump_root(d, "held volume table", &sb->held);
	dump_line(d, "last event: 0x%" PRIx64, sb->last_event);
	dump_line(d, "directory pages: %u", sb->ndirs);
	for (unsigned k = 0; k < sb->ndirs && k < DIRS_MAX; k++)
		dump_line(d, "directory page %u: slot %s, crc 0x%08x", k, slot_text(sb->dirs[k].slot),
			  sb->dirs[k].crc);
	dump_line(d, "crc: 0x%08x, %s", sb->crc, crc == sb->crc ? "right" : "wrong");
	dump_verdict(d, super_verify(sb));
}

/* ---- tables -------------------------------------------------------------------------------- */

void dump_zone(const struct dump *d, uint64_t zone, const struct dir_entry *e)
{
	dump_line(d, "zone %" PRIu64 ": blocks %" PRIu64 " to %" PRIu64 ", type %u (%s), %u free, summary in slot "
		  "%s, crc 0x%08x, device %u", zone, zone * ZONE_BLOCKS, (zone + 1) * ZONE_BLOCKS - 1, e->type,
		  e->type <= ZONE_MIXED ? zone_types[e->type] : "unknown", e->free, slot_text(e->slot), e->crc,
		  e->device);
}

void dump_summary(const struct dump *d, uint64_t zone, const struct summary_entry e[ZONE_PAGES])
{
	for (unsigned i = 0; i < ZONE_PAGES; i++)
		if (e[i].slot != SLOT_NONE)
			dump_line(d, "page %u: blocks %" PRIu64 " to %" PRIu64 ", slot %s, %u free, crc 0x%08x", i,
				  zone * ZONE_BLOCKS + i * PAGE_ENTRIES,
				  zone * ZONE_BLOCKS + (i + 1) * PAGE_ENTRIES - 1, slot_text(e[i].slot),
				  e[i].free, e[i].crc);
	dump_verdict(d, summary_verify(e));
}

void dump_table(const struct dump *d, uint64_t first, const struct table_entry e[PAGE_ENTRIES])
{
	for (unsigned i = 0; i < PAGE_ENTRIES; i++)
		if (e[i].refs)
			dump_line(d, "block %" PRIu64 ": count %u, crc 0x%08x", first + i, e[i].refs, e[i].crc);
}

/* ---- trees --------------------------------------------------------------------------------- */

void dump_index(const struct dump *d, const uint64_t slots[INDEX_SLOTS], unsigned level)
{
	const unsigned mapped = PTR_MAPPED_MASK >> PTR_FLAGS_SHIFT;

	for (unsigned i = 0; i < INDEX_SLOTS; i++) {
		unsigned flags = slots[i] >> PTR_FLAGS_SHIFT;

		if (!slots[i])
			continue;
		if (flags && (!level || level == 2) && !(flags & ~mapped))
			dump_line(d, "slot %u: block %" PRIu64 ", mapped %u", i, dump_ptr(slots[i]), flags);
		else if (flags == PTR_DUP >> PTR_FLAGS_SHIFT && level <= 1)
			dump_line(d, "slot %u: block %" PRIu64 ", by deduplication", i, dump_ptr(slots[i]));
		else if (flags)
			dump_line(d, "slot %u: block %" PRIu64 ", unknown flags 0x%x", i, dump_ptr(slots[i]), flags);
		else
			dump_line(d, "slot %u: block %" PRIu64, i, dump_ptr(slots[i]));
	}
}

void dump_reap(const struct dump *d, uint64_t first, const struct reap_entry *e, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned kind = e[i].block >> 56;

		dump_line(d, "entry %" PRIu64 ": block %" PRIu64 ", level %u, of a tree of kind %u (%s), %u"
			  " children done, for volume number %u", first + i, dump_ptr(e[i].block),
			  (unsigned)(e[i].block >> 48 & 0xff), kind,
			  kind < TREE_KINDS ? kind_names[kind] : "unknown", e[i].next, e[i].owner);
	}
}

/* ---- log ----------------------------------------------------------------------------------- */

static void dump_runs(const struct dump *d, const struct log_record *r)
{
	uint64_t at = sizeof(*r) + ((r->payload_len + 7ULL) & ~7ULL), head;

	for (unsigned i = 0; i < r->nruns && at + sizeof(head) <= r->len; i++) {
		memcpy(&head, (const uint8_t *)r + at, sizeof(head));
		dump_line(d, "  names %" PRIu64 " blocks from %" PRIu64 " on", head >> PTR_FLAGS_SHIFT,
			  dump_ptr(head));
		at += sizeof(head) + (((head >> PTR_FLAGS_SHIFT) * 4 + 7) & ~7ULL);
	}
}

#define PAYLOAD_SHOWN 256

void dump_record(const struct dump *d, const struct log_record *r, const char *name)
{
	uint32_t payload = r->len - sizeof(*r) < r->payload_len ? r->len - sizeof(*r) : r->payload_len;

	dump_line(d, "record 0x%" PRIx64 ": type %u (%s), %u bytes, flushed to 0x%" PRIx64 ", time %" PRIu64
		  ".%09" PRIu64 ", client 0x%" PRIx64 ", xid 0x%x, procedure %u", r->seq, r->type,
		  name ? name : "unknown", r->len, r->flushed_to, r->time_ns / 1000000000,
		  r->time_ns % 1000000000, r->drc_client, r->drc_xid, r->drc_proc);
	dump_bytes(d, r + 1, payload < PAYLOAD_SHOWN ? payload : PAYLOAD_SHOWN);
	if (payload > PAYLOAD_SHOWN)
		dump_line(d, "  ... %u bytes of arguments in all", r->payload_len);
	dump_runs(d, r);
}
