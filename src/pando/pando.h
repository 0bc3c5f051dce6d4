/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the command line: one const row for each verb (main.c), a handler each, and what
 * the handlers share.  A handler returns the exit code: 0 done, 1 failed, 2 bad usage; what
 * went wrong is on standard error as one line then.
 */
#ifndef PANDO_PANDO_H
#define PANDO_PANDO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admin/objname.h"
#include "base/buf.h"

enum { DONE = 0, FAILED = 1, BAD_USAGE = 2 };

#define OPTIONS_MAX 32

struct option_row {
	const char *name;
	const char *arg;		/* NULL: a flag; "[=N]": may be left out; "N...": several, which are joined with commas */
	const char *help;
};

enum { VERB_ONLINE = 1,			/* asks pandod: has --socket */
       VERB_JSON = 2 };			/* has --json */

struct cmd;
struct verb {
	const char *noun;		/* NULL: the verb stands alone */
	const char *name;
	const char *args;
	int min_args, max_args;
	int flags;
	const char *help;		/* one line */
	const char *details;		/* more, or NULL */
	const struct option_row *options; /* ends with a NULL name; NULL: none of its own */
	int (*run)(struct cmd *c);
};

struct cmd {
	const struct verb *verb;
	int argc;			/* what is left after the options */
	char **argv;
	bool json;
	const char *socket;
	const char *values[OPTIONS_MAX];	/* of verb->options, NULL: not given */
	char *joined;			/* that of the one which takes several */
	char lock[300];			/* the fleet's that is held; "": none (fleet_lock.c) */
	uint64_t lock_inode, lock_generation;
	void *curl;			/* client.c's */
};

/* The value of an option ("" for a flag); NULL when it was not given. */
const char *cmd_option(const struct cmd *c, const char *name);

/* One line on standard error after "pando: "; return FAILED and BAD_USAGE. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int usage(const struct cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Option values and arguments; DONE, or BAD_USAGE after saying why. */
int cmd_size(const struct cmd *c, const char *option, uint64_t *value);
int cmd_number(const struct cmd *c, const char *option, uint64_t *value);
int cmd_object(const struct cmd *c, const char *text, struct objpath *ret);

/* ---- offline.c: pools that no pandod has open ------------------------------------------- */

/* Runs FN(ARG) in a fiber; returns its exit code. */
int run_offline(int (*fn)(void *arg), void *arg);
/* The pool at PATH could not be opened: says why. */
int open_fail(const char *path, int err);

/* ---- client.c: requests to pandod ------------------------------------------------------- */

struct request {
	const char *method;
	struct buf url;
	json_t *body;			/* freed with the request */
	const void *data;		/* instead of body */
	size_t data_len;
};
/* PATH may hold one name that is escaped: "/v1/volumes/" and NAME, else NAME is NULL. */
void request_init(struct request *r, const char *method, const char *path, const char *name);
void request_arg(struct request *r, const char *key, const char *value);
void request_arg_u64(struct request *r, const char *key, uint64_t value);
void request_done(struct request *r);

/* Sends R and frees it.  FAILED after printing what went wrong.  *ret_json is the caller's. */
int client_call(struct cmd *c, struct request *r, json_t **ret_json);
/* The same, but what isn't there is no failure: NULL. */
int client_find(struct cmd *c, struct request *r, json_t **ret_json);
/* The same for an answer that is not JSON. */
int client_data(struct cmd *c, struct request *r, struct buf *ret_data);
/* Sends R and frees it; nothing is said, only whether it was done. */
bool client_try(struct cmd *c, struct request *r);
bool client_try_data(struct cmd *c, struct request *r, struct buf *ret_data);
void client_done(struct cmd *c);

/* What pandod gives up when it hears nothing of it for a while (its --upload-timeout). */
struct transfer { const char *method, *path, *id; uint64_t told_ns; };
/* Tells pandod that it goes on, unless it was told just now. */
void client_alive(struct cmd *c, struct transfer *t);
/* Waits until FD is ready for EVENTS (poll()), or a signal comes; pandod is told meanwhile. */
void client_alive_wait(struct cmd *c, struct transfer *t, int fd, short events);

/* ---- print.c ---------------------------------------------------------------------------- */

int print_json(const json_t *j);	/* FAILED if standard output is full or closed */
int print_done(void);			/* flushes; the same */

