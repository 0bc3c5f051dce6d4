/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk image formats, by way of qemu-img, and temporary files.
 *
 * The format is never left to qemu-img's guess: a raw image is what its guest wrote, and a
 * guest could write the header of another format that names files of the host.
 */
#include "pando/pando.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

extern char **environ;

volatile int interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

void interrupt_catch(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	/* no SA_RESTART: a read from a pipe ends; a second signal ends the program */
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

bool is_zero(const void *p, size_t len)
{
	const unsigned char *s = p;

	return !len || (!s[0] && !memcmp(s, s + 1, len - 1));
}

static const char *const format_names[IMAGE_FORMATS] = {
	[IMAGE_RAW] = "raw", [IMAGE_QCOW2] = "qcow2", [IMAGE_VMDK] = "vmdk",
	[IMAGE_VHDX] = "vhdx", [IMAGE_VPC] = "vpc",
};

const char *image_format_name(enum image_format f)
{
	return format_names[f];
}

int image_format_parse(const char *name, enum image_format *ret)
{
	int i;

	for (i = 0; i < IMAGE_FORMATS; i++)
		if (!strcmp(name, format_names[i])) {
			*ret = (enum image_format)i;
			return 0;
		}
	return -EINVAL;
}

enum image_format image_format_of(const void *head, size_t len)
{
	static const struct { const char *magic; size_t len; enum image_format format; } rows[] = {
		{ "QFI\xfb", 4, IMAGE_QCOW2 },
		{ "KDMV", 4, IMAGE_VMDK },
		{ "COWD", 4, IMAGE_VMDK },
		{ "# Disk DescriptorFile", 21, IMAGE_VMDK },
		{ "vhdxfile", 8, IMAGE_VHDX },
		{ "conectix", 8, IMAGE_VPC },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (len >= rows[i].len && !memcmp(head, rows[i].magic, rows[i].len))
			return rows[i].format;
	return IMAGE_RAW;
}

/* ---- qemu-img --------------------------------------------------------------------------- */

int program_run(char *const argv[], int out_fd, int err_fd)
{
	posix_spawn_file_actions_t actions;
	int err, status;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err_fd, STDERR_FILENO);
	err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		return 127;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 127;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* qemu-img takes "a:b" for a protocol unless it is a path with a slash first. */
static char *plain_path(const char *path)
{
	char *text;

	if (*path == '/')
		return strdup(path);
	return asprintf(&text, "./%s", path) < 0 ? NULL : text;
}

static int program_fail(const char *src, int code)
{
	if (interrupted)
		return fail("%s: interrupted; nothing was left behind", src);
	if (code == 127)
		return fail("%s: qemu-img cannot be run; install the package qemu-utils", src);
	return fail("%s: qemu-img could not convert it (its message is above)", src);
}

int image_convert(const char *src, enum image_format from, const char *dst, enum image_format to)
{
	CLEANUP_FREE char *src_path = plain_path(src);
	CLEANUP_FREE char *dst_path = plain_path(dst);
	bool terminal = isatty(STDERR_FILENO);
	char *argv[] = { "qemu-img", "convert", terminal ? "-p" : "-q", "-f",
			 (char *)format_names[from], "-O", (char *)format_names[to], src_path,
			 dst_path, NULL };
	int code = src_path && dst_path ? program_run(argv, STDERR_FILENO, STDERR_FILENO) : 1;

	return code || interrupted ? program_fail(src, code) : DONE;
}

/*
 * A qcow2 whose data is in another file: qemu-img opens that even to say what SRC is, whatever file it may be.
 * Bytes 72 to 79 are the incompatible features, big-endian (docs/interop/qcow2.txt of QEMU); 4 is this one.
 */
static bool has_data_file(const char *src)
{
	unsigned char head[80];
	int fd = open(src, O_RDONLY | O_CLOEXEC);
	bool ret = fd >= 0 && pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) && !memcmp(head, "QFI\xfb", 4) &&
		   head[7] >= 3 && (head[79] & 4);

	if (fd >= 0)
		close(fd);
	return ret;
}

/* A VHD of what differs from another: what it hasn't, qemu-img takes for zeros.  Byte 63 of its footer is its type. */
static bool has_parent(const char *src)
{
	unsigned char head[64];
	int fd = open(src, O_RDONLY | O_CLOEXEC);
	bool ret = fd >= 0 && pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) && !memcmp(head, "conectix", 8) &&
		   head[63] == 4;

	if (fd >= 0)
		close(fd);
	return ret;
}

static int data_file_check(const char *src, enum image_format format)
{
	if (format == IMAGE_VPC && has_parent(src))
		return fail("%s: is only a part of an image, the rest is in the VHD that it was made from; merge them first",
			    src);
	return format == IMAGE_QCOW2 && has_data_file(src) ?
	       fail("%s: is only a part of an image, its data is in another file; make one image of it first with "
		    "'qemu-img convert'", src) : DONE;
}

