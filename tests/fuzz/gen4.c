/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See gen4.h.  Arguments are words as in tests/nfs/grammar.c; besides:
 *
 *	d	data of a WRITE			n	a name
 *	F	attributes and values		H	a file handle
 *	w	clientid and owner		c	a clientid
 *	v	a verifier			q	4.0's seqid
 *	e	a small enumeration		y	the type of a lock
 *	x	a session's id
 */
#include <endian.h>
#include "gen4.h"

enum { CREATE = 6, LOCK = 12, OPEN = 18, SETCLIENTID = 35, EXCHANGE_ID = 42, CREATE_SESSION = 43,
       SEQUENCE = 53, OPS = 76 };

static const char *const args[OPS] = {
	[3] = "u", [4] = "qi", [5] = "hu", [7] = "c", [8] = "i", [9] = "b", [10] = "", [11] = "n",
	[13] = "yhhw", [14] = "yqihh", [15] = "n", [16] = "", [17] = "F", [19] = "t", [20] = "iq",
	[21] = "iqee", [22] = "H", [23] = "", [24] = "", [25] = "ihu", [26] = "hvuub", [27] = "",
	[28] = "n", [29] = "nn", [30] = "c", [31] = "", [32] = "", [33] = "n", [34] = "iF",
	[36] = "cv", [37] = "F", [38] = "ihed", [39] = "w", [40] = "uee", [41] = "xet", [44] = "x",
	[45] = "i", [46] = "tbhuhubb", [47] = "ieuub", [48] = "euuhv", [49] = "hhtieue",
	[50] = "teehhhiu", [51] = "teeehhis", [52] = "e", [54] = "ss", [55] = "eii", [56] = "ue",
	[57] = "c", [58] = "t", [59] = "ihh", [60] = "iihhhtte", [61] = "ies", [62] = "ihh",
	[63] = "ihhb", [64] = "hhie", [65] = "hhhhhh", [66] = "i", [67] = "i", [68] = "ihu",
	[69] = "ihe", [70] = "iehhhhuhs", [71] = "iihhh", [72] = "n", [73] = "ens", [74] = "hu",
	[75] = "n",
};

static uint32_t value32(struct gen *g)
{
	static const uint32_t at_edge[] = { 0, 1, 2, 3, UINT32_MAX, 4096, 1 << 20, (1 << 20) + 1, 64,
					    255, 1024, 65536, INT32_MAX, 100 };
	uint8_t how = take8(&g->s) & 15;

	return how < 14 ? at_edge[how] : how == 14 ? take8(&g->s) : take32(&g->s);
}

static uint64_t value64(struct gen *g)
{
	static const uint64_t at_edge[] = { 0, 1, 4096, 8192, 9999, 10000, 10001, UINT64_MAX,
					    1ull << 60, (1ull << 60) - 1, 1ull << 63, 1 << 20 };
	uint8_t how = take8(&g->s) & 15;

	if (how < 12)
		return at_edge[how];
	return how == 12 ? take8(&g->s) : how == 13 ? take8(&g->s) * 4096ull :
	       how == 14 ? take16(&g->s) : take64(&g->s);
}

void gen_handle(struct gen *g, const uint8_t handle[HANDLE_BYTES])
{
	memcpy(g->handles[g->nhandles++ % GEN_HANDLES], handle, HANDLE_BYTES);
}

void gen_sid(struct gen *g, const uint8_t sid[16])
{
	struct gen_sid *s = &g->sids[g->nsids++ % GEN_SIDS];

	memcpy(s->bytes, sid, 16);
	s->owner = g->owner;
}

static void put_sid(struct gen *g)
{
	uint8_t how = take8(&g->s), b[16] = { 0 };
	uint32_t seqid;

	switch (how & 15) {
	case 0:
		break;
	case 1:
		memset(b, 0xff, 16);
		break;
	case 2:
		b[3] = 1;			/* the current one */
		break;
	case 3:
		take(&g->s, b, 16);
		break;
	default:
		if (g->nsids) {
			const struct gen_sid *s = &g->sids[take8(&g->s) % g->nsids % GEN_SIDS];

			memcpy(b, s->bytes, 16);
			g->owner = s->owner;
		}
		memcpy(&seqid, b, 4);
		if ((how & 15) == 4)
			seqid = 0;
		if ((how & 15) == 5)
			seqid = htobe32(be32toh(seqid) + (int8_t)(how >> 4) - 8);
		memcpy(b, &seqid, 4);
	}
	msg_bytes(g->m, b, 16);
}

