/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in while something happens: one source, and a stream and a target for each scene. */
#ifndef SIM_RECEIVE_SCENES_H
#define SIM_RECEIVE_SCENES_H

#include "repl_kit.h"

struct scene {
	const char *name;
	struct dev_sim_image *base;	/* the target as it is before; a file "own" in its volume "main" */
	struct stream stream;		/* becomes its volume "copy" */
	const char *volume, *snapshot, *from;	/* FROM: what the target has */
	uint64_t mark_bytes;
	bool unfinished;		/* it has a part of it, too, and goes on from TOKEN */
	struct stream_token token;
};
/* NAMES: what has changed is names more than data, with marks between them. */
enum { WHOLE, MORE, REST, NAMES, NSCENES };
struct scenes { struct rig source; struct scene a[NSCENES]; };

void scenes_make(struct scenes *s);
void scenes_done(struct scenes *s);
/* What SCENE sends; TOKEN: what is missing behind that, or NULL. */
void scene_send(const struct scenes *s, const struct scene *scene, const struct stream_token *token,
		struct stream *ret);
/* The target with so much of the stream, to go on from *RET. */
struct dev_sim_image *scene_part(const struct scene *s, unsigned percent, struct stream_token *ret);

#endif
