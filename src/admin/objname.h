/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How objects are written: VOLUME:/path, VOLUME@SNAPSHOT, VOLUME@SNAPSHOT:/path, and patterns for the
 * names of many clones.
 * Used by the daemon and by the command line; depends on nothing.
 *
 * Functions that can fail for a reason worth telling fill WHY with one line that says what is
 * wrong and how to write it instead; they return 0 or -EINVAL / -ENAMETOOLONG.
 */
#ifndef ADMIN_OBJNAME_H
#define ADMIN_OBJNAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OBJNAME_VOLUME_MAX 63
#define OBJNAME_NAME_MAX 255
#define OBJNAME_PATH_MAX 4095
#define OBJNAME_WHY 400

/* A volume's name: letters, digits, '.', '_', '-', not starting with '.' or '-'. */
int volume_name_check(const char *name, char why[OBJNAME_WHY]);

/* The same for a snapshot's. */
int snapshot_name_check(const char *name, char why[OBJNAME_WHY]);

struct objsnap {
	char volume[OBJNAME_VOLUME_MAX + 1];
	char snapshot[OBJNAME_VOLUME_MAX + 1];	/* empty: none */
};

/* Takes VOLUME@SNAPSHOT apart; with BARE a volume alone will do.  OBJECT as below. */
int objsnap_parse(const char *object, size_t len, bool bare, struct objsnap *ret, char why[OBJNAME_WHY]);

struct objpath {
	char volume[2 * OBJNAME_VOLUME_MAX + 2];	/* VOLUME, or VOLUME@SNAPSHOT */
	char path[OBJNAME_PATH_MAX + 1];	/* "/", or "/a/b": no other slashes */
};

/* Takes VOLUME[@SNAPSHOT]:/path apart; "." and ".." are refused.  OBJECT is LEN bytes and a NUL: a NUL
 * among the LEN bytes is refused too. */
int objpath_parse(const char *object, size_t len, struct objpath *ret, char why[OBJNAME_WHY]);
bool objpath_is_root(const struct objpath *p);
bool objpath_is_frozen(const struct objpath *p);	/* in a snapshot, as @SNAPSHOT or by way of .snapshot */
/* Whether both are of one volume, in a snapshot of it or not. */
bool objpath_same_volume(const struct objpath *a, const struct objpath *b);
/* The last name of P, which is not the root; cut it off to get the directory. */
const char *objpath_leaf(const struct objpath *p);
void objpath_parent(const struct objpath *p, struct objpath *ret_dir);

/*
 * A pattern has one %d or %0Nd (N: 1 to 9) in its last name, and no other '%'.
 * clone_name() writes the name of number N into BUF.
 */
struct name_pattern {
	char before[OBJNAME_NAME_MAX + 1];
	char after[OBJNAME_NAME_MAX + 1];
	unsigned width;			/* 0: as many digits as it takes */
};
int name_pattern_parse(const char *leaf, struct name_pattern *ret, char why[OBJNAME_WHY]);
/* -ENAMETOOLONG */
int name_pattern_expand(const struct name_pattern *p, uint64_t number,
			char buf[OBJNAME_NAME_MAX + 1]);

/* Bytes as a person may safely see them on a terminal: control characters and what is not
 * UTF-8 become \xNN.  Always terminated; cut at CAP. */
void text_printable(const char *s, size_t len, char *buf, size_t cap);
/* Length of the UTF-8 character at S (LEN bytes left), 0 if there is none. */
size_t utf8_char_len(const unsigned char *s, size_t len);

#endif
