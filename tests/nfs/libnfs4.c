/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NFSv4.0 by libnfs, a client that nobody here wrote.  Prints TAP:
 *
 *   libnfs4 URL		# nfs://127.0.0.1/vms?version=4&nfsport=PORT
 *
 * libnfs 4.0 can't write 4 KiB in one call of NFSv4: writes are small.  A file that it has locked it
 * neither locks again nor closes, with its old numbers and stateids: locks come last.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <nfsc/libnfs.h>

#define WRITE_MAX 3500
#define FILE_MAX 200000
#define NAMES 700

static struct nfs_context *A, *B;	/* two clients */
static unsigned points, bad;

static void point(bool good, const char *what, struct nfs_context *c)
{
	points++;
	bad += !good;
	printf("%s %u - %s\n", good ? "ok" : "not ok", points, what);
	if (!good)
		printf("#   %s\n", nfs_get_error(c));
	fflush(stdout);
}

static struct nfs_context *client(const char *text, const char *name)
{
	struct nfs_context *c = nfs_init_context();
	struct nfs_url *u = c ? nfs_parse_url_dir(c, text) : NULL;

	if (u)
		nfs4_set_client_name(c, name);
	if (!u || nfs_mount(c, u->server, u->path)) {
		printf("Bail out! %s\n", c ? nfs_get_error(c) : "no memory");
		exit(1);
	}
	nfs_destroy_url(u);
	return c;
}

static struct nfsfh *open_file(struct nfs_context *c, const char *path, int flags)
{
	struct nfsfh *f = NULL;

	return nfs_open2(c, path, flags, 0640, &f) ? NULL : f;
}

static int64_t size_of(struct nfs_context *c, const char *path)
{
	struct nfs_stat_64 st;

	return nfs_lstat64(c, path, &st) ? -1 : (int64_t)st.nfs_size;
}

/* ---- data ---------------------------------------------------------------------------- */

struct copy { uint8_t now[FILE_MAX], got[FILE_MAX]; uint32_t size; };

static bool change(struct nfsfh *f, struct copy *m)
{
	uint32_t off = rand() % (FILE_MAX - WRITE_MAX), len = 1 + rand() % WRITE_MAX;

	if (rand() % 8 == 0) {
		if (nfs_ftruncate(A, f, off))
			return false;
		if (off < m->size)
			memset(m->now + off, 0, m->size - off);
		m->size = off;
		return true;
	}
	for (uint32_t i = 0; i < len; i++)
		m->now[off + i] = rand();
	m->size = m->size < off + len ? off + len : m->size;
	return nfs_pwrite(A, f, off, len, m->now + off) == (int)len;
}

static bool same(struct nfs_context *c, struct nfsfh *f, struct copy *m)
{
	int n = nfs_pread(c, f, 0, FILE_MAX, m->got);

	return n == (int)m->size && !memcmp(m->got, m->now, n);
}

/* Random writes and truncates against a copy; the other client reads what this one wrote. */
static bool random_data(void)
{
	struct nfsfh *f = open_file(A, "/data", O_CREAT | O_RDWR), *g;
	struct copy *m = calloc(1, sizeof(*m));
	bool good = f && m;

	srand(4);
	for (int i = 0; good && i < 400; i++)
		good = change(f, m) && (i % 20 || same(A, f, m));
	g = good ? open_file(B, "/data", O_RDONLY) : NULL;
	good = g && !nfs_fsync(A, f) && same(B, g, m) && size_of(B, "/data") == m->size;
	if (g)
		good = !nfs_close(B, g) && good;
	if (f)
		good = !nfs_close(A, f) && good;
	free(m);
	return good;
}

/* An open file stays, whatever becomes of its name. */
static bool removed_while_open(void)
{
	struct nfsfh *f = open_file(A, "/gone", O_CREAT | O_RDWR);
	char got[5] = "";

	return f && nfs_pwrite(A, f, 0, 5, "there") == 5 && !nfs_unlink(B, "/gone") &&
	       size_of(B, "/gone") < 0 && nfs_pread(A, f, 0, 5, got) == 5 &&
	       !memcmp(got, "there", 5) && nfs_pwrite(A, f, 5, 1, "!") == 1 && !nfs_close(A, f);
}

