/* SPDX-License-Identifier: Apache-2.0 */
/* Storage's structures as JSON. */
#include "admin/admin_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *type_name(enum fs_type type)
{
	static const char *const names[] = {
		[FS_FREE] = "free", [FS_REG] = "file", [FS_DIR] = "directory",
		[FS_BLK] = "block", [FS_CHR] = "char", [FS_LNK] = "symlink",
		[FS_SOCK] = "socket", [FS_FIFO] = "fifo",
	};

	return (unsigned)type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

int json_set_u64(json_t *object, const char *key, uint64_t v)
{
	/* JSON's integers here are signed; nothing that is counted gets that far */
	return json_object_set_new(object, key, json_integer(v > INT64_MAX ? INT64_MAX
									   : (json_int_t)v));
}

/* Every byte that is not a letter or a digit as %XX: any name comes back from it. */
static int set_percent(json_t *object, const char *key, const char *s, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	CLEANUP_FREE char *text = malloc(3 * len + 1);
	char percent_key[64];
	size_t i, o = 0;

	if (!text)
		return -1;
	for (i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)s[i];

		if ((ch | 32) - 'a' < 26u || ch - '0' < 10u || strchr("._-~/:", ch)) {
			text[o++] = (char)ch;
			continue;
		}
		text[o++] = '%';
		text[o++] = hex[ch >> 4];
		text[o++] = hex[ch & 15];
	}
	snprintf(percent_key, sizeof(percent_key), "%s_percent", key);
	return json_object_set_new(object, percent_key, json_stringn(text, o));
}

int json_set_name(json_t *object, const char *key, const char *s, size_t len)
{
	static const char replacement[] = "\xef\xbf\xbd";	/* U+FFFD */
	json_t *j = json_stringn(s, len);
	CLEANUP_FREE char *text = NULL;
	size_t i, n, o = 0;

	if (j)
		return json_object_set_new(object, key, j);
	text = malloc(3 * len + 1);
	if (!text)
		return -1;
	for (i = 0; i < len; i += n ? n : 1) {
		n = utf8_char_len((const unsigned char *)s + i, len - i);
		memcpy(text + o, n ? s + i : replacement, n ? n : 3);
		o += n ? n : 3;
	}
	if (json_object_set_new(object, key, json_stringn(text, o)))
		return -1;
	return set_percent(object, key, s, len);
}

json_t *json_time(const struct fs_time *t)
{
	time_t sec = (time_t)t->sec;
	char date[64], text[96];
	struct tm tm;

	if (!gmtime_r(&sec, &tm) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm))
		return json_null();
	snprintf(text, sizeof(text), "%s.%09uZ", date, t->nsec % 1000000000u);
	return json_string(text);
}

json_t *json_id(const struct fs_id *id)
{
	json_t *j;

	if (!id->ino)
		return json_null();
	j = json_pack("{s:I}", "volume", (json_int_t)id->volume);
	if (j && (json_set_u64(j, "inode", id->ino) ||
		  json_set_u64(j, "generation", id->generation))) {
		json_decref(j);
		return NULL;
	}
	return j;
}

json_t *json_uuid(const uint8_t u[16])
{
	char text[37];

	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
		 "%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7],
		 u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
	return json_string(text);
}

static json_t *json_attr(const struct fs_attr *a)
{
	char mode[8];
	json_t *j;

	snprintf(mode, sizeof(mode), "%04o", a->mode & 07777);
	j = json_pack("{s:s,s:s,s:I,s:I,s:I,s:o?,s:o?,s:o?,s:o?,s:o?}", "type",
		      type_name(a->type), "mode", mode, "uid", (json_int_t)a->uid, "gid",
		      (json_int_t)a->gid, "links", (json_int_t)a->nlink, "accessed",
		      json_time(&a->atime), "modified", json_time(&a->mtime), "changed",
		      json_time(&a->ctime), "created", json_time(&a->btime), "cloned_from",
		      json_id(&a->origin));
	if (!j)
		return NULL;
	if (json_set_u64(j, "size", a->size) || json_set_u64(j, "mapped", fs_used_bytes(a)) ||
	    json_set_u64(j, "inode", a->id.ino) ||
	    json_set_u64(j, "generation", a->id.generation) ||
	    json_set_u64(j, "change", a->change)) {
		json_decref(j);
		return NULL;
	}
	return j;
}

json_t *json_file(const char *name, size_t len, const struct fs_attr *attr)
{
	json_t *j = json_object(), *rest = json_attr(attr);

	if (!j || !rest || json_set_name(j, "name", name, len) || json_object_update(j, rest)) {
		json_decref(j);
		j = NULL;
	}
	json_decref(rest);
	return j;
}

bool json_name(struct call *c, const json_t *j, struct fs_name *ret_name)
{
	const char *s = json_string_value(j);
	size_t len = json_string_length(j);

	if (!s || !len || memchr(s, '/', len) || memchr(s, 0, len) || !strcmp(s, ".") ||
	    !strcmp(s, "..")) {
		call_fail(c, 400, "bad_name", "%s: not a name; a name is not empty, not '.' or "
			  "'..', and holds no '/' and no NUL", s ? s : "names");
		return false;
	}
	if (len > OBJNAME_NAME_MAX) {
		call_fail(c, 400, "name_too_long", "%.80s...: this name has %zu bytes; use at most "
			  "%d", s, len, OBJNAME_NAME_MAX);
		return false;
	}
	*ret_name = (struct fs_name){ s, (uint32_t)len };
	return true;
}