/* Columns that line up.  A cell's text is copied, made safe for a terminal. */
struct table { char **cells; unsigned n, cap, columns; const char *align; bool failed; };
void table_init(struct table *t, const char *align, ...);	/* 'l' or 'r' each; headings */
void table_cell(struct table *t, const char *text);
void table_size(struct table *t, uint64_t bytes);
const char *duration_text(uint64_t seconds, char *buf, size_t cap);	/* "3 days"; BUF */
int table_print(struct table *t);	/* and frees it */
/* A line "NAME   text", the name in WIDTH columns; what others have written is made safe for a terminal. */
void named_print(unsigned width, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

uint64_t json_u64(const json_t *j, const char *key);
const char *json_text(const json_t *j, const char *key);	/* "" if it isn't there */

/* A line that is overwritten, on a terminal only. */
void progress(const char *what, uint64_t done, uint64_t total);
/* The same in pieces, with the time that is left if it goes on so.  STARTED_NS: clock_ns() then. */
void progress_count(const char *what, uint64_t done, uint64_t total, uint64_t started_ns);
uint64_t clock_ns(void);
void progress_end(void);

/* ---- job.c: jobs that pandod runs in the background --------------------------------------- */

/* What PATH answers about the job.  BODY is taken over; NULL: none. */
int job_ask(struct cmd *c, const char *method, const char *path, json_t *body, json_t **ret);
bool job_is(const json_t *j, const char *state);
/* Asks again and again, with progress, until *J says that it doesn't run any more.  FAILED also if somebody has ended it
 * meanwhile. */
int job_wait(struct cmd *c, const char *what, const char *path, json_t **j);

/* ---- image.c: qemu-img, and files with holes -------------------------------------------- */

extern volatile int interrupted;	/* by SIGINT, SIGTERM or SIGHUP */
void interrupt_catch(void);

enum image_format { IMAGE_RAW, IMAGE_QCOW2, IMAGE_VMDK, IMAGE_VHDX, IMAGE_VPC, IMAGE_FORMATS };
const char *image_format_name(enum image_format f);
int image_format_parse(const char *name, enum image_format *ret);	/* -EINVAL */
/* By the first bytes; raw if nothing is recognised. */
enum image_format image_format_of(const void *head, size_t len);
/* Runs qemu-img convert from SRC to DST (a file that exists and is empty). */
int image_convert(const char *src, enum image_format from, const char *dst, enum image_format to);
/* FAILED with a message if an image needs other files that it names (a backing file). */
int image_check_alone(const char *src, enum image_format from);
/* The same if qemu-img finds that it is damaged, or ends too early: what it lacks would be zeros. */
int image_check_whole(const char *src, enum image_format from);
/* Runs ARGV with its output going there; its exit code, or 127. */
int program_run(char *const argv[], int out_fd, int err_fd);
/* FILE's name, which it has got just now, outlives a power cut.  FAILED after saying why. */
int name_sync(const char *file);
/* A temporary file in $TMPDIR, else beside NEAR; its path is the caller's to free and unlink. */
int temp_make(const char *near, bool beside, char **ret_path, int *ret_fd);
bool is_zero(const void *p, size_t len);

/* ---- import_cmd.c ----------------------------------------------------------------------- */

/* What an import is beside FILE and OBJECT: prepared (prepare.h), and what came of it. */
struct imported {
	bool prepare, first_boot;
	unsigned removed;		/* by preparing */
	enum image_format format;	/* of FILE */
	uint64_t size;
	json_t *file;			/* its attributes; the caller's */
};
/* By the options of C.  An exit code, after a message if it isn't DONE. */
int image_import_to(struct cmd *c, const char *file, const char *object, struct imported *ret);

/* OBJECT to FILE, which gets a bitmap named MARK (qcow2) unless that is NULL.  export_cmd.c */
int image_export_as(struct cmd *c, const char *object, const char *file, enum image_format format,
		    const char *mark);
/* Adds a bitmap, which tracks nothing, to a qcow2; or finds the first whose name begins with PREFIX: NULL if
 * there is none, else the caller's to free. */
int image_bitmap_add(const char *path, const char *name);
int image_bitmap_find(const char *path, const char *prefix, char **ret_name);

/* ---- verbs ------------------------------------------------------------------------------ */

int pool_create(struct cmd *c);
int pool_check(struct cmd *c);
int pool_dump(struct cmd *c);
int cmd_pool_status(struct cmd *c);
int cmd_pool_checkpoint(struct cmd *c);
int cmd_pool_scrub(struct cmd *c);
int dedup_start(struct cmd *c);			/* dedup_cmd.c */
int dedup_status(struct cmd *c);
int dedup_cancel(struct cmd *c);
int volume_create(struct cmd *c);
int volume_list(struct cmd *c);
int volume_show(struct cmd *c);
int volume_set(struct cmd *c);
int quota_set(struct cmd *c);
int quota_show(struct cmd *c);
int quota_list(struct cmd *c);
int quota_clear(struct cmd *c);
int volume_destroy(struct cmd *c);
int volume_clone(struct cmd *c);
int snapshot_create(struct cmd *c);
int snapshot_list(struct cmd *c);
int snapshot_restore(struct cmd *c);
int snapshot_destroy(struct cmd *c);
int cmd_account(struct cmd *c);
int cmd_diff(struct cmd *c);
int cmd_tree(struct cmd *c);
int file_ls(struct cmd *c);
int file_stat(struct cmd *c);
int file_mkdir(struct cmd *c);
int file_rm(struct cmd *c);
int file_clone(struct cmd *c);
int image_import(struct cmd *c);
int image_export(struct cmd *c);
int cmd_checkout(struct cmd *c);
int cmd_checkin(struct cmd *c);
int cmd_send(struct cmd *c);
int cmd_receive(struct cmd *c);

int golden_import(struct cmd *c);
int golden_list(struct cmd *c);
int golden_show(struct cmd *c);
int golden_retire(struct cmd *c);

void fleet_unlock(struct cmd *c);	/* the lock that C holds, if it does */
int fleet_create(struct cmd *c);
int fleet_list(struct cmd *c);
int fleet_show(struct cmd *c);
int fleet_start(struct cmd *c);
int fleet_stop(struct cmd *c);
int fleet_refresh(struct cmd *c);
int fleet_snapshot(struct cmd *c);
int fleet_attach(struct cmd *c);
int fleet_detach(struct cmd *c);
int fleet_rollback(struct cmd *c);
int fleet_resize(struct cmd *c);
int fleet_replace(struct cmd *c);
int fleet_recompose(struct cmd *c);
int fleet_destroy(struct cmd *c);
int fleet_expire(struct cmd *c);

/* --mode and --owner into a request's body. */
int owner_options(const struct cmd *c, json_t *body);

#endif
