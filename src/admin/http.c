/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP for the management API: libmicrohttpd with one thread a connection.
 *
 * Memory is bounded: connections by ADMIN_CONNECTIONS, bodies one by one and together, and a
 * silent connection is closed after IDLE_SECONDS (but never while its call is being served).
 */
#include "admin/admin_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/repl_api.h"
#include "admin/size.h"
#include "base/fiber.h"
#include "base/log.h"

/* What the URI hook leaves for the first handle() of a request that must be refused. */
static char nul_in_uri;

static const struct route routes[] = {
	{ "GET", "/v1/pool", BODY_NONE, "", get_pool, NULL },
	{ "POST", "/v1/pool/checkpoint", BODY_JSON, "", post_checkpoint, NULL },
	{ "GET", "/v1/pool/scrub", BODY_NONE, "", get_scrub, NULL },
	{ "POST", "/v1/pool/scrub", BODY_JSON, "rate", post_scrub, NULL },
	{ "DELETE", "/v1/pool/scrub", BODY_NONE, "", delete_scrub, NULL },
	{ "GET", "/v1/dedup", BODY_NONE, "", get_dedup, NULL },
	{ "POST", "/v1/dedup", BODY_JSON, "volume rate", post_dedup, NULL },
	{ "DELETE", "/v1/dedup", BODY_NONE, "", delete_dedup, NULL },
	{ "GET", "/v1/health", BODY_NONE, "", get_health, NULL },
	{ "GET", "/v1/nfs", BODY_NONE, "", get_nfs, NULL },
	{ "GET", "/metrics", BODY_NONE, "", get_metrics, NULL },
	{ "GET", "/v1/volumes", BODY_NONE, "", get_volumes, NULL },
	{ "POST", "/v1/volumes", BODY_JSON, "name quota soft reserve physical exports schedule dedup",
	  post_volumes, NULL },
	{ "GET", "/v1/volumes/*", BODY_NONE, "", get_volume, NULL },
	{ "PATCH", "/v1/volumes/*", BODY_JSON, "quota soft reserve physical exports schedule dedup", patch_volume, NULL },
	{ "DELETE", "/v1/volumes/*", BODY_NONE, "snapshots", delete_volume, NULL },
	{ "POST", "/v1/volume-clones", BODY_JSON, "source name", post_volume_clones, NULL },
	{ "GET", "/v1/quotas", BODY_NONE, "volume path", get_quotas, NULL },
	{ "POST", "/v1/quotas", BODY_JSON, "path limit soft", post_quotas, NULL },
	{ "DELETE", "/v1/quotas", BODY_NONE, "path", delete_quotas, NULL },
	{ "GET", "/v1/snapshots", BODY_NONE, "volume", get_snapshots, NULL },
	{ "POST", "/v1/snapshots", BODY_JSON, "snapshot", post_snapshots, NULL },
	{ "DELETE", "/v1/snapshots", BODY_NONE, "snapshot", delete_snapshots, NULL },
	{ "POST", "/v1/restore", BODY_JSON, "snapshot force", post_restore, NULL },
	{ "GET", "/v1/files", BODY_NONE, "path", get_file, NULL },
	{ "POST", "/v1/files", BODY_JSON, "path replace mode uid gid makes_room files", post_files, NULL },
	{ "POST", "/v1/renames", BODY_JSON, "path renames", post_renames, NULL },
	{ "DELETE", "/v1/files", BODY_NONE, "path recursive inode generation", delete_file, NULL },
	{ "GET", "/v1/entries", BODY_NONE, "path after limit", get_entries, NULL },
	{ "POST", "/v1/directories", BODY_JSON, "path parents mode uid gid", post_directories,
	  NULL },
	{ "GET", "/v1/extents", BODY_NONE, "path inode generation offset limit", get_extents,
	  NULL },
	{ "GET", "/v1/data", BODY_NONE, "path inode generation offset length", get_data, NULL },
	{ "GET", "/v1/account", BODY_NONE, "object exact", get_account, NULL },
	{ "GET", "/v1/family", BODY_NONE, "path limit", get_family, NULL },
	{ "GET", "/v1/diff", BODY_NONE, "a b offset limit quick count", get_diff, NULL },
	{ "GET", "/v1/volume-diff", BODY_NONE, "a b after quick names", get_volume_diff, NULL },
	{ "POST", "/v1/clones", BODY_JSON, "src dst count start names recursive makes_room", post_clones, NULL },
	{ "POST", "/v1/uploads", BODY_JSON, "path replace size data like mode uid gid makes_room", post_uploads,
	  NULL },
	{ "PUT", "/v1/uploads/*", BODY_DATA, "offset", put_upload, put_upload_data },
	{ "POST", "/v1/uploads/*", BODY_JSON, "size", post_upload, NULL },
	{ "DELETE", "/v1/uploads/*", BODY_NONE, "", delete_upload, NULL },
	{ "POST", "/v1/sends", BODY_JSON, "snapshot from resume", post_sends, NULL },
	{ "GET", "/v1/sends/*", BODY_NONE, "", get_send, NULL },
	{ "POST", "/v1/sends/*", BODY_JSON, "", post_send, NULL },
	{ "DELETE", "/v1/sends/*", BODY_NONE, "", delete_send, NULL },
	{ "GET", "/v1/receives", BODY_NONE, "", get_receives, NULL },
	{ "POST", "/v1/receives", BODY_JSON, "volume force", post_receives, NULL },
	{ "DELETE", "/v1/receives", BODY_NONE, "volume", delete_receives, NULL },
	{ "PUT", "/v1/receives/*", BODY_DATA, "", put_receive, put_receive_data },
	{ "POST", "/v1/receives/*", BODY_JSON, "", post_receive, NULL },
	{ "DELETE", "/v1/receives/*", BODY_NONE, "", delete_receive, NULL },
};