/* Another file that INFO says is read for the image at PATH; "": none. */
static const char *other_file(const json_t *info, const char *path)
{
	const json_t *data = json_object_get(json_object_get(info, "format-specific"), "data"), *extent;
	const char *other = json_text(info, "backing-filename");
	size_t i;

	if (!*other)
		other = json_text(json_object_get(data, "data-file"), "filename");
	if (!*other)
		other = json_text(data, "data-file");
	/* a VMDK may be text that names files */
	json_array_foreach(json_object_get(data, "extents"), i, extent)
		if (!*other && strcmp(json_text(extent, "filename"), path))
			other = json_text(extent, "filename");
	return other;
}

int image_check_alone(const char *src, enum image_format from)
{
	CLEANUP_FREE char *src_path = plain_path(src);
	char *argv[] = { "qemu-img", "info", "--output=json", "-f", (char *)format_names[from],
			 src_path, NULL };
	CLEANUP_FILE FILE *out = tmpfile();
	const char *other;
	json_t *info;
	int code = data_file_check(src, from);

	if (code)
		return code;
	if (!out || !src_path)
		return fail("%s: cannot make a temporary file: %s", src, strerror(errno));
	code = program_run(argv, fileno(out), STDERR_FILENO);
	if (code)
		return code == 127 ? program_fail(src, code)
				   : fail("%s: qemu-img cannot read it as %s; name its format with "
					  "--format", src, format_names[from]);
	rewind(out);
	info = json_loadf(out, 0, NULL);
	other = other_file(info, src_path);
	code = *other ? fail("%s: is only a part of an image, the rest is in %s; make one image of "
			     "it first with 'qemu-img convert'", src, other) : DONE;
	json_decref(info);
	return code;
}

int image_check_whole(const char *src, enum image_format from)
{
	CLEANUP_FREE char *src_path = plain_path(src);
	char *argv[] = { "qemu-img", "check", "-f", (char *)format_names[from], src_path, NULL };
	CLEANUP_FILE FILE *out = tmpfile();
	int code;

	if (!out || !src_path)
		return fail("%s: cannot make a temporary file: %s", src, strerror(errno));
	code = program_run(argv, fileno(out), fileno(out));
	if (code == 127)
		return program_fail(src, code);
	/* 1, 2: errors; 3: only room that is lost; 63: a format that cannot be checked */
	return code == 1 || code == 2 ? fail("%s: is damaged, or only the beginning of an image: get it again; "
					     "'qemu-img check' tells more", src) : DONE;
}

/* ---- bitmaps ---------------------------------------------------------------------------- */

int image_bitmap_add(const char *path, const char *name)
{
	CLEANUP_FREE char *plain = plain_path(path);
	char *argv[] = { "qemu-img", "bitmap", "--add", "--disable", "-f", "qcow2", plain, (char *)name, NULL };
	int code = plain ? program_run(argv, STDERR_FILENO, STDERR_FILENO) : 1;

	return code ? fail("%s: qemu-img could not mark it (its message is above); it takes QEMU 5.1 or newer",
			   path) : DONE;
}

int image_bitmap_find(const char *path, const char *prefix, char **ret_name)
{
	CLEANUP_FREE char *plain = plain_path(path);
	char *argv[] = { "qemu-img", "info", "--output=json", "-f", "qcow2", plain, NULL };
	CLEANUP_FILE FILE *out = tmpfile();
	const json_t *all, *b;
	json_t *info;
	size_t i;
	int code = data_file_check(path, IMAGE_QCOW2);

	*ret_name = NULL;
	if (code)
		return code;
	if (!out || !plain)
		return fail("%s: cannot make a temporary file: %s", path, strerror(errno));
	code = program_run(argv, fileno(out), STDERR_FILENO);
	if (code)
		return code == 127 ? program_fail(path, code) : fail("%s: qemu-img cannot read it as qcow2", path);
	rewind(out);
	info = json_loadf(out, 0, NULL);
	all = json_object_get(json_object_get(json_object_get(info, "format-specific"), "data"), "bitmaps");
	json_array_foreach(all, i, b)
		if (!*ret_name && !strncmp(json_text(b, "name"), prefix, strlen(prefix)))
			*ret_name = strdup(json_text(b, "name"));
	json_decref(info);
	return DONE;
}

/* ---- temporary files -------------------------------------------------------------------- */

int name_sync(const char *file)
{
	CLEANUP_FREE char *copy = strdup(file);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, err = DONE;

	if (fd < 0 || (fsync(fd) && errno != EINVAL))	/* EINVAL: a file system that has no such thing */
		err = fail("%s: its directory cannot be written: %s", file, strerror(errno));
	if (fd >= 0)
		close(fd);
	return err;
}

int temp_make(const char *near, bool beside, char **ret_path, int *ret_fd)
{
	CLEANUP_FREE char *copy = strdup(near);
	const char *tmp = getenv("TMPDIR");
	char *path;
	int fd;

	if (!copy)
		return fail("out of memory");
	if (beside || !tmp || !*tmp)
		tmp = dirname(copy);
	if (asprintf(&path, "%s/.pando-XXXXXX", tmp) < 0)
		return fail("out of memory");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		fail("%s: cannot make a temporary file there: %s%s", tmp, strerror(errno),
		     beside ? "" : "; choose another directory with $TMPDIR");
		free(path);
		return FAILED;
	}
	*ret_path = path;
	*ret_fd = fd;
	return DONE;
}
