/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to pandod: HTTP over its Unix socket, one connection for the whole command. */
#include "pando/pando.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

#define ANSWER_MAX ((size_t)256 << 20)

static void url_escape(struct buf *url, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *text; text++) {
		unsigned char ch = (unsigned char)*text;

		if ((ch | 32) - 'a' < 26u || ch - '0' < 10u || strchr("._-~/:", ch))
			buf_append_byte(url, *text);
		else
			buf_printf(url, "%%%c%c", hex[ch >> 4], hex[ch & 15]);
	}
}

void request_init(struct request *r, const char *method, const char *path, const char *name)
{
	memset(r, 0, sizeof(*r));
	r->method = method;
	buf_init(&r->url, 64 * 1024);
	buf_printf(&r->url, "http://pandod%s", path);
	if (name)
		url_escape(&r->url, name);
}

void request_arg(struct request *r, const char *key, const char *value)
{
	buf_printf(&r->url, "%c%s=", strchr(buf_str(&r->url), '?') ? '&' : '?', key);
	url_escape(&r->url, value);
}

void request_arg_u64(struct request *r, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	request_arg(r, key, text);
}

void request_done(struct request *r)
{
	buf_release(&r->url);
	json_decref(r->body);
	r->body = NULL;
}

static size_t answer_take(char *data, size_t size, size_t n, void *arg)
{
	return buf_append(arg, data, size * n) ? 0 : size * n;
}

static CURL *client_start(struct cmd *c)
{
	if (!c->curl) {
		if (curl_global_init(CURL_GLOBAL_NOTHING))
			return NULL;
		c->curl = curl_easy_init();
	}
	if (!c->curl)
		return NULL;
	curl_easy_reset(c->curl);	/* keeps the connection */
	curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
	curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 10L);
	return c->curl;
}

void client_done(struct cmd *c)
{
	if (!c->curl)
		return;
	curl_easy_cleanup(c->curl);
	curl_global_cleanup();
	c->curl = NULL;
}

static int transport_fail(struct cmd *c, CURLcode code, int sys_err)
{
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT)
		return fail("%s: cannot reach pandod here%s%s; start it, or name its socket with "
			    "--socket", c->socket, sys_err ? ": " : "",
			    sys_err ? strerror(sys_err) : "");
	if (code == CURLE_WRITE_ERROR)
		return fail("%s: pandod's answer is larger than memory allows", c->socket);
	if (code == CURLE_OUT_OF_MEMORY)
		return fail("out of memory");
	return fail("%s: the connection to pandod broke (%s); what was asked for may or may not "
		    "have been done", c->socket, curl_easy_strerror(code));
}

/* Sends R; the status of the answer, or 0 after printing (unless QUIET) why there is none. */
static long transport(struct cmd *c, struct request *r, struct buf *answer,
		      bool quiet)
{
	CURL *curl = client_start(c);
	struct curl_slist *headers = NULL;
	char *text = NULL;
	long status = 0, sys_err = 0;
	CURLcode code;

	if (r->body)
		text = json_dumps(r->body, JSON_COMPACT);
	if (!curl || r->url.failed || (r->body && !text)) {
		free(text);
		fail("out of memory");
		return 0;
	}
	/* "Expect: 100-continue" would cost a round trip for each piece of an upload */
	headers = curl_slist_append(headers, "Expect:");
	headers = curl_slist_append(headers, text ? "Content-Type: application/json"
						  : "Content-Type: application/octet-stream");
	curl_easy_setopt(curl, CURLOPT_URL, buf_str(&r->url));
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, answer_take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	if (text || r->data || !strcmp(r->method, "POST")) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
				 (curl_off_t)(text ? strlen(text) : r->data_len));
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text ? text : r->data ? r->data : "");
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &sys_err);
	curl_slist_free_all(headers);
	free(text);
	if (code != CURLE_OK) {
		if (!quiet)
			transport_fail(c, code, (int)sys_err);
		return 0;
	}
	return status;
}

static int answer_fail(struct cmd *c, long status, const json_t *answer)
{
	const char *message = json_text(json_object_get(answer, "error"), "message");

	if (!*message)
		return fail("%s: answered with HTTP status %ld; is this pandod?", c->socket,
			    status);
	return fail("%s", message);
}

/* client_call(), but with FIND a status of 404 is an answer: NULL. */
static int call_json(struct cmd *c, struct request *r, bool find, json_t **ret_json)
{
	struct buf answer;
	json_t *j = NULL;
	long status;
	int err = DONE;

	buf_init(&answer, ANSWER_MAX);
	status = transport(c, r, &answer, false);
	if (status)
		j = json_loadb(buf_str(&answer), answer.len, 0, NULL);
	if (!status)
		err = FAILED;
	else if (find && status == 404)
		*ret_json = NULL;
	else if (status >= 300 || !j)
		err = answer_fail(c, status, j);
	else if (ret_json)
		*ret_json = json_incref(j);
	json_decref(j);
	buf_release(&answer);
	request_done(r);
	return err;
}

int client_call(struct cmd *c, struct request *r, json_t **ret_json)
{
	return call_json(c, r, false, ret_json);
}

int client_find(struct cmd *c, struct request *r, json_t **ret_json)
{
	return call_json(c, r, true, ret_json);
}

int client_data(struct cmd *c, struct request *r, struct buf *ret_data)
{
	json_t *j;
	long status;
	int err = DONE;

	buf_clear(ret_data);
	status = transport(c, r, ret_data, false);
	if (!status) {
		err = FAILED;
	} else if (status >= 300) {
		j = json_loadb(buf_str(ret_data), ret_data->len, 0, NULL);
		err = answer_fail(c, status, j);
		json_decref(j);
	}
	request_done(r);
	return err;
}

bool client_try_data(struct cmd *c, struct request *r, struct buf *ret_data)
{
	long status = transport(c, r, ret_data, true);

	request_done(r);
	return status && status < 300;
}

bool client_try(struct cmd *c, struct request *r)
{
	CLEANUP_BUF struct buf answer = { .max = ANSWER_MAX };

	return client_try_data(c, r, &answer);
}

/* ---- transfers that take their time ------------------------------------------------------ */

#define ALIVE_MS 500			/* the shortest --upload-timeout is a second */

void client_alive(struct cmd *c, struct transfer *t)
{
	struct timespec now;
	struct request r;
	uint64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	if (ns - t->told_ns < ALIVE_MS * 1000000ull)
		return;
	t->told_ns = ns;
	request_init(&r, t->method, t->path, t->id);
	client_try(c, &r);		/* should it be over, the next call says why */
}

void client_alive_wait(struct cmd *c, struct transfer *t, int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	while (!interrupted) {
		int n = poll(&p, 1, ALIVE_MS);

		if (n > 0 || (n < 0 && errno != EINTR))
			return;
		client_alive(c, t);
	}
}