const struct route *route_find(const char *method, const char *url, const char **ret_name,
			       bool *ret_other_method)
{
	const struct route *r;
	size_t n, i;

	*ret_other_method = false;
	for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		r = &routes[i];
		n = strlen(r->path);
		if (r->path[n - 1] == '*') {
			if (strncmp(url, r->path, n - 1) || !url[n - 1] || strchr(url + n - 1, '/'))
				continue;
			*ret_name = url + n - 1;
		} else if (strcmp(url, r->path)) {
			continue;
		}
		if (!strcmp(method, r->method))
			return r;
		*ret_other_method = true;
	}
	return NULL;
}

/* ---- taking a request in ---------------------------------------------------------------- */

static enum MHD_Result arg_collect(void *cls, enum MHD_ValueKind kind, const char *key,
				   size_t key_len, const char *value, size_t value_len)
{
	struct call *c = cls;

	if (c->nargs == ARGS_MAX) {
		call_fail(c, 400, "bad_request", "%s: more than %d arguments", c->route->path,
			  ARGS_MAX);
		return MHD_NO;
	}
	c->args[c->nargs++] = (struct arg){ key, value, value_len };
	return MHD_YES;
}

/* A misspelt argument that is silently ignored has deleted the wrong thing before. */
static bool arg_known(struct call *c, const char *key)
{
	const char *s = c->route->args;
	size_t n = strlen(key);

	while (n && (s = strstr(s, key))) {
		if ((s == c->route->args || s[-1] == ' ') && (!s[n] || s[n] == ' '))
			return true;
		s += n;
	}
	call_fail(c, 400, "bad_argument", "%s: %s does not know this argument; it takes: %s", key,
		  c->route->path, *c->route->args ? c->route->args : "none");
	return false;
}

static bool args_check(struct call *c)
{
	const char *key;
	json_t *value;
	unsigned i;

	for (i = 0; i < c->nargs; i++)
		if (!arg_known(c, c->args[i].key))
			return false;
	json_object_foreach(c->json, key, value)
		if (!arg_known(c, key))
			return false;
	return true;
}

/* Looks at all of a request but its body. */
static void request_begin(struct call *c, const char *url, const char *method)
{
	const char *text = MHD_lookup_connection_value(c->connection, MHD_HEADER_KIND,
						       "Content-Length");
	uint64_t len = 0, max;
	bool other;

	c->route = route_find(method, url, &c->name, &other);
	if (!c->route) {
		if (other)
			call_fail(c, 405, "bad_method", "%s: %s is not possible here", url, method);
		else
			call_fail(c, 404, "no_route", "%s: no such address in this API; see "
				  "docs/management.md", url);
		return;
	}
	MHD_get_connection_values_n(c->connection, MHD_GET_ARGUMENT_KIND, arg_collect, c);
	if (c->status)
		return;
	if (!args_check(c))
		return;
	max = c->route->body == BODY_NONE ? 0 : c->route->body == BODY_JSON ? BODY_JSON_MAX
									     : UPLOAD_PUT_MAX;
	if (text && (number_parse(text, &len) || len > BODY_DROP_MAX))
		c->hang_up = true;
	if (c->hang_up || len > max)
		call_fail(c, 413, "too_large", "%s: the body has %s bytes; at most %llu are taken",
			  c->route->path, text, (unsigned long long)max);
}

