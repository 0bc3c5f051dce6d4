/* SPDX-License-Identifier: Apache-2.0 */
/* Templates: see template.h. */
#include "fleet/template.h"

#include <string.h>

#include "fleet/fleet_int.h"

#define WORD "abcdefghijklmnopqrstuvwxyz_"

/* At a '{': how long "{word}" is, 0 if it is not that. */
static size_t placeholder_len(const char *s)
{
	size_t n = strspn(s + 1, WORD);

	return n && s[n + 1] == '}' ? n + 2 : 0;
}

static unsigned line_of(const char *text, const char *at)
{
	unsigned line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

static int unknown(const char *what, unsigned line, const char *word, int len,
		   const struct template_var *vars, char why[FLEET_WHY])
{
	char known[200] = "";
	size_t n = 0;

	for (; vars->name && n < sizeof(known) - 40; vars++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s{%s}", n ? ", " : "",
				      vars->name);
	return refuse(why, -EINVAL, "%s: line %u: {%.*s} is not known; there are %s, and {{%.*s}} "
		      "is the text itself", what, line, len > 40 ? 40 : len, word, known,
		      len > 40 ? 40 : len, word);
}

static int replace(const char *what, const char *text, const char *at, size_t len,
		   const struct template_var *vars, struct buf *ret, char why[FLEET_WHY])
{
	const struct template_var *v;

	for (v = vars; v->name; v++)
		if (strlen(v->name) == len && !memcmp(v->name, at, len))
			break;
	if (!v->name)
		return unknown(what, line_of(text, at), at, (int)len, vars, why);
	if (!v->value)
		return refuse(why, -EINVAL, "%s: line %u: {%s} has no value: %s", what,
			      line_of(text, at), v->name, v->missing);
	buf_append_str(ret, v->value);
	return 0;
}

int template_render(const char *what, const char *text, const struct template_var *vars,
		    struct buf *ret, char why[FLEET_WHY])
{
	const char *s = text;
	size_t n;
	int err;

	while (*s) {
		n = strcspn(s, "{");
		buf_append(ret, s, n);
		s += n;
		if (!*s)
			break;
		if (s[1] == '{' && (n = placeholder_len(s + 1)) && s[n + 1] == '}') {
			buf_append(ret, s + 1, n);
			s += n + 2;
			continue;
		}
		n = s > text && s[-1] == '$' ? 0 : placeholder_len(s);
		if (!n) {
			buf_append_byte(ret, *s++);
			continue;
		}
		err = replace(what, text, s + 1, n - 2, vars, ret, why);
		if (err)
			return err;
		s += n;
	}
	if (ret->failed == -EMSGSIZE)
		return refuse(why, -EINVAL, "%s: comes out longer than %zu bytes; make it shorter",
			      what, ret->max);
	return ret->failed ? refuse(why, -ENOMEM, "out of memory") : 0;
}