/* ---- names --------------------------------------------------------------------------- */

static bool exclusive(void)
{
	struct nfsfh *f = open_file(A, "/once", O_CREAT | O_EXCL | O_RDWR);

	return f && !nfs_close(A, f) && !open_file(A, "/once", O_CREAT | O_EXCL | O_RDWR);
}

static unsigned count_dir(const char *path)
{
	struct nfsdirent *e;
	struct nfsdir *d;
	unsigned n = 0;

	if (nfs_opendir(B, path, &d))
		return 0;
	while ((e = nfs_readdir(B, d)))
		n += e->name[0] != '.';
	nfs_closedir(B, d);
	return n;
}

static bool many_names(void)
{
	char name[32];
	bool good = !nfs_mkdir(A, "/many");

	for (int i = 0; good && i < NAMES; i++) {
		snprintf(name, sizeof(name), "/many/n%d", i);
		good = !nfs_mkdir(A, name);
	}
	good = good && count_dir("/many") == NAMES;
	for (int i = 0; good && i < NAMES; i++) {
		snprintf(name, sizeof(name), "/many/n%d", i);
		good = !nfs_rmdir(A, name);
	}
	return good && count_dir("/many") == 0 && !nfs_rmdir(A, "/many");
}

static bool links(void)
{
	struct nfs_stat_64 st;
	char to[64] = "";

	return !nfs_symlink(A, "once", "/soft") && !nfs_readlink(B, "/soft", to, sizeof(to)) &&
	       !memcmp(to, "once", 4) && !nfs_link(A, "/once", "/hard") &&
	       !nfs_stat64(B, "/hard", &st) && st.nfs_nlink == 2 && !nfs_unlink(A, "/once") &&
	       !nfs_stat64(B, "/hard", &st) && st.nfs_nlink == 1 && !nfs_unlink(A, "/soft");
}

static bool rename_over(void)
{
	return !nfs_mkdir(A, "/to") && !nfs_rename(A, "/hard", "/to/there") &&
	       size_of(B, "/hard") < 0 && size_of(B, "/to/there") == 0 &&
	       !nfs_unlink(A, "/to/there") && !nfs_rmdir(A, "/to");
}

static bool attributes(void)
{
	struct nfs_stat_64 st;
	struct statvfs v;

	return !nfs_chmod(A, "/data", 0604) && !nfs_stat64(B, "/data", &st) &&
	       (st.nfs_mode & 07777) == 0604 && !nfs_access(A, "/data", R_OK | W_OK) &&
	       !nfs_truncate(A, "/data", 77) && size_of(B, "/data") == 77 &&
	       !nfs_statvfs(A, "/", &v) && v.f_blocks;
}

/* ---- locks --------------------------------------------------------------------------- */

static bool locks(void)
{
	struct nfsfh *f = open_file(A, "/data", O_RDWR), *g = open_file(B, "/data", O_RDWR);
	struct nfs4_flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10,
				.l_len = 10 };
	bool good = f && g;

	good = good && !nfs_fcntl(A, f, NFS4_F_SETLK, &l);
	good = good && nfs_lockf(B, g, NFS4_F_TEST, 15);	/* from 0 on: in the way */
	good = good && !nfs_lockf(B, g, NFS4_F_TEST, 10);
	good = good && !nfs_lockf(A, f, NFS4_F_TEST, 15);	/* one's own never is */
	l.l_type = F_UNLCK;
	good = good && !nfs_fcntl(A, f, NFS4_F_SETLK, &l);
	good = good && !nfs_lockf(B, g, NFS4_F_LOCK, 15);
	return good && nfs_lockf(A, f, NFS4_F_TEST, 15);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	A = client(argv[1], "first");
	B = client(argv[1], "second");
	point(random_data(), "random writes and truncates against a copy", A);
	point(removed_while_open(), "a removed file stays for who has it open", A);
	point(exclusive(), "exclusive create", A);
	point(links(), "links", A);
	point(rename_over(), "rename", A);
	point(many_names(), "a directory of many names", A);
	point(attributes(), "attributes", A);
	point(locks(), "locks of two clients", A);
	nfs_destroy_context(A);
	nfs_destroy_context(B);
	printf("1..%u\n", points);
	return bad > 0;
}