static void body_add(struct call *c, const char *data, size_t len)
{
	size_t cap = c->body_cap ? c->body_cap : 1024;
	char *body;

	if (c->route->body == BODY_NONE || c->body_len + len > BODY_JSON_MAX) {
		call_fail(c, 413, "too_large", "%s: the body is too large", c->route->path);
		return;
	}
	while (cap < c->body_len + len)
		cap *= 2;
	if (cap != c->body_cap) {
		size_t more = cap - c->body_cap;

		if (atomic_fetch_add(&c->admin->body_bytes, more) + more > BODY_MEMORY_MAX ||
		    !(body = realloc(c->body, cap))) {
			atomic_fetch_sub(&c->admin->body_bytes, more);
			call_fail_err(c, -ENOMEM, "%s", c->route->path);
			return;
		}
		c->body = body;
		c->body_cap = cap;
	}
	memcpy(c->body + c->body_len, data, len);
	c->body_len += len;
}

static void body_parse(struct call *c)
{
	json_error_t e;

	if (!c->body_len)
		return;
	c->json = json_loadb(c->body, c->body_len, JSON_REJECT_DUPLICATES, &e);
	if (!c->json)
		call_fail(c, 400, "bad_json", "%s: the body is not JSON: %s (line %d)",
			  c->route->path, e.text, e.line);
	else if (!json_is_object(c->json))
		call_fail(c, 400, "bad_json", "%s: the body must be a JSON object", c->route->path);
	else
		args_check(c);
}

static void request_serve(struct call *c)
{
	if (c->route->body == BODY_DATA)
		c->route->data(c, NULL, 0);
	else
		body_parse(c);
	if (!c->status)
		c->route->handle(c);
	if (!c->status)
		call_fail(c, 500, "internal", "%s: no answer was made", c->route->path);
}

/* ---- answering -------------------------------------------------------------------------- */

static enum MHD_Result answer_send(struct call *c)
{
	struct MHD_Response *r;
	enum MHD_Result ok;

	atomic_fetch_add(&c->admin->requests, 1);
	if (c->status >= 400)
		atomic_fetch_add(&c->admin->failures, 1);
	if (!c->raw) {
		c->raw = c->reply ? json_dumps(c->reply, JSON_COMPACT) : NULL;
		if (!c->raw)
			return MHD_NO;	/* no memory even for an error: drop the connection */
		c->raw_len = strlen(c->raw);
		c->raw_type = "application/json";
	}
	r = MHD_create_response_from_buffer(c->raw_len, c->raw, MHD_RESPMEM_MUST_FREE);
	if (!r)
		return MHD_NO;
	c->raw = NULL;
	MHD_add_response_header(r, "Content-Type", c->raw_type);
	ok = MHD_queue_response(c->connection, c->status, r);
	MHD_destroy_response(r);
	return ok;
}