static void put_handle(struct gen *g)
{
	uint8_t how = take8(&g->s), b[HANDLE_BYTES + 1];

	if (!g->nhandles || how == 255) {
		take(&g->s, b, sizeof(b));
		msg_opaque(g->m, b, how % sizeof(b));
		return;
	}
	memcpy(b, g->handles[how % g->nhandles % GEN_HANDLES], HANDLE_BYTES);
	if (how >= 240)
		b[take8(&g->s) % HANDLE_BYTES] ^= 1 << (how & 7);
	msg_opaque(g->m, b, HANDLE_BYTES);
}

static void put_name(struct gen *g)
{
	static const char *const names[] = { "f", "d", "l", "g", "h", "a", "vol", "other", "", ".",
					     "..", "a/b", ".snapshot", "user.x", "x" };
	uint8_t how = take8(&g->s), b[300];
	uint32_t len = how & 16 ? 255 : 256;

	switch (how & 15) {
	case 15:
		if (how & 32) {
			memset(b, 'n', len);
			msg_opaque(g->m, b, len);
			return;
		}
		len = take8(&g->s) % 32;
		take(&g->s, b, len);
		msg_opaque(g->m, b, len);
		return;
	default:
		msg_string(g->m, names[how & 15]);
	}
}

static void put_opaque(struct gen *g)
{
	uint8_t how = take8(&g->s), b[1100];
	uint32_t len = how < 64 ? how : how < 250 ? 4 : how == 250 ? 1024 : 1025;

	memset(b, 'o', sizeof(b));
	take(&g->s, b, len < 64 ? len : 0);
	msg_opaque(g->m, b, len);
}

static void put_data(struct gen *g)
{
	static const uint32_t lens[] = { 0, 1, 5, 4095, 4096, 4097, 8192, 10000, 65536, 131072 };
	uint8_t how = take8(&g->s), *b;
	uint32_t len = how < 10 ? lens[how] : how;

	b = malloc(len + 1);
	fuzz_check(b, "no memory");
	memset(b, how, len);
	msg_opaque(g->m, b, len);
	free(b);
}

static void put_bitmap(struct gen *g)
{
	uint8_t how = take8(&g->s);
	uint32_t n = how & 3;

	if (how == 255) {
		msg_u32(g->m, take32(&g->s));
		return;
	}
	msg_u32(g->m, n);
	for (uint32_t i = 0; i < n; i++)
		msg_u32(g->m, how & 4 ? ~(i ? i == 1 ? 1u << 16 | 1u << 22 : 1u << 17 : 0) :
			take32(&g->s));
}

/* Attributes that can be set, each with a value, or with other bytes. */
static void put_fattr(struct gen *g)
{
	static const uint8_t settable[] = { 4, 33, 36, 37, 48, 54, 81, 12 };
	static const char *const values[] = { "h", "u", "s", "s", "k", "k", "uu", "p" };
	struct msg v = { 0 }, *m = g->m;
	uint32_t w[3] = { 0 };
	uint8_t which = take8(&g->s), how = take8(&g->s);

	g->m = &v;
	for (unsigned i = 0; i < 8; i++) {
		if (!(which >> i & 1))
			continue;
		w[settable[i] / 32] |= 1u << settable[i] % 32;
		for (const char *l = values[i]; *l; l++)
			switch (*l) {
			case 'h': msg_u64(&v, value64(g)); break;
			case 'u': msg_u32(&v, take16(&g->s) & 07777); break;
			case 's': msg_string(&v, how & 1 ? "1000" : how & 2 ? "0" : "root"); break;
			case 'k':
				msg_u32(&v, how >> 2 & 1);
				if (how & 4) {
					msg_u64(&v, value64(g));
					msg_u32(&v, how & 8 ? 5 : value32(g));
				}
				break;
			case 'p':
				msg_u32(&v, 1);
				msg_u32(&v, how & 3);
				msg_u32(&v, take8(&g->s));
				msg_u32(&v, value32(g));
				msg_string(&v, how & 4 ? "OWNER@" : how & 8 ? "EVERYONE@" : "1000");
			}
	}
	g->m = m;
	if (how & 16)
		for (unsigned i = 0; i < 3; i++)
			w[i] ^= take32(&g->s);
	msg_u32(m, 3);
	for (unsigned i = 0; i < 3; i++)
		msg_u32(m, w[i]);
	msg_opaque(m, v.data ? v.data : (const void *)"", v.len - (how & 32 && v.len ? 4 : 0));
	msg_free(&v);
}

