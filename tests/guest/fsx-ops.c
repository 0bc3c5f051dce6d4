/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of fsx-mount: each on a file and its model.  What an operation finds wrong ends
 * the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsx-mount.h"

void die(const char *fmt, ...)
{
	char why[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	for (unsigned i = x.step < RECENT ? 0 : x.step - RECENT + 1; i <= x.step; i++)
		printf("# p%u %u: %s\n", x.process, i, x.recent[i % RECENT]);
	printf("# p%u, step %u, seed %llu: %s\n", x.process, x.step, (unsigned long long)x.seed,
	       why);
	exit(1);
}

void note(const char *fmt, ...)
{
	char *line = x.recent[x.step % RECENT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(x.recent[0]), fmt, ap);
	va_end(ap);
	if (x.traced == (int)x.process)
		printf("# p%u %u: %s\n", x.process, x.step, line);
}

uint32_t below(uint32_t n)
{
	return dice_below(&x.dice, n);
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

int open_file(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("open %s: %s", name, strerror(errno));
	return fd;
}

void close_file(int fd)
{
	if (close(fd))
		die("close: %s", strerror(errno));
}

/* ---- looking --------------------------------------------------------------------------- */

static void compare(const struct file *f, uint32_t off, const uint8_t *got, uint32_t len,
		    const char *how)
{
	int64_t bad = filemodel_differs(&f->m, off, got, len);
	uint32_t n = 0;

	if (bad < 0)
		return;
	for (uint32_t i = 0; i < len; i++)
		n += got[i] != f->m.data[off + i];
	die("%s of %s, %u bytes at %u of %u: byte %lld is %02x, not %02x; %u bytes differ", how,
	    f->name, len, off, f->m.size, (long long)bad, got[bad - off], f->m.data[bad], n);
}

static void read_at(const struct file *f, int fd, uint32_t off, uint32_t len, const char *how)
{
	uint32_t want = off < f->m.size ? least(len, f->m.size - off) : 0;
	uint32_t got = 0;
	ssize_t n = 1;

	for (; got < len && n; got += n) {
		n = pread(fd, buf + got, len - got, off + got);
		if (n < 0)
			die("%s of %s, %u bytes at %u: %s", how, f->name, len - got, off + got,
			    strerror(errno));
		if (x.direct_unit > 1 && n % x.direct_unit)
			got += n, n = 0;		/* the end; a further read isn't aligned */
	}
	if (got != want)
		die("%s of %s, %u bytes at %u of %u: %u came", how, f->name, len, off, f->m.size,
		    got);
	compare(f, off, buf, got, how);
}

static void check_size(const struct file *f)
{
	struct stat st;

	if (fstat(f->fd, &st))
		die("fstat of %s: %s", f->name, strerror(errno));
	if (st.st_size != f->m.size)
		die("the size of %s is %lld, not %u", f->name, (long long)st.st_size, f->m.size);
}

void check_all(const struct file *f)
{
	check_size(f);
	for (uint32_t at = 0; at <= f->m.size; at += IO_MAX)
		read_at(f, f->fd, at, IO_MAX, "read");
}

static void random_range(const struct file *f, uint32_t *off, uint32_t *len)
{
	static const uint32_t most[] = { 500, 10000, 100000, IO_MAX };

	*off = below(f->m.size + 1 + f->m.size / 8);
	*len = 1 + below(most[below(4)]);
}

static bool do_read(struct file *f)
{
	uint32_t off, len;

	random_range(f, &off, &len);
	note("read %s %u+%u", f->name, off, len);
	read_at(f, f->fd, off, len, "read");
	return true;
}

/* Linux's NFS client doesn't look for what was written to a map when it goes around the cache. */
static void before_direct(struct file *f)
{
	if (f->mapped && fsync(f->fd))
		die("fsync of %s: %s", f->name, strerror(errno));
	f->mapped = false;
}

static bool do_direct_read(struct file *f)
{
	uint32_t off, len, unit = x.direct_unit;
	int fd;

	random_range(f, &off, &len);
	off -= off % unit;
	len = least((len + unit - 1) / unit * unit, IO_MAX);
	note("direct read %s %u+%u", f->name, off, len);
	before_direct(f);
	fd = open_file(f->name, O_RDONLY | O_DIRECT);
	read_at(f, fd, off, len, "direct read");
	close_file(fd);
	return true;
}

static bool do_stat(struct file *f)
{
	struct stat st;

	note("stat %s", f->name);
	check_size(f);
	if (stat(f->name, &st) || st.st_size != f->m.size)
		die("stat of %s: %lld bytes, not %u", f->name, (long long)st.st_size, f->m.size);
	return true;
}

/* Holes are zeros, and what is not zero is data; the rest is the file system's business. */
static bool do_seek(struct file *f)
{
	off_t at = below(2) ? 0 : below(f->m.size + 1), data, hole;

	note("seek %s from %lld", f->name, (long long)at);
	for (; at < f->m.size; at = hole) {
		data = lseek(f->fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			data = f->m.size;
		if (data < at || data > f->m.size)
			die("data of %s from %lld on: %lld", f->name, (long long)at,
			    (long long)data);
		if (!filemodel_all_zeros(&f->m, at, data - at))
			die("%s has data in the hole from %lld to %lld", f->name, (long long)at,
			    (long long)data);
		if (data == f->m.size)
			break;
		hole = lseek(f->fd, data, SEEK_HOLE);
		if (hole <= data || hole > f->m.size)
			die("hole of %s from %lld on: %lld of %u", f->name, (long long)data,
			    (long long)hole, f->m.size);
	}
	if (lseek(f->fd, f->m.size, SEEK_DATA) >= 0 || errno != ENXIO)
		die("data of %s from its end on", f->name);
	return true;
}

static uint8_t *map(const struct file *f, uint32_t from, uint32_t end, int prot)
{
	uint8_t *p = mmap(NULL, end - from, prot, MAP_SHARED, f->fd, from);

	if (p == MAP_FAILED)
		die("mmap of %s: %s", f->name, strerror(errno));
	return p;
}

static bool do_map_read(struct file *f)
{
	uint32_t off, len, from;
	uint8_t *p;

	if (!f->m.size)
		return false;
	off = below(f->m.size);
	len = least(1 + below(IO_MAX), f->m.size - off);
	from = off - off % BLOCK;
	note("map read %s %u+%u", f->name, off, len);
	p = map(f, from, off + len, PROT_READ);
	compare(f, off, p + off - from, len, "mapped read");
	munmap(p, off + len - from);
	return true;
}

/* ---- changing -------------------------------------------------------------------------- */

static void write_at(const struct file *f, int fd, const struct fileop *o)
{
	ssize_t n;

	fileop_fill(buf, o);
	for (uint32_t done = 0; done < o->len; done += n) {
		n = pwrite(fd, buf + done, o->len - done, o->off + done);
		if (n <= 0)
			die("write of %s: %s", f->name, n ? strerror(errno) : "nothing");
	}
}

static bool do_write(struct file *f)
{
	struct fileop o = fileop_random_write(&x.dice, x.max, IO_MAX);

	note("write %s %u+%u of %llx", f->name, o.off, o.len, (unsigned long long)o.seed);
	write_at(f, f->fd, &o);
	filemodel_apply(&f->m, &o);
	return true;
}

static bool do_append(struct file *f)
{
	struct fileop o = fileop_random_write(&x.dice, x.max, 50000);
	int fd;

	o.off = f->m.size;
	o.len = least(o.len, x.max - o.off);
	if (!o.len)
		return false;
	note("append to %s %u+%u", f->name, o.off, o.len);
	fd = open_file(f->name, O_WRONLY | O_APPEND);
	fileop_fill(buf, &o);
	if (write(fd, buf, o.len) != o.len)
		die("append to %s: %s", f->name, strerror(errno));
	close_file(fd);
	filemodel_apply(&f->m, &o);
	return true;
}

static bool do_direct_write(struct file *f)
{
	struct fileop o = fileop_random_write(&x.dice, x.max, IO_MAX);
	uint32_t unit = x.direct_unit;
	int fd;

	o.off -= o.off % unit;
	o.len = (o.len + unit - 1) / unit * unit;
	if (o.off + o.len > x.max)
		return false;
	note("direct write %s %u+%u of %llx", f->name, o.off, o.len, (unsigned long long)o.seed);
	before_direct(f);
	fd = open_file(f->name, O_WRONLY | O_DIRECT);
	write_at(f, fd, &o);
	close_file(fd);
	filemodel_apply(&f->m, &o);
	return true;
}

static bool do_map_write(struct file *f)
{
	struct fileop o = fileop_random_write(&x.dice, x.max, IO_MAX);
	uint32_t from;
	uint8_t *p;

	if (o.off >= f->m.size)
		return false;
	o.len = least(o.len, f->m.size - o.off);
	from = o.off - o.off % BLOCK;
	note("map write %s %u+%u of %llx", f->name, o.off, o.len, (unsigned long long)o.seed);
	p = map(f, from, o.off + o.len, PROT_READ | PROT_WRITE);
	fileop_fill(p + o.off - from, &o);
	if (below(2) && msync(p, o.off + o.len - from, MS_SYNC))
		die("msync of %s: %s", f->name, strerror(errno));
	munmap(p, o.off + o.len - from);
	f->mapped = true;
	filemodel_apply(&f->m, &o);
	return true;
}

static bool do_truncate(struct file *f)
{
	struct fileop o = fileop_random_resize(&x.dice, &f->m);
	bool by_name = !below(4);

	note("truncate %s to %u%s", f->name, o.len, by_name ? " by name" : "");
	if (by_name ? truncate(f->name, o.len) : ftruncate(f->fd, o.len))
		die("truncate of %s: %s", f->name, strerror(errno));
	filemodel_apply(&f->m, &o);
	return true;
}

static struct fileop random_range_op(enum fileop_kind kind)
{
	struct fileop o = fileop_random_write(&x.dice, x.max, IO_MAX);

	o.kind = kind;
	return o;
}

static bool do_punch(struct file *f)
{
	struct fileop o = random_range_op(FILEOP_PUNCH);

	note("punch %s %u+%u", f->name, o.off, o.len);
	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, o.off, o.len))
		die("punch of %s: %s", f->name, strerror(errno));
	filemodel_apply(&f->m, &o);
	return true;
}

static bool do_reserve(struct file *f)
{
	struct fileop o = random_range_op(FILEOP_RESERVE);

	note("fallocate %s %u+%u", f->name, o.off, o.len);
	if (fallocate(f->fd, 0, o.off, o.len))
		die("fallocate of %s: %s", f->name, strerror(errno));
	filemodel_apply(&f->m, &o);
	return true;
}

static struct file *other_file(const struct file *f)
{
	struct file *g = &x.file[below(x.nfiles)];

	return g == f ? NULL : g;
}

/* The end of a clone may be crooked only where both files end. */
static bool end_may_be(const struct fileop *o, const struct filemodel *to)
{
	return o->len % BLOCK == 0 ||
	       (o->from_off + o->len == o->from->size && o->off + o->len >= to->size);
}

static bool do_clone(struct file *f)
{
	struct file *g = other_file(f);
	struct fileop o = { .kind = FILEOP_COPY };
	bool may;

	if (!g)
		return false;
	o.from = &g->m;
	o.len = g->m.size;
	may = end_may_be(&o, &f->m);
	note("clone %s to %s: %u%s", g->name, f->name, o.len, may ? "" : ", refused");
	if (ioctl(f->fd, FICLONE, g->fd) ? errno != EINVAL || may : !may)
		die("clone of %s to %s: %s", g->name, f->name, may ? strerror(errno) : "it worked");
	if (may)
		filemodel_apply(&f->m, &o);
	return true;
}

static bool overlap(const struct fileop *o, const struct filemodel *to)
{
	return o->from == to && o->from_off < o->off + o->len && o->off < o->from_off + o->len;
}

/* A range of some file that fits into F, in units of UNIT but for the source's end. */
static bool random_copy(struct file *f, uint32_t unit, struct fileop *ret_op, struct file **ret_from)
{
	struct file *g = &x.file[below(x.nfiles)];
	struct fileop o = fileop_random_write(&x.dice, x.max, IO_MAX);

	if (!g->m.size)
		return false;
	o.kind = FILEOP_COPY;
	o.from = &g->m;
	o.from_off = below(g->m.size);
	o.from_off -= o.from_off % unit;
	o.off -= o.off % unit;
	o.len = (o.len + unit - 1) / unit * unit;
	if (o.len > g->m.size - o.from_off || !below(8))
		o.len = g->m.size - o.from_off;
	if (!o.len || o.off + o.len > x.max || overlap(&o, &f->m))
		return false;
	*ret_op = o;
	*ret_from = g;
	return true;
}

static bool do_clone_range(struct file *f)
{
	struct file_clone_range r;
	struct file *g;
	struct fileop o;
	bool may;

	if (!random_copy(f, BLOCK, &o, &g))
		return false;
	may = end_may_be(&o, &f->m);
	note("clone range %s %u+%u to %s %u%s", g->name, o.from_off, o.len, f->name, o.off,
	     may ? "" : ", refused");
	r = (struct file_clone_range){ g->fd, o.from_off, o.len, o.off };
	if (ioctl(f->fd, FICLONERANGE, &r) ? errno != EINVAL || may : !may)
		die("clone of a range of %s to %s: %s", g->name, f->name,
		    may ? strerror(errno) : "it worked");
	if (may)
		filemodel_apply(&f->m, &o);
	return true;
}

static bool do_copy(struct file *f)
{
	struct file *g;
	struct fileop o;
	uint32_t left;
	off_t from, to;
	ssize_t n;

	if (!random_copy(f, below(2) ? BLOCK : 1, &o, &g))
		return false;
	note("copy %s %u+%u to %s %u", g->name, o.from_off, o.len, f->name, o.off);
	/* Linux's NFS client sends only the range's data before it has it copied: to the server the
	 * file may still be too short for it. */
	if (fsync(g->fd))
		die("fsync of %s: %s", g->name, strerror(errno));
	from = o.from_off;
	to = o.off;
	for (left = o.len; left; left -= n) {
		n = copy_file_range(g->fd, &from, f->fd, &to, left, 0);
		if (n <= 0)
			die("copy of %s to %s: %s", g->name, f->name, n ? strerror(errno) : "end");
	}
	filemodel_apply(&f->m, &o);
	return true;
}

/* ---- making durable, forgetting, names -------------------------------------------------- */

static bool do_sync(struct file *f)
{
	note("fsync %s", f->name);
	if (below(2) ? fsync(f->fd) : fdatasync(f->fd))
		die("fsync of %s: %s", f->name, strerror(errno));
	return true;
}

static void drop_all(void)
{
	int fd = open_file("/proc/sys/vm/drop_caches", O_WRONLY);

	if (write(fd, "3", 1) != 1)
		die("drop_caches: %s", strerror(errno));
	close_file(fd);
}

static bool do_drop(struct file *f)
{
	bool all = x.caches && !below(8);

	note("drop %s", all ? "all caches" : f->name);
	if (fsync(f->fd))
		die("fsync of %s: %s", f->name, strerror(errno));
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
	if (all)
		drop_all();
	if (!below(4))
		check_all(f);
	return true;
}

bool do_reopen(struct file *f)
{
	note("reopen %s", f->name);
	close_file(f->fd);
	f->fd = open_file(f->name, O_RDWR);
	check_size(f);
	return true;
}

/*
 * Also when the server did it and died before it could answer: "no such file", to the client that
 * asks again, would be an error here.
 */
void rename_file(const char *from, const char *to)
{
	if (rename(from, to))
		die("rename of %s to %s: %s", from, to, strerror(errno));
}

static bool do_rename(struct file *f)
{
	char to[sizeof(f->name)];

	snprintf(to, sizeof(to), "p%u-f%u-%u", x.process, (unsigned)(f - x.file), below(100));
	note("rename %s to %s", f->name, to);
	rename_file(f->name, to);
	strcpy(f->name, to);
	return true;
}

/* As editors save: a new file, over the name of the old, which is open. */
static bool do_replace(struct file *f)
{
	struct file g = { .m = f->m };

	snprintf(g.name, sizeof(g.name), "p%u-new", x.process);
	note("replace %s", f->name);
	g.fd = open_file(g.name, O_RDWR | O_CREAT | O_TRUNC);
	for (uint32_t at = 0; at < f->m.size; at += IO_MAX) {
		uint32_t n = least(IO_MAX, f->m.size - at);

		if (pwrite(g.fd, f->m.data + at, n, at) != n)
			die("write of %s: %s", g.name, strerror(errno));
	}
	if (fsync(g.fd))
		die("fsync of %s: %s", g.name, strerror(errno));
	rename_file(g.name, f->name);
	check_all(f);
	close_file(f->fd);
	f->fd = g.fd;
	return true;
}

/* A file without a name can still be used. */
static bool do_unlinked(struct file *f)
{
	struct fileop o = fileop_random_write(&x.dice, x.max, 100000);
	struct file g = { .m = { .max = x.max } };

	snprintf(g.name, sizeof(g.name), "p%u-gone", x.process);
	note("unlinked %s %u+%u", g.name, o.off, o.len);
	if (!filemodel_init(&g.m, x.max))
		die("no memory");
	g.fd = open_file(g.name, O_RDWR | O_CREAT | O_TRUNC);
	write_at(&g, g.fd, &o);
	filemodel_apply(&g.m, &o);
	if (unlink(g.name))
		die("unlink of %s: %s", g.name, strerror(errno));
	if (below(2))
		do_drop(&g);
	o.off = 0;
	write_at(&g, g.fd, &o);
	filemodel_apply(&g.m, &o);
	check_all(&g);
	close_file(g.fd);
	free(g.m.data);
	return true;
}

/* Under a lock, a client of NFS reads and writes differently. */
static bool do_locked(struct file *f)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = below(x.max),
			   .l_len = below(3) * 10000 };

	note("lock %s %lld+%lld", f->name, (long long)l.l_start, (long long)l.l_len);
	if (fcntl(f->fd, F_OFD_SETLKW, &l))
		die("lock of %s: %s", f->name, strerror(errno));
	do_read(f);
	do_write(f);
	do_read(f);
	l.l_type = F_UNLCK;
	if (fcntl(f->fd, F_OFD_SETLK, &l))
		die("unlock of %s: %s", f->name, strerror(errno));
	return true;
}

