/* SPDX-License-Identifier: Apache-2.0 */
/* How objects are written: see objname.h. */
#include "admin/objname.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Says WHY and passes ERR on. */
static int refuse(char why[OBJNAME_WHY], int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int refuse(char why[OBJNAME_WHY], int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, OBJNAME_WHY, fmt, ap);
	va_end(ap);
	return err;
}

size_t utf8_char_len(const unsigned char *s, size_t len)
{
	uint32_t c;
	size_t n, i;

	if (!len || s[0] >= 0xf5)
		return 0;
	if (s[0] < 0x80)
		return 1;
	n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
	if (!n || n > len)
		return 0;
	c = s[0] & (0xff >> (n + 1));
	for (i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	/* overlong forms, surrogates, beyond Unicode */
	if ((n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff ||
	    (c >= 0xd800 && c < 0xe000))
		return 0;
	return n;
}

void text_printable(const char *s, size_t len, char *buf, size_t cap)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t i = 0, o = 0, n;

	while (i < len) {
		n = utf8_char_len(u + i, len - i);
		/* C0, DEL and, as U+0080 to U+009F, C1 */
		if (n == 0 || u[i] < 0x20 || u[i] == 0x7f || (u[i] == 0xc2 && u[i + 1] < 0xa0)) {
			if (o + 5 > cap)
				break;
			o += (size_t)snprintf(buf + o, cap - o, "\\x%02x", u[i]);
			i++;
			continue;
		}
		if (o + n + 1 > cap)
			break;
		memcpy(buf + o, s + i, n);
		o += n;
		i += n;
	}
	buf[o] = 0;
}

static int label_check(const char *name, const char *what, char why[OBJNAME_WHY])
{
	char shown[100];
	const char *s;

	text_printable(name, strlen(name), shown, sizeof(shown));
	if (!*name)
		return refuse(why, -EINVAL, "a %s needs a name", what);
	if (strlen(name) > OBJNAME_VOLUME_MAX)
		return refuse(why, -ENAMETOOLONG, "%.40s...: the %s name has %zu characters; "
			      "use at most %d", shown, what, strlen(name), OBJNAME_VOLUME_MAX);
	for (s = name; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("._-", *s))
			break;
	if (*s || *name == '.' || *name == '-')
		return refuse(why, -EINVAL, "%s: not a %s name; use letters, digits, '.', '_' "
			      "and '-', and begin with none of '.' and '-'", shown, what);
	return 0;
}

int volume_name_check(const char *name, char why[OBJNAME_WHY])
{
	return label_check(name, "volume", why);
}

int snapshot_name_check(const char *name, char why[OBJNAME_WHY])
{
	return label_check(name, "snapshot", why);
}

/* LEN bytes without a NUL: VOLUME, or VOLUME@SNAPSHOT. */
static int snap_take(const char *s, size_t len, struct objsnap *ret, char why[OBJNAME_WHY])
{
	char text[2 * OBJNAME_WHY], *at;
	int err;

	snprintf(text, sizeof(text), "%.*s", (int)(len < sizeof(text) ? len : sizeof(text) - 1), s);
	at = strchr(text, '@');
	if (at)
		*at = 0;
	err = volume_name_check(text, why);
	if (!err && at)
		err = snapshot_name_check(at + 1, why);
	if (err)
		return err;
	strcpy(ret->volume, text);
	strcpy(ret->snapshot, at ? at + 1 : "");
	return 0;
}

int objsnap_parse(const char *object, size_t len, bool bare, struct objsnap *ret, char why[OBJNAME_WHY])
{
	char shown[300];

	text_printable(object, len, shown, sizeof(shown));
	if (memchr(object, 0, len))
		return refuse(why, -EINVAL, "%s: a name cannot hold a NUL byte", shown);
	if (!bare && !memchr(object, '@', len))
		return refuse(why, -EINVAL, "%s: write a snapshot as VOLUME@SNAPSHOT", shown);
	return snap_take(object, len, ret, why);
}

/* Copies PATH (starts with '/') in its short form, checking each name. */
static int path_normalise(const char *path, char *out, const char *shown, char why[OBJNAME_WHY])
{
	const char *s = path;
	size_t o = 0, n;

	while (*s) {
		s += strspn(s, "/");
		n = strcspn(s, "/");
		if (!n)
			break;
		if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
			return refuse(why, -EINVAL, "%s: '.' and '..' cannot stand in a path; "
				      "write the path without them", shown);
		if (n > OBJNAME_NAME_MAX)
			return refuse(why, -ENAMETOOLONG, "%.80s...: a name in this path has %zu "
				      "bytes; use at most %d", shown, n, OBJNAME_NAME_MAX);
		out[o++] = '/';
		memcpy(out + o, s, n);
		o += n;
		s += n;
	}
	if (!o)
		out[o++] = '/';
	out[o] = 0;
	return 0;
}

int objpath_parse(const char *object, size_t len, struct objpath *ret, char why[OBJNAME_WHY])
{
	struct objsnap at;
	char shown[300];
	const char *colon;
	int err;

	text_printable(object, len, shown, sizeof(shown));
	if (memchr(object, 0, len))
		return refuse(why, -EINVAL, "%s: a path cannot hold a NUL byte", shown);
	colon = memchr(object, ':', len);
	if (!colon || colon == object || colon[1] != '/')
		return refuse(why, -EINVAL, "%s: write an object as VOLUME:/path", shown);
	if (len - (size_t)(colon + 1 - object) > OBJNAME_PATH_MAX)
		return refuse(why, -ENAMETOOLONG, "%.80s...: its path has %zu bytes; use up to %d",
			      shown, len - (size_t)(colon + 1 - object), OBJNAME_PATH_MAX);
	err = snap_take(object, (size_t)(colon - object), &at, why);
	if (err)
		return err;
	snprintf(ret->volume, sizeof(ret->volume), "%s%s%s", at.volume, at.snapshot[0] ? "@" : "",
		 at.snapshot);
	return path_normalise(colon + 1, ret->path, shown, why);
}

bool objpath_is_frozen(const struct objpath *p)
{
	return strchr(p->volume, '@') || strstr(p->path, "/.snapshot/");
}

bool objpath_same_volume(const struct objpath *a, const struct objpath *b)
{
	size_t n = strcspn(a->volume, "@");

	return n == strcspn(b->volume, "@") && !memcmp(a->volume, b->volume, n);
}

bool objpath_is_root(const struct objpath *p)
{
	return !p->path[1];
}

const char *objpath_leaf(const struct objpath *p)
{
	return strrchr(p->path, '/') + 1;
}

void objpath_parent(const struct objpath *p, struct objpath *ret_dir)
{
	size_t n = (size_t)(strrchr(p->path, '/') - p->path);

	memmove(ret_dir->volume, p->volume, sizeof(p->volume));
	if (!n)
		n = 1;
	memmove(ret_dir->path, p->path, n);
	ret_dir->path[n] = 0;
}

int name_pattern_parse(const char *leaf, struct name_pattern *ret, char why[OBJNAME_WHY])
{
	const char *p = strchr(leaf, '%'), *s;
	char shown[300];

	text_printable(leaf, strlen(leaf), shown, sizeof(shown));
	if (!p)
		return refuse(why, -EINVAL, "%s: the name of many clones needs one %%d or %%03d "
			      "for the number", shown);
	ret->width = 0;
	s = p + 1;
	if (s[0] == '0' && s[1] >= '1' && s[1] <= '9') {
		ret->width = (unsigned)(s[1] - '0');
		s += 2;
	}
	if (*s != 'd' || strchr(s, '%'))
		return refuse(why, -EINVAL, "%s: not a pattern; write exactly one %%d or %%0Nd (N "
			      "from 1 to 9), and no other '%%'", shown);
	if (strlen(leaf) > OBJNAME_NAME_MAX)
		return refuse(why, -ENAMETOOLONG, "%.80s...: this name has %zu bytes; use at most "
			      "%d", shown, strlen(leaf), OBJNAME_NAME_MAX);
	memcpy(ret->before, leaf, (size_t)(p - leaf));
	ret->before[p - leaf] = 0;
	strcpy(ret->after, s + 1);
	return 0;
}

int name_pattern_expand(const struct name_pattern *p, uint64_t number,
			char buf[OBJNAME_NAME_MAX + 1])
{
	char text[2 * OBJNAME_NAME_MAX + 32];
	int n;

	n = snprintf(text, sizeof(text), "%s%0*llu%s", p->before, (int)p->width,
		     (unsigned long long)number, p->after);
	if (n > OBJNAME_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(buf, text, (size_t)n + 1);
	return 0;
}