static void put_clientid(struct gen *g)
{
	uint8_t how = take8(&g->s);

	if (how < 128)
		msg_bytes(g->m, g->client->id, 8);
	else if (how < 250)
		msg_bytes(g->m, g->clients[how % GEN_CLIENTS].id, 8);
	else
		msg_u64(g->m, value64(g));
}

static void put_owner(struct gen *g)
{
	static const char *const names[GEN_OWNERS] = { "o0", "o1", "", "o3" };
	uint8_t how = take8(&g->s);

	g->owner = how % GEN_OWNERS;
	put_clientid(g);
	if (how == 255)
		put_opaque(g);
	else
		msg_string(g->m, names[g->owner]);
}

static void put_seqid(struct gen *g)
{
	uint8_t how = take8(&g->s);
	uint32_t *seq = &g->client->owner_seq[g->owner];

	if (how < 200)
		++*seq;
	else if (how >= 230)
		*seq = take8(&g->s);
	msg_u32(g->m, *seq);
}

static void put_letter(struct gen *g, char l)
{
	uint8_t how;

	switch (l) {
	case 'u': msg_u32(g->m, value32(g)); break;
	case 'h': msg_u64(g->m, value64(g)); break;
	case 't': how = take8(&g->s); msg_u32(g->m, how < 250 ? how & 1 : how); break;
	case 's': put_opaque(g); break;
	case 'i': put_sid(g); break;
	case 'b': put_bitmap(g); break;
	case 'd': put_data(g); break;
	case 'n': put_name(g); break;
	case 'F': put_fattr(g); break;
	case 'H': put_handle(g); break;
	case 'w': put_owner(g); break;
	case 'c': put_clientid(g); break;
	case 'q': put_seqid(g); break;
	case 'e': how = take8(&g->s); msg_u32(g->m, how < 250 ? how & 3 : how); break;
	case 'y': how = take8(&g->s); msg_u32(g->m, how < 250 ? (how & 3) + 1 : how); break;
	case 'v':
		how = take8(&g->s);
		if (how & 1)
			msg_u64(g->m, how >> 1 & 3);
		else
			msg_bytes(g->m, g->client->verifier, 8);
		break;
	case 'x':
		how = take8(&g->s);
		msg_bytes(g->m, how < 200 ? g->client->session :
			  g->clients[how % GEN_CLIENTS].session, 16);
	}
}

static void put_word(struct gen *g, const char *w)
{
	while (*w)
		put_letter(g, *w++);
}

/* ---- what has unions in it ----------------------------------------------------------- */

static void put_create(struct gen *g)
{
	uint8_t how = take8(&g->s);
	uint32_t type = how < 250 ? 1 + how % 7 : how;

	msg_u32(g->m, type);
	if (type == 5)
		put_opaque(g);
	if (type == 3 || type == 4)
		put_word(g, "uu");
	put_word(g, "nF");
}

static void put_lock(struct gen *g)
{
	uint8_t how = take8(&g->s);

	put_word(g, "y");
	msg_u32(g->m, how >> 1 & 1 && how & 4);
	put_word(g, "hh");
	msg_u32(g->m, how & 1);
	put_word(g, how & 1 ? "qiqw" : "iq");
}