/* ---- what there is to do ---------------------------------------------------------------- */

const struct does does[] = {
	{ "write", do_write, 20, ALWAYS },
	{ "append", do_append, 3, ALWAYS },
	{ "direct-write", do_direct_write, 5, DIRECT },
	{ "map-write", do_map_write, 7, ALWAYS },
	{ "truncate", do_truncate, 6, ALWAYS },
	{ "punch", do_punch, 5, PUNCH },
	{ "fallocate", do_reserve, 3, RESERVE },
	{ "clone", do_clone, 4, CLONE },
	{ "clone-range", do_clone_range, 7, CLONE },
	{ "copy", do_copy, 5, COPY },
	{ "read", do_read, 14, ALWAYS },
	{ "direct-read", do_direct_read, 4, DIRECT },
	{ "map-read", do_map_read, 5, ALWAYS },
	{ "seek", do_seek, 5, SEEK },
	{ "stat", do_stat, 4, ALWAYS },
	{ "sync", do_sync, 4, ALWAYS },
	{ "drop", do_drop, 5, ALWAYS },
	{ "reopen", do_reopen, 4, ALWAYS },
	{ "rename", do_rename, 2, ALWAYS },
	{ "replace", do_replace, 1, ALWAYS },
	{ "unlinked", do_unlinked, 2, ALWAYS },
	{ "lock", do_locked, 3, LOCK },
};
_Static_assert(sizeof(does) / sizeof(*does) == NDOES, "the table is as long as is said");
