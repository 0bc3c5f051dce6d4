/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the API: the way to the pool and back, its arguments, its answer. */
#include "admin/admin_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/size.h"
#include "base/fiber.h"

int call_init(struct call *c, struct admin *a, struct MHD_Connection *connection)
{
	memset(c, 0, sizeof(*c));
	if (pthread_mutex_init(&c->job.lock, NULL))
		return -ENOMEM;
	if (pthread_cond_init(&c->job.cond, NULL)) {
		pthread_mutex_destroy(&c->job.lock);
		return -ENOMEM;
	}
	c->admin = a;
	c->connection = connection;
	return 0;
}

void call_done(struct call *c)
{
	pthread_cond_destroy(&c->job.cond);
	pthread_mutex_destroy(&c->job.lock);
	atomic_fetch_sub(&c->admin->body_bytes, c->body_cap);
	free(c->body);
	free(c->state);
	free(c->raw);
	json_decref(c->json);
	json_decref(c->reply);
}

/* ---- to the loop and back --------------------------------------------------------------- */

static void job_finish(struct job *j, int result)
{
	pthread_mutex_lock(&j->lock);
	j->result = result;
	j->done = true;
	pthread_cond_signal(&j->cond);
	pthread_mutex_unlock(&j->lock);
	/* the call may be gone from here on */
}

static void job_fiber(void *arg)
{
	struct call *c = arg;

	fs_req_admin(&c->req, c->admin->cfg.fs);
	job_finish(&c->job, c->job.fn(c, c->job.arg));
}

static void job_arrived(struct loop_msg *m)
{
	struct call *c = container_of(m, struct call, job.msg);
	int err = fiber_spawn(job_fiber, c, "admin");

	if (err)
		job_finish(&c->job, err);
}

int call_run(struct call *c, run_fn fn, void *arg)
{
	struct job *j = &c->job;

	j->fn = fn;
	j->arg = arg;
	j->done = false;
	j->msg.fn = job_arrived;
	loop_post(c->admin->loop, &j->msg);
	pthread_mutex_lock(&j->lock);
	while (!j->done)
		pthread_cond_wait(&j->cond, &j->lock);
	pthread_mutex_unlock(&j->lock);
	return j->result;
}

/* ---- answers ---------------------------------------------------------------------------- */

/* What an fs error means to a person, and the way out.  The object's name goes before it. */
static const struct err_row {
	int err;
	unsigned status;
	const char *code, *text;
} err_rows[] = {
	{ ENOMEDIUM, 404, "no_volume", "no such volume; 'pando volume list' shows what there is" },
	{ ESRCH, 404, "no_snapshot", "no such snapshot; 'pando snapshot list VOLUME' shows what there is" },
	{ ENOENT, 404, "not_found", "no such file or directory" },
	{ ESTALE, 404, "not_found", "was removed or replaced meanwhile; try again" },
	{ EEXIST, 409, "exists", "exists already; choose another name, or remove it first" },
	{ ENOTDIR, 409, "not_directory", "a part of this path is not a directory" },
	{ EISDIR, 409, "is_directory", "is a directory; name a file" },
	{ ENOTEMPTY, 409, "not_empty", "is not empty; remove what it holds first (rm -r)" },
	{ ENOSPC, 507, "no_space", "no space left in the pool; remove something and try again" },
	{ EDQUOT, 507, "over_quota", "the quota or the physical limit of the volume, or the quota of a directory that it is "
	  "in, is used up; remove something, or raise it with 'pando volume set' or 'pando quota set'" },
	{ EXDEV, 409, "across_quotas", "one of the two counts for a directory's quota, and the other doesn't; copy it, "
	  "or clone it" },
	{ EFBIG, 413, "too_large", "larger than a file can be" },
	{ EMLINK, 409, "too_many_links", "has as many links as a file can have" },
	{ ENAMETOOLONG, 400, "name_too_long", "a name is too long; use at most 255 bytes" },
	{ EINVAL, 400, "invalid", "this kind of file does not allow that" },
	{ ELOOP, 400, "symlink", "symbolic links are not followed here; name the file itself" },
	{ EROFS, 503, "read_only", "the pool is read-only; 'pando pool status' says why" },
	{ EIO, 500, "io_error", "I/O error on the pool's device; pandod's log says more" },
	{ EDAMAGED, 500, "damaged", "damaged on the pool's device; stop pandod and run "
	  "'pando pool check'" },
	{ ENOMEM, 503, "no_memory", "pandod is short of memory; try again later" },
	{ ETXTBSY, 409, "busy", "is being sent ('pando send'); wait until that is done, or stop it" },
	{ EBUSY, 409, "busy", "is in use by another request; try again" },
	{ EINTR, 503, "stopping", "pandod is being stopped; try again when it runs" },
	{ EPERM, 403, "forbidden", "not permitted" },
	{ EACCES, 403, "forbidden", "not permitted" },
};