static void put_open(struct gen *g)
{
	static const char *const claims[] = { "n", "e", "in", "n", "", "i", "" };
	static const char *const hows[] = { "F", "F", "v", "vF" };
	uint8_t how = take8(&g->s), share = take8(&g->s), claim = take8(&g->s);

	g->owner = share >> 4 & 3;
	put_word(g, "q");
	msg_u32(g->m, (share & 3) | (share & 8 ? take8(&g->s) << 8 : 0));
	msg_u32(g->m, share >> 2 & (share & 64 ? 3 : 0));
	put_clientid(g);
	msg_string(g->m, g->owner & 1 ? "o1" : "o0");
	msg_u32(g->m, how & 1);
	if (how & 1) {
		msg_u32(g->m, how >> 1 & 3);
		put_word(g, hows[how >> 1 & 3]);
	}
	claim = claim < 200 ? 0 : claim % 7;
	msg_u32(g->m, claim);
	put_word(g, claims[claim]);
}

static void put_exchange_id(struct gen *g)
{
	static const char *const names[GEN_CLIENTS] = { "c0", "c1", "c2", "c3" };
	uint8_t how = take8(&g->s);

	msg_u64(g->m, how >> 4 & 3);
	msg_string(g->m, names[how & 8 ? how % GEN_CLIENTS : g->client->nr]);
	msg_u32(g->m, how & 4 ? value32(g) : how & 2 ? 0x40000000 : 0);
	msg_u32(g->m, how & 128 ? how >> 6 & 1 : 0);
	if (how & 128 && how >> 6 & 1)
		put_word(g, "bb");
	msg_u32(g->m, how & 1);
	if (how & 1)
		put_word(g, "sshu");
}

static void put_channel(struct gen *g)
{
	uint8_t how = take8(&g->s);

	msg_u32(g->m, 0);
	msg_u32(g->m, how & 1 ? 1 << 20 : 512 + take8(&g->s) * 8);
	msg_u32(g->m, how & 2 ? 1 << 20 : 256 + take8(&g->s) * 8);
	msg_u32(g->m, how & 4 ? 8192 : take8(&g->s) * 8);
	msg_u32(g->m, how & 8 ? 64 : take8(&g->s));
	msg_u32(g->m, how & 16 ? GEN_SLOTS : take8(&g->s));
	msg_u32(g->m, 0);
}

static void put_create_session(struct gen *g)
{
	uint8_t how = take8(&g->s);

	put_clientid(g);
	msg_u32(g->m, g->client->create_seq + (how & 64 ? (how & 3) - 1 : 0));
	msg_u32(g->m, how & 7);
	put_channel(g);
	put_channel(g);
	msg_u32(g->m, 0x40000000);
	msg_u32(g->m, how >> 3 & 1);
	if (how & 8)
		msg_u32(g->m, how & 16 ? 0 : 7);
}

static void put_setclientid(struct gen *g)
{
	uint8_t how = take8(&g->s);

	msg_u64(g->m, how & 3);
	msg_string(g->m, how & 8 ? "z0" : "z1");
	msg_u32(g->m, 0x40000000);
	msg_string(g->m, how & 4 ? "tcp" : "udp");
	msg_string(g->m, how & 16 ? "127.0.0.1.0.9" : "::1.0.9");
	msg_u32(g->m, how);
}

static void put_sequence(struct gen *g)
{
	put_word(g, "xuuut");
}

/* -------------------------------------------------------------------------------------- */

void gen_num(struct gen *g, uint32_t num)
{
	static void (*const special[OPS])(struct gen *g) = {
		[CREATE] = put_create, [LOCK] = put_lock, [OPEN] = put_open,
		[SETCLIENTID] = put_setclientid, [EXCHANGE_ID] = put_exchange_id,
		[CREATE_SESSION] = put_create_session, [SEQUENCE] = put_sequence,
	};

	g->nops++;
	msg_u32(g->m, num);
	if (num < OPS && special[num])
		special[num](g);
	else if (num < OPS && args[num])
		put_word(g, args[num]);
}

void gen_op(struct gen *g)
{
	uint8_t num = take8(&g->s), raw[255];

	if (num == 254) {
		num = take8(&g->s);
		take(&g->s, raw, num);
		msg_bytes(g->m, raw, num);
	} else if (num == 255) {
		gen_num(g, take32(&g->s));
	} else {
		gen_num(g, num % OPS);
	}
}