/* The time that a call takes is not the client's idleness. */
static void idle_timer(struct call *c, unsigned seconds)
{
	MHD_set_connection_option(c->connection, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *data_len, void **con_cls)
{
	bool nul = *con_cls == &nul_in_uri;
	struct call *c = nul ? NULL : *con_cls;

	if (!c) {
		*con_cls = NULL;
		c = malloc(sizeof(*c));
		if (!c || call_init(c, cls, connection)) {
			free(c);
			return MHD_NO;
		}
		*con_cls = c;
		if (nul)
			call_fail(c, 400, "bad_path", "%s: a name cannot hold a NUL byte", url);
		else
			request_begin(c, url, method);
		return c->hang_up ? answer_send(c) : MHD_YES;
	}
	/* After a failure the rest of the body is taken and dropped: a client that is still
	 * sending when we close the connection would never see why. */
	if (*data_len) {
		if (!c->status && c->route->body == BODY_DATA) {
			idle_timer(c, 0);
			c->route->data(c, data, *data_len);
			idle_timer(c, IDLE_SECONDS);
		} else if (!c->status) {
			body_add(c, data, *data_len);
		}
		*data_len = 0;
		return MHD_YES;
	}
	if (!c->status) {
		idle_timer(c, 0);
		request_serve(c);
		idle_timer(c, IDLE_SECONDS);
	}
	return answer_send(c);
}

static void *uri_seen(void *cls, const char *uri, struct MHD_Connection *connection)
{
	return strstr(uri, "%00") ? &nul_in_uri : NULL;
}

static void completed(void *cls, struct MHD_Connection *connection, void **con_cls,
		      enum MHD_RequestTerminationCode code)
{
	struct call *c = *con_cls;

	if (!c || *con_cls == &nul_in_uri)
		return;
	call_done(c);
	free(c);
	*con_cls = NULL;
}

static void mhd_log(void *cls, const char *fmt, va_list ap)
{
	char text[300];
	size_t n;

	vsnprintf(text, sizeof(text), fmt, ap);
	n = strlen(text);
	if (n && text[n - 1] == '\n')
		text[n - 1] = 0;
	log_debug("management: %s", text);
}

/* ---- starting and stopping -------------------------------------------------------------- */

static struct MHD_Daemon *mhd_start(struct admin *a)
{
	return MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION |
				MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, a,
				MHD_OPTION_LISTEN_SOCKET, a->listen_fd,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS,
				MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)128 * 1024,
				MHD_OPTION_THREAD_STACK_SIZE, (size_t)256 * 1024,
				MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
				MHD_OPTION_URI_LOG_CALLBACK, uri_seen, NULL,
				MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL, MHD_OPTION_END);
}

int admin_start(const struct admin_config *cfg, struct admin **ret_admin, char *why,
		size_t why_len)
{
	CLEANUP_FREE struct admin *a = calloc(1, sizeof(*a));
	int err;

	if (!a) {
		snprintf(why, why_len, "management: out of memory");
		return -ENOMEM;
	}
	a->cfg = *cfg;
	a->loop = loop_self();
	a->started_ns = loop_now_ns();
	json_object_seed(0);	/* before any thread can race for it */
	err = socket_listen(cfg->socket_path, cfg->socket_group, &a->listen_fd, &a->lock_fd, why,
			    why_len);
	if (err)
		return err;
	uploads_init(a);
	schedules_init(a);
	sends_init(a);
	receives_init(a);
	a->daemon = mhd_start(a);
	if (!a->daemon) {
		snprintf(why, why_len, "%s: the management server does not start (memory or "
			 "threads are short)", cfg->socket_path);
		timer_cancel(&a->schedule_timer);
		timer_cancel(&a->receive_timer);
		socket_close(cfg->socket_path, a->listen_fd, a->lock_fd);
		return -ENOMEM;
	}
	*ret_admin = steal_ptr(a);
	return 0;
}

struct stopper {
	struct loop_msg msg;
	struct admin *admin;
	struct fiber *waiter;
	bool stopped;
};

static void stopper_arrived(struct loop_msg *m)
{
	struct stopper *s = container_of(m, struct stopper, msg);

	s->stopped = true;
	fiber_wake(s->waiter);
}

/* Connection threads wait for the loop, and MHD_stop_daemon() waits for them: so it must be
 * another thread than the loop's that calls it. */
static void *stopper_thread(void *arg)
{
	struct stopper *s = arg;

	MHD_stop_daemon(s->admin->daemon);
	s->msg.fn = stopper_arrived;
	loop_post(s->admin->loop, &s->msg);
	return NULL;
}

void admin_stop(struct admin *a)
{
	struct stopper s = { .admin = a, .waiter = fiber_self() };
	pthread_t thread;

	a->stopping = true;
	MHD_quiesce_daemon(a->daemon);
	while (pthread_create(&thread, NULL, stopper_thread, &s))
		loop_sleep_ns(10 * 1000 * 1000);
	while (!s.stopped)
		fiber_park();
	pthread_join(thread, NULL);
	uploads_stop(a);
	schedules_stop(a);
	sends_stop(a);
	receives_stop(a);
	accounts_stop(a);
	socket_close(a->cfg.socket_path, a->listen_fd, a->lock_fd);
	free(a);
}