void call_fail(struct call *c, unsigned status, const char *code, const char *fmt, ...)
{
	char text[1200], line[1400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_printable(text, strlen(text), line, sizeof(line));
	json_decref(c->reply);
	c->reply = json_pack("{s:{s:s,s:s}}", "error", "code", code, "message", line);
	c->status = status;
}

void call_fail_err(struct call *c, int err, const char *fmt, ...)
{
	char object[800];
	va_list ap;
	size_t i;

	va_start(ap, fmt);
	vsnprintf(object, sizeof(object), fmt, ap);
	va_end(ap);
	for (i = 0; i < sizeof(err_rows) / sizeof(err_rows[0]); i++)
		if (err_rows[i].err == -err) {
			call_fail(c, err_rows[i].status, err_rows[i].code, "%s: %s", object,
				  err_rows[i].text);
			return;
		}
	call_fail(c, 500, "internal", "%s: %s", object, err_text(err));
}

void call_reply(struct call *c, unsigned status, json_t *json)
{
	if (!json) {
		call_fail_err(c, -ENOMEM, "the answer");
		return;
	}
	json_decref(c->reply);
	c->reply = json;
	c->status = status;
}

void call_reply_raw(struct call *c, char *data, size_t len, const char *type)
{
	c->raw = data;
	c->raw_len = len;
	c->raw_type = type;
	c->status = MHD_HTTP_OK;
}

/* ---- arguments -------------------------------------------------------------------------- */

static const struct arg *arg_query(struct call *c, const char *key)
{
	unsigned i;

	for (i = 0; i < c->nargs; i++)
		if (!strcmp(c->args[i].key, key))
			return &c->args[i];
	return NULL;
}

bool arg_given(struct call *c, const char *key)
{
	return arg_query(c, key) || json_object_get(c->json, key);
}

bool arg_text(struct call *c, const char *key, const char **ret_text, size_t *ret_len)
{
	const struct arg *a = arg_query(c, key);
	const json_t *j;

	if (a) {
		*ret_text = a->value ? a->value : "";
		*ret_len = a->value ? a->len : 0;
		return true;
	}
	j = json_object_get(c->json, key);
	if (!j) {
		call_fail(c, 400, "missing", "%s: this argument must be given", key);
		return false;
	}
	if (!json_is_string(j)) {
		call_fail(c, 400, "bad_argument", "%s: must be a string", key);
		return false;
	}
	*ret_text = json_string_value(j);
	*ret_len = json_string_length(j);
	return true;
}

bool arg_number(struct call *c, const char *key, uint64_t max, uint64_t *value)
{
	const struct arg *a = arg_query(c, key);
	const json_t *j = json_object_get(c->json, key);
	uint64_t n = 0;
	int err = 0;

	if (!a && !j)
		return true;
	if (a)
		err = number_parse(a->value ? a->value : "", &n);
	else if (json_is_integer(j) && json_integer_value(j) >= 0)
		n = (uint64_t)json_integer_value(j);
	else
		err = -EINVAL;
	if (err == -EINVAL) {
		call_fail(c, 400, "bad_argument", "%s: must be a whole number, not negative", key);
		return false;
	}
	if (err || n > max) {
		call_fail(c, 400, "too_large", "%s: too large; use at most %llu", key,
			  (unsigned long long)max);
		return false;
	}
	*value = n;
	return true;
}

bool arg_bool(struct call *c, const char *key, bool *value)
{
	const struct arg *a = arg_query(c, key);
	const json_t *j = json_object_get(c->json, key);
	const char *v = a && a->value ? a->value : "";

	if (a && (!strcmp(v, "1") || !strcmp(v, "true")))
		*value = true;
	else if (a && (!strcmp(v, "0") || !strcmp(v, "false")))
		*value = false;
	else if (!a && json_is_boolean(j))
		*value = json_is_true(j);
	else if (a || j) {
		call_fail(c, 400, "bad_argument", "%s: must be true or false", key);
		return false;
	}
	return true;
}

bool arg_path(struct call *c, const char *key, struct objpath *ret_path)
{
	char why[OBJNAME_WHY];
	const char *text;
	size_t len;
	int err;

	if (!arg_text(c, key, &text, &len))
		return false;
	err = objpath_parse(text, len, ret_path, why);
	if (err)
		call_fail(c, 400, err == -ENAMETOOLONG ? "name_too_long" : "bad_path", "%s", why);
	return !err;
}

bool arg_live_path(struct call *c, const char *key, struct objpath *ret_path)
{
	if (!arg_path(c, key, ret_path))
		return false;
	if (objpath_is_frozen(ret_path))
		call_fail(c, 400, "snapshot", "%s:%s: a snapshot cannot be changed; change the volume "
			  "itself, or a clone of it", ret_path->volume, ret_path->path);
	return !objpath_is_frozen(ret_path);
}

bool arg_owner(struct call *c, struct fs_setattr *set)
{
	const char *text;
	uint64_t uid = 0, gid = 0;
	size_t len, digits;

	if (arg_given(c, "mode")) {
		if (!arg_text(c, "mode", &text, &len))
			return false;
		digits = strspn(text, "01234567");
		if (!digits || digits != len || digits > 5 || strtoul(text, NULL, 8) > 07777) {
			call_fail(c, 400, "bad_argument", "mode: must be an octal number such as "
				  "0644");
			return false;
		}
		set->mode = (uint32_t)strtoul(text, NULL, 8);
		set->mask |= FS_SET_MODE;
	}
	if (!arg_number(c, "uid", UINT32_MAX - 1, &uid) ||
	    !arg_number(c, "gid", UINT32_MAX - 1, &gid))
		return false;
	set->uid = (uint32_t)uid;
	set->gid = (uint32_t)gid;
	set->mask |= arg_given(c, "uid") ? FS_SET_UID : 0;
	set->mask |= arg_given(c, "gid") ? FS_SET_GID : 0;
	return true;
}
