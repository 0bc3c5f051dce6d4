/* SPDX-License-Identifier: Apache-2.0 */
/* Export rules; the grammar is in exports.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nfs/exports.h"

#define NOBODY 65534
#define DEFAULT_TEXT "127.0.0.0/8,::1 rw no_root_squash"

struct parser {
	struct exports *e;
	struct export_rule *rule;
	unsigned line;
	char *why;
	size_t why_len;
};

static int wrong(struct parser *p, const char *what, const char *word)
{
	if (p->why)
		snprintf(p->why, p->why_len, "exports, line %u: %s: '%.60s'", p->line, what, word);
	return -EINVAL;
}

static int parse_number(const char *s, unsigned long max, unsigned long *ret)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

static int parse_net(struct parser *p, char *word)
{
	struct export_net n = { .ip = { [10] = 0xff, [11] = 0xff }, .rule = p->e->nrules - 1 };
	char *slash = strchr(word, '/');
	unsigned long prefix;
	bool v4;

	if (p->e->nnets == EXPORT_NETS_MAX)
		return wrong(p, "too many networks (64 at most), from", word);
	if (!strcmp(word, "*")) {
		memset(n.ip, 0, sizeof(n.ip));
		p->e->nets[p->e->nnets++] = n;
		return 0;
	}
	if (slash)
		*slash = 0;
	v4 = inet_pton(AF_INET, word, n.ip + 12) == 1;
	if (!v4 && inet_pton(AF_INET6, word, n.ip) != 1)
		return wrong(p, "not an IP address (names are not looked up)", word);
	prefix = v4 ? 32 : 128;
	if (slash && parse_number(slash + 1, prefix, &prefix))
		return wrong(p, "not a prefix length", slash + 1);
	n.prefix = prefix + (v4 ? 96 : 0);
	p->e->nets[p->e->nnets++] = n;
	return 0;
}

static int parse_nets(struct parser *p, char *word)
{
	char *save, *net;

	if (p->e->nrules == EXPORT_NETS_MAX)
		return wrong(p, "too many rules (64 at most), from", word);
	p->rule = &p->e->rules[p->e->nrules++];
	*p->rule = (struct export_rule){ .root_squash = true, .sec_sys = true,
					 .anonuid = NOBODY, .anongid = NOBODY };
	for (net = strtok_r(word, ",", &save); net; net = strtok_r(NULL, ",", &save)) {
		int err = parse_net(p, net);

		if (err)
			return err;
	}
	return 0;
}

static int parse_sec(struct parser *p, char *list)
{
	char *save, *word;

	p->rule->sec_sys = p->rule->sec_none = false;
	for (word = strtok_r(list, ":", &save); word; word = strtok_r(NULL, ":", &save)) {
		if (!strcmp(word, "sys"))
			p->rule->sec_sys = true;
		else if (!strcmp(word, "none"))
			p->rule->sec_none = true;
		else
			return wrong(p, "security flavour other than sys and none", word);
	}
	return p->rule->sec_sys || p->rule->sec_none ? 0 : wrong(p, "no security flavour", list);
}

static int parse_option(struct parser *p, char *word)
{
	struct export_rule *r = p->rule;
	unsigned long n;

	if (!strcmp(word, "rw"))
		r->rw = true;
	else if (!strcmp(word, "ro"))
		r->rw = false;
	else if (!strcmp(word, "root_squash"))
		r->root_squash = true;
	else if (!strcmp(word, "no_root_squash"))
		r->root_squash = false;
	else if (!strcmp(word, "all_squash"))
		r->all_squash = true;
	else if (!strcmp(word, "secure"))
		r->secure = true;
	else if (!strcmp(word, "insecure"))
		r->secure = false;
	else if (!strcmp(word, "sync"))
		r->sync = true;
	else if (!strcmp(word, "async"))
		r->sync = false;
	else if (!strncmp(word, "sec=", 4))
		return parse_sec(p, word + 4);
	else if (!strncmp(word, "anonuid=", 8) && !parse_number(word + 8, UINT32_MAX, &n))
		r->anonuid = n;
	else if (!strncmp(word, "anongid=", 8) && !parse_number(word + 8, UINT32_MAX, &n))
		r->anongid = n;
	else
		return wrong(p, "not an option (ro, rw, root_squash, no_root_squash, all_squash, "
			     "anonuid=N, anongid=N, sec=, secure, insecure, sync, async)", word);
	return 0;
}

static int parse_rule(struct parser *p, char *text)
{
	char *save, *word;
	int err;

	word = strtok_r(text, " \t\r", &save);
	if (!word)
		return 0;
	err = parse_nets(p, word);
	while (!err && (word = strtok_r(NULL, " \t\r", &save)))
		err = parse_option(p, word);
	return err;
}

int exports_parse(const char *text, struct exports *ret_exports, char *why, size_t why_len)
{
	struct exports e = { 0 };
	struct parser p = { .e = &e, .why = why, .why_len = why_len };
	char *copy = strdup(*text ? text : DEFAULT_TEXT), *lines = copy, *line, *rule;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	while (!err && (line = strsep(&lines, "\n"))) {
		p.line++;
		line[strcspn(line, "#")] = 0;
		while (!err && (rule = strsep(&line, ";")))
			err = parse_rule(&p, rule);
	}
	free(copy);
	if (!err)
		*ret_exports = e;
	return err;
}

int exports_check(const char *text, char *why, size_t why_len)
{
	struct exports e;

	return exports_parse(text, &e, why, why_len);
}

static bool net_holds(const struct export_net *n, const uint8_t ip[16])
{
	unsigned whole = n->prefix / 8, bits = n->prefix % 8;

	if (memcmp(n->ip, ip, whole))
		return false;
	return !bits || !((n->ip[whole] ^ ip[whole]) >> (8 - bits));
}

const struct export_rule *exports_match(const struct exports *e, const struct rpc_addr *addr)
{
	for (unsigned i = 0; i < e->nnets; i++)
		if (net_holds(&e->nets[i], addr->ip))
			return &e->rules[e->nets[i].rule];
	return NULL;
}

void export_net_text(const struct export_net *n, char ret_text[EXPORT_NET_TEXT])
{
	struct rpc_addr a = { 0 };
	char text[RPC_ADDR_TEXT];

	if (!n->prefix) {
		snprintf(ret_text, EXPORT_NET_TEXT, "*");
		return;
	}
	memcpy(a.ip, n->ip, 16);
	rpc_addr_text(&a, text);
	snprintf(ret_text, EXPORT_NET_TEXT, "%s/%u", text,
		 rpc_addr_is_v4(&a) && n->prefix >= 96 ? n->prefix - 96u : n->prefix);
}
