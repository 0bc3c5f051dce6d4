/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of src/admin: one call of the API, from its request to its answer.
 *
 *   HTTP thread of the connection           the loop's thread
 *   ---------------------------------       ---------------------------------
 *   collect the body, find the route
 *   route->handle(call)
 *       take the arguments
 *       call_run(call, fn, arg) ----------> a fiber runs fn(call, arg): fs_*
 *       (sleeps)                <---------- result
 *       turn results into JSON
 *   send the answer
 *
 * So handlers read from top to bottom; what is named *_run is called in a fiber and may
 * touch the pool, everything else is not and may not.
 */
#ifndef ADMIN_ADMIN_INT_H
#define ADMIN_ADMIN_INT_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "admin/admin.h"
#include "admin/objname.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/loop.h"
#include "fs/fs.h"

#define BODY_JSON_MAX ((size_t)4 << 20)		/* bytes in a JSON body */
#define BODY_MEMORY_MAX ((size_t)64 << 20)	/* in all bodies at once */
#define BODY_DROP_MAX ((uint64_t)256 << 20)	/* a larger one is not even read to its end */
#define UPLOAD_PUT_MAX ((uint64_t)64 << 20)	/* bytes in one PUT of an upload */
#define UPLOAD_CHUNK ((size_t)1 << 20)		/* of it, what goes to the pool at once */
#define UPLOAD_ID_LEN 32			/* hexadecimal digits */
#define UPLOADS_MAX 32
#define DATA_MAX ((uint64_t)1 << 20)		/* bytes in one GET of data */
#define ENTRIES_MAX 1000			/* in one page of a directory */
#define EXTENTS_MAX 1000			/* in one page of a file's map */
#define ARGS_MAX 16
#define TRANSFERS_MAX 8				/* streams sent, and received, at once */
#define IDLE_SECONDS 60				/* then a silent connection is closed */

struct upload;

struct admin {
	struct admin_config cfg;
	struct loop *loop;
	struct MHD_Daemon *daemon;
	int listen_fd, lock_fd;
	uint64_t started_ns;
	atomic_size_t body_bytes;
	atomic_uint_fast64_t requests, failures;
	/* upload_api.c's, of the loop's thread: */
	struct upload *uploads[UPLOADS_MAX];
	struct timer upload_timer;
	bool upload_sweeping;
	/* send_api.c's and receive_api.c's, of the loop's thread: */
	struct sending *sends[TRANSFERS_MAX];
	struct receiving *receives[TRANSFERS_MAX];
	struct timer send_timer, receive_timer;
	bool send_sweeping, receive_sweeping, receives_swept;
	/* schedule_run.c's, of the loop's thread: */
	struct timer schedule_timer;
	bool schedule_looking, schedule_stopping;
	int schedule_error;		/* that the last look met; 0: none */
	/* account_api.c's, of the loop's thread: */
	struct account_kept *accounts;
	unsigned accounts_running;
	bool stopping;			/* long looks are to end */
};

struct call;
typedef int (*run_fn)(struct call *c, void *arg);

/* The way to the loop and back. */
struct job {
	struct loop_msg msg;
	run_fn fn;
	void *arg;
	int result;
	bool done;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

enum body_kind { BODY_NONE, BODY_JSON, BODY_DATA };

struct route {
	const char *method, *path;	/* path: a final '*' stands for one name */
	enum body_kind body;
	const char *args;		/* names that are understood, between blanks */
	void (*handle)(struct call *c);
	/* BODY_DATA: takes the body piecewise; once more with len 0 before handle(). */
	void (*data)(struct call *c, const char *data, size_t len);
};

struct arg { const char *key, *value; size_t len; };

struct call {
	struct admin *admin;
	struct MHD_Connection *connection;
	const struct route *route;
	const char *name;		/* what '*' stood for */
	struct arg args[ARGS_MAX];	/* of the query */
	unsigned nargs;
	char *body;			/* as collected */
	size_t body_len, body_cap;
	bool hang_up;			/* answer before the body has come in */
	json_t *json;			/* parsed: an object, or NULL for none */
	void *state;			/* a data route's own; freed with free() */
	struct job job;
	struct fs_req req;		/* of the fiber that runs */
	/* The answer: an error, or raw, or reply. */
	unsigned status;		/* 0: none yet */
	json_t *reply;
	char *raw;
	size_t raw_len;
	const char *raw_type;
};

/* ---- call.c: running in a fiber, arguments, answers ------------------------------------- */

int call_init(struct call *c, struct admin *a, struct MHD_Connection *connection);
void call_done(struct call *c);

/* Runs FN in a fiber of the loop, with c->req fresh; waits for it.  -ENOMEM if no fiber can be
 * had, else what FN returned. */
int call_run(struct call *c, run_fn fn, void *arg);

/* One of these ends each call.  The message is one line that begins with the object. */
void call_fail(struct call *c, unsigned status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The same for an fs error. */
void call_fail_err(struct call *c, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void call_reply(struct call *c, unsigned status, json_t *json);	/* takes JSON; NULL: no memory */
void call_reply_raw(struct call *c, char *data, size_t len, const char *type); /* takes DATA */

/* Arguments, from the query or else the JSON body.  They return false after a call_fail(). */
bool arg_given(struct call *c, const char *key);
bool arg_text(struct call *c, const char *key, const char **ret_text, size_t *ret_len);
bool arg_number(struct call *c, const char *key, uint64_t max, uint64_t *value); /* or unchanged */
bool arg_bool(struct call *c, const char *key, bool *value);			/* or unchanged */
bool arg_path(struct call *c, const char *key, struct objpath *ret_path);
/* The same of what is to be changed: nothing in a snapshot. */
bool arg_live_path(struct call *c, const char *key, struct objpath *ret_path);
/* An octal mode ("0644"), a number for uid and gid: whatever was given into SET. */
bool arg_owner(struct call *c, struct fs_setattr *set);

/* ---- json.c ----------------------------------------------------------------------------- */

/* Sets NAME to the text; what is not UTF-8 is replaced, and NAME_percent holds the bytes. */
int json_set_name(json_t *object, const char *key, const char *s, size_t len);
json_t *json_file(const char *name, size_t len, const struct fs_attr *attr);
json_t *json_id(const struct fs_id *id);	/* null for none */
json_t *json_uuid(const uint8_t uuid[16]);
json_t *json_time(const struct fs_time *t);	/* RFC 3339, UTC */
int json_set_u64(json_t *object, const char *key, uint64_t v);
const char *type_name(enum fs_type type);
/* A name in a directory, given as a string; false after a call_fail().  It lives as long as J. */
bool json_name(struct call *c, const json_t *j, struct fs_name *ret_name);

/* ---- socket.c --------------------------------------------------------------------------- */

/* A listening socket at PATH that only the owner (and GROUP) can reach; ret_lock is held as
 * long as the daemon lives. */
int socket_listen(const char *path, const char *group, int *ret_fd, int *ret_lock, char *why,
		  size_t why_len);
void socket_close(const char *path, int fd, int lock_fd);

/* ---- the routes ------------------------------------------------------------------------- */

const struct route *route_find(const char *method, const char *url, const char **ret_name,
			       bool *ret_other_method);

void get_pool(struct call *c);			/* pool_api.c */
void post_checkpoint(struct call *c);
void get_scrub(struct call *c);
void post_scrub(struct call *c);
void delete_scrub(struct call *c);
void get_dedup(struct call *c);			/* dedup_api.c */
void post_dedup(struct call *c);
void delete_dedup(struct call *c);
void get_health(struct call *c);			/* pool_api.c */
void get_nfs(struct call *c);
void get_metrics(struct call *c);

void get_volumes(struct call *c);		/* volume_api.c */
void post_volumes(struct call *c);
void get_volume(struct call *c);
void patch_volume(struct call *c);
void delete_volume(struct call *c);

void get_quotas(struct call *c);		/* quota_api.c */
void post_quotas(struct call *c);
void delete_quotas(struct call *c);
/* Bytes in whole blocks; -1 where it isn't given.  False after a call_fail(). */
bool arg_blocks(struct call *c, const char *key, int64_t *ret);

json_t *json_volume(const struct fs_volume_info *v);
/* A name that a volume may have; else false, after a call_fail(). */
bool volume_name_take(struct call *c, const char *name, size_t len);

void get_snapshots(struct call *c);		/* snapshot_api.c */
void post_snapshots(struct call *c);
void delete_snapshots(struct call *c);
void post_restore(struct call *c);
void post_volume_clones(struct call *c);

void get_file(struct call *c);			/* file_api.c */
void delete_file(struct call *c);
void get_entries(struct call *c);
void post_directories(struct call *c);
void get_extents(struct call *c);
void get_data(struct call *c);

void post_clones(struct call *c);		/* clone_api.c */

void get_diff(struct call *c);			/* diff_api.c */
void get_volume_diff(struct call *c);		/* vdiff_api.c */

void get_family(struct call *c);			/* family_api.c */

void get_account(struct call *c);		/* account_api.c */
void accounts_stop(struct admin *a);

void post_files(struct call *c);			/* many_api.c */
void post_renames(struct call *c);

void post_uploads(struct call *c);		/* upload_api.c */
void put_upload_data(struct call *c, const char *data, size_t len);
void put_upload(struct call *c);
void post_upload(struct call *c);
void delete_upload(struct call *c);
void uploads_init(struct admin *a);
void uploads_stop(struct admin *a);		/* in a fiber, when no call is under way */

void schedules_init(struct admin *a);
void schedules_kick(struct admin *a);		/* on the loop's thread: one has changed */
void schedules_stop(struct admin *a);		/* in a fiber; waits */

/* Looks up P (in a fiber): a missing volume is -ENOMEDIUM, a missing snapshot -ESRCH, to be told from a
 * missing file. */
int path_lookup(struct fs_req *req, const struct objpath *p, struct fs_attr *ret_attr);
/* The directory that holds P, which is not the root; -ENOTDIR if it is none. */
int path_lookup_parent(struct fs_req *req, const struct objpath *p, struct fs_attr *ret_dir);
struct fs_name path_leaf_name(const struct objpath *p);

#endif
